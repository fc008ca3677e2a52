#include "gguf/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF files are read in place, which needs a little-endian machine"
#endif

enum {
    MAX_ENTRIES = 65536,   // keys, or tensors; real models have a few hundred
    MAX_NAME = 1024,       // bytes of a key or of a tensor's name
    MIN_KEY_BYTES = 13,    // of a key in the file: length, type, one byte of value
    MIN_TENSOR_BYTES = 32  // of a tensor's description: length, n_dims, one dimension, type, offset
};

struct gguf {
    char *label;
    struct file_map map;  // empty when the file lies in someone else's memory
    int64_t n_keys, n_tensors;
    struct gguf_string key_bytes;
    struct gguf_key *keys;
    struct gguf_tensor *tensors;                 // names are owned
    const struct gguf_key **keys_by_name;        // [n_keys], sorted
    const struct gguf_tensor **tensors_by_name;  // [n_tensors], sorted
};

/* ---- reading ---- */

struct reader {
    const char *label;
    const uint8_t *data;
    size_t size, at;
};

// The next n bytes of the file, which hold `what` (of `whose`, "" if of the file).
static status take(struct reader *r, uint64_t n, const char *what, const char *whose, const uint8_t **out) {
    if (n > r->size - r->at)
        return fail(UTTER_FORMAT,
                    "%s is cut off or damaged: %s%s%.80s at byte %zu takes %" PRIu64
                    " bytes and %zu are left; get it again",
                    r->label, what, *whose ? " of " : "", whose, r->at, n, r->size - r->at);
    *out = r->data + r->at;
    r->at += (size_t)n;
    return UTTER_OK;
}

static status take_u32(struct reader *r, const char *what, const char *whose, uint32_t *out) {
    const uint8_t *p = NULL;
    TRY(take(r, sizeof *out, what, whose, &p));
    memcpy(out, p, sizeof *out);
    return UTTER_OK;
}

static status take_u64(struct reader *r, const char *what, const char *whose, uint64_t *out) {
    const uint8_t *p = NULL;
    TRY(take(r, sizeof *out, what, whose, &p));
    memcpy(out, p, sizeof *out);
    return UTTER_OK;
}

static status take_string(struct reader *r, const char *what, const char *whose, struct gguf_string *out) {
    uint64_t len;
    const uint8_t *p = NULL;
    TRY(take_u64(r, what, whose, &len));
    TRY(take(r, len, what, whose, &p));
    *out = (struct gguf_string){(const char *)p, (size_t)len};
    return UTTER_OK;
}

// A key or a tensor's name, as a C string in new memory.
static status take_name(struct reader *r, const char *what, int64_t i, char **out) {
    struct gguf_string s;
    size_t at = r->at;
    TRY(take_string(r, what, "", &s));
    if (s.len == 0 || s.len > MAX_NAME)
        return fail(UTTER_FORMAT, "%s: %s number %" PRId64 " (byte %zu) is %zu bytes long; wanted 1 to %d", r->label,
                    what, i, at, s.len, MAX_NAME);
    if (memchr(s.data, 0, s.len))
        return fail(UTTER_FORMAT, "%s: %s number %" PRId64 " (byte %zu) holds a zero byte", r->label, what, i, at);
    *out = strndup(s.data, s.len);
    return *out ? UTTER_OK : fail_memory(s.len, "a name");
}

// Bytes of a value; 0 for strings, arrays and types that do not exist.
static size_t value_bytes(uint32_t type) {
    static const uint8_t bytes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < sizeof bytes ? bytes[type] : 0;
}

static status check_bools(const struct reader *r, const char *key, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] > 1)
            return fail(UTTER_FORMAT, "%s: key %.80s is a boolean with the value %u; wanted 0 or 1", r->label, key,
                        p[i]);
    return UTTER_OK;
}

static status take_array(struct reader *r, struct gguf_key *k) {
    uint32_t type;
    uint64_t n, n_bytes;
    TRY(take_u32(r, "the element type", k->name, &type));
    TRY(take_u64(r, "the number of elements", k->name, &n));
    if (type == GGUF_ARRAY)
        return fail(UTTER_UNSUPPORTED, "%s: key %.80s is an array of arrays, which utter does not read", r->label,
                    k->name);
    size_t width = type == GGUF_STRING ? sizeof(uint64_t) : value_bytes(type);
    if (width == 0)
        return fail(UTTER_FORMAT, "%s: key %.80s is an array of elements of type %u, which does not exist", r->label,
                    k->name, type);
    // A string takes at least the bytes of its length, so the count is checked before anything is allocated.
    if (!size_mul(n, width, &n_bytes) || n_bytes > r->size - r->at)
        return fail(UTTER_FORMAT, "%s: key %.80s announces %" PRIu64 " elements at byte %zu, and %zu bytes are left",
                    r->label, k->name, n, r->at, r->size - r->at);
    k->array = (struct gguf_array){.type = type, .n = (size_t)n};
    if (type != GGUF_STRING) {
        const uint8_t *p;
        TRY(take(r, n_bytes, "the elements", k->name, &p));
        k->array.data = p;
        return type == GGUF_BOOL ? check_bools(r, k->name, p, (size_t)n) : UTTER_OK;
    }
    struct gguf_string *strings = malloc(n ? (size_t)n * sizeof *strings : 1);
    if (!strings) return fail_memory((size_t)n * sizeof *strings, "an array of strings");
    k->array.strings = strings;
    for (size_t i = 0; i < n; i++) TRY(take_string(r, "a string", k->name, &strings[i]));
    return UTTER_OK;
}

static status take_key(struct reader *r, int64_t i, struct gguf_key *k) {
    uint32_t type;
    TRY(take_name(r, "the key", i, &k->name));
    TRY(take_u32(r, "the type", k->name, &type));
    k->type = type;
    if (type == GGUF_STRING) return take_string(r, "the string", k->name, &k->string);
    if (type == GGUF_ARRAY) return take_array(r, k);
    size_t width = value_bytes(type);
    if (width == 0)
        return fail(UTTER_FORMAT, "%s: key %.80s has a value of type %u, which does not exist", r->label, k->name,
                    type);
    TRY(take(r, width, "the value", k->name, &k->value));
    return type == GGUF_BOOL ? check_bools(r, k->name, k->value, 1) : UTTER_OK;
}

// A tensor's description; *offset is where its data starts in the data section.
static status take_tensor(struct reader *r, int64_t i, struct gguf_tensor *t, uint64_t *offset) {
    char *name;
    uint32_t n_dims, type;
    TRY(take_name(r, "the tensor name", i, &name));
    t->name = name;
    TRY(take_u32(r, "the number of dimensions", name, &n_dims));
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return fail(UTTER_FORMAT, "%s: tensor %.80s has %u dimensions; wanted 1 to %d", r->label, name, n_dims,
                    GGUF_MAX_DIMS);
    t->n_dims = (int)n_dims;
    uint64_t n = 1;
    for (int d = 0; d < GGUF_MAX_DIMS; d++) {
        uint64_t dim = 1;
        if (d < t->n_dims) TRY(take_u64(r, "a dimension", name, &dim));
        if (dim == 0 || !size_mul(n, dim, &n) || n > INT64_MAX)
            return fail(UTTER_FORMAT, "%s: dimension %d of tensor %.80s is %" PRIu64 ", which cannot be", r->label, d,
                        name, dim);
        t->dims[d] = (int64_t)dim;
    }
    TRY(take_u32(r, "the type", name, &type));
    TRY(take_u64(r, "the offset", name, offset));
    const struct block_info *b = block_info(type);
    if (!b)
        return fail(
            UTTER_UNSUPPORTED,
            "%s: tensor %.80s is of type %u, which utter does not read; use F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
            "Q5_1, Q4_K, Q5_K or Q6_K",
            r->label, name, type);
    t->type = type;
    if (t->dims[0] % b->n_weights != 0)
        return fail(UTTER_FORMAT,
                    "%s: rows of tensor %.80s are %" PRId64 " long, not a multiple of the %d weights of a %s block",
                    r->label, name, t->dims[0], b->n_weights, b->name);
    uint64_t n_bytes;
    if (!size_mul(n / (uint64_t)b->n_weights, (uint64_t)b->n_bytes, &n_bytes) || n_bytes > r->size)
        return fail(UTTER_FORMAT, "%s: tensor %.80s of %" PRIu64 " weights in %s is larger than the file (%zu bytes)",
                    r->label, name, n, b->name, r->size);
    t->n_bytes = (size_t)n_bytes;
    return UTTER_OK;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp((*(const struct gguf_key *const *)a)->name, (*(const struct gguf_key *const *)b)->name);
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp((*(const struct gguf_tensor *const *)a)->name, (*(const struct gguf_tensor *const *)b)->name);
}

static status read_keys(struct reader *r, struct gguf *g, int64_t n) {
    g->keys = calloc((size_t)n + 1, sizeof *g->keys);
    g->keys_by_name = calloc((size_t)n + 1, sizeof *g->keys_by_name);
    if (!g->keys || !g->keys_by_name) return fail_memory((size_t)n * sizeof *g->keys, "the keys of a GGUF file");
    for (int64_t i = 0; i < n; i++) {
        g->n_keys = i + 1;  // so that a failure frees this one too
        TRY(take_key(r, i, &g->keys[i]));
        g->keys_by_name[i] = &g->keys[i];
    }
    qsort(g->keys_by_name, (size_t)n, sizeof *g->keys_by_name, compare_keys);
    for (int64_t i = 1; i < n; i++)
        if (compare_keys(&g->keys_by_name[i - 1], &g->keys_by_name[i]) == 0)
            return fail(UTTER_FORMAT, "%s: key %.80s is there twice", r->label, g->keys_by_name[i]->name);
    return UTTER_OK;
}

static status read_alignment(const struct gguf *g, int64_t *out) {
    *out = 32;
    if (!gguf_get_i64(g, "general.alignment", out) && gguf_find_key(g, "general.alignment"))
        return fail(UTTER_FORMAT, "%s: key general.alignment is not a whole number", g->label);
    // Below 8 the weights could not be read in place.
    if (*out < 8 || *out > 65536 || (*out & (*out - 1)) != 0)
        return fail(UTTER_FORMAT, "%s: key general.alignment is %" PRId64 "; wanted a power of two from 8 to 65536",
                    g->label, *out);
    return UTTER_OK;
}

static status read_tensors(struct reader *r, struct gguf *g, int64_t n, const uint64_t **offsets) {
    g->tensors = calloc((size_t)n + 1, sizeof *g->tensors);
    g->tensors_by_name = calloc((size_t)n + 1, sizeof *g->tensors_by_name);
    uint64_t *o = calloc((size_t)n + 1, sizeof *o);
    *offsets = o;
    if (!g->tensors || !g->tensors_by_name || !o)
        return fail_memory((size_t)n * sizeof *g->tensors, "the tensors of a GGUF file");
    for (int64_t i = 0; i < n; i++) {
        g->n_tensors = i + 1;
        TRY(take_tensor(r, i, &g->tensors[i], &o[i]));
        g->tensors_by_name[i] = &g->tensors[i];
    }
    qsort(g->tensors_by_name, (size_t)n, sizeof *g->tensors_by_name, compare_tensors);
    for (int64_t i = 1; i < n; i++)
        if (compare_tensors(&g->tensors_by_name[i - 1], &g->tensors_by_name[i]) == 0)
            return fail(UTTER_FORMAT, "%s: tensor %.80s is there twice", r->label, g->tensors_by_name[i]->name);
    return UTTER_OK;
}

// Turns offsets into pointers: the data section starts at the next multiple of the alignment.
static status place_tensors(const struct reader *r, struct gguf *g, const uint64_t *offsets) {
    int64_t alignment;
    TRY(read_alignment(g, &alignment));
    uint64_t start = ((uint64_t)r->at + (uint64_t)alignment - 1) / (uint64_t)alignment * (uint64_t)alignment;
    for (int64_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % (uint64_t)alignment != 0)
            return fail(UTTER_FORMAT,
                        "%s: the offset of tensor %.80s is %" PRIu64 ", not a multiple of the alignment %" PRId64,
                        r->label, t->name, offsets[i], alignment);
        if (start > r->size || offsets[i] > r->size - start || t->n_bytes > r->size - start - offsets[i])
            return fail(UTTER_FORMAT,
                        "%s is cut off or damaged: tensor %.80s takes %zu bytes at offset %" PRIu64
                        " of the data section (byte %" PRIu64 "), and the file ends at %zu; get it again",
                        r->label, t->name, t->n_bytes, offsets[i], start, r->size);
        t->data = r->data + start + offsets[i];
    }
    return UTTER_OK;
}

static status check_count(const struct reader *r, const char *what, uint64_t n, size_t min_bytes) {
    if (n > MAX_ENTRIES || n > (r->size - r->at) / min_bytes)
        return fail(UTTER_FORMAT,
                    "%s: the number of %s is %" PRIu64 ", more than %zu bytes can hold or than the %d utter reads",
                    r->label, what, n, r->size - r->at, MAX_ENTRIES);
    return UTTER_OK;
}

static status parse(struct reader *r, struct gguf *g) {
    const uint8_t *magic = NULL;
    uint32_t version;
    uint64_t n_tensors, n_keys;
    if (r->size < 4 || memcmp(r->data, "GGUF", 4) != 0)
        return fail(UTTER_FORMAT, "%s is not a GGUF file: it does not start with \"GGUF\"", r->label);
    TRY(take(r, 4, "the magic number", "", &magic));
    TRY(take_u32(r, "the version", "", &version));
    if (version == 2u << 24 || version == 3u << 24)
        return fail(UTTER_UNSUPPORTED, "%s is a big-endian GGUF file; utter reads little-endian ones", r->label);
    if (version != 2 && version != 3)
        return fail(UTTER_UNSUPPORTED, "%s: the GGUF version is %u; utter reads 2 and 3", r->label, version);
    TRY(take_u64(r, "the number of tensors", "", &n_tensors));
    TRY(take_u64(r, "the number of keys", "", &n_keys));
    TRY(check_count(r, "tensors", n_tensors, MIN_TENSOR_BYTES));
    TRY(check_count(r, "keys", n_keys, MIN_KEY_BYTES));
    size_t keys_at = r->at;
    TRY(read_keys(r, g, (int64_t)n_keys));
    g->key_bytes = (struct gguf_string){(const char *)r->data + keys_at, r->at - keys_at};
    const uint64_t *offsets = NULL;
    status s = read_tensors(r, g, (int64_t)n_tensors, &offsets);
    if (s == UTTER_OK) s = place_tensors(r, g, offsets);
    free((void *)offsets);
    return s;
}

/* ---- opening ---- */

static status open_parsed(struct file_map map, const void *data, size_t size, const char *label, struct gguf **out) {
    *out = NULL;
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) {
        file_map_close(&map);
        return fail_memory(sizeof *g, "a GGUF file");
    }
    g->map = map;
    g->label = strdup(label);
    struct reader r = {.label = g->label, .data = data, .size = size};
    status s = g->label ? parse(&r, g) : fail_memory(strlen(label), "a file name");
    if (s != UTTER_OK) {
        gguf_close(g);
        return s;
    }
    *out = g;
    return UTTER_OK;
}

status gguf_open(const char *path, struct gguf **out) {
    *out = NULL;
    struct file_map map;
    TRY(file_map_open(path, &map));
    return open_parsed(map, map.data, map.size, path, out);
}

status gguf_open_memory(const void *data, size_t size, const char *label, struct gguf **out) {
    *out = NULL;
    if ((uintptr_t)data % 8 != 0)
        return fail(UTTER_INVALID, "%s lies at an address that is not a multiple of 8; weights are read in place",
                    label);
    return open_parsed((struct file_map){0}, data, size, label, out);
}

void gguf_rest(const struct gguf *g) { file_map_rest(&g->map); }

void gguf_close(struct gguf *g) {
    if (!g) return;
    for (int64_t i = 0; i < g->n_keys; i++) {
        free(g->keys[i].name);
        free((void *)g->keys[i].array.strings);
    }
    for (int64_t i = 0; i < g->n_tensors; i++) free((void *)g->tensors[i].name);
    free(g->keys);
    free(g->tensors);
    free(g->keys_by_name);
    free(g->tensors_by_name);
    free(g->label);
    file_map_close(&g->map);
    free(g);
}

/* ---- what is in it ---- */

const char *gguf_label(const struct gguf *g) { return g->label; }

struct gguf_string gguf_key_bytes(const struct gguf *g) { return g->key_bytes; }

int64_t gguf_u32_offset(const struct gguf *g, const char *key) {
    const struct gguf_key *k = gguf_find_key(g, key);
    return k && k->type == GGUF_U32 ? (int64_t)((const char *)k->value - g->key_bytes.data) : -1;
}

int64_t gguf_n_tensors(const struct gguf *g) { return g->n_tensors; }

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i) { return &g->tensors[i]; }

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    const struct gguf_tensor wanted = {.name = name}, *p = &wanted;
    const struct gguf_tensor **found =
        bsearch(&p, g->tensors_by_name, (size_t)g->n_tensors, sizeof *g->tensors_by_name, compare_tensors);
    return found ? *found : NULL;
}

int64_t gguf_n_keys(const struct gguf *g) { return g->n_keys; }

const char *gguf_key_at(const struct gguf *g, int64_t i, gguf_value_type *type) {
    *type = g->keys[i].type;
    return g->keys[i].name;
}

const struct gguf_key *gguf_find_key(const struct gguf *g, const char *name) {
    const struct gguf_key wanted = {.name = (char *)name}, *p = &wanted;
    const struct gguf_key **found =
        bsearch(&p, g->keys_by_name, (size_t)g->n_keys, sizeof *g->keys_by_name, compare_keys);
    return found ? *found : NULL;
}
