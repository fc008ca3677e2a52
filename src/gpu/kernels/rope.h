/* Rotary positions, by pairs of dimensions of a head, and the way into the cache. */
#ifndef UTTER_GPU_KERNELS_ROPE_H
#define UTTER_GPU_KERNELS_ROPE_H

#include "gpu/kernels/args.h"
#include "gpu/kernels/ptx.h"

/* Two numbers of a head that are turned together, and their dimensions. */
struct pair {
    float u, v;
    int first, second;
};

INLINE struct pair pair_of(const struct rope_args *a, const float *x, int i) {
    int first = a->interleaved ? 2 * i : i, second = a->interleaved ? 2 * i + 1 : i + a->head_dim / 2;
    return (struct pair){x[first], x[second], first, second};
}

/* What the head is to be multiplied with before its norm's weights; 1 without a norm. All lanes. */
INLINE float head_scale(const float *x, const float *norm, int d, float eps) {
    if (!norm) return 1;
    float sum = 0;
    for (int i = lane(); i < d; i += WARP) sum += x[i] * x[i];
    return rsqrt_f32(warp_sum(sum) / (float)d + eps);
}

/* Where the cosine and the sine of pair i lie. */
INLINE const float *angle_of(const struct rope_args *a, int position, int i) {
    return a->angles + ((i64)position * (a->head_dim / 2) + i) * 2;
}

INLINE struct pair turned(struct pair p, const float *norm, float scale, float cosine, float sine) {
    float u = norm ? p.u * scale * norm[p.first] : p.u, v = norm ? p.v * scale * norm[p.second] : p.v;
    p.u = u * cosine - v * sine;
    p.v = u * sine + v * cosine;
    return p;
}

INLINE void store_key(const struct rope_args *a, struct pair p, int slot, int head, int position) {
    u16 *to = a->k_cache + (((i64)slot * a->n_kv_heads + head) * a->stride + position) * a->head_dim;
    to[p.first] = f32_to_half(p.u);
    to[p.second] = f32_to_half(p.v);
}

INLINE void store_value(const struct rope_args *a, struct pair p, int slot, int head, int position) {
    u16 *to = a->v_cache + ((i64)slot * a->n_kv_heads + head) * a->stride * a->head_dim + position;
    to[(i64)p.first * a->stride] = f32_to_half(p.u);
    to[(i64)p.second * a->stride] = f32_to_half(p.v);
}

#endif
