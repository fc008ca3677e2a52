/* Kernels for 64-bit ARM with NEON, which all have. Compiled a second time with products of four bytes (dotprod), and a
   third time with products of small matrices of bytes (i8mm).

   Vectors of 16-bit integers are multiplied at half the speed of floats on many of these processors, so half-precision
   weights stay what they are. */
#include "cpu/kernels.h"

#include <arm_neon.h>
#include <string.h>

#define LANES 4
#define TILE_FLOAT 12
#define TILE_SMALL 8
#define TILE_COARSE 8
#define COARSE_WORDS 8
#define ZERO8 0
#define NO_WHOLE
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define WORD_GROUP (coarse ? 2 : 4)
#define SECOND_HALF (coarse ? 4 : 8)
#define BASE kernels_neon
#define KERNELS kernels_i8mm
#define NAME "i8mm"
#elif defined(__ARM_FEATURE_DOTPROD)
#define WORD_GROUP 4
#define SECOND_HALF 4
#define BASE kernels_neon
#define KERNELS kernels_dotprod
#define NAME "dotprod"
#else
#define SECOND_HALF 4
#define KERNELS kernels_neon
#define NAME "neon"
#endif

typedef float32x4_t vf;
typedef int32x4_t vi;

INLINE vf vf_set1(float x) { return vdupq_n_f32(x); }
INLINE vi vi_set1(int32_t x) { return vdupq_n_s32(x); }
INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
INLINE void vf_store(float *p, vf v) { vst1q_f32(p, v); }
INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); }
INLINE float vf_sum(vf v) { return vaddvq_f32(v); }
INLINE float vf_max_of(vf v) { return vmaxvq_f32(v); }
INLINE vf vf_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
INLINE vf vf_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
INLINE void vf_store_f16(uint16_t *p, vf v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
INLINE vf vf_round(vf x) { return vrndnq_f32(x); }
INLINE vi vf_to_int(vf x) { return vcvtnq_s32_f32(x); }
INLINE vf vf_from_int(vi x) { return vcvtq_f32_s32(x); }
INLINE vf vf_power2(vi i) { return vreinterpretq_f32_s32(vshlq_n_s32(i + vdupq_n_s32(127), 23)); }

INLINE int8x16_t load_bytes(const void *p) { return vld1q_s8(p); }

#if defined(__ARM_FEATURE_MATMUL_INT8)

/* Fine words are two of a token's high halves, then the same two low ones; coarse words two of each token. With pairs
   of words of two rows, one instruction makes the products of both rows and both halves, or both tokens. */
INLINE void dot(const int n, const bool coarse, const int n_words, const int8x16_t *w, const uint32_t *x, vi *sums) {
    int32x4_t rows[2][BLOCK / 8];
    UNROLL for (int i = 0; i < n_words / 2; i++) {
        rows[0][i] = vzip1q_s32(vreinterpretq_s32_s8(w[2 * i]), vreinterpretq_s32_s8(w[2 * i + 1]));
        rows[1][i] = vzip2q_s32(vreinterpretq_s32_s8(w[2 * i]), vreinterpretq_s32_s8(w[2 * i + 1]));
    }
    UNROLL for (int t = 0; t < n; t += coarse ? 2 : 1) {
        const vi start = coarse ? vzip1q_s32(sums[t], sums[t + 1 < n ? t + 1 : t]) : vi_set1(0);
        vi products[2] = {start, start};
        UNROLL for (int i = 0; i < n_words / 2; i++) {
            const uint32_t *at = x + (i * n + t) * (coarse ? 2 : 4);
            int8x16_t v;
            if (coarse && t + 1 == n)
                v = vcombine_s8(vld1_s8((const int8_t *)at), vdup_n_s8(0));
            else
                v = load_bytes(at);
            products[0] = vmmlaq_s32(products[0], vreinterpretq_s8_s32(rows[0][i]), v);
            products[1] = vmmlaq_s32(products[1], vreinterpretq_s8_s32(rows[1][i]), v);
        }
        const vi first = vuzp1q_s32(products[0], products[1]), second = vuzp2q_s32(products[0], products[1]);
        sums[t] = coarse ? first : sums[t] + vshlq_n_s32(first, 7) + second;
        if (coarse && t + 1 < n) sums[t + 1] = second;
    }
}

#elif defined(__ARM_FEATURE_DOTPROD)

/* sum + the products of w's four columns with those of one of x's words. */
INLINE vi dot_word(vi sum, int8x16_t w, int8x16_t x, const int word) {
    switch (word) {
        case 0:
            return vdotq_laneq_s32(sum, w, x, 0);
        case 1:
            return vdotq_laneq_s32(sum, w, x, 1);
        case 2:
            return vdotq_laneq_s32(sum, w, x, 2);
        default:
            return vdotq_laneq_s32(sum, w, x, 3);
    }
}

INLINE vi dot_words(const int n, const int n_words, const int8x16_t *w, const uint32_t *x, vi sum) {
    UNROLL for (int i = 0; i < n_words; i += 4) {
        const int8x16_t v = load_bytes(x + i * n);
        UNROLL for (int j = 0; j < 4; j++) sum = dot_word(sum, w[i + j], v, j);
    }
    return sum;
}

INLINE void dot(const int n, const bool coarse, const int n_words, const int8x16_t *w, const uint32_t *x, vi *sums) {
    UNROLL for (int t = 0; t < n; t++) {
        if (!coarse) {
            const vi high = dot_words(n, n_words, w, x + t * 4, vi_set1(0));
            sums[t] += vshlq_n_s32(high, 7);
        }
        sums[t] = dot_words(n, n_words, w, x + (coarse ? 0 : 8 * n) + t * 4, sums[t]);
    }
}

#else

/* The products of each row, [4], with words of x that are n apart. As many products of a byte each as 16 bits hold are
   added there: eight of 0..15 by -127..127 in a lane, which makes at most 15,240; or two of -128..127, at most 32,512.
 */
INLINE vi dot_words(const int n, const int n_words, const int at_once, const int8x16_t *w, const uint32_t *x) {
    vi low = vi_set1(0), high = vi_set1(0);
    UNROLL for (int i = 0; i < n_words; i += at_once) {
        int16x8_t a = vdupq_n_s16(0), b = vdupq_n_s16(0);
        UNROLL for (int j = i; j < i + at_once; j++) {
            const int8x16_t v = vreinterpretq_s8_u32(vdupq_n_u32(x[j * n]));
            a = vmlal_s8(a, vget_low_s8(w[j]), vget_low_s8(v));
            b = vmlal_high_s8(b, w[j], v);
        }
        if (at_once == 8) return vpaddlq_s16(vpaddq_s16(a, b));
        low = vpadalq_s16(low, a);
        high = vpadalq_s16(high, b);
    }
    return vpaddq_s32(low, high);
}

INLINE void dot_bytes(const int n, const bool coarse, const int n_words, const int at_once, const int8x16_t *w,
                      const uint32_t *x, vi *sums) {
    UNROLL for (int t = 0; t < n; t++) {
        const vi first = dot_words(n, n_words, at_once, w, x + t);
        sums[t] += coarse ? first : vshlq_n_s32(first, 7) + dot_words(n, n_words, at_once, w, x + 8 * n + t);
    }
}

#endif

INLINE void dot_q4(const int n, const bool coarse, const uint8_t *words, const uint32_t *x, vi *sums) {
    int8x16_t w[8];
    UNROLL for (int i = 0; i < 4; i++) {
        const uint8x16_t both = vld1q_u8(words + i * LANES * 4);
        w[i] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        w[4 + i] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
#if defined(__ARM_FEATURE_DOTPROD)
    dot(n, coarse, 8, w, x, sums);
#else
    dot_bytes(n, coarse, 8, 8, w, x, sums);
#endif
}

INLINE void dot_q8(const int n, const bool coarse, const int n_words, const uint8_t *words, const uint32_t *x,
                   vi *sums) {
    int8x16_t w[8];
    UNROLL for (int i = 0; i < n_words; i++) w[i] = load_bytes(words + i * LANES * 4);
#if defined(__ARM_FEATURE_DOTPROD)
    dot(n, coarse, n_words, w, x, sums);
#else
    dot_bytes(n, coarse, n_words, 2, w, x, sums);
#endif
}

/* Compared as integers, so that NaN and infinity are the largest. */
INLINE float largest_magnitude(const float *x, int n) {
    uint32x4_t most = vdupq_n_u32(0);
    for (int i = 0; i < n; i += LANES) most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
    return vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(most))), 0);
}

INLINE int16x8_t round_8(const float *x, float inverse) {
    const vi a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
    return vmovn_high_s32(vmovn_s32(a), vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + LANES), inverse)));
}

INLINE int8x16_t narrow(int16x8_t a, int16x8_t b) { return vmovn_high_s16(vmovn_s16(a), b); }

INLINE void store_halves(uint32_t *words, int8x16_t high, int8x16_t low) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    const int64x2_t h = vreinterpretq_s64_s8(high), l = vreinterpretq_s64_s8(low);
    vst1q_u32(words, vreinterpretq_u32_s64(vzip1q_s64(h, l)));
    vst1q_u32(words + 4, vreinterpretq_u32_s64(vzip2q_s64(h, l)));
#else
    vst1q_s8((int8_t *)words, high);
    vst1q_s8((int8_t *)(words + 8), low);
#endif
}

INLINE float quantise(const float *x, const bool coarse, uint32_t *words, int32_t *sums) {
    const int whole = coarse ? COARSE_MOST : QUANTISED_MOST;
    const float most = largest_magnitude(x, BLOCK), inverse = quantise_inverse(most, whole);
    sums[0] = sums[1] = 0;
    if (inverse == 0) {
        memset(words, 0, coarse ? BLOCK : 2 * BLOCK);
        return quantise_scale(most, whole);
    }
    UNROLL for (int half = 0; half < 2; half++) {
        const int16x8_t a = round_8(x + half * 16, inverse), b = round_8(x + half * 16 + 8, inverse);
        sums[half] = vaddlvq_s16(a) + vaddlvq_s16(b);
        if (coarse) {
            vst1q_s8((int8_t *)(words + half * 4), narrow(a, b));
            continue;
        }
        const int16x8_t high_a = vrshrq_n_s16(a, 7), high_b = vrshrq_n_s16(b, 7);
        const int8x16_t low = narrow(a - vshlq_n_s16(high_a, 7), b - vshlq_n_s16(high_b, 7));
        store_halves(words + half * SECOND_HALF, narrow(high_a, high_b), low);
    }
    return quantise_scale(most, whole);
}

#include "cpu/kernels_body.h"
