/* GGUF files (versions 2 and 3, little-endian), mapped into memory and read in place.

   A file is hostile until proven otherwise: gguf_open checks every count, offset, shape and string length against the
   file's size before it is used, so everything handed out afterwards lies inside the file. Each refusal names the
   file, the field and the value. */
#ifndef UTTER_GGUF_GGUF_H
#define UTTER_GGUF_GGUF_H

#include "gguf/blocks.h"

enum { GGUF_MAX_DIMS = 4 };

struct gguf;

struct gguf_tensor {
    const char *name;
    int n_dims;
    int64_t dims[GGUF_MAX_DIMS]; // dims[0] is the innermost (contiguous) one; unused ones are 1
    block_type type;
    const void *data; // inside the file
    size_t n_bytes;
};

/* Value types as they stand in files. */
typedef enum gguf_value_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
    GGUF_U64, GGUF_I64, GGUF_F64,
} gguf_value_type;

struct gguf_string {
    const char *data; // not NUL-terminated, inside the file
    size_t len;
};

struct gguf_array {
    gguf_value_type type; // of the elements; never GGUF_ARRAY
    size_t n;
    const void *data;                  // elements, unaligned; NULL for strings
    const struct gguf_string *strings; // [n] when type is GGUF_STRING, else NULL
};

/* Opens the file at `path`, or the file that lies in memory at data[size] (at an address that is a multiple of 8; it must
   outlive the result and is called `label` in messages). */
status gguf_open(const char *path, struct gguf **out);
status gguf_open_memory(const void *data, size_t size, const char *label, struct gguf **out);
void gguf_close(struct gguf *g);
/* The weights are in use elsewhere, repacked: the file's own pages need not stay in memory. It can be read as before. */
void gguf_rest(const struct gguf *g);

/* Path or label, for messages. */
const char *gguf_label(const struct gguf *g);

int64_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i);
/* NULL if there is none of that name. */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Number of keys and the i-th key with its type. */
int64_t gguf_n_keys(const struct gguf *g);
const char *gguf_key_at(const struct gguf *g, int64_t i, gguf_value_type *type);

/* All keys with their values, as they lie in the file; gguf_n_keys says how many. */
struct gguf_string gguf_key_bytes(const struct gguf *g);
/* Where in gguf_key_bytes the value of a key of type U32 stands; -1 when there is no such key. */
int64_t gguf_u32_offset(const struct gguf *g, const char *key);

/* Metadata. Each returns false when the key is absent, of another kind, or beyond the range of the result.
   Integers are taken from any integer type, floats from any number. */
bool gguf_get_i64(const struct gguf *g, const char *key, int64_t *out);
bool gguf_get_f64(const struct gguf *g, const char *key, double *out);
bool gguf_get_bool(const struct gguf *g, const char *key, bool *out);
bool gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out);
bool gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out);
/* Integer or float element i of an array of numbers. */
bool gguf_array_i64(const struct gguf_array *a, size_t i, int64_t *out);
bool gguf_array_f64(const struct gguf_array *a, size_t i, double *out);

/* The same for what must be there: a missing key, another kind, or a value outside [low, high] is a failure that
   names file, key and value. */
status gguf_need_i64(const struct gguf *g, const char *key, int64_t low, int64_t high, int64_t *out);
status gguf_need_f64(const struct gguf *g, const char *key, double low, double high, double *out);

/* ---- weights ---- */

/* y = W x. Row-major: row r is block_row_bytes(type, cols) bytes at data + r * that. */
struct matrix {
    const void *data; // inside the file
    block_type type;
    int64_t rows, cols; // outputs, inputs
};

/* The tensor `name` as a matrix [rows, cols]. A 3-d tensor [cols / k, k, rows] (a convolution, taps outside channels)
   is a matrix with cols = k * channels. A missing tensor or another shape is refused with name, wanted and found. */
status gguf_matrix(const struct gguf *g, const char *name, int64_t rows, int64_t cols, struct matrix *out);

/* The tensor `name`, n elements of any block type, as floats in new memory (free_aligned). Also checks that every
   value is finite. */
status gguf_vector(const struct gguf *g, const char *name, int64_t n, float **out);

#endif
