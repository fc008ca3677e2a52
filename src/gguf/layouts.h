/* Blocks as they lie in files (ggml-common.h of llama.cpp): bytes and 16-bit words, so that a block may lie at any even
   address. d and m are half-precision floats; the formula is the weight. */
#ifndef UTTER_GGUF_LAYOUTS_H
#define UTTER_GGUF_LAYOUTS_H

#include <stdint.h>

// d * (q - 8)
struct q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

// d * q + m
struct q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};

// d * (q - 16)
struct q5_0 {
    uint16_t d;
    uint8_t qh[4], qs[16];
};

// d * q + m
struct q5_1 {
    uint16_t d, m;
    uint8_t qh[4], qs[16];
};

// d * q
struct q8_0 {
    uint16_t d;
    int8_t qs[32];
};

// d * scale * q - dmin * min, for each of eight groups of 32
struct q4_k {
    uint16_t d, dmin;
    uint8_t scales[12], qs[128];
};

// the same with a fifth bit
struct q5_k {
    uint16_t d, dmin;
    uint8_t scales[12], qh[32], qs[128];
};

// d * scale * (q - 32), for each of sixteen groups of 16
struct q6_k {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;
};

_Static_assert(sizeof(struct q4_0) == 18 && sizeof(struct q4_1) == 20, "the file's layout");
_Static_assert(sizeof(struct q5_0) == 22 && sizeof(struct q5_1) == 24 && sizeof(struct q8_0) == 34,
               "the file's layout");
_Static_assert(sizeof(struct q4_k) == 144 && sizeof(struct q5_k) == 176 && sizeof(struct q6_k) == 210,
               "the file's layout");

#endif
