#include "models/convert_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/str.h"

void plan_free(struct plan *p) {
    free(p->items);
    *p = (struct plan){0};
}

static void put_shape(struct str *s, int n_dims, const int64_t *dims) {
    str_putc(s, '[');
    for (int d = 0; d < n_dims; d++) str_printf(s, "%s%" PRId64, d ? ", " : "", dims[d]);
    str_putc(s, ']');
}

static status wrong_shape(const struct plan *p, const struct tensor *t, const char *wanted) {
    struct str found = {0};
    put_shape(&found, t->n_dims, t->dims);
    status s =
        fail(UTTER_FORMAT, "%s: tensor %.80s has the shape %s; wanted %s", p->path, t->name, str_text(&found), wanted);
    str_free(&found);
    return s;
}

// With wanted: what to say of a missing tensor.
static status find(const struct plan *p, const char *name, const char *wanted, const struct tensor **out) {
    *out = checkpoint_find(p->file, name);
    if (!*out) return fail(UTTER_FORMAT, "%s: tensor %.80s is missing; wanted %s", p->path, name, wanted);
    if (!tensor_is_float(*out))
        return fail(UTTER_UNSUPPORTED, "%s: tensor %.80s is of type %s; wanted F32, F16, BF16 or F64", p->path, name,
                    (*out)->dtype);
    return UTTER_OK;
}

status plan_need(const struct plan *p, const char *name, int n_dims, const struct tensor **out) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%d dimensions", n_dims);
    TRY(find(p, name, wanted, out));
    if ((*out)->n_dims != n_dims) return wrong_shape(p, *out, wanted);
    for (int d = 0; d < n_dims; d++)
        if ((*out)->dims[d] < 1) return wrong_shape(p, *out, "dimensions of 1 and more");
    return UTTER_OK;
}

static bool is_vector(const struct tensor *t, int64_t n) {
    for (int d = 0; d < t->n_dims - 1; d++)
        if (t->dims[d] != 1) return false;
    return t->n_dims > 0 && t->dims[t->n_dims - 1] == n;
}

status plan_add(struct plan *p, const char *source, const char *name, int64_t rows, int64_t cols, int64_t taps) {
    const int64_t dims[3] = {rows, cols, taps};
    int n_dims = taps ? 3 : cols ? 2 : 1;
    const struct tensor *t;
    struct str wanted = {0};
    put_shape(&wanted, n_dims, dims);
    status s = str_status(&wanted);
    if (s == UTTER_OK) s = find(p, source, wanted.data, &t);
    bool vector = s == UTTER_OK && !cols && is_vector(t, rows);
    if (s == UTTER_OK && !vector && (t->n_dims != n_dims || memcmp(t->dims, dims, (size_t)n_dims * sizeof *dims) != 0))
        s = wrong_shape(p, t, wanted.data);
    str_free(&wanted);
    if (s != UTTER_OK) return s;

    if (p->n == p->capacity) {
        int capacity = p->capacity ? 2 * p->capacity : 64;
        struct plan_item *items = realloc(p->items, (size_t)capacity * sizeof *items);
        if (!items) return fail_memory((size_t)capacity * sizeof *items, "a list of tensors");
        p->items = items;
        p->capacity = capacity;
    }
    struct plan_item *item = &p->items[p->n++];
    *item = (struct plan_item){.tensor = t, .rows = rows, .cols = cols, .taps = taps};
    snprintf(item->name, sizeof item->name, "%s", name);
    return UTTER_OK;
}

status plan_gain(struct plan *p, const char *source) {
    struct plan_item *item = &p->items[p->n - 1];
    const struct tensor *t;
    int64_t n;
    TRY(find(p, source, "a length for each row", &t));
    if (!tensor_count(t, &n) || n != item->rows) return wrong_shape(p, t, "a length for each row");
    item->gain = t;
    return UTTER_OK;
}

status plan_tap_gain(struct plan *p, const char *source) {
    struct plan_item *item = &p->items[p->n - 1];
    const struct tensor *t;
    TRY(find(p, source, "a length for each tap", &t));
    if (!is_vector(t, item->taps)) return wrong_shape(p, t, "[1, 1, taps], a length for each tap");
    item->gain = t;
    item->gain_of_taps = true;
    return UTTER_OK;
}

void plan_mark_output(struct plan *p) { p->items[p->n - 1].output = true; }

void plan_pair_rows(struct plan *p, int64_t n_heads) { p->items[p->n - 1].n_heads = n_heads; }

static block_type item_type(const struct plan_item *item, block_type type) {
    if (!item->cols) return BLOCK_F32;
    return block_type_for(item->output ? block_type_for_output(type) : type, item->cols);
}

void plan_announce(const struct plan *p, struct gguf_writer *w, block_type type) {
    for (int i = 0; i < p->n; i++) {
        const struct plan_item *item = &p->items[i];
        const int64_t vector[] = {item->rows}, matrix[] = {item->cols, item->rows},
                      convolution[] = {item->cols, item->taps, item->rows};
        int n_dims = item->taps ? 3 : item->cols ? 2 : 1;
        gguf_put_tensor(w, item->name, item_type(item, type), n_dims,
                        n_dims == 3   ? convolution
                        : n_dims == 2 ? matrix
                                      : vector);
    }
}

// The source row that becomes row r.
static int64_t source_row(const struct plan_item *item, int64_t r) {
    if (!item->n_heads) return r;
    int64_t head_dim = item->rows / item->n_heads, i = r % head_dim;
    return r - i + i % 2 * (head_dim / 2) + i / 2;
}

// [cols, taps] -> [taps, cols]
static void taps_outside(const float *src, int64_t cols, int64_t taps, float *dst) {
    for (int64_t c = 0; c < cols; c++)
        for (int64_t k = 0; k < taps; k++) dst[k * cols + c] = src[c * taps + k];
}

// Scales a row to the length that its gain says. A row of zeros has no direction.
static status scale_row(const struct plan *p, const struct plan_item *item, int64_t row, float *values, int64_t n) {
    float gain;
    double squares = 0;
    tensor_read_floats(item->gain, row, 1, &gain);
    for (int64_t i = 0; i < n; i++) squares += (double)values[i] * values[i];
    if (squares == 0)
        return fail(UTTER_FORMAT, "%s: tensor %.80s, row %" PRId64 " is all zeros, so that weight norm cannot scale it",
                    p->path, item->tensor->name, row);
    for (int64_t i = 0; i < n; i++) values[i] = (float)(values[i] * (gain / sqrt(squares)));
    return UTTER_OK;
}

// scale[taps]: what the taps are multiplied by to get the lengths that the gain says.
static status tap_scales(const struct plan *p, const struct plan_item *item, float *values, double *scale) {
    const int64_t n = item->cols * item->taps;
    memset(scale, 0, (size_t)item->taps * sizeof *scale);
    for (int64_t r = 0; r < item->rows; r++) {
        tensor_read_floats(item->tensor, r * n, n, values);
        for (int64_t i = 0; i < n; i++) scale[i % item->taps] += (double)values[i] * values[i];
    }
    for (int64_t k = 0; k < item->taps; k++) {
        float gain;
        tensor_read_floats(item->gain, k, 1, &gain);
        if (scale[k] == 0)
            return fail(UTTER_FORMAT,
                        "%s: tensor %.80s, tap %" PRId64 " is all zeros, so that weight norm cannot scale it", p->path,
                        item->tensor->name, k);
        scale[k] = gain / sqrt(scale[k]);
    }
    return UTTER_OK;
}

static status write_item(const struct plan *p, const struct plan_item *item, struct gguf_writer *w, block_type type) {
    // A vector is one row.
    const int64_t n_rows = item->cols ? item->rows : 1,
                  n = item->cols ? item->cols * (item->taps ? item->taps : 1) : item->rows;
    const size_t n_to = block_row_bytes(type, n);
    void *blocks = NULL;  // one row as it will be
    float *values = NULL, *turned = NULL;
    double *scales = NULL;
    TRY(tensor_check(item->tensor, p->path));
    if (item->gain) TRY(tensor_check(item->gain, p->path));
    status s = alloc_for(&blocks, n_to, 1, item->name);
    if (s == UTTER_OK) s = alloc_for(&values, (size_t)n, sizeof *values, item->name);
    if (s == UTTER_OK) s = alloc_for(&turned, (size_t)n, sizeof *turned, item->name);
    if (s == UTTER_OK && item->gain_of_taps) s = alloc_for(&scales, (size_t)item->taps, sizeof *scales, item->name);
    if (s == UTTER_OK && item->gain_of_taps) s = tap_scales(p, item, values, scales);
    for (int64_t r = 0; r < n_rows && s == UTTER_OK; r++) {
        tensor_read_floats(item->tensor, source_row(item, r) * n, n, values);
        for (int64_t i = 0; scales && i < n; i++) values[i] = (float)(values[i] * scales[i % item->taps]);
        if (item->gain && !scales) s = scale_row(p, item, r, values, n);
        if (s != UTTER_OK) break;
        if (item->taps) taps_outside(values, item->cols, item->taps, turned);
        s = quantize_row(type, item->taps ? turned : values, blocks, n);
        if (s != UTTER_OK)
            s = fail(s, "%s: tensor %.80s, row %" PRId64 ": %s", p->path, item->tensor->name, r, fail_message());
        else
            s = gguf_write_data(w, blocks, n_to);
    }
    free_aligned(blocks);
    free_aligned(values);
    free_aligned(turned);
    free_aligned(scales);
    return s;
}

status plan_write(const struct plan *p, struct gguf_writer *w, block_type type) {
    for (int i = 0; i < p->n; i++) TRY(write_item(p, &p->items[i], w, item_type(&p->items[i], type)));
    return UTTER_OK;
}
