/* Kernels for AVX2 with FMA and F16C. Compiled a second time with VNNI. */
#include "cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define LANES 8
#define TILE_FLOAT 6
#define TILE_SMALL 4
#define TILE_COARSE 4
#define TILE_WHOLE 4
#define COARSE_WORDS 8
#define SECOND_HALF 4
#if defined(__AVXVNNI__)
#define ZERO8 128
#define BASE kernels_avx2
#define KERNELS kernels_avxvnni
#define NAME "avxvnni"
#else
#define ZERO8 0
#define KERNELS kernels_avx2
#define NAME "avx2"
#endif

typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));

INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
INLINE vi vi_set1(int32_t x) { return (vi)_mm256_set1_epi32(x); }
INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }

INLINE float vf_sum(vf v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

INLINE float vf_max_of(vf v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

INLINE vf vf_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

INLINE vf vf_load_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

INLINE void vf_store_f16(uint16_t *p, vf v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vf vf_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi vf_to_int(vf x) { return (vi)_mm256_cvtps_epi32(x); }
INLINE vf vf_from_int(vi x) { return _mm256_cvtepi32_ps((__m256i)x); }
INLINE vf vf_power2(vi i) { return (vf)((i + 127) << 23); }

INLINE __m256i load_words(const uint8_t *words, int i) {
    return _mm256_loadu_si256((const __m256i *)(words + i * LANES * 4));
}

INLINE __m256i set1_word(uint32_t x) { return _mm256_set1_epi32((int)x); }

#if defined(__AVXVNNI__)

INLINE vi dot_words(vi sum, __m256i w, uint32_t x) {
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, w, set1_word(x));
}

/* Words of weights, bytes of 0 to 255, one after another. */
INLINE void dot_word(const int n, const bool coarse, __m256i w, int i, const uint32_t *x, vi *high, vi *sums) {
    if (!coarse) UNROLL for (int t = 0; t < n; t++) high[t] = dot_words(high[t], w, x[i * n + t]);
    UNROLL for (int t = 0; t < n; t++) sums[t] = dot_words(sums[t], w, x[(coarse ? i : 8 + i) * n + t]);
}

INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    const __m256i four = _mm256_set1_epi8(15);
    vi high[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) high[t] = vi_set1(0);
    UNROLL for (int i = 0; i < 8; i++) {
        const __m256i w = load_words(words, i % 4);
        dot_word(n, coarse, _mm256_and_si256(i < 4 ? w : _mm256_srli_epi16(w, 4), four), i, x, high, sums);
    }
    if (!coarse) UNROLL for (int t = 0; t < n; t++) sums[t] += high[t] << 7;
}

INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    vi high[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) high[t] = vi_set1(0);
    UNROLL for (int i = 0; i < n_words; i++) dot_word(n, coarse, load_words(words, i), i, x, high, sums);
    if (!coarse) UNROLL for (int t = 0; t < n; t++) sums[t] += high[t] << 7;
}

#else

/* The two 16-bit halves of each lane, times `weight`. */
INLINE vi add_pairs(vi sum, __m256i pairs, short weight) {
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(weight));
}

/* Eight products of 0..15 by -127..127 in each 16-bit lane's pair: at most 30,480, so they are added there. */
INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    const __m256i four = _mm256_set1_epi8(15);
    __m256i high[TILE_MAX], low[TILE_MAX];
    UNROLL for (int t = 0; t < n; t++) high[t] = low[t] = _mm256_setzero_si256();
    UNROLL for (int i = 0; i < 8; i++) {
        const __m256i w = load_words(words, i % 4);
        const __m256i nibbles = _mm256_and_si256(i < 4 ? w : _mm256_srli_epi16(w, 4), four);
        UNROLL for (int t = 0; t < n; t++) {
            high[t] = _mm256_add_epi16(high[t], _mm256_maddubs_epi16(nibbles, set1_word(x[i * n + t])));
            if (!coarse)
                low[t] = _mm256_add_epi16(low[t], _mm256_maddubs_epi16(nibbles, set1_word(x[(8 + i) * n + t])));
        }
    }
    UNROLL for (int t = 0; t < n; t++) {
        if (!coarse) sums[t] = add_pairs(sums[t], low[t], 1);
        sums[t] = add_pairs(sums[t], high[t], coarse ? 1 : 128);
    }
}

/* |w| times x with w's sign: a pair is at most 2 * 128 * 127 = 32,512. */
INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    UNROLL for (int i = 0; i < n_words; i++) {
        const __m256i w = load_words(words, i), magnitude = _mm256_abs_epi8(w);
        UNROLL for (int t = 0; t < n; t++) {
            const __m256i high = _mm256_sign_epi8(set1_word(x[i * n + t]), w);
            sums[t] = add_pairs(sums[t], _mm256_maddubs_epi16(magnitude, high), coarse ? 1 : 128);
            if (coarse) continue;
            const __m256i low = _mm256_sign_epi8(set1_word(x[(8 + i) * n + t]), w);
            sums[t] = add_pairs(sums[t], _mm256_maddubs_epi16(magnitude, low), 1);
        }
    }
}

#endif

INLINE __m256i round_8(const float *x, __m256 inverse) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

/* 32 integers of 8 bits in order. */
INLINE void store_8(uint32_t *words, __m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    _mm256_storeu_si256((__m256i *)words,
                        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

INLINE int sum_16(__m256i a, __m256i b) {
    __m256i v = _mm256_add_epi32(a, b);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* Compared as integers, so that NaN and infinity are the largest. */
INLINE float largest_magnitude(const float *x, int n) {
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    __m256i bits = _mm256_setzero_si256();
    for (int i = 0; i < n; i += LANES)
        bits = _mm256_max_epi32(bits, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + i)), no_sign));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

INLINE float quantise(const float *x, const bool coarse, uint32_t *words, int32_t *sums) {
    const int whole = coarse ? COARSE_MOST : QUANTISED_MOST;
    const float most = largest_magnitude(x, BLOCK), inverse = quantise_inverse(most, whole);
    if (inverse == 0) {
        memset(words, 0, coarse ? BLOCK : 2 * BLOCK);
        sums[0] = sums[1] = 0;
        return quantise_scale(most, whole);
    }
    __m256i q[4], high[4], low[4];
    UNROLL for (int i = 0; i < 4; i++) {
        q[i] = round_8(x + i * LANES, _mm256_set1_ps(inverse));
        high[i] = _mm256_srai_epi32(_mm256_add_epi32(q[i], _mm256_set1_epi32(64)), 7);
        low[i] = _mm256_sub_epi32(q[i], _mm256_slli_epi32(high[i], 7));
    }
    sums[0] = sum_16(q[0], q[1]);
    sums[1] = sum_16(q[2], q[3]);
    if (coarse) {
        store_8(words, q[0], q[1], q[2], q[3]);
    } else {
        store_8(words, high[0], high[1], high[2], high[3]);
        store_8(words + 8, low[0], low[1], low[2], low[3]);
    }
    return quantise_scale(most, whole);
}

INLINE void round_whole(const float *x, int n, float inverse, uint32_t *words) {
    for (int i = 0; i < n; i += 2 * LANES) {
        const __m256 by = _mm256_set1_ps(inverse);
        const __m256i packed = _mm256_packs_epi32(round_8(x + i, by), round_8(x + i + LANES, by));
        _mm256_storeu_si256((__m256i *)(words + i / 2), _mm256_permute4x64_epi64(packed, 0xd8));
    }
}

INLINE vi dot_pairs(vi sum, vi w, __m256i x) {
#if defined(__AVXVNNI__)
    return (vi)_mm256_dpwssd_avx_epi32((__m256i)sum, (__m256i)w, x);
#else
    return sum + (vi)_mm256_madd_epi16((__m256i)w, x);
#endif
}

#include "cpu/kernels_body.h"
