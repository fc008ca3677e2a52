/* A tensor of a checkpoint, where it lies in a mapped file; whatever the format, it is read through this. */
#ifndef UTTER_MODELS_TENSOR_H
#define UTTER_MODELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TENSOR_MAX_DIMS = 8 };

enum tensor_type {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_F64,
    TENSOR_I64,
    TENSOR_I32,
    TENSOR_I16,
    TENSOR_I8,
    TENSOR_U8,
    TENSOR_BOOL,
    TENSOR_OTHER,  // can be listed, not read
};

struct zip_entry;

struct tensor {
    const char *name;
    const char *dtype;  // for messages: "F32"
    enum tensor_type type;
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];     // outermost first
    int64_t strides[TENSOR_MAX_DIMS];  // in elements; all elements lie inside the file
    const void *data;                  // the first element, unaligned
    const struct zip_entry *entry;     // holds its checksum; NULL without one
};

/* Bytes of an element; 0 for TENSOR_OTHER. */
int tensor_type_bytes(enum tensor_type type);
/* "F32" */
const char *tensor_type_name(enum tensor_type type);
bool tensor_is_float(const struct tensor *t);

/* Strides of a tensor without gaps. */
void tensor_pack(struct tensor *t);
/* Product of the dimensions; false when it is beyond int64_t. */
bool tensor_count(const struct tensor *t, int64_t *out);

/* UTTER_FORMAT unless the checksum of the tensor's bytes, where there is one, is right. `label` names the file. */
status tensor_check(const struct tensor *t, const char *label);

/* Elements first .. first + n - 1, the last dimension counting fastest; they must exist. Floats of any kind as float,
   whole numbers of any kind as int64_t. */
void tensor_read_floats(const struct tensor *t, int64_t first, int64_t n, float *dst);
void tensor_read_ints(const struct tensor *t, int64_t first, int64_t n, int64_t *dst);

#endif
