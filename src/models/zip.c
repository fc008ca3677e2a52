#include "models/zip.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    END_BYTES = 22,      // end of central directory, without its comment
    LOCATOR_BYTES = 20,  // of the zip64 end
    END64_BYTES = 56,    // zip64 end of central directory
    CENTRAL_BYTES = 46,  // of an entry in the directory, without names and extras
    LOCAL_BYTES = 30,    // of an entry before its data, without names and extras
    MAX_COMMENT = 65535,
    MAX_ENTRIES = 1 << 20,
    ENCRYPTED = 1,    // flag
    ZIP64_EXTRA = 1,  // kind of extra
};

struct place {
    uint64_t start, end;  // bytes of the file: local header to the end of the data
    int64_t entry;
};

struct zip {
    const char *label;
    const uint8_t *data;
    size_t size;
    uint64_t directory, directory_end;  // bytes of the file
    int64_t n_entries;
    struct zip_entry *entries;  // [n_entries], sorted by name
    char *names;                // of all entries
    struct place *places;       // [n_entries]; freed once it was checked
};

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

/* ---- checksum: eight bytes a step ---- */

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void fill_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        crc_table[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++) {
            uint32_t c = crc_table[k - 1][i];
            crc_table[k][i] = crc_table[0][c & 255] ^ c >> 8;
        }
}

uint32_t zip_crc32(const void *data, size_t n_bytes) {
    pthread_once(&crc_once, fill_crc_table);
    const uint8_t *p = data;
    uint32_t c = ~0u;
    for (; n_bytes >= 8; n_bytes -= 8, p += 8) {
        uint32_t a = c ^ u32(p), b = u32(p + 4);
        c = crc_table[7][a & 255] ^ crc_table[6][a >> 8 & 255] ^ crc_table[5][a >> 16 & 255] ^ crc_table[4][a >> 24] ^
            crc_table[3][b & 255] ^ crc_table[2][b >> 8 & 255] ^ crc_table[1][b >> 16 & 255] ^ crc_table[0][b >> 24];
    }
    for (; n_bytes > 0; n_bytes--, p++) c = crc_table[0][(c ^ *p) & 255] ^ c >> 8;
    return ~c;
}

status zip_check(const struct zip_entry *e, const char *label) {
    uint32_t crc = zip_crc32(e->data, e->n_bytes);
    if (crc == e->crc) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s is damaged: the checksum of its entry %.80s is %08x, and should be %08x; get it again", label,
                e->name, crc, e->crc);
}

/* ---- directory ---- */

static status damaged(const struct zip *z, const char *what) {
    return fail(UTTER_FORMAT, "%s is cut off or damaged: %s; get it again", z->label, what);
}

// The archive's end record: it and its comment are the last bytes of the file.
static status find_end(const struct zip *z, uint64_t *out) {
    for (size_t comment = 0; comment <= MAX_COMMENT && comment + END_BYTES <= z->size; comment++) {
        uint64_t at = z->size - END_BYTES - comment;
        if (memcmp(z->data + at, "PK\5\6", 4) == 0 && u16(z->data + at + 20) == comment) {
            *out = at;
            return UTTER_OK;
        }
    }
    return damaged(z, "a ZIP archive's end record is not there");
}

// Place, size and number of entries of the directory, from the end record or, where that says so, the zip64 one.
static status find_directory(struct zip *z, uint64_t *n_entries) {
    uint64_t end = 0;
    TRY(find_end(z, &end));
    const uint8_t *p = z->data + end;
    uint64_t size = u32(p + 12), start = u32(p + 16), limit = end;
    *n_entries = u16(p + 10);
    bool split = u16(p + 4) != 0 || u16(p + 6) != 0 || u16(p + 8) != u16(p + 10);
    if (end >= LOCATOR_BYTES && memcmp(p - LOCATOR_BYTES, "PK\6\7", 4) == 0) {
        uint64_t end64 = u64(p - LOCATOR_BYTES + 8);
        if (end < LOCATOR_BYTES + END64_BYTES || end64 > end - LOCATOR_BYTES - END64_BYTES ||
            memcmp(z->data + end64, "PK\6\6", 4) != 0)
            return damaged(z, "its zip64 end record is not where it should be");
        p = z->data + end64;
        *n_entries = u64(p + 32);
        size = u64(p + 40);
        start = u64(p + 48);
        limit = end64;
        split = u32(p + 16) != 0 || u32(p + 20) != 0 || u64(p + 24) != *n_entries;
    }
    if (split) return fail(UTTER_UNSUPPORTED, "%s is a part of a split ZIP archive", z->label);
    if (start > limit || size > limit - start)
        return fail(UTTER_FORMAT,
                    "%s is cut off or damaged: its directory lies at byte %" PRIu64 " and takes %" PRIu64
                    " bytes, and the file has %zu; get it again",
                    z->label, start, size, z->size);
    if (*n_entries > size / CENTRAL_BYTES || *n_entries > MAX_ENTRIES)
        return fail(UTTER_FORMAT,
                    "%s: the number of entries is %" PRIu64 ", more than %" PRIu64
                    " bytes can hold or than the %d utter reads",
                    z->label, *n_entries, size, MAX_ENTRIES);
    z->directory = start;
    z->directory_end = start + size;
    return UTTER_OK;
}

// What does not fit 32 bits stands in an extra, in this order.
static bool read_zip64(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *local) {
    uint64_t *const fields[] = {size, packed, local};
    while (n >= 4) {
        size_t kind = u16(extra), len = u16(extra + 2);
        if (len > n - 4) return false;
        if (kind == ZIP64_EXTRA) {
            const uint8_t *p = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*fields[i] != UINT32_MAX) continue;
                if (len < 8) return false;
                *fields[i] = u64(p);
                p += 8;
                len -= 8;
            }
            return true;
        }
        extra += 4 + len;
        n -= 4 + len;
    }
    return true;
}

// Where the data of an entry lies, from its local header.
static status find_data(const struct zip *z, const uint8_t *name, size_t name_len, uint64_t local, uint64_t size,
                        struct place *place, uint64_t *start) {
    if (local > z->directory || z->directory - local < LOCAL_BYTES || memcmp(z->data + local, "PK\3\4", 4) != 0)
        return fail(UTTER_FORMAT, "%s is damaged: entry %.*s is said to be at byte %" PRIu64 ", where no entry is",
                    z->label, (int)name_len, (const char *)name, local);
    const uint8_t *p = z->data + local;
    *start = local + LOCAL_BYTES + u16(p + 26) + u16(p + 28);
    if (*start > z->directory || size > z->directory - *start)
        return fail(UTTER_FORMAT,
                    "%s is cut off or damaged: entry %.*s is said to have %" PRIu64
                    " bytes, and the file ends before; get it again",
                    z->label, (int)name_len, (const char *)name, size);
    if (u16(p + 26) != name_len || memcmp(p + LOCAL_BYTES, name, name_len) != 0)
        return fail(UTTER_FORMAT, "%s is damaged: entry %.*s has another name at its data", z->label, (int)name_len,
                    (const char *)name);
    *place = (struct place){local, *start + size, 0};
    return UTTER_OK;
}

static status read_entry(struct zip *z, uint64_t *at, char **names, int64_t i) {
    if (*at > z->directory_end || z->directory_end - *at < CENTRAL_BYTES || memcmp(z->data + *at, "PK\1\2", 4) != 0)
        return damaged(z, "its directory ends early");
    const uint8_t *p = z->data + *at;
    size_t name_len = u16(p + 28), extra_len = u16(p + 30), comment_len = u16(p + 32);
    if (name_len + extra_len + comment_len > z->directory_end - *at - CENTRAL_BYTES)
        return damaged(z, "its directory ends early");
    *at += CENTRAL_BYTES + name_len + extra_len + comment_len;
    const uint8_t *name = p + CENTRAL_BYTES;
    if (name_len == 0 || memchr(name, 0, name_len)) return damaged(z, "an entry has no name");
    uint64_t packed = u32(p + 20), size = u32(p + 24), local = u32(p + 42), start = 0;
    if (!read_zip64(name + name_len, extra_len, &size, &packed, &local)) return damaged(z, "a zip64 extra ends early");
    if (u16(p + 8) & ENCRYPTED) return fail(UTTER_UNSUPPORTED, "%s is encrypted", z->label);
    if (u16(p + 10) != 0)
        return fail(UTTER_UNSUPPORTED,
                    "%s: entry %.*s is compressed (method %u); PyTorch stores its entries, so this file was packed by "
                    "something else: unpack it and pack it again with zip -0",
                    z->label, (int)name_len, (const char *)name, u16(p + 10));
    if (packed != size)
        return fail(UTTER_FORMAT, "%s is damaged: entry %.*s has %" PRIu64 " bytes and is said to take %" PRIu64,
                    z->label, (int)name_len, (const char *)name, size, packed);
    TRY(find_data(z, name, name_len, local, size, &z->places[i], &start));
    z->places[i].entry = i;
    z->entries[i] = (struct zip_entry){*names, z->data + start, (size_t)size, u32(p + 16)};
    memcpy(*names, name, name_len);
    (*names)[name_len] = 0;
    *names += name_len + 1;
    z->n_entries = i + 1;
    return UTTER_OK;
}

static int by_place(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

static status parse(struct zip *z) {
    uint64_t n = 0;
    TRY(find_directory(z, &n));
    z->entries = calloc((size_t)n + 1, sizeof *z->entries);
    z->places = calloc((size_t)n + 1, sizeof *z->places);
    z->names = malloc((size_t)(z->directory_end - z->directory) + 1);  // each name and its NUL is less than its entry
    if (!z->entries || !z->places || !z->names) return fail_memory((size_t)n * sizeof *z->entries, "a ZIP directory");
    uint64_t at = z->directory;
    char *names = z->names;
    for (int64_t i = 0; i < (int64_t)n; i++) TRY(read_entry(z, &at, &names, i));

    qsort(z->places, (size_t)n, sizeof *z->places, by_place);
    for (int64_t i = 1; i < (int64_t)n; i++)
        if (z->places[i - 1].end > z->places[i].start)
            return fail(UTTER_FORMAT, "%s: entries %.80s and %.80s lie over one another", z->label,
                        z->entries[z->places[i - 1].entry].name, z->entries[z->places[i].entry].name);
    qsort(z->entries, (size_t)n, sizeof *z->entries, by_name);
    for (int64_t i = 1; i < (int64_t)n; i++)
        if (by_name(&z->entries[i - 1], &z->entries[i]) == 0)
            return fail(UTTER_FORMAT, "%s: entry %.80s is there twice", z->label, z->entries[i].name);
    return UTTER_OK;
}

status zip_open(const char *label, const void *data, size_t size, struct zip **out) {
    *out = NULL;
    struct zip *z = calloc(1, sizeof *z);
    if (!z) return fail_memory(sizeof *z, "a ZIP archive");
    z->label = label;
    z->data = data;
    z->size = size;
    status s = parse(z);
    free(z->places);
    z->places = NULL;
    z->label = NULL;  // was the caller's
    if (s != UTTER_OK) {
        zip_close(z);
        return s;
    }
    *out = z;
    return UTTER_OK;
}

void zip_close(struct zip *z) {
    if (!z) return;
    free(z->entries);
    free(z->names);
    free(z);
}

int64_t zip_n_entries(const struct zip *z) { return z->n_entries; }

const struct zip_entry *zip_at(const struct zip *z, int64_t i) { return &z->entries[i]; }

const struct zip_entry *zip_find(const struct zip *z, const char *name) {
    struct zip_entry wanted = {.name = name};
    return bsearch(&wanted, z->entries, (size_t)z->n_entries, sizeof *z->entries, by_name);
}
