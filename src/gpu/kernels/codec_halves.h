/* What the codec's kernels share. Floats as halves: one, or a high and a low one whose sum has nearly a float's
 * precision. */
#ifndef UTTER_GPU_KERNELS_CODEC_HALVES_H
#define UTTER_GPU_KERNELS_CODEC_HALVES_H

#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/ptx.h"

/* What halves cannot hold becomes their largest; what is no number stays none. */
INLINE float within_halves(float v) {
    v = v > 65504.0f ? 65504.0f : v;
    return v < -65504.0f ? -65504.0f : v;
}

/* low: NULL without. */
INLINE void put_half(u16 *high, u16 *low, i64 at, float v) {
    u16 h = f32_to_half(within_halves(v));
    high[at] = h;
    if (low) low[at] = f32_to_half(v - half_to_f32(h));
}

/* What a pair of halves leaves of two floats, as halves. */
INLINE u32 rest_of_pair(u32 pair, float first, float second) {
    return pair_of_halves(first - half_to_f32((u16)(pair & 0xffff)), second - half_to_f32((u16)(pair >> 16)));
}

/* Two neighbours; `at` is even. */
INLINE void put_pair(u16 *high, u16 *low, i64 at, float first, float second) {
    u32 pair = pair_of_halves(within_halves(first), within_halves(second));
    *(u32 *)(high + at) = pair;
    if (low) *(u32 *)(low + at) = rest_of_pair(pair, first, second);
}

/* x / (1 + e^-x), to a few units of the last place. */
INLINE float silu_fast(float x) { return x * reciprocal_fast(1 + exp2_fast(x * -1.44269504f)); }

/* Every block asks for its share. */
INLINE void fetch_ahead(const struct codec_ahead *ahead, int n_threads) {
    enum { LINE = 128 };
    i64 block = block_x() + (i64)block_y() * grid_x(), step = (i64)grid_x() * grid_y() * n_threads * LINE;
    for (i64 at = (block * n_threads + thread_x()) * LINE; at < ahead->n_bytes; at += step)
        prefetch((const u8 *)ahead->p + at);
}

#endif
