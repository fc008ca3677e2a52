/* The codec's matrices and convolutions times rows of halves, on tensor cores. Rows lie in memory one after another, so
   that a convolution's row is a longer row that overlaps its neighbours. Nothing is checked at the edges while
   multiplying: matrices are padded with zeros, and rows may be read beyond the last. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

enum { STAGE_ROW_BYTES = 2 * CODEC_DEPTH, CHUNK_HALVES = 8 };

/* Where 16 bytes of a row lie in a stage: those of 8 rows one below the other are in different banks. */
INLINE int stage_chunk(int row, int chunk) { return row * STAGE_ROW_BYTES + ((chunk ^ (row >> 1 & 3)) << 4); }

/* Rows [n_rows] of a stage, CODEC_DEPTH halves each, by 128 threads; `from` is this thread's part of the first. */
INLINE void copy_stage(shared_place to, const u16 *from, i64 stride, int n_rows) {
    UNROLL for (int i = 0; i < n_rows / 32; i++) copy16(to + i * 32 * STAGE_ROW_BYTES, from + i * 32 * stride, 1);
}

INLINE void put_tile_pair(const struct codec_matmul_args *a, int split, int row, int channel, float first,
                          float second) {
    if (row >= a->n_rows || channel >= a->n_channels) return;
    if (a->parts) {
        float *y = a->parts + ((i64)split * a->n_rows + row) * a->y_stride + channel;
        y[0] = first;
        y[1] = second;
        return;
    }
    if (a->activation == ACTIVATION_SILU) {
        first = silu_f32(first);
        second = silu_f32(second);
    }
    put_pair(a->y, a->y_low, row * a->y_stride + channel, first, second);
}

enum { MAX_ROW_PARTS = 4, MAX_CHANNEL_PARTS = 8 };  // of a warp: 16 rows, 8 channels each

/* sum += a stage's rows times its channels; only the first `active` row parts have rows to make. */
INLINE void multiply_stage(float sum[MAX_ROW_PARTS][MAX_CHANNEL_PARTS][4], shared_place xs, shared_place ws,
                           int row_parts, int channel_parts, int active) {
    int l = lane(), turn = l >> 1 & 3;  // of chunks in this lane's rows
    UNROLL for (int half = 0; half < CODEC_DEPTH / 16; half++) {
        u32 x[MAX_ROW_PARTS][4], w[MAX_CHANNEL_PARTS / 2][4];
        int x_chunk = ((2 * half + l / 16) ^ turn) << 4, w_chunk = ((2 * half + (l >> 3 & 1)) ^ turn) << 4;
        UNROLL for (int j = 0; j < channel_parts / 2; j++) load_matrices(w[j], ws + j * 16 * STAGE_ROW_BYTES + w_chunk);
        UNROLL for (int i = 0; i < row_parts; i++) if (i < active)
            load_matrices(x[i], xs + i * 16 * STAGE_ROW_BYTES + x_chunk);
        UNROLL for (int i = 0; i < row_parts; i++) if (i < active) {
            UNROLL for (int j = 0; j < channel_parts; j++) multiply_halves(sum[i][j], x[i], w[j / 2] + j % 2 * 2);
        }
    }
}

/* A block of 4 warps makes `rows` rows x `channels` channels, a warp a quarter: half the rows, half the channels.
   xs: `stages` stages of the rows, ws: of the channels. */
INLINE void multiply_block(const struct codec_matmul_args *a, int rows, int channels, int stages, shared_place xs,
                           shared_place ws) {
    int row_parts = rows / 32, channel_parts = channels / 16;
    int n_tiles = (a->n_channels + channels - 1) / channels;
    int tile = block_x() % n_tiles, split = block_x() / n_tiles;
    int row0 = block_y() * rows, channel0 = tile * channels;
    int per_product = a->depth / CODEC_DEPTH, all = per_product * a->n_products;
    int begin = all * split / a->n_splits, end = all * (split + 1) / a->n_splits;

    int t = thread_x(), l = lane();
    int my_chunk = stage_chunk(t / 4, t % 4);
    i64 my_x = (i64)(row0 + t / 4) * a->x_stride + t % 4 * CHUNK_HALVES;
    i64 my_w = (i64)(channel0 + t / 4) * a->depth + t % 4 * CHUNK_HALVES;
#define COPY_STAGE(step, stage)                                                                             \
    {                                                                                                       \
        int product_ = (step) >= 2 * per_product ? 2 : (step) >= per_product ? 1 : 0;                       \
        int k_ = ((step)-product_ * per_product) * CODEC_DEPTH;                                             \
        const u16 *x_ = product_ == 2 ? a->x_low : a->x, *w_ = product_ == 1 ? a->w_low : a->w;             \
        copy_stage(xs + (stage)*rows * STAGE_ROW_BYTES + my_chunk, x_ + my_x + k_, a->x_stride, rows);      \
        copy_stage(ws + (stage)*channels * STAGE_ROW_BYTES + my_chunk, w_ + my_w + k_, a->depth, channels); \
    }
    for (int s = 0; s < stages - 1; s++) {
        if (begin + s < end) COPY_STAGE(begin + s, s);
        copies_commit();
    }

    int warp_row = warp() / 2 * row_parts * 16, warp_channel = warp() % 2 * channel_parts * 8;
    int x_row = (warp_row + l % 16) * STAGE_ROW_BYTES;
    int w_row = (warp_channel + l / 16 * 8 + l % 8) * STAGE_ROW_BYTES;
    int active = (a->n_rows - row0 - warp_row + 15) / 16;
    float sum[MAX_ROW_PARTS][MAX_CHANNEL_PARTS][4] = {{{0}}};
    int stage = 0;
    for (int step = begin; step < end; step++) {
        copies_wait(stages - 2);
        barrier();
        int next = step + stages - 1, free_stage = stage == 0 ? stages - 1 : stage - 1;
        if (next < end) COPY_STAGE(next, free_stage);
        copies_commit();
        shared_place x_stage = xs + stage * rows * STAGE_ROW_BYTES + x_row;
        shared_place w_stage = ws + stage * channels * STAGE_ROW_BYTES + w_row;
        if (active >= row_parts)
            multiply_stage(sum, x_stage, w_stage, row_parts, channel_parts, row_parts);
        else if (active > 0)
            multiply_stage(sum, x_stage, w_stage, row_parts, channel_parts, active);
        if (++stage == stages) stage = 0;
    }
#undef COPY_STAGE

    int my_row = row0 + warp_row + l / 4, my_channel = channel0 + warp_channel + l % 4 * 2;
    UNROLL for (int j = 0; j < channel_parts; j++) {
        int channel = my_channel + j * 8;
        float first = 1, second = 1;
        if (a->unscale && channel < a->n_channels) {
            first = a->unscale[channel];
            second = channel + 1 < a->n_channels ? a->unscale[channel + 1] : 0;
        }
        UNROLL for (int i = 0; i < row_parts; i++) UNROLL for (int half = 0; half < 2; half++)
            put_tile_pair(a, split, my_row + i * 16 + half * 8, channel, sum[i][j][2 * half] * first,
                          sum[i][j][2 * half + 1] * second);
    }
}

KERNEL(codec_matmul_tile, struct codec_matmul_args, 128) {
    SHARED u16 __attribute__((aligned(128))) x[3 * CODEC_TILE * CODEC_DEPTH];
    SHARED u16 __attribute__((aligned(128))) w[3 * CODEC_TILE * CODEC_DEPTH];
    multiply_block(a, CODEC_TILE, CODEC_TILE, 3, SHARED_PLACE(x), SHARED_PLACE(w));
}

KERNEL(codec_matmul_strip, struct codec_matmul_args, 128) {
    SHARED u16 __attribute__((aligned(128))) x[4 * CODEC_STRIP_ROWS * CODEC_DEPTH];
    SHARED u16 __attribute__((aligned(128))) w[4 * CODEC_STRIP_CHANNELS * CODEC_DEPTH];
    multiply_block(a, CODEC_STRIP_ROWS, CODEC_STRIP_CHANNELS, 4, SHARED_PLACE(x), SHARED_PLACE(w));
}

KERNEL(codec_matmul_narrow, struct codec_matmul_args, 128) {
    SHARED u16 __attribute__((aligned(128))) x[4 * CODEC_STRIP_ROWS * CODEC_DEPTH];
    SHARED u16 __attribute__((aligned(128))) w[4 * CODEC_NARROW_CHANNELS * CODEC_DEPTH];
    multiply_block(a, CODEC_STRIP_ROWS, CODEC_NARROW_CHANNELS, 4, SHARED_PLACE(x), SHARED_PLACE(w));
}
