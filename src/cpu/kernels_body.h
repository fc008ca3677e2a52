/* What all kernel sets have in common, written upon a few primitives that each set's file defines before it includes
   this one.

   LANES, TILE_FLOAT, TILE_SMALL, TILE_COARSE, TILE_WHOLE, ZERO8, KERNELS, NAME: as in struct kernels.
   COARSE_WORDS: words of 32 coarse activations.
   BASE, if there is one: a set with the same lanes whose float products and attention are used.
   vf, vi: vectors of LANES floats or 32-bit integers (GNU vector extensions, so + - * work).
   vf_set1, vi_set1, vf_load, vf_store, vf_max; vf_fma(a, b, c) is a * b + c; vf_sum and vf_max_of go across a vector.
   vf_load_f16, vf_load_bf16, vf_store_f16.
   vf_round is to the nearest integer; vf_to_int, vf_from_int; vf_power2 is 2^i for -126..127.
   quantise(x, coarse, words, sums): 32 floats to 16 or COARSE_WORDS words, in an order of the set's own, of which word
   SECOND_HALF is the first of the second 16 floats; the sums of the integers of both halves; returns the scale.
   WORD_GROUP, if not 1: so many of these words of a token lie side by side, as [16 or COARSE_WORDS / group][n][group].
   dot_q4(n, coarse, words, x, sums): sums[t] += the 32 columns of words [4][LANES] times x [16 or COARSE_WORDS][n];
   before, all lanes of a sum are the same.
   dot_q8(n, coarse, n_words, words, x, sums): the same for the 4 * n_words columns of words [n_words][LANES].
   transpose, where TRANSPOSES is defined: as below.
   QUARTERS: the set has products of quarters (it must have 16-bit integers, too); vh is a vector as 16-bit integers.
   NO_WHOLE: half-precision weights stay floats; else, for 16-bit integers:
   largest_magnitude(x, n): of n floats; infinity and NaN are the largest.
   round_whole(x, n, inverse, words): n floats times `inverse` to n / 2 words of two 16-bit integers.
   set1_word(x), dot_pairs(sum, w, x): sum + the products of the two 16-bit integers in each lane of w with those of the
   word that x was set to. */
#ifndef UTTER_CPU_KERNELS_BODY_H
#define UTTER_CPU_KERNELS_BODY_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#if !defined(WORD_GROUP)
#define WORD_GROUP 1
#endif

/* ---- products ---- */

/* Writes a vector of rows of which only n_rows exist. */
static __attribute__((noinline)) void store_some(const float *rows, int64_t n_rows, const float *bias, bool add,
                                                 float *y) {
    for (int64_t r = 0; r < n_rows; r++) y[r] = rows[r] + (bias ? bias[r] : 0) + (add ? y[r] : 0);
}

INLINE void store_rows(vf v, int64_t n_rows, const float *bias, bool add, float *y) {
    if (n_rows >= LANES) {
        if (bias) v += vf_load(bias);
        if (add) v += vf_load(y);
        vf_store(y, v);
        return;
    }
    float rows[LANES];
    vf_store(rows, v);
    store_some(rows, n_rows, bias, add, y);
}

#if !defined(BASE)

INLINE vf load_weights(const enum format format, const uint8_t *panel, int64_t k) {
    if (format == FORMAT_F32) return vf_load((const float *)panel + k * LANES);
    if (format == FORMAT_F16) return vf_load_f16((const uint16_t *)panel + k * LANES);
    return vf_load_bf16((const uint16_t *)panel + k * LANES);
}

/* Two panels (the second may be the first again) times n tokens. */
INLINE void float_product(const int n, const enum format format, const struct panels *w, int64_t panel, int64_t k_begin,
                          int64_t k_end, const struct tile *x, const float *bias, float *y, int64_t y_stride) {
    const bool two = (panel + 1) * LANES < w->rows;
    const uint8_t *p0 = w->data + (size_t)panel * w->panel_bytes;
    const uint8_t *p1 = two ? p0 + w->panel_bytes : p0;
    const float *f = x->f;
    vf sum0[TILE_MAX], sum1[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) sum0[t] = sum1[t] = vf_set1(0);
    const int size = format == FORMAT_F32 ? 4 : 2;
    for (int64_t k = k_begin, fetch = k_begin + x->part; k < k_end; k++) {
        if (k == fetch) {
            __builtin_prefetch(p0 + k * LANES * size + x->ahead, 0, 2);
            __builtin_prefetch(p1 + k * LANES * size + x->ahead, 0, 2);
            fetch += x->n_parts;
        }
        vf w0 = load_weights(format, p0, k), w1 = load_weights(format, p1, k);
        UNROLL for (int t = 0; t < n; t++) {
            vf v = vf_set1(f[k * n + t]);
            sum0[t] = vf_fma(w0, v, sum0[t]);
            sum1[t] = vf_fma(w1, v, sum1[t]);
        }
    }
    const int64_t row = panel * LANES;
    const float *b = bias && k_begin == 0 ? bias + row : NULL;
    UNROLL for (int t = 0; t < n; t++) {
        store_rows(sum0[t], w->rows - row, b, k_begin > 0, y + t * y_stride + row);
        if (two)
            store_rows(sum1[t], w->rows - row - LANES, b ? b + LANES : NULL, k_begin > 0,
                       y + t * y_stride + row + LANES);
    }
}

#endif

/* One panel times n tokens. */
INLINE void small_product(const int n, const bool coarse, const enum format format, const struct panels *w,
                          int64_t panel, const struct tile *x, const float *bias, float *y, int64_t y_stride) {
    const int n_words = format == FORMAT_Q4 || format == FORMAT_Q4M ? 4 : 8;
    const bool minimum = format == FORMAT_Q4M || format == FORMAT_Q8M, halves = format == FORMAT_Q8H;
    const int64_t n_blocks = w->cols / BLOCK;
    const int n_data = n_words * LANES * 4, n_scales = minimum || halves ? 2 * LANES * 4 : LANES * 2;
    const uint8_t *pair = w->data + (size_t)panel * w->panel_bytes;
    vf sum[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) sum[t] = vf_set1(0);
    for (int64_t b = 0; b < n_blocks; b++) {
        const uint8_t *words = pair + b % 2 * n_data, *scales = pair + 2 * n_data + b % 2 * n_scales;
        const uint32_t *q = x->q + b * (coarse ? COARSE_WORDS : 16) * n;
        const float *scale = x->scale + b * n;
        if (halves) {
            for (int h = 0; h < 2; h++) {
                vi dot[TILE_MAX];
                UNROLL for (int t = 0; t < n; t++) dot[t] = vi_set1(x->start[(b * 2 + h) * n + t]);
                dot_q8(n, coarse, 4, words + h * 4 * LANES * 4, q + h * SECOND_HALF * n, dot);
                vf d = vf_load((const float *)scales + h * LANES);
                UNROLL for (int t = 0; t < n; t++) sum[t] = vf_fma(vf_from_int(dot[t]) * d, vf_set1(scale[t]), sum[t]);
            }
        } else {
            vi dot[TILE_MAX];
            UNROLL for (int t = 0; t < n; t++) dot[t] = vi_set1(x->start[b * n + t]);
            if (n_words == 4)
                dot_q4(n, coarse, words, q, dot);
            else
                dot_q8(n, coarse, 8, words, q, dot);
            vf d = minimum ? vf_load((const float *)scales) : vf_load_f16((const uint16_t *)scales);
            UNROLL for (int t = 0; t < n; t++) sum[t] = vf_fma(vf_from_int(dot[t]) * d, vf_set1(scale[t]), sum[t]);
            if (minimum) {
                vf m = vf_load((const float *)scales + LANES);
                UNROLL for (int t = 0; t < n; t++) sum[t] = vf_fma(m, vf_set1(x->sum[b * n + t]), sum[t]);
            }
        }
        if (b % 2) pair += 2 * (n_data + n_scales);
    }
    const int64_t row = panel * LANES;
    UNROLL for (int t = 0; t < n; t++)
        store_rows(sum[t], w->rows - row, bias ? bias + row : NULL, false, y + t * y_stride + row);
}

#if !defined(NO_WHOLE)

/* Two panels of 16-bit integers (the second may be the first again) times n tokens. The sums of a block fill the
   registers, so those of floats lie in memory. */
INLINE void whole_product(const int n, const struct panels *w, int64_t panel, const struct tile *x, const float *bias,
                          float *y, int64_t y_stride) {
    const bool two = (panel + 1) * LANES < w->rows;
    const uint8_t *p0 = w->data + (size_t)panel * w->panel_bytes, *p1 = two ? p0 + w->panel_bytes : p0;
    const int block = block16(w->cols);
    const uint32_t *q = x->q;
    const float *scale = x->scale;
    vf sums[TILE_MAX][2];
    UNROLL for (int t = 0; t < n; t++) sums[t][0] = sums[t][1] = vf_set1(0);
    int fetch = x->part;
    for (int64_t b = 0; b < w->cols / block; b++, p0 += LANES * 4, p1 += LANES * 4, scale += n) {
        vi dot0[TILE_MAX], dot1[TILE_MAX];
        UNROLL for (int t = 0; t < n; t++) dot0[t] = dot1[t] = vi_set1(0);
        for (int i = 0; i < block / 2; i += 4, p0 += 4 * LANES * 4, p1 += 4 * LANES * 4, q += 4 * n) {
            if (fetch-- == 0) {
                fetch = x->n_parts - 1;
                UNROLL for (int j = 0; j < 4 * LANES * 4; j += 64) {
                    __builtin_prefetch(p0 + j + x->ahead, 0, 2);
                    __builtin_prefetch(p1 + j + x->ahead, 0, 2);
                }
            }
            UNROLL for (int j = 0; j < 4; j++) {
                const vi w0 = (vi)load_words(p0, j), w1 = (vi)load_words(p1, j);
                UNROLL for (int t = 0; t < n; t++) {
                    const __typeof__(set1_word(0)) v = set1_word(q[j * n + t]);
                    dot0[t] = dot_pairs(dot0[t], w0, v);
                    dot1[t] = dot_pairs(dot1[t], w1, v);
                }
            }
        }
        const vf d0 = vf_load((const float *)p0), d1 = vf_load((const float *)p1);
        vf(*to)[2] = sums;
        __asm__("" : "+r"(to) : : "memory");
        UNROLL for (int t = 0; t < n; t++) {
            const vf d = vf_set1(scale[t]);
            to[t][0] = vf_fma(vf_from_int(dot0[t]) * d0, d, to[t][0]);
            to[t][1] = vf_fma(vf_from_int(dot1[t]) * d1, d, to[t][1]);
        }
    }
    const int64_t row = panel * LANES;
    for (int t = 0; t < n; t++) {
        float *to = y + t * y_stride + row;
        store_rows(sums[t][0], w->rows - row, bias ? bias + row : NULL, false, to);
        if (two) store_rows(sums[t][1], w->rows - row - LANES, bias ? bias + row + LANES : NULL, false, to + LANES);
    }
}

#endif

/* A function for each format and number of tokens, both constants to the compiler. Apart, or it takes minutes. */
#define FLOAT_FUNCTION(FORMAT, N)                                                                                      \
    static __attribute__((noinline)) void FORMAT##_##N(const struct panels *w, int64_t begin, int64_t end,             \
                                                       int64_t k_begin, int64_t k_end, const struct tile *x,           \
                                                       const float *bias, float *y, int64_t y_stride) {                \
        for (int64_t p = begin; p < end; p += 2) float_product(N, FORMAT, w, p, k_begin, k_end, x, bias, y, y_stride); \
    }
#define SMALL_FUNCTION(FORMAT, COARSE, N)                                                                         \
    static __attribute__((noinline)) void FORMAT##_##COARSE##_##N(                                                \
        const struct panels *w, int64_t begin, int64_t end, int64_t k_begin, int64_t k_end, const struct tile *x, \
        const float *bias, float *y, int64_t y_stride) {                                                          \
        (void)k_begin, (void)k_end;                                                                               \
        for (int64_t p = begin; p < end; p++) small_product(N, COARSE, FORMAT, w, p, x, bias, y, y_stride);       \
    }
#define WHOLE_FUNCTION(FORMAT, COARSE, N)                                                                    \
    static __attribute__((noinline)) void FORMAT##_##N(const struct panels *w, int64_t begin, int64_t end,   \
                                                       int64_t k_begin, int64_t k_end, const struct tile *x, \
                                                       const float *bias, float *y, int64_t y_stride) {      \
        (void)k_begin, (void)k_end;                                                                          \
        for (int64_t p = begin; p < end; p += 2) whole_product(N, w, p, x, bias, y, y_stride);               \
    }
#define ENTRY(FORMAT, N) [FORMAT][N] = FORMAT##_##N,
#define WHOLE_ENTRY(FORMAT, COARSE, N) [FORMAT][0][N] = FORMAT##_##N,
#define SMALL_ENTRY(FORMAT, COARSE, N) [FORMAT][COARSE][N] = FORMAT##_##COARSE##_##N,

#if TILE_FLOAT == 14
#define FLOAT_TILES(DO, FORMAT) \
    DO(FORMAT, 1)               \
    DO(FORMAT, 2)               \
    DO(FORMAT, 3)               \
    DO(FORMAT, 4)               \
    DO(FORMAT, 5)               \
    DO(FORMAT, 6)               \
    DO(FORMAT, 7) DO(FORMAT, 8) DO(FORMAT, 9) DO(FORMAT, 10) DO(FORMAT, 11) DO(FORMAT, 12) DO(FORMAT, 13) DO(FORMAT, 14)
#elif TILE_FLOAT == 12
#define FLOAT_TILES(DO, FORMAT) \
    DO(FORMAT, 1)               \
    DO(FORMAT, 2)               \
    DO(FORMAT, 3)               \
    DO(FORMAT, 4)               \
    DO(FORMAT, 5)               \
    DO(FORMAT, 6) DO(FORMAT, 7) DO(FORMAT, 8) DO(FORMAT, 9) DO(FORMAT, 10) DO(FORMAT, 11) DO(FORMAT, 12)
#elif TILE_FLOAT == 6
#define FLOAT_TILES(DO, FORMAT) DO(FORMAT, 1) DO(FORMAT, 2) DO(FORMAT, 3) DO(FORMAT, 4) DO(FORMAT, 5) DO(FORMAT, 6)
#else
#define FLOAT_TILES(DO, FORMAT) DO(FORMAT, 1) DO(FORMAT, 2) DO(FORMAT, 3) DO(FORMAT, 4)
#endif
#define TILES_4(DO, FORMAT, COARSE) \
    DO(FORMAT, COARSE, 1) DO(FORMAT, COARSE, 2) DO(FORMAT, COARSE, 3) DO(FORMAT, COARSE, 4)
#define TILES_8(DO, FORMAT, COARSE) \
    TILES_4(DO, FORMAT, COARSE)     \
    DO(FORMAT, COARSE, 5) DO(FORMAT, COARSE, 6) DO(FORMAT, COARSE, 7) DO(FORMAT, COARSE, 8)
#define TILES_12(DO, FORMAT, COARSE) \
    TILES_8(DO, FORMAT, COARSE)      \
    DO(FORMAT, COARSE, 9) DO(FORMAT, COARSE, 10) DO(FORMAT, COARSE, 11) DO(FORMAT, COARSE, 12)
#define TILES_14(DO, FORMAT, COARSE) TILES_12(DO, FORMAT, COARSE) DO(FORMAT, COARSE, 13) DO(FORMAT, COARSE, 14)
#if TILE_SMALL == 8
#define FINE_TILES TILES_8
#else
#define FINE_TILES TILES_4
#endif
#if TILE_COARSE == 12
#define COARSE_TILES TILES_12
#elif TILE_COARSE == 8
#define COARSE_TILES TILES_8
#else
#define COARSE_TILES TILES_4
#endif
#if defined(NO_WHOLE)
#define WHOLE_TILES(DO, FORMAT, COARSE)
#elif TILE_WHOLE == 14
#define WHOLE_TILES TILES_14
#elif TILE_WHOLE == 8
#define WHOLE_TILES TILES_8
#else
#define WHOLE_TILES TILES_4
#endif
#define SMALL_TILES(DO, FORMAT) FINE_TILES(DO, FORMAT, 0) COARSE_TILES(DO, FORMAT, 1)
#define ALL_FLOAT(DO) FLOAT_TILES(DO, FORMAT_F32) FLOAT_TILES(DO, FORMAT_F16) FLOAT_TILES(DO, FORMAT_BF16)
#define ALL_SMALL(DO)           \
    SMALL_TILES(DO, FORMAT_Q4)  \
    SMALL_TILES(DO, FORMAT_Q4M) \
    SMALL_TILES(DO, FORMAT_Q8) SMALL_TILES(DO, FORMAT_Q8M) SMALL_TILES(DO, FORMAT_Q8H)

typedef void multiply_function(const struct panels *, int64_t, int64_t, int64_t, int64_t, const struct tile *,
                               const float *, float *, int64_t);
ALL_SMALL(SMALL_FUNCTION)
WHOLE_TILES(WHOLE_FUNCTION, FORMAT_I16, 0)
static multiply_function *const small_functions[][2][TILE_MAX + 1] = {ALL_SMALL(SMALL_ENTRY)
                                                                          WHOLE_TILES(WHOLE_ENTRY, FORMAT_I16, 0)};
#if !defined(BASE)
ALL_FLOAT(FLOAT_FUNCTION)
static multiply_function *const float_functions[][TILE_MAX + 1] = {ALL_FLOAT(ENTRY)};
#endif

static void multiply(const struct panels *w, int64_t begin, int64_t end, int64_t k_begin, int64_t k_end,
                     const struct tile *x, const float *bias, float *y, int64_t y_stride) {
    multiply_function *f;
    if (!format_is_float(w->format))
        f = small_functions[w->format][x->coarse][x->n];
    else
#if defined(BASE)
        f = BASE.multiply;
#else
        f = float_functions[w->format][x->n];
#endif
    f(w, begin, end, k_begin, k_end, x, bias, y, y_stride);
}

/* ---- activations ---- */

#if !defined(TRANSPOSES)
/* out[c * n + t] = in[t * stride + c] */
INLINE void transpose(const four_bytes *in, int64_t stride, int n, int64_t n_columns, four_bytes *out) {
    for (int t = 0; t < n; t++)
        for (int64_t c = 0; c < n_columns; c++) out[c * n + t] = in[t * stride + c];
}
#endif

#if !defined(NO_WHOLE)

/* The largest integer that a block of 16-bit integers may have for its length to be no more than LENGTH_MOST. The
   length is found with integers of 8 bits: so all sets scale alike. */
INLINE float whole_most(const float *x, int n, float most) {
    const vf inverse = vf_set1(quantise_inverse(most, UINT8_MAX));
    vf squares = vf_set1(0);
    for (int i = 0; i < n; i += LANES) {
        const vf v = vf_round(vf_load(x + i) * inverse);
        squares = vf_fma(v, v, squares);
    }
    const float length = sqrtf(vf_sum(squares)) + sqrtf((float)n) / 2;
    return fminf(INT16_MAX, LENGTH_MOST * (UINT8_MAX / length));
}

/* n floats to 16-bit integers; returns their scale. */
INLINE float quantise_whole(const float *x, int n, uint32_t *words) {
    const float most = largest_magnitude(x, n);
    if (quantise_inverse(most, 1) > 0) {
        const float whole = whole_most(x, n, most);
        round_whole(x, n, quantise_inverse(most, whole), words);
        return quantise_scale(most, whole);
    }
    memset(words, 0, 2 * (size_t)n);
    return quantise_scale(most, INT16_MAX);
}

static void prepare_whole(const float *x, int64_t x_stride, int n, int64_t cols, const struct tile_room *room) {
    enum { WORDS = BLOCK16_MAX / 2 };
    uint32_t words[TILE_MAX * WORDS];
    const int block = block16(cols);
    for (int64_t b = 0; b < cols / block; b++) {
        for (int t = 0; t < n; t++)
            room->scale[b * n + t] = quantise_whole(x + t * x_stride + b * block, block, words + t * WORDS);
        transpose(words, WORDS, n, block / 2, room->q + b * block / 2 * n);
    }
}

#endif

static void prepare(enum format format, bool coarse, const float *x, int64_t x_stride, int n, int64_t cols,
                    const struct tile_room *room) {
    if (format_is_float(format)) {
        transpose((const four_bytes *)x, x_stride, n, cols, (four_bytes *)room->f);
        return;
    }
#if !defined(NO_WHOLE)
    if (format == FORMAT_I16) {
        prepare_whole(x, x_stride, n, cols, room);
        return;
    }
#endif
    const bool minimum = format == FORMAT_Q4M || format == FORMAT_Q8M;
    const int n_words = coarse ? COARSE_WORDS : 16;
    const int zero = format == FORMAT_Q4 ? 8 : format == FORMAT_Q4M ? 0 : ZERO8;
    for (int t = 0; t < n; t++)
        for (int64_t b = 0; b < cols / BLOCK; b++) {
            uint32_t words[16];
            int32_t sums[2];
            float d = quantise(x + t * x_stride + b * BLOCK, coarse, words, sums);
            for (int i = 0; i < n_words; i++) {
                const int group = i / WORD_GROUP * WORD_GROUP;
                room->q[(b * n_words + group) * n + t * WORD_GROUP + i - group] = words[i];
            }
            room->scale[b * n + t] = d;
            if (format == FORMAT_Q8H) {
                room->start[(b * 2 + 0) * n + t] = -zero * sums[0];
                room->start[(b * 2 + 1) * n + t] = -zero * sums[1];
            } else {
                room->start[b * n + t] = -zero * (sums[0] + sums[1]);
            }
            if (minimum) room->sum[b * n + t] = d * (float)(sums[0] + sums[1]);
        }
}

#if !defined(NO_WHOLE)
static float round16(bool bf16, const uint16_t *in, int n, float scale, int16_t *out) {
    float x[BLOCK16_MAX];
    uint32_t words[BLOCK16_MAX / 2];
    for (int i = 0; i < n; i += LANES) vf_store(x + i, bf16 ? vf_load_bf16(in + i) : vf_load_f16(in + i));
    if (scale == 0)
        scale = quantise_whole(x, n, words);
    else if (scale > 0)
        round_whole(x, n, 1 / scale, words);
    else
        memset(words, 0, sizeof words);
    memcpy(out, words, (size_t)n * sizeof *out);
    return scale;
}
#endif

static void to_f16(const float *x, int64_t n, uint16_t *out) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store_f16(out + i, vf_load(x + i));
    if (i == n) return;
    float rest[LANES] = {0};
    uint16_t half[LANES];
    memcpy(rest, x + i, (size_t)(n - i) * sizeof *rest);
    vf_store_f16(half, vf_load(rest));
    memcpy(out + i, half, (size_t)(n - i) * sizeof *half);
}

/* ---- functions of one variable ---- */

/* e^x to about 2 units in the last place; 0 below -87, e^88 above 88. */
INLINE vf vf_exp(vf x) {
    x = vf_max(x, vf_set1(-87.3f));
    x = -vf_max(-x, vf_set1(-88.0f));
    vf n = vf_round(x * vf_set1(1.44269504f));
    vf r = vf_fma(n, vf_set1(-0.693145752f), x);
    r = vf_fma(n, vf_set1(-1.42860677e-6f), r);
    vf p = vf_set1(1.0f / 720);
    p = vf_fma(p, r, vf_set1(1.0f / 120));
    p = vf_fma(p, r, vf_set1(1.0f / 24));
    p = vf_fma(p, r, vf_set1(1.0f / 6));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p, r, vf_set1(1));
    p = vf_fma(p, r, vf_set1(1));
    return p * vf_power2(vf_to_int(n));
}

INLINE vf vf_silu(vf x) { return x / (vf_set1(1) + vf_exp(-x)); }

static void silu(float *x, const float *up, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = vf_silu(vf_load(x + i));
        if (up) v *= vf_load(up + i);
        vf_store(x + i, v);
    }
    if (i == n) return;
    float rest[LANES] = {0};
    memcpy(rest, x + i, (size_t)(n - i) * sizeof *rest);
    vf_store(rest, vf_silu(vf_load(rest)));
    for (int64_t j = i; j < n; j++) x[j] = up ? rest[j - i] * up[j] : rest[j - i];
}

static void add(float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] += y[i];
}

static void rms_norm(const float *x, const float *gain, float eps, int64_t n, float *out) {
    vf squares = vf_set1(0);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = vf_load(x + i);
        squares = vf_fma(v, v, squares);
    }
    float sum = vf_sum(squares);
    for (; i < n; i++) sum += x[i] * x[i];
    float scale = 1 / sqrtf(sum / (float)n + eps);
    for (i = 0; i < n; i++) out[i] = x[i] * scale * gain[i];
}

#if defined(BASE)
static void attend(const struct attention *a) { BASE.attend(a); }
#else

/* ---- attention ---- */

INLINE vf load_cached(const bool half, const void *p, int64_t i) {
    return half ? vf_load_f16((const uint16_t *)p + i) : vf_load((const float *)p + i);
}

/* scores[n][stride] of n queries with every key; what lies beyond n_keys in the last vector becomes -inf. */
INLINE void score_keys(const int n, const bool half, const struct attention *a, const float *q, int64_t stride) {
    for (int64_t at = 0; at < a->n_keys; at += LANES) {
        const int64_t keys = at * a->head_dim;
        vf sum[TILE_MAX];
        UNROLL for (int t = 0; t < n; t++) sum[t] = vf_set1(0);
        for (int d = 0; d < a->head_dim; d++) {
            vf k = load_cached(half, a->keys, keys + (int64_t)d * LANES);
            UNROLL for (int t = 0; t < n; t++) sum[t] = vf_fma(k, vf_set1(q[t * a->q_stride + d]), sum[t]);
        }
        UNROLL for (int t = 0; t < n; t++) vf_store(a->scores + t * stride + at, sum[t] * vf_set1(a->scale));
    }
    for (int t = 0; t < n; t++)
        for (int64_t at = a->n_keys; at < stride; at++) a->scores[t * stride + at] = -INFINITY;
}

/* scores[stride] to exp(score - largest); returns one over their sum. */
INLINE float soften(float *scores, int64_t stride) {
    vf most = vf_load(scores);
    for (int64_t i = LANES; i < stride; i += LANES) most = vf_max(most, vf_load(scores + i));
    vf largest = vf_set1(vf_max_of(most)), sum = vf_set1(0);
    for (int64_t i = 0; i < stride; i += LANES) {
        vf e = vf_exp(vf_load(scores + i) - largest);
        vf_store(scores + i, e);
        sum += e;
    }
    return 1 / vf_sum(sum);
}

INLINE void mix_values(const int n, const bool half, const struct attention *a, const float *weight, float *out,
                       int64_t stride) {
    const int64_t row = (a->head_dim + LANES - 1) / LANES * LANES;
    for (int d = 0; d < a->head_dim; d += LANES) {
        vf sum[TILE_MAX];
        UNROLL for (int t = 0; t < n; t++) sum[t] = vf_set1(0);
        for (int64_t at = 0; at < a->n_keys; at++) {
            vf v = load_cached(half, a->values, at * row + d);
            UNROLL for (int t = 0; t < n; t++) sum[t] = vf_fma(v, vf_set1(a->scores[t * stride + at]), sum[t]);
        }
        for (int t = 0; t < n; t++)
            store_rows(sum[t] * vf_set1(weight[t]), a->head_dim - d, NULL, false, out + t * a->out_stride + d);
    }
}

INLINE void attend_queries(const int n, const bool half, const struct attention *a, const float *q, float *out) {
    const int64_t stride = ((int64_t)a->n_keys + LANES - 1) / LANES * LANES;
    float weight[TILE_MAX];
    score_keys(n, half, a, q, stride);
    for (int t = 0; t < n; t++) weight[t] = soften(a->scores + t * stride, stride);
    mix_values(n, half, a, weight, out, stride);
}

#define ATTEND_CASE(N)                      \
    case N:                                 \
        attend_queries(N, half, a, q, out); \
        break;

INLINE void attend_all(const bool half, const struct attention *a) {
    const float *q = a->queries;
    float *out = a->out;
    for (int left = a->n_queries; left > 0;
         left -= TILE_QUERIES, q += TILE_QUERIES * a->q_stride, out += TILE_QUERIES * a->out_stride)
        switch (left < TILE_QUERIES ? left : TILE_QUERIES) {
            ATTEND_CASE(1)
            ATTEND_CASE(2) ATTEND_CASE(3) ATTEND_CASE(4) ATTEND_CASE(5) ATTEND_CASE(6) ATTEND_CASE(7) ATTEND_CASE(8)
        }
}

static void attend(const struct attention *a) {
    if (a->half)
        attend_all(true, a);
    else
        attend_all(false, a);
}

#endif

#if defined(QUARTERS)
#include "cpu/kernels_quarters.h"
#endif

const struct kernels KERNELS = {
    .name = NAME,
    .lanes = LANES,
    .n_tile_float = TILE_FLOAT,
    .n_tile_small = TILE_SMALL,
    .n_tile_coarse = TILE_COARSE,
    .zero8 = ZERO8,
    .prepare = prepare,
#if !defined(NO_WHOLE)
    .n_tile_whole = TILE_WHOLE,
    .round16 = round16,
#endif
    .multiply = multiply,
#if defined(QUARTERS)
    .prepare_parts = prepare_parts,
    .scale16 = scale16,
    .multiply_parts = multiply_parts,
#endif
    .rms_norm = rms_norm,
    .silu = silu,
    .add = add,
    .to_f16 = to_f16,
    .attend = attend,
};

#endif
