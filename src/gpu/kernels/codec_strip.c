/* The codec's matrices and convolutions times few rows of halves, on tensor cores. Rows lie in memory one after
   another, so that a convolution's row is a longer row that overlaps its neighbours. Nothing is checked at the edges
   while multiplying: matrices are padded with zeros, and rows may be read beyond the last. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

enum { STRIP_ROW_BYTES = 2 * CODEC_DEPTH, CHUNK_HALVES = 8 };

/* Where 16 bytes of a row lie in a stage: those of 8 rows one below the other are in different banks. */
INLINE int strip_chunk(int row, int chunk) { return row * STRIP_ROW_BYTES + ((chunk ^ (row & 7)) << 4); }

INLINE void put_pair_of_sums(const struct codec_matmul_args *a, int split, int row, int channel, float first,
                             float second) {
    if (row >= a->n_rows || channel >= a->n_channels) return;
    if (a->parts) {
        float *y = a->parts + ((i64)split * a->n_rows + row) * a->y_stride + channel;
        y[0] = first;
        y[1] = second;
        return;
    }
    if (a->activation == ACTIVATION_SILU) {
        first = silu_fast(first);
        second = silu_fast(second);
    }
    put_pair(a->y, a->y_low, row * a->y_stride + channel, first, second);
}

/* For a window, whose rows are all in one block: two groups of four warps each take a half of every stage's depth, so
   that there are enough warps to wait for one another. */
KERNEL(codec_matmul_strip, struct codec_matmul_args, 256) {
    enum {
        ROWS = CODEC_STRIP_ROWS,
        CHANNELS = CODEC_STRIP_CHANNELS,
        STAGES = CODEC_STRIP_STAGES,
        ROW_PARTS = ROWS / 2 / 16,
        CHANNEL_PARTS = CHANNELS / 2 / 8,
        STAGE_BYTES = (ROWS + CHANNELS) * STRIP_ROW_BYTES,
    };
    shared_place stages = DYNAMIC_SHARED_PLACE;
    int n_tiles = (a->n_channels + CHANNELS - 1) / CHANNELS;
    int tile = block_x() % n_tiles, split = block_x() / n_tiles;
    int row0 = block_y() * ROWS, channel0 = tile * CHANNELS;
    int per_product = a->depth / CODEC_DEPTH, all = per_product * a->n_products;
    int begin = all * split / a->n_splits, end = all * (split + 1) / a->n_splits;

    int t = thread_x(), l = lane();
    int my_chunk = strip_chunk(t / 8, t % 8);
    i64 my_x = (i64)(row0 + t / 8) * a->x_stride + t % 8 * CHUNK_HALVES;
    i64 my_w = (i64)(channel0 + t / 8) * a->depth + t % 8 * CHUNK_HALVES;
#define COPY_STRIP(step, stage)                                                                                    \
    {                                                                                                              \
        int product_ = (step) >= 2 * per_product ? 2 : (step) >= per_product ? 1 : 0;                              \
        int k_ = ((step)-product_ * per_product) * CODEC_DEPTH;                                                    \
        const u16 *x_ = (product_ == 2 ? a->x_low : a->x) + my_x + k_;                                             \
        const u16 *w_ = (product_ == 1 ? a->w_low : a->w) + my_w + k_;                                             \
        shared_place to_ = stages + (stage)*STAGE_BYTES + my_chunk;                                                \
        UNROLL for (int i_ = 0; i_ < CHANNELS; i_ += 32)                                                           \
            copy16(to_ + (ROWS + i_) * STRIP_ROW_BYTES, w_ + i_ * a->depth, 1);                                    \
        UNROLL for (int i_ = 0; i_ < ROWS; i_ += 32) copy16(to_ + i_ * STRIP_ROW_BYTES, x_ + i_ * a->x_stride, 1); \
    }
    for (int s = 0; s < STAGES - 1; s++) {
        if (begin + s < end) COPY_STRIP(begin + s, s);
        copies_commit();
    }

    int group = warp() / 4, quarter = warp() % 4;
    int warp_row = quarter / 2 * ROW_PARTS * 16, warp_channel = quarter % 2 * CHANNEL_PARTS * 8;
    int x_row = warp_row + l % 16, w_row = ROWS + warp_channel + l / 16 * 8 + l % 8;
    int active = (a->n_rows - row0 - warp_row + 15) / 16;
    float sum[ROW_PARTS][CHANNEL_PARTS][4] = {{{0}}};
    int stage = 0;
    for (int step = begin; step < end; step++) {
        copies_wait(STAGES - 2);
        barrier();
        int next = step + STAGES - 1, free_stage = stage == 0 ? STAGES - 1 : stage - 1;
        if (next < end) COPY_STRIP(next, free_stage);
        copies_commit();
        shared_place here = stages + stage * STAGE_BYTES;
        UNROLL for (int half = 0; half < CODEC_DEPTH / 32; half++) {
            u32 x[ROW_PARTS][4], w[CHANNEL_PARTS / 2][4];
            int chunk = group * 4 + half * 2;
            UNROLL for (int j = 0; j < CHANNEL_PARTS / 2; j++)
                load_matrices(w[j], here + strip_chunk(w_row + j * 16, chunk + (l >> 3 & 1)));
            UNROLL for (int i = 0; i < ROW_PARTS; i++)
                load_matrices(x[i], here + strip_chunk(x_row + i * 16, chunk + l / 16));
            UNROLL for (int i = 0; i < ROW_PARTS; i++) {
                if (i >= active) continue;
                UNROLL for (int j = 0; j < CHANNEL_PARTS; j++) multiply_halves(sum[i][j], x[i], w[j / 2] + j % 2 * 2);
            }
        }
        if (++stage == STAGES) stage = 0;
    }
#undef COPY_STRIP

    // each group finishes a half of the channels, and gives the sums of the others to the other group
    float *given = DYNAMIC_SHARED(float) + (quarter * ROW_PARTS * CHANNEL_PARTS * 4) * WARP + l;
    copies_wait(0);
    barrier();
    UNROLL for (int i = 0; i < ROW_PARTS; i++) UNROLL for (int j = 0; j < CHANNEL_PARTS; j++)
        UNROLL for (int k = 0; k < 4; k++) if (j * 2 / CHANNEL_PARTS != group)
            given[((i * CHANNEL_PARTS + j) * 4 + k) * WARP] = sum[i][j][k];
    barrier();
    int my_row = row0 + warp_row + l / 4, my_channel = channel0 + warp_channel + l % 4 * 2;
    UNROLL for (int j = 0; j < CHANNEL_PARTS; j++) {
        int channel = my_channel + j * 8;
        if (j * 2 / CHANNEL_PARTS != group || channel >= a->n_channels) continue;
        float first = 1, second = 1;
        if (a->unscale) {
            first = a->unscale[channel];
            second = channel + 1 < a->n_channels ? a->unscale[channel + 1] : 0;
        }
        UNROLL for (int i = 0; i < ROW_PARTS; i++) {
            const float *other = given + (i * CHANNEL_PARTS + j) * 4 * WARP;
            UNROLL for (int half = 0; half < 2; half++) put_pair_of_sums(
                a, split, my_row + i * 16 + half * 8, channel, (sum[i][j][2 * half] + other[2 * half * WARP]) * first,
                (sum[i][j][2 * half + 1] + other[(2 * half + 1) * WARP]) * second);
        }
    }
}
