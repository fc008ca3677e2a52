/* What kernels are given. Host code fills these in too: there every pointer is a device address, never followed. */
#ifndef UTTER_GPU_KERNELS_ARGS_H
#define UTTER_GPU_KERNELS_ARGS_H

#include "gpu/kernels/types.h"

enum {
    GROUP = 32,          // weights that are packed together; a row is padded with zeros to a multiple
    MATVEC_MAX = 8,      // columns that a block of matmul_rows takes; more go to matmul_tile
    ROWS_PER_BLOCK = 8,  // of matvec and matmul_rows: a warp each
    TILE = 64,           // rows, and columns, of a block of matmul_tile
    MAX_HEAD_DIM = 256,  // of both attentions
    SAMPLE_LIST = 1024,  // up to so many candidates are sorted in shared memory
    MT_WORDS_DEVICE = 624,
    HISTORY_DEVICE = 64,
};

/* A matrix as it lies on the device. Groups of 32 weights of a row; every piece is an array [rows, groups].

   quants  4-bit types: 16 bytes, byte j holds weights j (low half) and j + 16; Q8_0: 32 bytes;
           F16, BF16: 32 words of 16 bits; F32: 32 floats
   highs   bit planes of 32 bits, bit j belongs to weight j: Q5: the fifth bit; Q6_K: two, the fifth bits and the sixth
   scales  Q4_0 Q5_0 Q8_0: half d; Q4_1 Q5_1: halves d, m; Q4_K Q5_K: bytes scale, min; Q6_K: two signed bytes, a
           scale each for 16 weights
   supers  for every 8 groups: Q4_K Q5_K: halves d, dmin; Q6_K: half d and two bytes of nothing */
struct weights {
    const void *quants, *highs, *scales, *supers;
    i32 rows, cols, groups;
};

enum activation { ACTIVATION_NONE, ACTIVATION_SILU };

/* y[j, r] = activation(W[r] . x[j] + bias[r]), or that added to y. */
struct matmul_args {
    struct weights w;
    const float *x;     // [n] rows, x_stride apart; rows may overlap (convolutions)
    const float *bias;  // [rows]; NULL without
    float *y;           // [n] rows, y_stride apart
    i64 x_stride, y_stride;
    i32 n;
    i32 activation;
    i32 accumulate;
};

/* x[j] = row tokens[j] of the matrix. */
struct embed_args {
    struct weights w;
    const i32 *tokens;  // [n]
    float *x;           // [n, cols]
};

/* y[out_rows[j]] = norm(x[j]) * weight + bias. With bias: mean taken off first (LayerNorm); without: RMSNorm. */
struct norm_args {
    const float *x, *weight, *bias;  // [n, width], [width], [width] or NULL
    float *y;                        // [*, width]
    const i32 *out_rows;             // [n], negative: none; NULL: row j
    i32 width;
    float eps;
};

/* y[j] = x[rows[j]]; zeros for a negative row. */
struct gather_args {
    const float *x;
    const i32 *rows;  // [n]
    float *y;         // [n, width]
    i32 width;
};

/* Norms and turns queries and keys, and puts keys and values into the cache. */
struct rope_args {
    float *q;                      // [n, n_heads * head_dim], in place
    const float *k, *v;            // [n, n_kv_heads * head_dim]
    const float *q_norm, *k_norm;  // [head_dim]; NULL without
    const float *angles;           // [n_ctx, head_dim / 2, 2]: cosine, sine
    u16 *k_cache, *v_cache;        // this layer's: [n_slots, n_ctx, n_kv_heads * head_dim] halves
    const i32 *slots, *positions;  // [n]; a negative slot: nothing is written
    i32 n_ctx, n_heads, n_kv_heads, head_dim;
    i32 interleaved;
    float eps;
};

struct attention_args {
    const float *q;                // [n] rows, q_stride apart
    float *out;                    // [n, n_heads * head_dim]
    const void *k, *v;             // cache: halves [n_slots, n_ctx, kv_stride]; else floats [n, kv_stride]
    const i32 *slots, *positions;  // [n]: row j sees positions 0..positions[j] of its slot; NULL: all n rows
    i64 q_stride, kv_stride;
    i32 n, n_ctx, n_heads, n_kv_heads, head_dim;
    float scale;
};

/* gate[i] = silu(gate[i]) * up[i] */
struct swiglu_args {
    float *gate;
    const float *up;
    i64 n;
};

/* A row of a generate call: where its sequence stands and how it is sampled. */
struct sequence {
    i32 active;     // 0: this row does nothing any more
    i32 n_past;     // positions in the slot's cache
    i32 end_index;  // the index that ends it; -1: none
    i32 n_out;      // drawn in this call
    i32 ended;      // end_index came
    i32 fault;      // no logit was finite, or too large for the temperature

    float temperature, typical_p, top_p, log_min_p;
    float repeat_penalty, frequency_penalty, presence_penalty;
    i32 top_k;
    i32 has_min_p, has_penalties;

    i64 n_drawn;
    i32 history[HISTORY_DEVICE];
    i32 random_next;
    u32 random[MT_WORDS_DEVICE];
};

struct sample_args {
    struct sequence *sequences;       // [n]
    float *logits;                    // [n, n_logits]; penalties are applied in place
    const i32 *head_rows;             // [n_logits] token of each index
    i32 *tokens, *slots, *positions;  // [n] of the forward pass that follows
    i32 *out;                         // [n, steps]
    u64 *keys, *order;                // [n, n_sort]: room for sorting all logits
    float *p;                         // [n, n_sort]
    i32 n_logits, n_sort, n_ctx, steps;
};

#endif
