#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "gguf/blocks.h"
#include "gguf/layouts.h"
#include "gguf/quantize_k.h"

// A float cut to a whole number. What lies beyond int (a scale so small that its reciprocal is infinite) becomes 0, as
// the low byte of x86's conversion does, so that files come out the same everywhere.
static int cut(float v) { return v > -2147483648.0f && v < 2147483648.0f ? (int)v : 0; }

static uint8_t cut_to(float v, int highest) {
    int q = (int8_t)cut(v);
    return (uint8_t)(q < highest ? q : highest);
}

static float reciprocal(float d) { return d != 0 ? 1.0f / d : 0.0f; }

// The element of the largest magnitude, with its sign.
static float extreme(const float *x) {
    float magnitude = 0, value = 0;
    for (int j = 0; j < 32; j++)
        if (fabsf(x[j]) > magnitude) {
            magnitude = fabsf(x[j]);
            value = x[j];
        }
    return value;
}

static void range(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int j = 1; j < 32; j++) {
        if (x[j] < *low) *low = x[j];
        if (x[j] > *high) *high = x[j];
    }
}

static void quantize_q4_0(const float *x, struct q4_0 *b) {
    float d = extreme(x) / -8, inverse = reciprocal(d);
    b->d = f32_to_f16(d);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(cut_to(x[j] * inverse + 8.5f, 15) | cut_to(x[j + 16] * inverse + 8.5f, 15) << 4);
}

static void quantize_q4_1(const float *x, struct q4_1 *b) {
    float low, high;
    range(x, &low, &high);
    float d = (high - low) / 15, inverse = reciprocal(d);
    b->d = f32_to_f16(d);
    b->m = f32_to_f16(low);
    for (int j = 0; j < 16; j++)
        b->qs[j] =
            (uint8_t)(cut_to((x[j] - low) * inverse + 0.5f, 15) | cut_to((x[j + 16] - low) * inverse + 0.5f, 15) << 4);
}

// Five bits a weight: the low four in pairs, the fifth of all 32 in qh.
static void put_fives(const uint8_t q[32], uint8_t qh[4], uint8_t qs[16]) {
    uint32_t high = 0;
    for (int j = 0; j < 32; j++) high |= (uint32_t)(q[j] >> 4 & 1) << j;
    memcpy(qh, &high, sizeof high);
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void quantize_q5_0(const float *x, struct q5_0 *b) {
    float d = extreme(x) / -16, inverse = reciprocal(d);
    uint8_t q[32];
    b->d = f32_to_f16(d);
    for (int j = 0; j < 32; j++) q[j] = cut_to(x[j] * inverse + 16.5f, 31);
    put_fives(q, b->qh, b->qs);
}

static void quantize_q5_1(const float *x, struct q5_1 *b) {
    float low, high;
    range(x, &low, &high);
    float d = (high - low) / 31, inverse = reciprocal(d);
    uint8_t q[32];
    b->d = f32_to_f16(d);
    b->m = f32_to_f16(low);
    for (int j = 0; j < 32; j++) q[j] = (uint8_t)cut((x[j] - low) * inverse + 0.5f);
    put_fives(q, b->qh, b->qs);
}

static void quantize_q8_0(const float *x, struct q8_0 *b) {
    float d = fabsf(extreme(x)) / 127, inverse = reciprocal(d);
    b->d = f32_to_f16(d);
    for (int j = 0; j < 32; j++) b->qs[j] = (int8_t)cut(roundf(x[j] * inverse));
}

#define EACH_BLOCK(function, layout)                                        \
    do {                                                                    \
        struct layout *b = dst;                                             \
        for (int64_t i = 0; i < n / 32; i++) function(src + i * 32, b + i); \
    } while (0)

status quantize_row(block_type type, const float *src, void *dst, int64_t n) {
    const struct block_info *info = block_info(type);
    // What a half-precision weight, scale or minimum can hold.
    float limit = type == BLOCK_F32 ? 0x1.fffffep127f : type == BLOCK_BF16 ? 0x1.fep127f : 65504.0f;
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(src[i]) <= limit))
            return fail(UTTER_INVALID, "weight %" PRId64 " of a row is %g, which %s cannot hold", i, (double)src[i],
                        info->name);
    uint16_t *half = dst;
    switch (type) {
        case BLOCK_F32:
            memcpy(dst, src, (size_t)n * sizeof *src);
            break;
        case BLOCK_F16:
            for (int64_t i = 0; i < n; i++) half[i] = f32_to_f16(src[i]);
            break;
        case BLOCK_BF16:
            for (int64_t i = 0; i < n; i++) half[i] = f32_to_bf16(src[i]);
            break;
        case BLOCK_Q4_0:
            EACH_BLOCK(quantize_q4_0, q4_0);
            break;
        case BLOCK_Q4_1:
            EACH_BLOCK(quantize_q4_1, q4_1);
            break;
        case BLOCK_Q5_0:
            EACH_BLOCK(quantize_q5_0, q5_0);
            break;
        case BLOCK_Q5_1:
            EACH_BLOCK(quantize_q5_1, q5_1);
            break;
        case BLOCK_Q8_0:
            EACH_BLOCK(quantize_q8_0, q8_0);
            break;
        case BLOCK_Q4_K:
        case BLOCK_Q5_K:
        case BLOCK_Q6_K:
            quantize_k_row(type, src, dst, n);
            break;
    }
    return UTTER_OK;
}
