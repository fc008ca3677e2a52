/* What the codec does between its matrices. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

KERNEL(fsq_values, struct fsq_args, 256) {
    int i = block_x() * 256 + thread_x();
    if (i >= a->n) return;
    int rest = a->codes[i];
    for (int digit = 0; digit < a->n_digits; digit++) {
        int levels = a->levels[digit], half = levels / 2;
        a->values[i * a->n_digits + digit] = (float)(rest % levels - half) / (float)half;
        rest /= levels;
    }
}

KERNEL(spectrum, struct spectrum_args, 256) {
    for (i64 i = (i64)block_x() * 256 + thread_x(); i < (i64)a->n * a->bins; i += (i64)grid_x() * 256) {
        float *x = a->x + i / a->bins * 2 * a->bins + i % a->bins;
        float magnitude = exp_f32(x[0]), sine, cosine;
        if (magnitude > a->max_magnitude) magnitude = a->max_magnitude;
        sincos_f32(x[a->bins], &sine, &cosine);
        x[0] = magnitude * cosine;
        x[a->bins] = magnitude * sine;
    }
}

KERNEL(overlap_add, struct overlap_args, 256) {
    i64 n = (i64)a->n * a->hop;
    for (i64 i = (i64)block_x() * 256 + thread_x(); i < n; i += (i64)grid_x() * 256) {
        i64 at = i + (a->n_fft - a->hop) / 2;
        i64 first = (at - a->n_fft) / a->hop + 1, last = at / a->hop;
        if (at < a->n_fft) first = 0;
        if (last >= a->n) last = a->n - 1;
        float sum = 0, weight = 0;
        for (i64 t = first; t <= last; t++) {
            int offset = (int)(at - t * a->hop);
            float w = a->window[offset];
            sum += a->frames[t * a->n_fft + offset];
            weight += w * w;
        }
        a->pcm[i] = sum / weight;
    }
}
