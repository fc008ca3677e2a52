/* What the codec does between its matrices. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

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

/* The same of `each` neighbours, 1 or 4; then channel, width and strides are multiples of 4. */
INLINE void sums_of_parts(const struct codec_sum *s, i64 row, int channel, int each, float sum[4]) {
    if (each == 1) {
        sum[0] = sum_of_parts(s, row, channel);
        return;
    }
    const float *part = s->parts + row * s->stride + channel;
    f32x4 v = {0, 0, 0, 0};
    if (s->bias) v = *(const f32x4 *)(s->bias + channel);
    f32x4 *x = (f32x4 *)(s->x + row * s->width + channel);
    if (s->accumulate) v += *x;
    _Pragma("GCC unroll 4") for (int i = 0; i < s->n_parts; i++) v += *(const f32x4 *)(part + i * s->part_stride);
    *x = v;
    UNROLL for (int i = 0; i < 4; i++) sum[i] = v[i];
}

/* What sums_of_parts kept. */
INLINE void kept_sums(const struct codec_sum *s, i64 row, int channel, int each, float sum[4]) {
    const float *x = s->x + row * s->width + channel;
    if (each == 1) {
        sum[0] = *x;
        return;
    }
    f32x4 v = *(const f32x4 *)x;
    UNROLL for (int i = 0; i < 4; i++) sum[i] = v[i];
}

INLINE void put_halves(const struct codec_norm_args *a, i64 row, int channel, int each, const float v[4]) {
    i64 at = row * a->y_stride + channel;
    if (each == 1) {
        put_half(a->y, a->y_low, at, v[0]);
        return;
    }
    put_pair(a->y, a->y_low, at, v[0], v[1]);
    put_pair(a->y, a->y_low, at + 2, v[2], v[3]);
}

INLINE void norm_row(const struct codec_norm_args *a, int row, int each) {
    int width = a->sum.width, step = 256 * each, mine = thread_x() * each;
    float first[4] = {0}, v[4], sum = 0, mean = 0;  // first: what of this row stays in registers
    for (int c = mine; c < width; c += step) {
        sums_of_parts(&a->sum, row, c, each, v);
        UNROLL for (int i = 0; i < 4; i++) {
            if (i >= each) continue;
            sum += a->bias ? v[i] : v[i] * v[i];
            if (c == mine) first[i] = v[i];
        }
    }
    sum = block_sum(sum, 256) / (float)width;
    if (a->bias) {  // LayerNorm
        mean = sum;
        sum = 0;
        for (int c = mine; c < width; c += step) {
            kept_sums(&a->sum, row, c, each, v);
            UNROLL for (int i = 0; i < 4; i++) if (i < each) sum += (v[i] - mean) * (v[i] - mean);
        }
        sum = block_sum(sum, 256) / (float)width;
    }
    float scale = rsqrt_f32(sum + a->eps);
    for (int c = mine; c < width; c += step) {
        if (c > mine) kept_sums(&a->sum, row, c, each, first);
        UNROLL for (int i = 0; i < 4; i++) {
            if (i >= each) continue;
            v[i] = (first[i] - mean) * scale * a->weight[c + i];
            if (a->bias) v[i] += a->bias[c + i];
        }
        put_halves(a, row, c, each, v);
    }
}

/* The same, a warp for each row: for many rows of up to CODEC_NORM_WIDTH channels, a multiple of 4. */
KERNEL(codec_norm_rows, struct codec_norm_args, 256) {
    enum { PARTS = CODEC_NORM_WIDTH / 4 / WARP };
    int row = block_x() * (256 / WARP) + warp(), width = a->sum.width;
    if (row >= a->n_rows || a->piece_of_row[row] < 0) return;
    float v[PARTS][4], sum = 0, mean = 0;
    UNROLL for (int i = 0; i < PARTS; i++) {
        int c = (i * WARP + lane()) * 4;
        UNROLL for (int j = 0; j < 4; j++) v[i][j] = 0;
        if (c < width) sums_of_parts(&a->sum, row, c, 4, v[i]);
        UNROLL for (int j = 0; j < 4; j++) sum += a->bias ? v[i][j] : v[i][j] * v[i][j];
    }
    sum = warp_sum(sum) / (float)width;
    if (a->bias) {
        mean = sum;
        sum = 0;
        UNROLL for (int i = 0; i < PARTS; i++) UNROLL for (int j = 0; j < 4; j++) if ((i * WARP + lane()) * 4 < width)
            sum += (v[i][j] - mean) * (v[i][j] - mean);
        sum = warp_sum(sum) / (float)width;
    }
    float scale = rsqrt_f32(sum + a->eps);
    UNROLL for (int i = 0; i < PARTS; i++) {
        int c = (i * WARP + lane()) * 4;
        if (c >= width) continue;
        UNROLL for (int j = 0; j < 4; j++) {
            v[i][j] = (v[i][j] - mean) * scale * a->weight[c + j];
            if (a->bias) v[i][j] += a->bias[c + j];
        }
        put_halves(a, row, c, 4, v[i]);
    }
}

KERNEL(codec_norm, struct codec_norm_args, 256) {
    fetch_ahead(&a->ahead, 256);
    int row = block_x();
    if (a->piece_of_row[row] < 0) return;
    if (a->sum.width % 4)
        norm_row(a, row, 1);
    else
        norm_row(a, row, 4);
}

/* A block for a group of a piece. Threads stand side by side over the channels, and one below the other over frames;
   what fits stays in shared memory. */
INLINE void norm_group(const struct codec_norm_args *a, int each) {
    enum { THREADS = 512, KEPT = 10 << 10 };
    SHARED float __attribute__((aligned(16))) kept_here[KEPT];
    float *kept = AS_GENERIC(float, kept_here);
    const struct codec_piece *piece = &a->pieces[block_y()];
    int channels = a->sum.width / a->n_groups, first = block_x() * channels;
    int across = min_int(channels / each, THREADS), down = THREADS / across, step = across * each;
    int mine = thread_x() % across * each, my_frame = thread_x() / across, end = my_frame < down ? piece->n : 0;
    i64 all = (i64)piece->n * channels;
    int keep = all <= KEPT;
    float v[4], sum = 0;
    for (int f = my_frame; f < end; f += down)
        for (int c = mine; c < channels; c += step) {
            sums_of_parts(&a->sum, piece->row + f, first + c, each, v);
            UNROLL for (int j = 0; j < 4; j++) {
                if (j >= each) continue;
                sum += v[j];
                if (keep) kept[f * channels + c + j] = v[j];
            }
        }
    float mean = block_sum(sum, THREADS) / (float)all;
    sum = 0;
    for (int f = my_frame; f < end; f += down)
        for (int c = mine; c < channels; c += step) {
            if (!keep) kept_sums(&a->sum, piece->row + f, first + c, each, v);
            UNROLL for (int j = 0; j < 4; j++) {
                if (j >= each) continue;
                float difference = (keep ? kept[f * channels + c + j] : v[j]) - mean;
                sum += difference * difference;
            }
        }
    float scale = rsqrt_f32(block_sum(sum, THREADS) / (float)all + a->eps);
    for (int f = my_frame; f < end; f += down)
        for (int c = mine; c < channels; c += step) {
            if (!keep) kept_sums(&a->sum, piece->row + f, first + c, each, v);
            UNROLL for (int j = 0; j < 4; j++) {
                if (j >= each) continue;
                if (keep) v[j] = kept[f * channels + c + j];
                int channel = first + c + j;
                v[j] = silu_fast((v[j] - mean) * scale * a->weight[channel] + a->bias[channel]);
            }
            put_halves(a, piece->row + f, first + c, each, v);
        }
}

KERNEL(codec_group_norm, struct codec_norm_args, 512) {
    fetch_ahead(&a->ahead, 512);
    if (a->sum.width / a->n_groups % 4)
        norm_group(a, 1);
    else
        norm_group(a, 4);
}

INLINE void spectrum_at(const struct codec_spectrum_args *a, int row, int k, float *real, float *imaginary) {
    float magnitude = exp_f32(sum_of_parts(&a->sum, row, k)), sine, cosine;
    if (magnitude > a->max_magnitude) magnitude = a->max_magnitude;
    sincos_f32(sum_of_parts(&a->sum, row, a->bins + k), &sine, &cosine);
    *real = magnitude * cosine;
    *imaginary = magnitude * sine;
}

KERNEL(codec_spectrum, struct codec_spectrum_args, 256) {
    int row = block_x(), half = (int)(a->y_stride / 2);
    if (a->piece_of_row[row] < 0) return;
    for (int k = 2 * thread_x(); k < a->bins; k += 512) {
        float real[2] = {0}, imaginary[2] = {0};
        spectrum_at(a, row, k, &real[0], &imaginary[0]);
        if (k + 1 < a->bins) spectrum_at(a, row, k + 1, &real[1], &imaginary[1]);
        put_pair(a->y, a->y_low, row * a->y_stride + k, real[0], real[1]);
        put_pair(a->y, a->y_low, row * a->y_stride + half + k, imaginary[0], imaginary[1]);
    }
}

KERNEL(codec_overlap_add, struct codec_overlap_args, 256) {
    int row = block_x(), hop = a->hop;
    if (a->piece_of_row[row] < 0) return;
    const struct codec_piece *piece = &a->pieces[a->piece_of_row[row]];
    int frame = row - piece->row;
    for (int i = thread_x(); i < hop; i += 256) {
        // as far into this frame as the sample is, and the frames around it that reach the sample
        int at = i + (a->n_fft - hop) / 2, after = min_int(at / hop, piece->n - 1 - frame);
        int before = min_int((a->n_fft - 1 - at) / hop, frame);
        float sum = 0, weight = 0;
        for (int t = -before; t <= after; t++) {
            int offset = at - t * hop;
            float w = a->window[offset];
            sum += sum_of_parts(&a->sum, row + t, offset);
            weight += w * w;
        }
        a->pcm[(i64)(piece->frame + frame) * hop + i] = sum / weight;
    }
}
