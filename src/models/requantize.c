#include "models/requantize.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "gguf/write.h"

enum { ALIGNMENT = 32 };  // of what gguf/write.h writes

struct job {
    const char *path;  // of the input
    const struct gguf *from;
    struct gguf_writer *to;
    block_type type;
    bool tied;  // the embedding is the output too
};

static bool is_matrix(const struct gguf_tensor *t) {
    return t->n_dims >= 2 && (t->dims[1] > 1 || t->dims[2] > 1) && !strstr(t->name, "norm") && strstr(t->name, ".weight");
}

static block_type type_of(const struct job *j, const struct gguf_tensor *t) {
    if (!is_matrix(t)) return t->type;
    bool output = strcmp(t->name, j->tied ? "token_embd.weight" : "output.weight") == 0;
    return block_type_for(output ? block_type_for_output(j->type) : j->type, t->dims[0]);
}

/* ---- metadata ---- */

// general.file_type as llama.cpp numbers it (LLAMA_FTYPE_...); the K types in the mix that it calls small.
static uint32_t file_type(block_type type) {
    switch (type) {
        case BLOCK_F32:
            return 0;
        case BLOCK_F16:
            return 1;
        case BLOCK_Q4_0:
            return 2;
        case BLOCK_Q4_1:
            return 3;
        case BLOCK_Q8_0:
            return 7;
        case BLOCK_Q5_0:
            return 8;
        case BLOCK_Q5_1:
            return 9;
        case BLOCK_Q4_K:
            return 14;
        case BLOCK_Q5_K:
            return 16;
        case BLOCK_Q6_K:
            return 18;
        case BLOCK_BF16:
            return 32;
    }
    return 0;
}

static status copy_keys(const struct job *j) {
    struct gguf_string keys = gguf_key_bytes(j->from);
    char *bytes = malloc(keys.len + 1);
    if (!bytes) return fail_memory(keys.len, "metadata");
    if (keys.len) memcpy(bytes, keys.data, keys.len);
    const struct {
        const char *key;
        uint32_t value;
    } changed[] = {{"general.file_type", file_type(j->type)}, {"general.alignment", ALIGNMENT}};
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        int64_t at = gguf_u32_offset(j->from, changed[i].key);
        if (at >= 0) memcpy(bytes + at, &changed[i].value, sizeof changed[i].value);
    }
    gguf_put_key_bytes(j->to, bytes, keys.len, gguf_n_keys(j->from));
    free(bytes);
    return UTTER_OK;
}

/* ---- weights ---- */

static status write_rows(const struct job *j, const struct gguf_tensor *t, block_type type) {
    const int64_t n = t->dims[0], n_rows = t->dims[1] * t->dims[2] * t->dims[3];
    const size_t n_from = block_row_bytes(t->type, n), n_to = block_row_bytes(type, n);
    float *values = NULL;
    void *blocks = NULL;
    status s = alloc_for(&values, (size_t)n, sizeof *values, t->name);
    if (s == UTTER_OK) s = alloc_for(&blocks, n_to, 1, t->name);
    for (int64_t r = 0; r < n_rows && s == UTTER_OK; r++) {
        dequantize_row(t->type, (const char *)t->data + (size_t)r * n_from, values, n);
        s = quantize_row(type, values, blocks, n);
        if (s != UTTER_OK)
            s = fail(s, "%s: tensor %.80s, row %" PRId64 ": %s", j->path, t->name, r, fail_message());
        else
            s = gguf_write_data(j->to, blocks, n_to);
    }
    free_aligned(values);
    free_aligned(blocks);
    return s;
}

static status write_all(const struct job *j, requantize_progress *progress, void *user) {
    uint64_t done = 0, total = 0;
    const int64_t n = gguf_n_tensors(j->from);
    TRY(copy_keys(j));
    for (int64_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        gguf_put_tensor(j->to, t->name, type_of(j, t), t->n_dims, t->dims);
        total += t->n_bytes;
    }
    for (int64_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        block_type type = type_of(j, t);
        if (progress) progress(user, t->name, done, total);
        TRY(type == t->type ? gguf_write_data(j->to, t->data, t->n_bytes) : write_rows(j, t, type));
        done += t->n_bytes;
    }
    return UTTER_OK;
}

// The input is read while the output is written, and so must be another file.
static status refuse_same(const char *in, const char *out) {
    struct stat a, b;
    if (stat(in, &a) != 0 || stat(out, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino) return UTTER_OK;
    return fail(UTTER_INVALID, "%s and %s are the same file; name another one for the result", in, out);
}

status requantize(const char *in, const char *out, block_type type, requantize_progress *progress, void *user) {
    struct gguf *g;
    TRY(refuse_same(in, out));
    TRY(gguf_open(in, &g));
    struct job j = {.path = in, .from = g, .type = type, .tied = !gguf_find_tensor(g, "output.weight")};
    status s = gguf_writer_open(out, &j.to);
    if (s == UTTER_OK) {
        s = write_all(&j, progress, user);
        if (s == UTTER_OK)
            s = gguf_writer_finish(j.to);
        else
            gguf_writer_abandon(j.to);
    }
    gguf_close(g);
    return s;
}
