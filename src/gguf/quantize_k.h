/* Floats to the K types: Q4_K, Q5_K, Q6_K. */
#ifndef UTTER_GGUF_QUANTIZE_K_H
#define UTTER_GGUF_QUANTIZE_K_H

#include "gguf/blocks.h"

/* src: float [n], each within half precision; n a multiple of 256. */
void quantize_k_row(block_type type, const float *src, void *dst, int64_t n);

#endif
