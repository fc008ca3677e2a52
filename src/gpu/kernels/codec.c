/* What the codec does between its matrices. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

/* ---- synthesis ---- */

KERNEL(codec_start, struct codec_start_args, 256) {
    int row = block_x(), code = a->codes[row];
    float value[16] = {0};
    int rest = code;
    UNROLL for (int digit = 0; digit < 16; digit++) {
        if (digit >= a->n_digits) continue;
        int levels = a->levels[digit], half = levels / 2;
        value[digit] = (float)(rest % levels - half) / (float)half;
        rest /= levels;
    }
    for (int c = thread_x(); c < a->width; c += 256) {
        float sum = 0;
        if (code >= 0) {
            sum = a->bias[c];
            UNROLL for (int digit = 0; digit < 16; digit++) if (digit < a->n_digits) sum +=
                a->columns[digit * a->width + c] * value[digit];
        }
        put_half(a->y, a->y_low, (i64)row * a->y_stride + c, sum);
    }
}

/* What a matrix made of a row's channel, in parts, and what is added to it. */
INLINE float sum_of_parts(const struct codec_sum *s, i64 row, int channel) {
    float sum = s->bias ? s->bias[channel] : 0;
    const float *part = s->parts + row * s->stride + channel;
    for (int i = 0; i < s->n_parts; i++) sum += part[i * s->part_stride];
    if (s->x && s->accumulate) sum += s->x[row * s->width + channel];
    if (s->x) s->x[row * s->width + channel] = sum;
    return sum;
}

KERNEL(codec_norm, struct codec_norm_args, 256) {
    int row = block_x(), width = a->sum.width;
    if (a->piece_of_row[row] < 0) return;
    const float *x = a->sum.x + (i64)row * width;
    float sum = 0, mean = 0;
    for (int c = thread_x(); c < width; c += 256) {
        float v = sum_of_parts(&a->sum, row, c);
        sum += a->bias ? v : v * v;
    }
    sum = block_sum(sum, 256) / (float)width;
    if (a->bias) {  // LayerNorm
        mean = sum;
        sum = 0;
        for (int c = thread_x(); c < width; c += 256) sum += (x[c] - mean) * (x[c] - mean);
        sum = block_sum(sum, 256) / (float)width;
    }
    float scale = rsqrt_f32(sum + a->eps);
    for (int c = thread_x(); c < width; c += 256) {
        float v = (x[c] - mean) * scale * a->weight[c];
        put_half(a->y, a->y_low, (i64)row * a->y_stride + c, a->bias ? v + a->bias[c] : v);
    }
}

KERNEL(codec_group_norm, struct codec_norm_args, 512) {
    const struct codec_piece *piece = &a->pieces[block_y()];
    int width = a->sum.width, channels = width / a->n_groups, first = block_x() * channels;
    int across = min_int(channels, 512), down = 512 / across;  // threads
    int my_channel = thread_x() % across, my_frame = thread_x() < across * down ? thread_x() / across : piece->n;
    float n = (float)piece->n * (float)channels, sum = 0;
    for (int f = my_frame; f < piece->n; f += down)
        for (int c = my_channel; c < channels; c += across) sum += sum_of_parts(&a->sum, piece->row + f, first + c);
    float mean = block_sum(sum, 512) / n;
    sum = 0;
    for (int f = my_frame; f < piece->n; f += down)
        for (int c = my_channel; c < channels; c += across) {
            float v = a->sum.x[(i64)(piece->row + f) * width + first + c] - mean;
            sum += v * v;
        }
    float scale = rsqrt_f32(block_sum(sum, 512) / n + a->eps);
    for (int f = my_frame; f < piece->n; f += down)
        for (int c = my_channel; c < channels; c += across) {
            i64 row = piece->row + f;
            int channel = first + c;
            float v = (a->sum.x[row * width + channel] - mean) * scale * a->weight[channel] + a->bias[channel];
            put_half(a->y, a->y_low, row * a->y_stride + channel, silu_f32(v));
        }
}

KERNEL(codec_spectrum, struct codec_spectrum_args, 256) {
    int row = block_x();
    for (int k = thread_x(); k < a->bins; k += 256) {
        float magnitude = exp_f32(sum_of_parts(&a->sum, row, k)), sine, cosine;
        if (magnitude > a->max_magnitude) magnitude = a->max_magnitude;
        sincos_f32(sum_of_parts(&a->sum, row, a->bins + k), &sine, &cosine);
        put_half(a->y, a->y_low, (i64)row * a->y_stride + k, magnitude * cosine);
        put_half(a->y, a->y_low, (i64)row * a->y_stride + a->bins + k, magnitude * sine);
    }
}

KERNEL(codec_overlap_add, struct codec_overlap_args, 256) {
    int row = block_x();
    if (a->piece_of_row[row] < 0) return;
    const struct codec_piece *piece = &a->pieces[a->piece_of_row[row]];
    i64 frame = row - piece->row;
    for (int i = thread_x(); i < a->hop; i += 256) {
        i64 at = frame * a->hop + i + (a->n_fft - a->hop) / 2;
        i64 first = at < a->n_fft ? 0 : (at - a->n_fft) / a->hop + 1, last = at / a->hop;
        if (last >= piece->n) last = piece->n - 1;
        float sum = 0, weight = 0;
        for (i64 t = first; t <= last; t++) {
            int offset = (int)(at - t * a->hop);
            float w = a->window[offset];
            sum += sum_of_parts(&a->sum, piece->row + t, offset);
            weight += w * w;
        }
        a->pcm[(piece->frame + frame) * a->hop + i] = sum / weight;
    }
}

/* ---- loading ---- */

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
