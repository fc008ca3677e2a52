#include "gguf/blocks.h"

#include <string.h>
#include <strings.h>

#include "gguf/layouts.h"

static const struct block_info infos[] = {
    [BLOCK_F32] = {"F32", 1, 4},
    [BLOCK_F16] = {"F16", 1, 2},
    [BLOCK_Q4_0] = {"Q4_0", 32, sizeof(struct q4_0)},
    [BLOCK_Q4_1] = {"Q4_1", 32, sizeof(struct q4_1)},
    [BLOCK_Q5_0] = {"Q5_0", 32, sizeof(struct q5_0)},
    [BLOCK_Q5_1] = {"Q5_1", 32, sizeof(struct q5_1)},
    [BLOCK_Q8_0] = {"Q8_0", 32, sizeof(struct q8_0)},
    [BLOCK_Q4_K] = {"Q4_K", 256, sizeof(struct q4_k)},
    [BLOCK_Q5_K] = {"Q5_K", 256, sizeof(struct q5_k)},
    [BLOCK_Q6_K] = {"Q6_K", 256, sizeof(struct q6_k)},
    [BLOCK_BF16] = {"BF16", 1, 2},
};

const struct block_info *block_info(uint32_t type) {
    return type < sizeof infos / sizeof *infos && infos[type].name ? &infos[type] : NULL;
}

bool block_type_by_name(const char *name, block_type *out) {
    for (uint32_t type = 0; type < sizeof infos / sizeof *infos; type++) {
        if (!infos[type].name || strcasecmp(infos[type].name, name) != 0) continue;
        *out = type;
        return true;
    }
    return false;
}

block_type block_type_for(block_type type, int64_t n) {
    if (n % infos[type].n_weights == 0) return type;
    block_type smaller = type == BLOCK_Q4_K ? BLOCK_Q5_0 : type == BLOCK_Q5_K ? BLOCK_Q5_1 : BLOCK_Q8_0;
    return infos[type].n_weights == 256 && n % 32 == 0 ? smaller : BLOCK_F16;
}

block_type block_type_for_output(block_type type) {
    bool whole = type == BLOCK_F32 || type == BLOCK_F16 || type == BLOCK_BF16;
    return whole ? type : BLOCK_Q8_0;
}

/* ---- 16-bit floats ---- */

static uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return f32_of_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);  // infinity, NaN
    if (magnitude < 0x400) {  // subnormal: units of 2^-24
        float f = (float)magnitude * 0x1p-24f;
        return sign ? -f : f;
    }
    return f32_of_bits(sign | ((magnitude << 13) + ((127 - 15) << 23)));
}

uint16_t f32_to_f16(float f) {
    uint32_t u = f32_bits(f), magnitude = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (magnitude > 0x7f800000) return sign | 0x7e00 | (uint16_t)(magnitude >> 13 & 0x3ff);  // NaN stays NaN
    if (magnitude >= 0x477ff000) return sign | 0x7c00;                                       // 65520 and more
    if (magnitude < 0x38800000)                                                              // below 2^-14: subnormal
        return sign |
               (uint16_t)(f32_bits(f32_of_bits(magnitude) + 0.5f) - f32_bits(0.5f));  // the addition rounds to 2^-24
    uint32_t odd = magnitude >> 13 & 1;
    return sign | (uint16_t)((magnitude + 0xfff + odd - ((127 - 15) << 23)) >> 13);
}

uint16_t f32_to_bf16(float f) {
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64);  // NaN stays NaN
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* ---- blocks to floats ---- */

static uint32_t high_bits(const uint8_t qh[4]) {
    uint32_t u;
    memcpy(&u, qh, sizeof u);
    return u;
}

static void dequantize_q4_0(const struct q4_0 *b, float *y) {
    float d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b->qs[j] & 15) - 8) * d;
        y[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
    }
}

static void dequantize_q4_1(const struct q4_1 *b, float *y) {
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int j = 0; j < 16; j++) {
        y[j] = (float)(b->qs[j] & 15) * d + m;
        y[j + 16] = (float)(b->qs[j] >> 4) * d + m;
    }
}

static void dequantize_q5_0(const struct q5_0 *b, float *y) {
    float d = f16_to_f32(b->d);
    uint32_t h = high_bits(b->qh);
    for (int j = 0; j < 16; j++) {
        y[j] = (float)((int)((b->qs[j] & 15u) | (h >> j & 1) << 4) - 16) * d;
        y[j + 16] = (float)((int)(b->qs[j] >> 4 | (h >> (j + 16) & 1) << 4) - 16) * d;
    }
}

static void dequantize_q5_1(const struct q5_1 *b, float *y) {
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    uint32_t h = high_bits(b->qh);
    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b->qs[j] & 15u) | (h >> j & 1) << 4) * d + m;
        y[j + 16] = (float)(b->qs[j] >> 4 | (h >> (j + 16) & 1) << 4) * d + m;
    }
}

static void dequantize_q8_0(const struct q8_0 *b, float *y) {
    float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++) y[j] = (float)b->qs[j] * d;
}

// The 6-bit scale and minimum of the i-th of eight groups.
static void k_scale(const uint8_t s[12], int i, int *scale, int *min) {
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *min = s[i + 4] >> 4 | (s[i] >> 6) << 4;
    }
}

static void dequantize_q4_k(const struct q4_k *b, float *y) {
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int i = 0; i < 8; i++) {  // groups of 32; two share 32 bytes, low nibbles first
        int scale, min;
        k_scale(b->scales, i, &scale, &min);
        float group_d = d * (float)scale, group_min = dmin * (float)min;
        for (int j = 0; j < 32; j++) {
            int q = b->qs[i / 2 * 32 + j] >> (i % 2 * 4) & 15;
            y[i * 32 + j] = group_d * (float)q - group_min;
        }
    }
}

static void dequantize_q5_k(const struct q5_k *b, float *y) {
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int i = 0; i < 8; i++) {
        int scale, min;
        k_scale(b->scales, i, &scale, &min);
        float group_d = d * (float)scale, group_min = dmin * (float)min;
        for (int j = 0; j < 32; j++) {
            int q = (b->qs[i / 2 * 32 + j] >> (i % 2 * 4) & 15) | (b->qh[j] >> i & 1) << 4;
            y[i * 32 + j] = group_d * (float)q - group_min;
        }
    }
}

static void dequantize_q6_k(const struct q6_k *b, float *y) {
    float d = f16_to_f32(b->d);
    for (int half = 0; half < 2; half++)
        for (int part = 0; part < 4; part++)  // 32 weights each
            for (int j = 0; j < 32; j++) {
                int low = b->ql[half * 64 + part % 2 * 32 + j] >> (part / 2 * 4) & 15;
                int high = b->qh[half * 32 + j] >> (part * 2) & 3;
                int i = half * 128 + part * 32 + j;
                y[i] = d * (float)b->scales[i / 16] * (float)((low | high << 4) - 32);
            }
}

#define EACH_BLOCK(function, layout, weights)                                             \
    do {                                                                                  \
        const struct layout *b = src;                                                     \
        for (int64_t i = 0; i < n / (weights); i++) function(b + i, dst + i * (weights)); \
    } while (0)

void dequantize_row(block_type type, const void *src, float *dst, int64_t n) {
    const uint16_t *half = src;
    switch (type) {
        case BLOCK_F32:
            memcpy(dst, src, (size_t)n * sizeof *dst);
            break;
        case BLOCK_F16:
            for (int64_t i = 0; i < n; i++) dst[i] = f16_to_f32(half[i]);
            break;
        case BLOCK_BF16:
            for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(half[i]);
            break;
        case BLOCK_Q4_0:
            EACH_BLOCK(dequantize_q4_0, q4_0, 32);
            break;
        case BLOCK_Q4_1:
            EACH_BLOCK(dequantize_q4_1, q4_1, 32);
            break;
        case BLOCK_Q5_0:
            EACH_BLOCK(dequantize_q5_0, q5_0, 32);
            break;
        case BLOCK_Q5_1:
            EACH_BLOCK(dequantize_q5_1, q5_1, 32);
            break;
        case BLOCK_Q8_0:
            EACH_BLOCK(dequantize_q8_0, q8_0, 32);
            break;
        case BLOCK_Q4_K:
            EACH_BLOCK(dequantize_q4_k, q4_k, 256);
            break;
        case BLOCK_Q5_K:
            EACH_BLOCK(dequantize_q5_k, q5_k, 256);
            break;
        case BLOCK_Q6_K:
            EACH_BLOCK(dequantize_q6_k, q6_k, 256);
            break;
    }
}
