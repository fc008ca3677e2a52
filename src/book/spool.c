#include "book/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"

/* On disk, little-endian:
     "UTTERSPL", u32 length of the plan, u32 rate, u32 n_units, the plan, u32 CRC of all before
     then for each unit: "UNIT", u32 unit, u32 kind, u32 n_bytes, the bytes, u32 CRC of the record up to here */
static const char magic[8] = "UTTERSPL";
enum { RECORD_HEAD = 16, SOUND = 0, FAILURE = 1, MAX_RECORD = 64 << 20 };
#define SYNC_NS ((int64_t)2 * 1000000000)  // a power cut costs this much work at most

struct record {
    off_t at;  // of the bytes; 0: not there
    uint32_t n_bytes;
    bool failed;
};

struct spool {
    int fd;
    char *path;
    int rate_hz, n_units, n_done, n_failed;
    struct record *records;  // [n_units]
    char **failures;         // [n_units] read when asked for
    off_t end;
    int64_t synced_ns;
};

static void put_u32(unsigned char *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t get_u32(const unsigned char *from) {
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static status io_failed(const struct spool *s, const char *doing) {
    return fail(UTTER_IO, "cannot %s %s: %s", doing, s->path, strerror(errno));
}

static bool read_at(const struct spool *s, void *to, size_t n, off_t at) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(s->fd, (char *)to + done, n - done, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

// Behind the last record, or over what lies there in part; what is written only in part is cut off again.
static status write_at(struct spool *s, const void *data, size_t n, off_t at) {
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(s->fd, (const char *)data + done, n - done, at + (off_t)done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (put == 0) errno = ENOSPC;
            int error = errno;
            if (ftruncate(s->fd, s->end) != 0) error = errno;
            errno = error;
            return fail(UTTER_IO,
                        "cannot write to %s: %s; what was spoken so far is kept there: make room and run the "
                        "same command again",
                        s->path, strerror(errno));
        }
        done += (size_t)put;
    }
    return UTTER_OK;
}

// ---- opening ----

static uint32_t crc_of(const void *data, size_t n) { return (uint32_t)crc32(0, data, (uInt)n); }

static status write_head(struct spool *s, const char *plan) {
    struct str head = {0};
    unsigned char numbers[12], crc[4];
    put_u32(numbers, (uint32_t)strlen(plan));
    put_u32(numbers + 4, (uint32_t)s->rate_hz);
    put_u32(numbers + 8, (uint32_t)s->n_units);
    str_append(&head, magic, sizeof magic);
    str_append(&head, (const char *)numbers, sizeof numbers);
    str_puts(&head, plan);
    put_u32(crc, crc_of(head.data, head.len));
    str_append(&head, (const char *)crc, sizeof crc);
    status result = str_status(&head);
    if (result == UTTER_OK && ftruncate(s->fd, 0) != 0) result = io_failed(s, "empty");
    s->end = 0;
    if (result == UTTER_OK) result = write_at(s, head.data, head.len, 0);
    if (result == UTTER_OK) s->end = (off_t)head.len;
    str_free(&head);
    return result;
}

// Whether the file begins with the head of this plan; the records begin at s->end then.
static bool head_fits(struct spool *s, const char *plan) {
    unsigned char fixed[20], rest[4];
    size_t len = strlen(plan);
    if (!read_at(s, fixed, sizeof fixed, 0) || memcmp(fixed, magic, sizeof magic) != 0) return false;
    if (get_u32(fixed + 8) != len || get_u32(fixed + 12) != (uint32_t)s->rate_hz ||
        get_u32(fixed + 16) != (uint32_t)s->n_units)
        return false;
    char *there = malloc(sizeof fixed + len);
    bool fits = there && read_at(s, there, sizeof fixed + len, 0) && read_at(s, rest, 4, (off_t)(sizeof fixed + len)) &&
                get_u32(rest) == crc_of(there, sizeof fixed + len) && memcmp(there + sizeof fixed, plan, len) == 0;
    free(there);
    s->end = (off_t)(sizeof fixed + len + 4);
    return fits;
}

static void note(struct spool *s, uint32_t unit, struct record r) {
    struct record *there = &s->records[unit];
    if (there->at && !(there->failed && !r.failed)) return;
    s->n_done += !there->at;
    s->n_failed += r.failed - there->failed;
    *there = r;
}

// Finds the whole records and cuts off what follows them.
static status scan(struct spool *s) {
    struct stat st;
    if (fstat(s->fd, &st) != 0) return io_failed(s, "look at");
    unsigned char *bytes = NULL;
    size_t cap = 0;
    status result = UTTER_OK;
    for (;;) {
        unsigned char head[RECORD_HEAD], crc[4];
        if (!read_at(s, head, sizeof head, s->end) || memcmp(head, "UNIT", 4) != 0) break;
        uint32_t unit = get_u32(head + 4), kind = get_u32(head + 8), n = get_u32(head + 12);
        if (unit >= (uint32_t)s->n_units || kind > FAILURE || n > MAX_RECORD ||
            s->end + RECORD_HEAD + (off_t)n + 4 > st.st_size)
            break;
        if (n > cap) {
            unsigned char *grown = realloc(bytes, n);
            if (!grown) {
                result = fail_memory(n, "a unit's sound");
                break;
            }
            bytes = grown;
            cap = n;
        }
        if (!read_at(s, bytes, n, s->end + RECORD_HEAD) || !read_at(s, crc, 4, s->end + RECORD_HEAD + (off_t)n)) break;
        uint32_t sum = (uint32_t)crc32(crc_of(head, sizeof head), bytes, n);
        if (sum != get_u32(crc)) break;
        note(s, unit, (struct record){s->end + RECORD_HEAD, n, kind == FAILURE});
        s->end += RECORD_HEAD + (off_t)n + 4;
    }
    free(bytes);
    if (result == UTTER_OK && s->end < st.st_size && ftruncate(s->fd, s->end) != 0) result = io_failed(s, "repair");
    return result;
}

static status open_file(struct spool *s, const char *plan, bool restart) {
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0) return io_failed(s, "make");
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return fail(UTTER_IO, "%s is being written by another utter; wait for it, or read into another file", s->path);
    struct stat st;
    if (fstat(s->fd, &st) != 0) return io_failed(s, "look at");
    if (st.st_size == 0 || restart) return write_head(s, plan);
    if (head_fits(s, plan)) return scan(s);
    return fail(UTTER_INVALID,
                "%s was begun with another text, voice, model or setting; give the same ones to go on, or --restart to "
                "begin anew",
                s->path);
}

status spool_open(const char *path, const char *plan, int rate_hz, int n_units, bool restart, struct spool **out) {
    *out = NULL;
    struct spool *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a spool");
    *s = (struct spool){.fd = -1, .rate_hz = rate_hz, .n_units = n_units, .synced_ns = clock_ns()};
    s->path = strdup(path);
    s->records = calloc((size_t)n_units + 1, sizeof *s->records);
    s->failures = calloc((size_t)n_units + 1, sizeof *s->failures);
    status result = s->path && s->records && s->failures ? open_file(s, plan, restart)
                                                         : fail_memory((size_t)n_units * 24, "a spool");
    if (result != UTTER_OK) {
        spool_close(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

void spool_close(struct spool *s) {
    if (!s) return;
    if (s->fd >= 0) {
        fsync(s->fd);
        close(s->fd);
    }
    for (int i = 0; s->failures && i < s->n_units; i++) free(s->failures[i]);
    free(s->failures);
    free(s->records);
    free(s->path);
    free(s);
}

void spool_remove(const char *path) { unlink(path); }

// ---- units ----

bool spool_has(const struct spool *s, int unit) { return s->records[unit].at != 0; }
int spool_n_done(const struct spool *s) { return s->n_done; }
int spool_n_failed(const struct spool *s) { return s->n_failed; }

status spool_add(struct spool *s, int unit, const void *packed, size_t n_bytes, const char *failure) {
    if (spool_has(s, unit) && !(s->records[unit].failed && n_bytes)) return UTTER_OK;
    const void *bytes = n_bytes ? packed : failure;
    size_t n = n_bytes ? n_bytes : strlen(failure);
    if (n > MAX_RECORD)
        return fail(UTTER_LIMIT, "unit %d has %zu MB of sound; that is more than a unit can have", unit, n >> 20);
    unsigned char head[RECORD_HEAD], crc[4];
    memcpy(head, "UNIT", 4);
    put_u32(head + 4, (uint32_t)unit);
    put_u32(head + 8, n_bytes ? SOUND : FAILURE);
    put_u32(head + 12, (uint32_t)n);
    put_u32(crc, (uint32_t)crc32(crc_of(head, sizeof head), bytes, (uInt)n));
    off_t at = s->end + RECORD_HEAD;
    TRY(write_at(s, head, sizeof head, s->end));
    TRY(write_at(s, bytes, n, at));
    TRY(write_at(s, crc, sizeof crc, at + (off_t)n));
    s->end = at + (off_t)n + (off_t)sizeof crc;
    note(s, (uint32_t)unit, (struct record){at, (uint32_t)n, n_bytes == 0});
    if (clock_ns() - s->synced_ns < SYNC_NS) return UTTER_OK;
    s->synced_ns = clock_ns();
    return fdatasync(s->fd) == 0 ? UTTER_OK : io_failed(s, "write");
}

static status read_bytes(struct spool *s, int unit, char **bytes) {
    const struct record *r = &s->records[unit];
    *bytes = malloc((size_t)r->n_bytes + 1);
    if (!*bytes) return fail_memory(r->n_bytes, "a unit's sound");
    if (!read_at(s, *bytes, r->n_bytes, r->at)) {
        free(*bytes);
        return fail(UTTER_IO, "cannot read unit %d of %s; the disk may be failing", unit, s->path);
    }
    (*bytes)[r->n_bytes] = 0;
    return UTTER_OK;
}

status spool_read(struct spool *s, int unit, float **samples, int64_t *n) {
    *samples = NULL;
    *n = 0;
    if (!spool_has(s, unit)) return fail(UTTER_INTERNAL, "unit %d has not been spoken yet", unit);
    if (s->records[unit].failed) return UTTER_OK;
    char *bytes;
    TRY(read_bytes(s, unit, &bytes));
    status result = sound_unpack(bytes, s->records[unit].n_bytes, s->rate_hz, samples, n);
    free(bytes);
    return result;
}

const char *spool_failure(struct spool *s, int unit) {
    if (!spool_has(s, unit) || !s->records[unit].failed) return "";
    if (!s->failures[unit] && read_bytes(s, unit, &s->failures[unit]) != UTTER_OK) return "for a reason that is lost";
    return s->failures[unit];
}
