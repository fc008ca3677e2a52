/* The codec's matrices and convolutions times many rows of halves, on tensor cores. Rows lie in memory one after
   another, so that a convolution's row is a longer row that overlaps its neighbours. Nothing is checked at the edges
   while multiplying: matrices are padded with zeros, and rows may be read beyond the last. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

enum { STEP = 32, STAGE_ROW_BYTES = 2 * STEP, CHUNK_HALVES = 8 };

/* Where 16 bytes of a row lie in a stage: those of 8 rows one below the other are in different banks. */
INLINE int stage_chunk(int row, int chunk) { return row * STAGE_ROW_BYTES + ((chunk ^ (row >> 1 & 3)) << 4); }

/* Rows [n_rows] of a stage, STEP halves each; `from` is this thread's part of the first. */
INLINE void copy_stage(shared_place to, const u16 *from, i64 stride, int n_rows, int n_threads) {
    int at_once = n_threads / 4;
    UNROLL for (int i = 0; i < n_rows / at_once; i++)
        copy16(to + i * at_once * STAGE_ROW_BYTES, from + i * at_once * stride, 1);
}

enum { MAX_ROW_PARTS = 4, MAX_CHANNEL_PARTS = 8 };  // of a warp: 16 rows, 8 channels each

/* What a warp multiplies at a time, 16 halves deep. */
struct fragments {
    u32 x[MAX_ROW_PARTS][4], w[MAX_CHANNEL_PARTS / 2][4];
};

INLINE void load_fragments(struct fragments *f, shared_place xs, shared_place ws, int half) {
    int l = lane(), turn = l >> 1 & 3;  // of chunks in this lane's rows
    int x_chunk = ((2 * half + l / 16) ^ turn) << 4, w_chunk = ((2 * half + (l >> 3 & 1)) ^ turn) << 4;
    UNROLL for (int j = 0; j < MAX_CHANNEL_PARTS / 2; j++)
        load_matrices(f->w[j], ws + j * 16 * STAGE_ROW_BYTES + w_chunk);
    UNROLL for (int i = 0; i < MAX_ROW_PARTS; i++) load_matrices(f->x[i], xs + i * 16 * STAGE_ROW_BYTES + x_chunk);
}

INLINE void multiply_fragments(float sum[MAX_ROW_PARTS][MAX_CHANNEL_PARTS][4], const struct fragments *f) {
    UNROLL for (int i = 0; i < MAX_ROW_PARTS; i++) UNROLL for (int j = 0; j < MAX_CHANNEL_PARTS; j++)
        multiply_halves(sum[i][j], f->x[i], f->w[j / 2] + j % 2 * 2);
}

enum { OUT_PITCH = 72 };  // floats of a row of 64 sums, so that rows are in different banks

/* A warp's 32 rows of 64 sums to where they belong; what a row is padded to may be written too. */
INLINE void put_rows(const struct codec_matmul_args *a, const float *room, int row0, int channel0) {
    enum { EACH = 8, ACROSS = 64 / EACH };  // channels of a lane
    int column = lane() % ACROSS * EACH, channel = channel0 + column;
    if (channel >= a->y_stride) return;
    float scale[EACH];
    UNROLL for (int i = 0; i < EACH; i++) scale[i] = channel + i >= a->n_channels ? 0
                                                     : a->unscale                 ? a->unscale[channel + i]
                                                                                  : 1;
    for (int r = lane() / ACROSS; r < min_int(32, a->n_rows - row0); r += WARP / ACROSS) {
        const float *from = room + r * OUT_PITCH + column;
        i64 at = (row0 + r) * a->y_stride + channel;
        f32x4 v[2] = {*(const f32x4 *)from, *(const f32x4 *)(from + 4)};
        float sum[EACH];
        UNROLL for (int i = 0; i < EACH; i++) sum[i] = v[i / 4][i % 4] * scale[i];
        if (a->parts) {
            *(f32x4 *)(a->parts + at) = (f32x4){sum[0], sum[1], sum[2], sum[3]};
            if (channel + 4 < a->y_stride) *(f32x4 *)(a->parts + at + 4) = (f32x4){sum[4], sum[5], sum[6], sum[7]};
            continue;
        }
        if (a->activation == ACTIVATION_SILU) UNROLL for (int i = 0; i < EACH; i++) sum[i] = silu_fast(sum[i]);
        u32x4 pairs;
        UNROLL for (int i = 0; i < 4; i++) pairs[i] =
            pair_of_halves(within_halves(sum[2 * i]), within_halves(sum[2 * i + 1]));
        *(u32x4 *)(a->y + at) = pairs;
        if (!a->y_low) continue;
        UNROLL for (int i = 0; i < 4; i++) pairs[i] = rest_of_pair(pairs[i], sum[2 * i], sum[2 * i + 1]);
        *(u32x4 *)(a->y_low + at) = pairs;
    }
}

/* A block makes 64 * down rows x 128 channels, each of its warps 64 x 64: two side by side, `down` one below the other.
   In shared memory there are `stages` stages of STEP halves of depth. */
INLINE void multiply_block(const struct codec_matmul_args *a, int down, int stages) {
    int rows = 64 * down, n_threads = 2 * down * WARP;
    shared_place xs = DYNAMIC_SHARED_PLACE, ws = xs + stages * rows * STAGE_ROW_BYTES;
    int row0 = block_y() * rows, channel0 = block_x() * CODEC_TILE;
    int per_product = a->depth / STEP, end = per_product * a->n_products;

    int t = thread_x(), l = lane();
    int my_chunk = stage_chunk(t / 4, t % 4);
    i64 my_x = (i64)(row0 + t / 4) * a->x_stride + t % 4 * CHUNK_HALVES;
    i64 my_w = (i64)(channel0 + t / 4) * a->depth + t % 4 * CHUNK_HALVES;
#define COPY_STAGE(step, stage)                                                                                   \
    {                                                                                                             \
        int product_ = (step) >= 2 * per_product ? 2 : (step) >= per_product ? 1 : 0;                             \
        int k_ = ((step)-product_ * per_product) * STEP;                                                          \
        const u16 *x_ = product_ == 2 ? a->x_low : a->x, *w_ = product_ == 1 ? a->w_low : a->w;                   \
        copy_stage(xs + (stage)*rows * STAGE_ROW_BYTES + my_chunk, x_ + my_x + k_, a->x_stride, rows, n_threads); \
        copy_stage(ws + (stage)*CODEC_TILE * STAGE_ROW_BYTES + my_chunk, w_ + my_w + k_, a->depth, CODEC_TILE,    \
                   n_threads);                                                                                    \
    }
    for (int s = 0; s < stages - 1; s++) {
        if (s < end) COPY_STAGE(s, s);
        copies_commit();
    }

    int warp_row = warp() / 2 * 64, warp_channel = warp() % 2 * 64;
    int x_row = (warp_row + l % 16) * STAGE_ROW_BYTES;
    int w_row = (warp_channel + l / 16 * 8 + l % 8) * STAGE_ROW_BYTES;
    float sum[MAX_ROW_PARTS][MAX_CHANNEL_PARTS][4] = {{{0}}};
    struct fragments first, second;  // halves of a stage's depth: one is loaded while the other is multiplied
    copies_wait(stages - 2);
    barrier();
    load_fragments(&first, xs + x_row, ws + w_row, 0);
    int stage = 0;
    for (int step = 0; step < end; step++) {
        int next = step + stages - 1, free_stage = stage == 0 ? stages - 1 : stage - 1;
        if (next < end) COPY_STAGE(next, free_stage);
        copies_commit();
        load_fragments(&second, xs + stage * rows * STAGE_ROW_BYTES + x_row,
                       ws + stage * CODEC_TILE * STAGE_ROW_BYTES + w_row, 1);
        multiply_fragments(sum, &first);
        if (++stage == stages) stage = 0;
        copies_wait(stages - 2);
        barrier();
        if (step + 1 < end)
            load_fragments(&first, xs + stage * rows * STAGE_ROW_BYTES + x_row,
                           ws + stage * CODEC_TILE * STAGE_ROW_BYTES + w_row, 0);
        multiply_fragments(sum, &second);
    }
#undef COPY_STAGE

    // 32 rows at a time through shared memory, from where whole lines go out
    float *room = DYNAMIC_SHARED(float) + warp() * 32 * OUT_PITCH;
    UNROLL for (int half = 0; half < 2; half++) {
        barrier();
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < MAX_CHANNEL_PARTS; j++)
            UNROLL for (int k = 0; k < 2; k++) {
            const float *pair = sum[half * 2 + i][j] + 2 * k;
            float *to = room + (i * 16 + k * 8 + l / 4) * OUT_PITCH + j * 8 + l % 4 * 2;
            *(u64 *)to = bits_of_f32(pair[0]) | (u64)bits_of_f32(pair[1]) << 32;
        }
        barrier();
        put_rows(a, room, row0 + warp_row + half * 32, channel0 + warp_channel);
    }
}

/* Two of these side by side on a multiprocessor. */
KERNEL(codec_matmul_tile, struct codec_matmul_args, 128) { multiply_block(a, 2, CODEC_TILE_STAGES); }
