/* What becomes of the codec's weights while they are loaded. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

KERNEL(codec_halves, struct codec_weights_args, 256) {
    SHARED float part[256 / WARP];
    int row = a->first_row + block_x();
    const float *w = a->w + (i64)block_x() * a->n_cols;
    float scale = 1;
    if (a->unscale) {  // the largest weight to about 2^14
        float largest = 0;
        for (int i = thread_x(); i < a->n_cols; i += 256) largest = max_f32(largest, w[i] < 0 ? -w[i] : w[i]);
        largest = warp_max(largest);
        if (lane() == 0) part[warp()] = largest;
        barrier();
        for (int i = 0; i < 256 / WARP; i++) largest = max_f32(largest, part[i]);
        int exponent = min_int((int)(bits_of_f32(largest) >> 23) - 127, 114);
        if (exponent < -100) exponent = 14;  // of nothing: anything
        scale = f32_of_bits((u32)(127 + 14 - exponent) << 23);
        if (thread_x() == 0) a->unscale[row] = f32_of_bits((u32)(127 - 14 + exponent) << 23);
    }
    for (int i = thread_x(); i < a->n_cols; i += 256)
        put_half(a->high, a->low, row * a->depth + i / a->n_channels * a->channel_stride + i % a->n_channels,
                 w[i] * scale);
}

KERNEL(codec_fold, struct codec_fold_args, 256) {
    int row = block_x(), channel = a->first_row + row;
    const float *w = a->w + (i64)row * a->inner;
    for (int digit = 0; digit <= a->n_digits; digit++) {
        float sum = 0;
        for (int i = thread_x(); i < a->inner; i += 256)
            sum += w[i] * (digit < a->n_digits ? a->values[i * a->n_digits + digit] : a->values_bias[i]);
        sum = block_sum(sum, 256);
        if (thread_x() > 0) continue;
        if (digit < a->n_digits)
            a->columns[digit * a->width + channel] = sum;
        else
            a->columns_bias[channel] = sum + a->bias[channel];
    }
}
