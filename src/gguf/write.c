#include "gguf/write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"

enum { ALIGNMENT = 32 };  // of the data section and of each tensor in it

struct gguf_writer {
    struct file_writer file;
    struct str keys, infos;  // as they go into the file
    struct str sizes;        // uint64_t bytes of each tensor
    uint64_t n_keys, n_tensors;
    uint64_t offset;     // of the next tensor to be announced
    struct str mistake;  // the first thing announced that cannot be; said when data is written

    bool started;      // the header was written
    bool broken;       // something could not be written: the file is to be thrown away
    uint64_t current;  // tensor being written
    uint64_t written;  // bytes of it
};

static void put(struct str *s, const void *data, size_t n_bytes) { str_append(s, data, n_bytes); }
static void put_u32(struct str *s, uint32_t v) { put(s, &v, sizeof v); }
static void put_u64(struct str *s, uint64_t v) { put(s, &v, sizeof v); }

static void put_text(struct str *s, const char *text) {
    put_u64(s, strlen(text));
    str_puts(s, text);
}

static uint64_t padded(uint64_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

status gguf_writer_open(const char *path, struct gguf_writer **out) {
    *out = NULL;
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "a GGUF writer");
    status s = file_create(path, &w->file);
    if (s != UTTER_OK) {
        gguf_writer_abandon(w);
        return s;
    }
    *out = w;
    return UTTER_OK;
}

void gguf_writer_abandon(struct gguf_writer *w) {
    if (!w) return;
    file_abandon(&w->file);
    str_free(&w->keys);
    str_free(&w->infos);
    str_free(&w->sizes);
    str_free(&w->mistake);
    free(w);
}

/* ---- metadata ---- */

static void put_key(struct gguf_writer *w, const char *key, gguf_value_type type) {
    put_text(&w->keys, key);
    put_u32(&w->keys, type);
    w->n_keys++;
}

static void put_array_key(struct gguf_writer *w, const char *key, gguf_value_type type, size_t n) {
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->keys, type);
    put_u64(&w->keys, n);
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value) {
    put_key(w, key, GGUF_U32);
    put_u32(&w->keys, value);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float value) {
    put_key(w, key, GGUF_F32);
    put(&w->keys, &value, sizeof value);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool value) {
    put_key(w, key, GGUF_BOOL);
    str_putc(&w->keys, value);
}

void gguf_put_string(struct gguf_writer *w, const char *key, const char *value) {
    put_key(w, key, GGUF_STRING);
    put_text(&w->keys, value);
}

void gguf_put_i32_array(struct gguf_writer *w, const char *key, const int32_t *values, size_t n) {
    put_array_key(w, key, GGUF_I32, n);
    put(&w->keys, values, n * sizeof *values);
}

void gguf_put_f32_array(struct gguf_writer *w, const char *key, const float *values, size_t n) {
    put_array_key(w, key, GGUF_F32, n);
    put(&w->keys, values, n * sizeof *values);
}

void gguf_put_string_array(struct gguf_writer *w, const char *key, const char *const *values, size_t n) {
    put_array_key(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) put_text(&w->keys, values[i]);
}

void gguf_put_key_bytes(struct gguf_writer *w, const void *bytes, size_t n_bytes, int64_t n) {
    put(&w->keys, bytes, n_bytes);
    w->n_keys += (uint64_t)n;
}

void gguf_put_tensor(struct gguf_writer *w, const char *name, block_type type, int n_dims, const int64_t *dims) {
    const struct block_info *b = block_info(type);
    uint64_t n = 1, n_bytes = 0, end = 0;
    bool good = b && n_dims >= 1 && n_dims <= GGUF_MAX_DIMS && dims[0] % b->n_weights == 0;
    for (int d = 0; good && d < n_dims; d++) good = dims[d] > 0 && size_mul(n, (uint64_t)dims[d], &n);
    good = good && size_mul(n / (uint64_t)b->n_weights, (uint64_t)b->n_bytes, &n_bytes) &&
           size_add(w->offset, n_bytes, &end) && end <= INT64_MAX;
    if (!good) {
        if (w->mistake.len == 0)
            str_printf(&w->mistake,
                       "tensor %.80s: %d dimensions, rows of %" PRId64 " weights and type %s do not go together", name,
                       n_dims, n_dims > 0 ? dims[0] : 0, b ? b->name : "unknown");
        return;
    }
    put_text(&w->infos, name);
    put_u32(&w->infos, (uint32_t)n_dims);
    for (int d = 0; d < n_dims; d++) put_u64(&w->infos, (uint64_t)dims[d]);
    put_u32(&w->infos, type);
    put_u64(&w->infos, w->offset);
    put_u64(&w->sizes, n_bytes);
    w->offset = padded(end);
    w->n_tensors++;
}

/* ---- data ---- */

static status pad(struct gguf_writer *w, uint64_t n) {
    static const char zeros[ALIGNMENT];
    return file_write(&w->file, zeros, (size_t)(padded(n) - n));
}

// Writes everything before the data section, once.
static status start(struct gguf_writer *w) {
    if (w->started) return UTTER_OK;
    w->started = true;
    if (w->mistake.len) return fail(UTTER_INVALID, "cannot write %s: %s", w->file.path, w->mistake.data);
    TRY(str_status(&w->keys));
    TRY(str_status(&w->infos));
    TRY(str_status(&w->sizes));
    struct str head = {0};
    str_puts(&head, "GGUF");
    put_u32(&head, 3);
    put_u64(&head, w->n_tensors);
    put_u64(&head, w->n_keys);
    status s = str_status(&head);
    if (s == UTTER_OK) s = file_write(&w->file, head.data, head.len);
    if (s == UTTER_OK) s = file_write(&w->file, w->keys.data, w->keys.len);
    if (s == UTTER_OK) s = file_write(&w->file, w->infos.data, w->infos.len);
    if (s == UTTER_OK) s = pad(w, head.len + w->keys.len + w->infos.len);
    str_free(&head);
    return s;
}

static uint64_t tensor_bytes(const struct gguf_writer *w, uint64_t i) {
    uint64_t n;
    memcpy(&n, w->sizes.data + i * sizeof n, sizeof n);
    return n;
}

status gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes) {
    w->broken = true;  // until it went well
    TRY(start(w));
    uint64_t left = w->current < w->n_tensors ? tensor_bytes(w, w->current) - w->written : 0;
    if (n_bytes > left)
        return fail(UTTER_INTERNAL, "%s: %zu bytes for tensor %" PRIu64 " of %" PRIu64 ", which has room for %" PRIu64,
                    w->file.path, n_bytes, w->current, w->n_tensors, left);
    TRY(file_write(&w->file, data, n_bytes));
    w->written += n_bytes;
    if (n_bytes == left) {
        TRY(pad(w, w->written));
        w->current++;
        w->written = 0;
    }
    w->broken = false;
    return UTTER_OK;
}

status gguf_writer_finish(struct gguf_writer *w) {
    status s = w->broken ? fail(UTTER_INTERNAL, "%s: an earlier write failed", w->file.path) : start(w);
    if (s == UTTER_OK && w->current < w->n_tensors)
        s = fail(UTTER_INTERNAL, "%s: data came for %" PRIu64 " of %" PRIu64 " tensors", w->file.path, w->current,
                 w->n_tensors);
    if (s == UTTER_OK) s = file_commit(&w->file);
    gguf_writer_abandon(w);
    return s;
}
