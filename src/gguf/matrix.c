#include <inttypes.h>
#include <math.h>

#include "base/memory.h"
#include "base/str.h"
#include "gguf/gguf.h"

static status find(const struct gguf *g, const char *name, const struct gguf_tensor **out) {
    *out = gguf_find_tensor(g, name);
    return *out ? UTTER_OK : fail(UTTER_FORMAT, "%s: tensor %.80s is missing", gguf_label(g), name);
}

// "tensor x is [3, 4]; wanted <wanted>". Frees `wanted`.
static status wrong_shape(const struct gguf *g, const struct gguf_tensor *t, struct str *wanted) {
    struct str found = {0};
    for (int d = 0; d < t->n_dims; d++) str_printf(&found, "%s%" PRId64, d ? ", " : "", t->dims[d]);
    status s = fail(UTTER_FORMAT, "%s: tensor %.80s has the shape [%s] (innermost dimension first); wanted %s",
                    gguf_label(g), t->name, str_text(&found), str_text(wanted));
    str_free(&found);
    str_free(wanted);
    return s;
}

status gguf_matrix(const struct gguf *g, const char *name, int64_t rows, int64_t cols, struct matrix *out) {
    *out = (struct matrix){0};
    const struct gguf_tensor *t;
    TRY(find(g, name, &t));
    bool flat = t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1;
    bool convolution = t->n_dims == 3 && t->dims[0] * t->dims[1] == cols && t->dims[2] == rows;
    if (!flat && !convolution) {
        struct str wanted = {0};
        str_printf(&wanted,
                   "[%" PRId64 ", %" PRId64 "], or [channels, taps, %" PRId64 "] with channels * taps = %" PRId64, cols,
                   rows, rows, cols);
        return wrong_shape(g, t, &wanted);
    }
    *out = (struct matrix){.data = t->data, .type = t->type, .rows = rows, .cols = cols};
    return UTTER_OK;
}

status gguf_vector(const struct gguf *g, const char *name, int64_t n, float **out) {
    *out = NULL;
    const struct gguf_tensor *t;
    TRY(find(g, name, &t));
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1) {
        struct str wanted = {0};
        str_printf(&wanted, "[%" PRId64 "]", n);
        return wrong_shape(g, t, &wanted);
    }
    float *v;
    TRY(alloc_for(&v, (size_t)n, sizeof *v, name));
    dequantize_row(t->type, t->data, v, n);
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(v[i])) continue;
        status s = fail(UTTER_FORMAT,
                        "%s: element %" PRId64 " of tensor %.80s is %g, not a finite number; the file is damaged",
                        gguf_label(g), i, name, (double)v[i]);
        free_aligned(v);
        return s;
    }
    *out = v;
    return UTTER_OK;
}
