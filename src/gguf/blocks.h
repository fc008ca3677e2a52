/* The block formats of GGUF weights: what they are called, how large they are, and how they turn into floats.
   Layouts as in ggml (llama.cpp, ggml-common.h); a row of n weights is n / n_weights blocks one after another. */
#ifndef UTTER_GGUF_BLOCKS_H
#define UTTER_GGUF_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Numbers as they stand in files. */
typedef enum block_type {
    BLOCK_F32 = 0,
    BLOCK_F16 = 1,
    BLOCK_Q4_0 = 2,
    BLOCK_Q4_1 = 3,
    BLOCK_Q5_0 = 6,
    BLOCK_Q5_1 = 7,
    BLOCK_Q8_0 = 8,
    BLOCK_Q4_K = 12,
    BLOCK_Q5_K = 13,
    BLOCK_Q6_K = 14,
    BLOCK_BF16 = 30,
} block_type;

struct block_info {
    const char *name; // "Q4_0"
    int n_weights;    // weights in a block
    int n_bytes;      // bytes of a block
};

/* NULL for a type that utter does not know. */
const struct block_info *block_info(uint32_t type);

/* Looks a type up by name, in any case; false if there is none. */
bool block_type_by_name(const char *name, block_type *out);

/* Bytes of a row of n weights (n a multiple of n_weights). */
static inline size_t block_row_bytes(block_type type, int64_t n) {
    const struct block_info *b = block_info(type);
    return (size_t)(n / b->n_weights) * (size_t)b->n_bytes;
}

/* src: one row of n weights in `type`; dst: float [n]. */
void dequantize_row(block_type type, const void *src, float *dst, int64_t n);

/* The type that rows of n weights get where `type` is asked for: itself where its blocks fit; for the K types otherwise
   the nearest type of smaller blocks, as llama.cpp puts it there; F16 where no block fits. */
block_type block_type_for(block_type type, int64_t n);

/* The type of the matrix that decides over tokens, where `type` is asked for: Q8_0 for all that is below it, as in the
   published files. */
block_type block_type_for_output(block_type type);

/* src: float [n]; dst: room for block_row_bytes. Types F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 bit for bit as llama.cpp's
   reference quantiser, Q4_K Q5_K Q6_K with its error. UTTER_INVALID for a weight that is not finite, or beyond 65504
   where the type keeps weights, scales or minimums in half precision. */
status quantize_row(block_type type, const float *src, void *dst, int64_t n);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); // round to nearest, ties to even
static inline float bf16_to_f32(uint16_t b) {
    union { uint32_t u; float f; } v = {.u = (uint32_t)b << 16};
    return v.f;
}
uint16_t f32_to_bf16(float f); // round to nearest, ties to even

#endif
