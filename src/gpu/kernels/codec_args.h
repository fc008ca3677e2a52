/* What the codec's kernels are given. */
#ifndef UTTER_GPU_KERNELS_CODEC_ARGS_H
#define UTTER_GPU_KERNELS_CODEC_ARGS_H

#include "gpu/kernels/args.h"

/* The codec's rows are frames: pieces one after another, before, between and after them rows of nothing that
   convolutions see as zeros. What matrices take is halves; with pairs of halves, a high and a low one, products are as
   good as with floats (three products: high high, high low, low high). */

enum {
    CODEC_DEPTH = 64,  // halves that a matrix's row is padded to a multiple of
    CODEC_TILE = 128,  // rows, and channels, of a block of codec_matmul_tile; what matrices are padded to
    CODEC_TILE_STAGES = 5,
    CODEC_TILE_BYTES = CODEC_TILE_STAGES * 2 * CODEC_TILE * 64,  // of shared memory
    CODEC_STRIP_ROWS = 96,
    CODEC_STRIP_CHANNELS = 64,
    CODEC_STRIP_STAGES = 3,
    CODEC_STRIP_BYTES = CODEC_STRIP_STAGES * (CODEC_STRIP_ROWS + CODEC_STRIP_CHANNELS) * 2 * CODEC_DEPTH,
    CODEC_HEAD_DIM = 64,      // codec_attention takes heads of up to so many, a multiple of 8
    CODEC_NORM_WIDTH = 1024,  // of codec_norm_rows
    CODEC_QUERIES = 64,       // of a block of attention
};

/* What the next matrices are read from, asked for while memory has little to do; n_bytes 0: nothing. */
struct codec_ahead {
    const void *p;
    i64 n_bytes;
};

/* A piece of sound. */
struct codec_piece {
    i32 row, n;  // rows row..row + n - 1
    i32 frame;   // its first among all pieces' frames
};

/* Queries first.. of a piece. */
struct codec_tile {
    i32 row, n, first;
};

/* y[j] = unscale * W x[j], a sum of the parts of `depth` that n_splits makes of it: to parts[split][j], or (n_splits
   1) as halves after the activation. */
struct codec_matmul_args {
    const u16 *x, *x_low;  // [n_rows and beyond, depth], x_stride apart
    const u16 *w, *w_low;  // [n_channels up to a multiple of CODEC_TILE, depth]
    const float *unscale;  // [n_channels]; NULL: 1
    float *parts;          // [n_splits, n_rows, y_stride]; NULL: y
    u16 *y, *y_low;        // [n_rows, y_stride]; y_low NULL without
    i64 x_stride, y_stride;
    i32 n_rows, n_channels, depth;
    i32 n_products, n_splits;
    i32 activation;
};

/* What a matrix made: the sum over its parts, the bias and (accumulate) x; kept in x. */
struct codec_sum {
    const float *parts;  // [n_parts] part_stride apart, of rows stride apart
    const float *bias;   // NULL without
    float *x;            // [rows, width]; NULL: not kept
    i64 part_stride, stride;
    i32 n_parts, width, accumulate;
};

/* codec_norm: y = norm(x) of rows; without bias RMS, else LayerNorm. codec_group_norm: silu(groupnorm(x)) of pieces. */
struct codec_norm_args {
    struct codec_sum sum;
    const float *weight, *bias;  // [width]
    const i32 *piece_of_row;     // negative: none
    const struct codec_piece *pieces;
    u16 *y, *y_low;  // y_stride apart
    struct codec_ahead ahead;
    i64 y_stride;
    i32 n_rows, n_groups;
    float eps;
};

struct codec_attention_args {
    const u16 *qkv, *qkv_low;  // rows of n_heads * head_dim queries, keys, values
    u16 *out, *out_low;
    const struct codec_tile *tiles;
    struct codec_ahead ahead[2];
    i64 qkv_stride, out_stride;
    i32 n_heads, head_dim;
    float scale;
};

/* The rows that the first convolution sees: of a code's digits' values, columns . values + bias. */
struct codec_start_args {
    const i32 *codes;             // of rows; negative: a row of nothing
    const float *columns, *bias;  // [n_digits, width], [width]
    u16 *y, *y_low;
    i64 y_stride;
    i32 width, n_digits;
    i32 levels[16];
};

/* The head's log magnitudes and phases to real parts, and to imaginary parts in the second half of y's columns. */
struct codec_spectrum_args {
    struct codec_sum sum;
    const i32 *piece_of_row;
    u16 *y, *y_low;
    i64 y_stride;
    i32 bins;
    float max_magnitude;
};

/* Windowed frames, added up, to samples. */
struct codec_overlap_args {
    struct codec_sum sum;
    const i32 *piece_of_row;
    const struct codec_piece *pieces;
    const float *window;  // [n_fft]
    float *pcm;           // [frames * hop]
    i32 n_fft, hop;
};

/* While loading: rows first_row.. of a matrix of floats, to halves. Each row is brought to a power of two's size that
   halves hold best. */
struct codec_weights_args {
    const float *w;   // [*, n_cols]
    float *unscale;   // [rows] what a row's sums are multiplied with; NULL: rows stay as large as they are
    u16 *high, *low;  // [rows, depth]
    i64 depth, channel_stride;
    i32 first_row, n_cols, n_channels;  // taps of n_channels columns come channel_stride apart
};

/* Two matrices with nothing between them as one. */
struct codec_fold_args {
    const float *w, *bias;              // [*, inner], [width]
    const float *values, *values_bias;  // [inner, n_digits], [inner]
    float *columns, *columns_bias;      // [n_digits, width], [width]
    i32 first_row, inner, width, n_digits;
};

#endif
