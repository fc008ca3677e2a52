/* Functions that C libraries have and kernels must bring along. The same operations on device and host, up to the
   fusing of multiply and add. */
#ifndef UTTER_GPU_KERNELS_MATH_H
#define UTTER_GPU_KERNELS_MATH_H

#include "gpu/kernels/ptx.h"

#define INFINITE __builtin_inff()

INLINE u32 bits_of_f32(float f) {
    u32 u;
    __builtin_memcpy(&u, &f, 4);
    return u;
}

INLINE float f32_of_bits(u32 u) {
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}

INLINE u64 bits_of_f64(double d) {
    u64 u;
    __builtin_memcpy(&u, &d, 8);
    return u;
}

INLINE double f64_of_bits(u64 u) {
    double d;
    __builtin_memcpy(&d, &u, 8);
    return d;
}

INLINE int is_finite(float f) { return (bits_of_f32(f) & 0x7f800000u) != 0x7f800000u; }

INLINE float max_f32(float a, float b) { return a > b ? a : b; }
INLINE int min_int(int a, int b) { return a < b ? a : b; }

/* The nearest whole number of |x| < 2^51. */
INLINE double nearest_f64(double x) { return (double)(i64)(x + (x < 0 ? -0.5 : 0.5)); }

/* e^x to about a unit of the last place: x = k ln 2 + r, |r| <= ln 2 / 2, and Taylor's series for e^r. */
INLINE double exp_f64(double x) {
    if (x != x) return x;
    if (x > 709) return f64_of_bits(0x7ff0000000000000ull);
    if (x < -708) return 0;
    double k = nearest_f64(x * 1.4426950408889634);
    double r = x - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    double sum = 1;
    UNROLL for (int i = 14; i > 0; i--) sum = 1 + sum * r * (1.0 / i);
    return sum * f64_of_bits((u64)((i64)k + 1023) << 52);
}

/* ln x of a normal x > 0: x = 2^k m, and the series of artanh((m - 1) / (m + 1)). */
INLINE double log_f64(double x) {
    u64 bits = bits_of_f64(x);
    i64 k = (i64)(bits >> 52) - 1023;
    double m = f64_of_bits((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 0;
    UNROLL for (int i = 23; i > 0; i -= 2) sum = sum * square + 1.0 / i;
    return 2 * s * sum + (double)k * 0.69314718055994530942;
}

/* As the sampler on the CPU: the double function, rounded. */
INLINE float exp_f32_of_f64(float x) { return (float)exp_f64((double)x); }
INLINE float log_f32_of_f64(float x) { return x > 0 ? (float)log_f64((double)x) : -INFINITE; }

/* e^x to about 1e-7 of its value. */
INLINE float exp_f32(float x) {
    if (x > 88.7f) return x != x ? x : INFINITE;
    if (x < -87.0f) return 0;
    float k = (float)(int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    float r = x - k * 0.693145752f - k * 1.42860677e-6f;
    float sum = 1.0f / 720 + r * (1.0f / 5040);
    sum = 1.0f / 120 + r * sum;
    sum = 1.0f / 24 + r * sum;
    sum = 1.0f / 6 + r * sum;
    sum = 0.5f + r * sum;
    sum = 1 + r * (1 + r * sum);
    return sum * f32_of_bits((u32)((int)k + 127) << 23);
}

INLINE float silu_f32(float x) { return x / (1 + exp_f32(-x)); }

/* Sine and cosine of |x| < 1e9; larger ones count as 0. The angle is reduced in double precision. */
INLINE void sincos_f32(float x, float *sine, float *cosine) {
    if (!(x > -1e9f && x < 1e9f)) x = 0;
    double k = nearest_f64((double)x * 0.63661977236758134308);
    float r = (float)((double)x - k * 1.57079632679489661923), square = r * r;
    float s = 2.7557319e-6f, c = 2.4801587e-5f;
    s = -1.9841270e-4f + square * s;
    s = 8.3333333e-3f + square * s;
    s = -1.6666667e-1f + square * s;
    s = r + r * square * s;
    c = -1.3888889e-3f + square * c;
    c = 4.1666667e-2f + square * c;
    c = -0.5f + square * c;
    c = 1 + square * c;
    int quarter = (int)((i64)k & 3);
    *sine = quarter & 1 ? c : s;
    *cosine = quarter & 1 ? s : c;
    if (quarter & 2) *sine = -*sine;
    if (quarter == 1 || quarter == 2) *cosine = -*cosine;
}

#endif
