/* The codec on the card. */
#ifndef UTTER_GPU_CODEC_H
#define UTTER_GPU_CODEC_H

#include "codec/codec.h"
#include "gpu/graph.h"
#include "gpu/internal.h"
#include "gpu/kernels/codec_args.h"

/* A matrix as halves. Device addresses. */
struct half_matrix {
    u16 *high, *low;  // [n_channels up to a multiple of CODEC_TILE, depth]; low: NULL without
    float *unscale;   // [n_channels]; NULL: 1
    int n_channels, depth;
};

struct gpu_resnet {
    float *norm1, *norm1_bias, *norm2, *norm2_bias, *conv1_bias, *conv2_bias;  // [C]
    struct half_matrix conv1, conv2;
};

struct gpu_codec_block {
    float *att_norm, *ffn_norm;  // [C]
    struct half_matrix c_attn, c_proj, fc1, fc2;
};

/* Rows of halves as matrices take them: columns up to a multiple of CODEC_DEPTH, those beyond zero. */
struct half_rows {
    u16 *high, *low;  // low: NULL without
    i64 stride;
};

/* What is downloaded at once: all samples of a pass, or as many of them as there is room for. A pass is pieces that are
   computed together. */
struct codec_part {
    int first_piece, n_pieces;  // of the pass
    int n_rows, n_frames, n_tiles;
    size_t first_sample, n_samples;  // of the part
    int half;                        // of the host's memory
};

/* The host's memory that the card reads and writes; there are two, in turns. */
struct codec_half {
    int32_t *plan;  // [plan_room] of a pass: codes and pieces of rows, pieces, tiles
    float *pcm;     // [CODEC_PART_SAMPLES]
    cuda_event done;
};

enum {
    CODEC_GRAPH_ROWS = 1024,  // larger passes are worth their launches
    CODEC_PART_SAMPLES = 2 << 20,
    CODEC_PASS_ROWS = 4096,    // more pieces go to the next pass
    CODEC_MAX_FRAMES = 65535,  // of a piece
};

/* Every pointer but `blocks` and `halves` is a device address. */
struct gpu_codec {
    struct codec_config config;
    bool exact;  // pairs of halves
    enum gpu_kernel attention;
    bool tiles;        // the card has the shared memory of codec_matmul_tile
    double n_weights;  // that a frame is multiplied with
    struct device_memory memory, work;

    float *columns, *columns_bias;  // [n_fsq, C], [C]: digits' values to the first convolution's rows
    struct half_matrix embed, head;
    float *embed_bias, *head_bias;
    struct gpu_resnet resnets[CODEC_RESNETS];
    struct gpu_codec_block *blocks;  // host [n_blocks]
    float *final_norm, *final_norm_bias;
    struct loading *loading;     // host; NULL: loaded
    struct half_matrix inverse;  // [n_fft, n_fft + 2] spectrum to windowed frame
    float *window;               // [n_fft]

    /* Of a pass of up to max_rows rows (R). */
    int max_rows, pad;          // pad: rows of nothing around pieces
    int32_t *plan;              // [plan_room]
    float *x, *y;               // [R, C]
    float *parts;               // [codec_parts_room]
    struct half_rows in;        // [pad + R, C] what norms make; `high` is row 0, after pad rows
    struct half_rows qkv, att;  // [R, 3 C], [R, C]
    struct half_rows ffn;       // [R, F]
    struct half_rows spectra;   // [R, n_fft + 2]
    float *pcm;                 // [R * hop]

    struct codec_half halves[2];
    void *host;  // their memory
    struct codec_part parts_in_hand[2], *launching, *awaited;
    struct gpu_graphs graphs;
    bool in_flight;  // the card may be at work for a call that has ended
};

static inline int64_t codec_padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Numbers of the plan of a pass of so many rows. */
size_t codec_plan_room(int64_t n_rows);
/* Room for passes of up to n_rows rows. Job. */
status codec_reserve(struct gpu *g, struct gpu_codec *d, int64_t n_rows);
/* Blocks that a product is split for. */
int codec_blocks_wanted(const struct gpu *g);

#endif
