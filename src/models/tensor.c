#include "models/tensor.h"

#include <string.h>

#include "gguf/blocks.h"
#include "models/zip.h"

static const struct {
    const char *name;
    int n_bytes;
} types[] = {
    [TENSOR_F32] = {"F32", 4}, [TENSOR_F16] = {"F16", 2},   [TENSOR_BF16] = {"BF16", 2},     [TENSOR_F64] = {"F64", 8},
    [TENSOR_I64] = {"I64", 8}, [TENSOR_I32] = {"I32", 4},   [TENSOR_I16] = {"I16", 2},       [TENSOR_I8] = {"I8", 1},
    [TENSOR_U8] = {"U8", 1},   [TENSOR_BOOL] = {"BOOL", 1}, [TENSOR_OTHER] = {"unknown", 0},
};

int tensor_type_bytes(enum tensor_type type) { return types[type].n_bytes; }

const char *tensor_type_name(enum tensor_type type) { return types[type].name; }

bool tensor_is_float(const struct tensor *t) { return t->type <= TENSOR_F64; }

void tensor_pack(struct tensor *t) {
    int64_t stride = 1;
    for (int d = t->n_dims - 1; d >= 0; d--) {
        t->strides[d] = stride;
        if (t->dims[d] > 0 && __builtin_mul_overflow(stride, t->dims[d], &stride))
            stride = 0;  // of no tensor that fits
    }
}

bool tensor_count(const struct tensor *t, int64_t *out) {
    *out = 1;
    for (int d = 0; d < t->n_dims; d++)
        if (t->dims[d] < 0 || __builtin_mul_overflow(*out, t->dims[d], out)) return false;
    return true;
}

status tensor_check(const struct tensor *t, const char *label) {
    return t->entry ? zip_check(t->entry, label) : UTTER_OK;
}

/* ---- reading ---- */

// Goes through the elements in runs along the last dimension.
struct run {
    const char *at;  // the first element of the run
    int64_t n;       // elements of it
    int64_t stride;  // bytes from one to the next
};

static struct run run_at(const struct tensor *t, int64_t first, int64_t n) {
    int64_t size = tensor_type_bytes(t->type), at = 0, rest = first;
    if (t->n_dims == 0) return (struct run){t->data, n, size};
    int last = t->n_dims - 1;
    int64_t in_row = rest % t->dims[last];
    for (int d = last; d >= 0; d--) {
        at += rest % t->dims[d] * t->strides[d];
        rest /= t->dims[d];
    }
    int64_t left = t->dims[last] - in_row;
    return (struct run){(const char *)t->data + at * size, n < left ? n : left, t->strides[last] * size};
}

#define EACH(kind, convert)                               \
    for (int64_t i = 0; i < r.n; i++, r.at += r.stride) { \
        kind v;                                           \
        memcpy(&v, r.at, sizeof v);                       \
        dst[i] = convert;                                 \
    }                                                     \
    break

static void read_floats(enum tensor_type type, struct run r, float *dst) {
    switch (type) {
        case TENSOR_F32:
            if (r.stride == sizeof *dst) {
                memcpy(dst, r.at, (size_t)r.n * sizeof *dst);
                break;
            }
            EACH(float, v);
        case TENSOR_F16:
            EACH(uint16_t, f16_to_f32(v));
        case TENSOR_BF16:
            EACH(uint16_t, bf16_to_f32(v));
        case TENSOR_F64:
            EACH(double, (float)v);
        default:
            break;  // no float: the caller looked
    }
}

static void read_ints(enum tensor_type type, struct run r, int64_t *dst) {
    switch (type) {
        case TENSOR_I64:
            EACH(int64_t, v);
        case TENSOR_I32:
            EACH(int32_t, v);
        case TENSOR_I16:
            EACH(int16_t, v);
        case TENSOR_I8:
            EACH(int8_t, v);
        case TENSOR_U8:
        case TENSOR_BOOL:
            EACH(uint8_t, v);
        default:
            break;
    }
}

void tensor_read_floats(const struct tensor *t, int64_t first, int64_t n, float *dst) {
    while (n > 0) {
        struct run r = run_at(t, first, n);
        read_floats(t->type, r, dst);
        first += r.n;
        dst += r.n;
        n -= r.n;
    }
}

void tensor_read_ints(const struct tensor *t, int64_t first, int64_t n, int64_t *dst) {
    while (n > 0) {
        struct run r = run_at(t, first, n);
        read_ints(t->type, r, dst);
        first += r.n;
        dst += r.n;
        n -= r.n;
    }
}
