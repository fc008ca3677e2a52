/* Kernels for AVX-512 (F, BW, VL, DQ). Compiled a second time with VNNI. */
#include "cpu/kernels.h"

#include <immintrin.h>

#define LANES 16
#define TILE_FLOAT 14
#define TILE_SMALL 8
#define TILE_COARSE 12
#define COARSE_WORDS 8
#define SECOND_HALF 4
#define QUARTERS
#if defined(__AVX512VNNI__)
#define TILE_WHOLE 14
#define ZERO8 128
#define BASE kernels_avx512bw
#define KERNELS kernels_avx512vnni
#define NAME "avx512vnni"
#else
#define TILE_WHOLE 8
#define ZERO8 0
#define KERNELS kernels_avx512bw
#define NAME "avx512bw"
#endif

typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
typedef int16_t vh __attribute__((vector_size(64)));

INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
INLINE vi vi_set1(int32_t x) { return (vi)_mm512_set1_epi32(x); }
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE float vf_sum(vf v) { return _mm512_reduce_add_ps(v); }
INLINE float vf_max_of(vf v) { return _mm512_reduce_max_ps(v); }
INLINE vf vf_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

INLINE vf vf_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

INLINE void vf_store_f16(uint16_t *p, vf v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi vf_to_int(vf x) { return (vi)_mm512_cvtps_epi32(x); }
INLINE vf vf_from_int(vi x) { return _mm512_cvtepi32_ps((__m512i)x); }
INLINE vf vf_power2(vi i) { return (vf)((i + 127) << 23); }

INLINE __m512i load_words(const uint8_t *words, int i) { return _mm512_loadu_si512(words + i * LANES * 4); }

INLINE __m512i set1_word(uint32_t x) { return _mm512_set1_epi32((int)x); }

#if defined(__AVX512VNNI__)

INLINE vi dot_words(vi sum, __m512i w, uint32_t x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, w, set1_word(x)); }

INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    const __m512i four = _mm512_set1_epi8(15);
    vi high[TILE_MAX];
    if (!coarse) UNROLL for (int t = 0; t < n; t++) high[t] = vi_set1(0);
    UNROLL for (int i = 0; i < 8; i++) {
        const __m512i w = load_words(words, i % 4);
        const __m512i nibbles = _mm512_and_si512(i < 4 ? w : _mm512_srli_epi16(w, 4), four);
        if (!coarse) UNROLL for (int t = 0; t < n; t++) high[t] = dot_words(high[t], nibbles, x[i * n + t]);
        UNROLL for (int t = 0; t < n; t++) sums[t] = dot_words(sums[t], nibbles, x[(coarse ? i : 8 + i) * n + t]);
    }
    if (!coarse) UNROLL for (int t = 0; t < n; t++) sums[t] += high[t] << 7;
}

INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    vi high[TILE_MAX];
    if (!coarse) UNROLL for (int t = 0; t < n; t++) high[t] = vi_set1(0);
    UNROLL for (int i = 0; i < n_words; i++) {
        const __m512i w = load_words(words, i);
        if (!coarse) UNROLL for (int t = 0; t < n; t++) high[t] = dot_words(high[t], w, x[i * n + t]);
        UNROLL for (int t = 0; t < n; t++) sums[t] = dot_words(sums[t], w, x[(coarse ? i : 8 + i) * n + t]);
    }
    if (!coarse) UNROLL for (int t = 0; t < n; t++) sums[t] += high[t] << 7;
}

#else

/* The two 16-bit halves of each lane, times `weight`. */
INLINE vi add_pairs(vi sum, __m512i pairs, short weight) {
    return sum + (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(weight));
}

/* Eight products of 0..15 by -127..127 in each 16-bit lane's pair: at most 30,480, so they are added there. */
INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    const __m512i four = _mm512_set1_epi8(15);
    __m512i high[TILE_MAX], low[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) high[t] = low[t] = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < 8; i++) {
        const __m512i w = load_words(words, i % 4);
        const __m512i nibbles = _mm512_and_si512(i < 4 ? w : _mm512_srli_epi16(w, 4), four);
        UNROLL for (int t = 0; t < n; t++) {
            high[t] = _mm512_add_epi16(high[t], _mm512_maddubs_epi16(nibbles, set1_word(x[i * n + t])));
            if (!coarse)
                low[t] = _mm512_add_epi16(low[t], _mm512_maddubs_epi16(nibbles, set1_word(x[(8 + i) * n + t])));
        }
    }
    UNROLL for (int t = 0; t < n; t++) {
        if (!coarse) sums[t] = add_pairs(sums[t], low[t], 1);
        sums[t] = add_pairs(sums[t], high[t], coarse ? 1 : 128);
    }
}

INLINE __m512i with_sign(__mmask64 negative, uint32_t x) {
    return _mm512_mask_sub_epi8(set1_word(x), negative, _mm512_setzero_si512(), set1_word(x));
}

/* |w| times x with w's sign: a pair is at most 2 * 128 * 127 = 32,512. */
INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    UNROLL for (int i = 0; i < n_words; i++) {
        const __m512i w = load_words(words, i), magnitude = _mm512_abs_epi8(w);
        const __mmask64 negative = _mm512_movepi8_mask(w);
        UNROLL for (int t = 0; t < n; t++) {
            const __m512i high = with_sign(negative, x[i * n + t]);
            sums[t] = add_pairs(sums[t], _mm512_maddubs_epi16(magnitude, high), coarse ? 1 : 128);
            if (coarse) continue;
            const __m512i low = with_sign(negative, x[(8 + i) * n + t]);
            sums[t] = add_pairs(sums[t], _mm512_maddubs_epi16(magnitude, low), 1);
        }
    }
}

#endif

/* 16 integers, of at most 16 bits, to their high and low halves of 8. */
INLINE void store_halves(uint32_t *words, __m512i q) {
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(64)), 7);
    const __m512i low = _mm512_sub_epi32(q, _mm512_slli_epi32(high, 7));
    _mm_storeu_si128((__m128i *)words, _mm512_cvtepi32_epi8(high));
    _mm_storeu_si128((__m128i *)(words + 8), _mm512_cvtepi32_epi8(low));
}

/* Compared as integers, NaN and infinity are the largest. */
INLINE __m512i magnitudes(__m512 x) { return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)); }

INLINE float magnitude_of(__m512i most) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((int)_mm512_reduce_max_epu32(most))));
}

INLINE float quantise(const float *x, const bool coarse, uint32_t *words, int32_t *sums) {
    const int whole = coarse ? COARSE_MOST : QUANTISED_MOST;
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + LANES);
    const float most = magnitude_of(_mm512_max_epu32(magnitudes(a), magnitudes(b)));
    const float inverse = quantise_inverse(most, whole);
    __m512i qa = _mm512_setzero_si512(), qb = qa;
    if (inverse > 0) {
        qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, _mm512_set1_ps(inverse)));
        qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, _mm512_set1_ps(inverse)));
    }
    sums[0] = _mm512_reduce_add_epi32(qa);
    sums[1] = _mm512_reduce_add_epi32(qb);
    if (coarse) {
        _mm_storeu_si128((__m128i *)words, _mm512_cvtepi32_epi8(qa));
        _mm_storeu_si128((__m128i *)(words + 4), _mm512_cvtepi32_epi8(qb));
    } else {
        store_halves(words, qa);
        store_halves(words + 4, qb);
    }
    return quantise_scale(most, whole);
}

INLINE float largest_magnitude(const float *x, int n) {
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < n; i += LANES) most = _mm512_max_epu32(most, magnitudes(_mm512_loadu_ps(x + i)));
    return magnitude_of(most);
}

INLINE void round_whole(const float *x, int n, float inverse, uint32_t *words) {
    for (int i = 0; i < n; i += LANES) {
        const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inverse)));
        _mm256_storeu_si256((__m256i *)(words + i / 2), _mm512_cvtepi32_epi16(q));
    }
}

INLINE vi dot_pairs(vi sum, vi w, __m512i x) {
#if defined(__AVX512VNNI__)
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));  // GCC 12 keeps 28 sums in registers only like this
    return sum;
#else
    return sum + (vi)_mm512_madd_epi16((__m512i)w, x);
#endif
}

#define TRANSPOSES

/* 16 words each of 16 tokens change places. */
INLINE void transpose_square(__m512i *r) {
    __m512i a[16];
    UNROLL for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL for (int i = 0; i < 16; i += 4) {  // r[i + j]: word j of each quarter, of tokens i to i + 3
        r[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        const __m512i low0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88),
                      high0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        const __m512i low1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        const __m512i high1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
        a[i] = _mm512_shuffle_i32x4(low0, low1, 0x88);
        a[i + 8] = _mm512_shuffle_i32x4(low0, low1, 0xdd);
        a[i + 4] = _mm512_shuffle_i32x4(high0, high1, 0x88);
        a[i + 12] = _mm512_shuffle_i32x4(high0, high1, 0xdd);
    }
    UNROLL for (int i = 0; i < 16; i++) r[i] = a[i];
}

INLINE void transpose(const four_bytes *in, int64_t stride, int n, int64_t n_columns, four_bytes *out) {
    const __mmask16 tokens = (__mmask16)((1 << n) - 1);
    for (int64_t c = 0; c < n_columns; c += 16) {
        const int64_t left = n_columns - c;
        const __mmask16 columns = (__mmask16)(left >= 16 ? 0xffff : (1 << left) - 1);
        __m512i r[16];
        UNROLL for (int t = 0; t < 16; t++) {
            r[t] = _mm512_setzero_si512();
            if (t < n) r[t] = _mm512_maskz_loadu_epi32(columns, in + t * stride + c);
        }
        transpose_square(r);
        UNROLL for (int i = 0; i < 16; i++) if (i < left) _mm512_mask_storeu_epi32(out + (c + i) * n, tokens, r[i]);
    }
}

#include "cpu/kernels_body.h"
