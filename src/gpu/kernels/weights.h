/* Weights of one block format as floats. AS_<name> is a constant of the module, so every switch here is decided by
   the compiler. */
#ifndef UTTER_GPU_KERNELS_WEIGHTS_H
#define UTTER_GPU_KERNELS_WEIGHTS_H

#include "gpu/kernels/args.h"
#include "gpu/kernels/ptx.h"

enum format {
    AS_f32,
    AS_f16,
    AS_bf16,
    AS_q4_0,
    AS_q4_1,
    AS_q5_0,
    AS_q5_1,
    AS_q8_0,
    AS_q4_k,
    AS_q5_k,
    AS_q6_k,
};

/* A group of 32 weights as loaded, before anything is computed. */
struct group {
    const void *floats;  // F32, F16, BF16: where it lies
    u32x4 quants[2];
    u32 high[2];
    float d[2];  // of weights 0..15 and 16..31
    float m;     // added
};

INLINE struct group load_group(const struct weights *w, enum format format, int row, int g) {
    u64 i = (u64)row * (u64)w->groups + (u64)g;
    u64 super = (u64)row * (u64)(w->groups / 8) + (u64)(g / 8);
    struct group r = {0};
    const u32x4 *quants = (const u32x4 *)w->quants;
    const u32 *highs = (const u32 *)w->highs;
    const u16 *halves = (const u16 *)w->scales, *supers = (const u16 *)w->supers;
    const u8 *bytes = (const u8 *)w->scales;
    switch (format) {
        case AS_f32:
            r.floats = (const float *)w->quants + i * GROUP;
            return r;
        case AS_f16:
        case AS_bf16:
            r.floats = (const u16 *)w->quants + i * GROUP;
            return r;
        case AS_q8_0:
            r.quants[0] = quants[2 * i];
            r.quants[1] = quants[2 * i + 1];
            break;
        default:
            r.quants[0] = quants[i];
            break;
    }
    switch (format) {
        case AS_q5_0:
        case AS_q5_1:
        case AS_q5_k:
            r.high[0] = highs[i];
            break;
        case AS_q6_k:
            r.high[0] = highs[2 * i];
            r.high[1] = highs[2 * i + 1];
            break;
        default:
            break;
    }
    switch (format) {
        case AS_q4_0:
        case AS_q5_0:
        case AS_q8_0:
            r.d[0] = r.d[1] = half_to_f32(halves[i]);
            break;
        case AS_q4_1:
        case AS_q5_1:
            r.d[0] = r.d[1] = half_to_f32(halves[2 * i]);
            r.m = half_to_f32(halves[2 * i + 1]);
            break;
        case AS_q4_k:
        case AS_q5_k:
            r.d[0] = r.d[1] = half_to_f32(supers[2 * super]) * (float)bytes[2 * i];
            r.m = -(half_to_f32(supers[2 * super + 1]) * (float)bytes[2 * i + 1]);
            break;
        case AS_q6_k: {
            float d = half_to_f32(supers[2 * super]);
            r.d[0] = d * (float)(i8)bytes[2 * i];
            r.d[1] = d * (float)(i8)bytes[2 * i + 1];
            break;
        }
        default:
            break;
    }
    return r;
}

/* Quarter q (0..3) of a group: v[0..3] are weights 4q .. 4q + 3, v[4..7] are weights 16 + 4q .. */
INLINE void quarter_of_group(const struct group *r, enum format format, int q, float v[8]) {
    UNROLL for (int j = 0; j < 8; j++) {
        int weight = j < 4 ? 4 * q + j : 16 + 4 * q + j - 4;
        int byte = 8 * (j % 4);
        int nibble = (int)(r->quants[0][q] >> (byte + (j < 4 ? 0 : 4))) & 15;
        int fifth = (int)(r->high[0] >> weight & 1) << 4;
        switch (format) {
            case AS_f32:
                v[j] = ((const float *)r->floats)[weight];
                break;
            case AS_f16:
                v[j] = half_to_f32(((const u16 *)r->floats)[weight]);
                break;
            case AS_bf16: {
                u32 bits = (u32)((const u16 *)r->floats)[weight] << 16;
                __builtin_memcpy(&v[j], &bits, 4);
                break;
            }
            case AS_q8_0:
                v[j] = (float)(i8)(r->quants[j / 4][q] >> byte) * r->d[0];
                break;
            case AS_q4_0:
                v[j] = (float)(nibble - 8) * r->d[0];
                break;
            case AS_q4_1:
            case AS_q4_k:
                v[j] = (float)nibble * r->d[0] + r->m;
                break;
            case AS_q5_0:
                v[j] = (float)((nibble | fifth) - 16) * r->d[0];
                break;
            case AS_q5_1:
            case AS_q5_k:
                v[j] = (float)(nibble | fifth) * r->d[0] + r->m;
                break;
            case AS_q6_k: {
                int sixth = (int)(r->high[1] >> weight & 1) << 5;
                v[j] = (float)((nibble | fifth | sixth) - 32) * r->d[j / 4];
                break;
            }
        }
    }
}

/* Which weight v[j] of quarter q is. */
INLINE int weight_of_quarter(int q, int j) { return j < 4 ? 4 * q + j : 12 + 4 * q + j; }

#endif
