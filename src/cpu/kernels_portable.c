/* Kernels in plain C, upon vectors of four that every compiler knows how to take apart. */
#include "cpu/kernels.h"

#include <math.h>
#include <string.h>

#define LANES 4
#define TILE_FLOAT 4
#define TILE_SMALL 4
#define TILE_COARSE 4
#define TILE_WHOLE 4
#define COARSE_WORDS 16
#define ZERO8 0
#define SECOND_HALF 8
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

/* Activations lie as 16-bit integers here, two to a word. They and the weights' bytes are multiplied as floats, which
   every processor does side by side; with 4-bit weights no sum leaves the integers that floats hold. */
INLINE void expand(const int n, int n_columns, const uint32_t *x, float *out) {
    const int16_t *q = (const int16_t *)x;
    for (int k = 0; k < n_columns; k += 2)
        for (int t = 0; t < n; t++) {
            out[k * n + t] = q[k * n + 2 * t];
            out[(k + 1) * n + t] = q[k * n + 2 * t + 1];
        }
}

/* Four columns, a byte each. */
INLINE void add_word(const int n, vi w, const float *x, vf *sums) {
    UNROLL for (int b = 0; b < 4; b++) {
        const vf column = vf_from_int((vi)((vu)w << (24 - 8 * b)) >> 24);
        UNROLL for (int t = 0; t < n; t++) sums[t] += column * vf_set1(x[b * n + t]);
    }
}

INLINE vi load_words(const uint8_t *words, int i) {
    vi w;
    memcpy(&w, words + i * LANES * 4, sizeof w);
    return w;
}

INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    (void)coarse;
    float columns[BLOCK * TILE_SMALL];
    vf products[TILE_MAX];
    expand(n, n_words * 4, x, columns);
    UNROLL for (int t = 0; t < n; t++) products[t] = vf_set1(0);
    UNROLL for (int i = 0; i < n_words; i++) add_word(n, load_words(words, i), columns + i * 4 * n, products);
    UNROLL for (int t = 0; t < n; t++) sums[t] += vf_to_int(products[t]);
}

INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    (void)coarse;
    float columns[BLOCK * TILE_SMALL];
    vf products[TILE_MAX];
    expand(n, BLOCK, x, columns);
    UNROLL for (int t = 0; t < n; t++) products[t] = vf_set1(0);
    UNROLL for (int i = 0; i < 4; i++) {
        const vi w = load_words(words, i);
        add_word(n, w & 0x0f0f0f0f, columns + i * 4 * n, products);
        add_word(n, (w >> 4) & 0x0f0f0f0f, columns + (16 + i * 4) * n, products);
    }
    UNROLL for (int t = 0; t < n; t++) sums[t] += vf_to_int(products[t]);
}

/* NaN and infinity are larger than any number. */
static float largest_magnitude(const float *x, int n) {
    uint32_t bits = 0;
    for (int i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, &x[i], sizeof v);
        if ((v & 0x7fffffff) > bits) bits = v & 0x7fffffff;
    }
    float most;
    memcpy(&most, &bits, sizeof most);
    return most;
}

static int16_t round_16(float x) { return (int16_t)(x + 0x1.8p23f - 0x1.8p23f); }

static float quantise(const float *x, const bool coarse, uint32_t *words, int32_t *sums) {
    const int whole = coarse ? COARSE_MOST : QUANTISED_MOST;
    const float most = largest_magnitude(x, BLOCK), inverse = quantise_inverse(most, whole);
    int16_t q[BLOCK] = {0};
    sums[0] = sums[1] = 0;
    for (int i = 0; inverse > 0 && i < BLOCK; i++) {
        q[i] = round_16(x[i] * inverse);
        sums[i / 16] += q[i];
    }
    memcpy(words, q, sizeof q);
    return quantise_scale(most, whole);
}

static void round_whole(const float *x, int n, float inverse, uint32_t *words) {
    int16_t q[BLOCK16_MAX];
    for (int i = 0; i < n; i++) q[i] = round_16(x[i] * inverse);
    memcpy(words, q, (size_t)n * sizeof *q);
}

INLINE uint32_t set1_word(uint32_t x) { return x; }

INLINE vi dot_pairs(vi sum, vi w, uint32_t x) {
    const int32_t first = (int16_t)x, second = (int32_t)x >> 16;
    return sum + ((vi)((vu)w << 16) >> 16) * first + (w >> 16) * second;
}

#include "cpu/kernels_body.h"
