/* GGUF files put together byte by byte, with a note of where every field of the header lies. */
#ifndef UTTER_TESTS_UNIT_GGUF_RAW_H
#define UTTER_TESTS_UNIT_GGUF_RAW_H

#include "base/str.h"
#include "gguf/gguf.h"

enum { RAW_MAX_FIELDS = 256 };

struct raw_field {
    size_t at;
    int width;         // bytes
    const char *what;  // "number of keys"
};

struct raw {
    struct str bytes;
    struct raw_field fields[RAW_MAX_FIELDS];
    int n_fields;
};

void raw_number(struct raw *r, const char *what, int width, uint64_t value);
void raw_text(struct raw *r, const char *what, const char *text);  // length and bytes
void raw_start(struct raw *r, uint32_t version, uint64_t n_tensors, uint64_t n_keys);
void raw_key(struct raw *r, const char *key, gguf_value_type type);
void raw_tensor(struct raw *r, const char *name, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset);
void raw_pad(struct raw *r, size_t alignment);

/* A file with a key of every type, arrays, and tensors "vector" F32 [4] = 0, 1, 2, 3, "matrix" Q8_0 [32, 2] and
   "convolution" F16 [4, 3, 2]. Returns where its data section starts. */
size_t raw_sample(struct raw *r, uint32_t version);

/* The field called `what`, the n-th of that name. */
size_t raw_find(const struct raw *r, const char *what, int n);

#endif
