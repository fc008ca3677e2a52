/* Kernels in plain C, upon vectors of four that every compiler knows how to take apart. */
#include "cpu/kernels.h"

#include <math.h>
#include <string.h>

#define LANES 4
#define TILE_FLOAT 4
#define TILE_SMALL 4
#define ZERO8 0
#define KERNELS kernels_portable
#define NAME "portable"

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

INLINE vf vf_set1(float x) { return (vf){x, x, x, x}; }
INLINE vi vi_set1(int32_t x) { return (vi){x, x, x, x}; }

INLINE vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }

/* Where the mask is set a, else b. */
INLINE vf vf_choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

INLINE vf vf_max(vf a, vf b) { return vf_choose(a > b, a, b); }
INLINE float vf_sum(vf v) { return (v[0] + v[2]) + (v[1] + v[3]); }
INLINE float vf_max_of(vf v) { return fmaxf(fmaxf(v[0], v[2]), fmaxf(v[1], v[3])); }

/* Half precision, by moving the bits and correcting the exponent's bias; infinities and NaN have an exponent of their
 * own. */
INLINE vf vf_load_f16(const uint16_t *p) {
    vu h = {p[0], p[1], p[2], p[3]};
    vu magnitude = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16;
    vf v = (vf)magnitude * 0x1p112f;
    vi special = (vi)magnitude >= (0x1f << 23);
    v = vf_choose(special, (vf)(magnitude | 0x7f800000), v);
    return (vf)((vu)v | sign);
}

INLINE vf vf_load_bf16(const uint16_t *p) {
    vu h = {p[0], p[1], p[2], p[3]};
    return (vf)(h << 16);
}

INLINE void vf_store_f16(uint16_t *p, vf v) {
    for (int i = 0; i < LANES; i++) p[i] = f32_to_f16(v[i]);
}

/* Adding 1.5 * 2^23 leaves no room for a fraction: |x| < 2^22. */
INLINE vf vf_round(vf x) { return x + 0x1.8p23f - 0x1.8p23f; }
INLINE vi vf_to_int(vf x) { return __builtin_convertvector(x, vi); }
INLINE vf vf_from_int(vi x) { return __builtin_convertvector(x, vf); }
INLINE vf vf_power2(vi i) { return (vf)((i + 127) << 23); }

INLINE void dot_q8(const int n, const int n_words, const uint8_t *words, const uint32_t *x, vi *sums) {
    const int8_t *w = (const int8_t *)words, *high = (const int8_t *)x, *low = high + 8 * n * 4;
    for (int i = 0; i < n_words; i++)
        for (int t = 0; t < n; t++)
            for (int b = 0; b < 4; b++) {
                const int v = high[(i * n + t) * 4 + b] * 128 + low[(i * n + t) * 4 + b];
                for (int r = 0; r < LANES; r++) sums[t][r] += w[(i * LANES + r) * 4 + b] * v;
            }
}

INLINE void dot_q4(const int n, const uint8_t *words, const uint32_t *x, vi *sums) {
    uint8_t halves[2][4 * LANES * 4];
    for (int i = 0; i < 4 * LANES * 4; i++) {
        halves[0][i] = words[i] & 15;
        halves[1][i] = words[i] >> 4;
    }
    dot_q8(n, 8, halves[0], x, sums);
}

static float quantise(const float *x, uint32_t *words, int32_t *sums) {
    uint32_t bits = 0;  // of the largest magnitude; NaN and infinity are larger than any number
    for (int i = 0; i < BLOCK; i++) {
        uint32_t v;
        memcpy(&v, &x[i], sizeof v);
        if ((v & 0x7fffffff) > bits) bits = v & 0x7fffffff;
    }
    float most;
    memcpy(&most, &bits, sizeof most);
    const float inverse = quantise_inverse(most);
    int8_t halves[2][BLOCK] = {{0}};
    sums[0] = sums[1] = 0;
    if (inverse > 0)
        for (int i = 0; i < BLOCK; i++) {
            const int q = (int)(x[i] * inverse + 0x1.8p23f - 0x1.8p23f);
            halves[0][i] = (int8_t)((q + 64) >> 7);
            halves[1][i] = (int8_t)(q - halves[0][i] * 128);
            sums[i / 16] += q;
        }
    memcpy(words, halves, sizeof halves);
    return quantise_scale(most);
}

#include "cpu/kernels_body.h"
