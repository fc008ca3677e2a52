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
    ADD_SLICES = 8,      // that add_norm takes at most
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

/* What the feed-forward network makes inside is kept as halves, a sixteenth of itself, so that it fits. */
#define FFN_SCALE 16.0f

/* product.c: y[j, r] = W[r] . x[j] + bias[r], for up to three matrices at once. */
struct product_part {
    struct weights w;
    const float *bias;  // [rows]; NULL without
    float *y;           // [n, rows]
};

enum { PRODUCT_STAGE_GROUPS = 2 };  // of the depth, that are on their way together

/* Of a tile of so many rows and columns; group_bytes: of a group of weights in all. */
#define PRODUCT_STAGE_BYTES(rows, columns, group_bytes) \
    (PRODUCT_STAGE_GROUPS * ((columns)*GROUP * 2 + (rows) * (group_bytes)))

struct product_args {
    struct product_part parts[3];
    const u16 *x;  // [n] rows of halves in the order of fragments.h, x_stride apart
    i64 x_stride, inner_stride;
    /* NULL, or in place of y, of two parts: activations of the next product, silu(W0 x) * (W1 x) / FFN_SCALE. */
    u16 *inner;
    /* NULL, or in place of y, of one part: sums, each over a share of the depth. */
    float *partial;  // [slices, n, rows]
    i32 n, n_parts, slices;
    i32 stages;  // that there is room for in shared memory: 2..4
};

/* x[j] = row tokens[j] of the matrix. */
struct embed_args {
    struct weights w;
    const i32 *tokens;  // [n]
    float *x;           // [n, cols]
};

/* y[out_rows[j]] = x[j] / rms(x[j]) * weight */
struct norm_args {
    const float *x, *weight;  // [n, width], [width]
    float *y;                 // [*, width]
    const i32 *out_rows;      // [n], negative: none; NULL: row j
    i32 width;
    float eps;
};

/* x[j] += scale * the sum of what product.c left in slices; then, in floats and in halves, the norm of that. */
struct add_norm_args {
    float *x;              // [n, width]
    const float *partial;  // [slices, n, width]
    const float *weight;   // [width]; NULL: no norm
    u16 *halves;           // [n] rows in the order of fragments.h, stride apart
    float *y;              // as in norm_args; NULL without
    const i32 *out_rows;
    i64 stride;
    i32 n, width, slices;
    float scale, eps;
};

/* y[j] = x[rows[j]]; zeros for a negative row. */
struct gather_args {
    const float *x;
    const i32 *rows;  // [n]
    float *y;         // [n, width]
    u16 *halves;      // NULL, or in place of y: rows in the order of fragments.h, stride apart
    i64 stride;
    i32 width;
};

/* Norms and turns queries and keys, and puts keys and values into the cache. */
struct rope_args {
    float *q;                      // [n, n_heads * head_dim], in place
    const float *k, *v;            // [n, n_kv_heads * head_dim]
    const float *q_norm, *k_norm;  // [head_dim]; NULL without
    const float *angles;           // [n_ctx, head_dim / 2, 2]: cosine, sine
    u16 *k_cache, *v_cache;        // this layer's: halves [n_slots, n_kv_heads, stride, head_dim]; values the other way
                                   // round: [n_slots, n_kv_heads, head_dim, stride]
    const i32 *slots, *positions;  // [n]; a negative slot: nothing is written
    i32 stride, n_heads, n_kv_heads, head_dim;
    i32 interleaved;
    float eps;
};

struct attention_args {
    struct rope_args rope;  // attend_step does it along
    const float *q;         // [n] rows, q_stride apart
    float *out;             // [n, n_heads * head_dim]
    u16 *halves;            // NULL, or in place of out: [n] rows in the order of fragments.h, out_stride apart
    i64 out_stride;
    const u16 *k, *v;              // cache: as in rope_args
    const i32 *slots, *positions;  // [n]: row j sees positions 0..positions[j] of its slot
    i64 q_stride;
    i32 n, stride, n_heads, n_kv_heads, head_dim;
    float scale;
};

/* gate[i] = silu(gate[i]) * up[i] */
struct swiglu_args {
    float *gate;
    const float *up;
    u16 *halves;  // NULL, or in place of gate: rows of `width` as in product_args.inner, stride apart
    i64 n, stride;
    i32 width;
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

/* ---- decode.c ---- */

#define DECODE_THREADS 256
enum {
    DECODE_HEAD_DIM = 64,                   // the one size of head it is made for
    DECODE_GROUP = 8,                       // queries that may share a key
    DECODE_SPLITS = 4,                      // blocks that share the attention of a key's head, at most
    DECODE_MAX_WIDTH = DECODE_THREADS * 4,  // a thread waits for one packet
    DECODE_SPLIT = DECODE_THREADS,          // positions that a block attends to at once: 32 each warp
    DECODE_STATIC_BYTES = 48 << 10,         // room for what does not depend on the model
    DECODE_PRODUCTS = 4,                    // of a layer
};
/* A unit of weights in shared memory: 32 lanes have two groups of `pieces` times 16 bytes, and their scales. */
#define DECODE_UNIT_BYTES(pieces) (2 * 32 * ((pieces)*16 + 2))

struct decode_layer {
    struct weights q, k, v, attn_out, gate, up, down;
    const float *attn_norm, *ffn_norm;
    const float *q_bias, *k_bias, *v_bias;  // NULL without
    const float *q_norm, *k_norm;           // NULL without
    u16 *k_cache, *v_cache;                 // as in rope_args
};

/* What lives from launch to launch. */
struct decode_state {
    u32 layers;  // that all launches have gone through
    u32 rounds;  // of sampling
    u32 fault;   // a block waited for longer than it may
};

struct decode_args {
    const struct decode_layer *layers;  // [n_layers]
    struct weights embedding, head;
    i32 embedding_is_q8, head_is_q8;  // else of the layers' format
    const float *output_norm, *angles;
    const i32 *head_rows;
    float *hidden;  // [n_slots, width]
    struct sequence *sequence;
    struct decode_state *state;
    i32 *out;  // [steps]

    /* Between blocks, packets of 16 bytes: floats by 4, halves by 8. */
    u32x4 *qkv_packets, *out_packets, *inner_packets, *down_packets;
    u32x4 *mixed_packets;                        // [n_splits, n_heads, head_dim / 8]
    u32 *weights_of_mixed;                       // [n_splits, n_heads] floats
    u32x4 *largest_packets, *candidate_packets;  // [SAMPLE_LIST], [2, blocks, SAMPLE_LIST]

    i64 limit_ns;  // of waiting, from the start
    i32 steps, slot;
    i32 n_layers, width, n_heads, n_kv_heads, inner, n_ctx, stride, interleaved, n_splits;
    float eps, scale;
    /* Places in shared memory, in bytes. */
    i32 at_layers, at_residual, at_part, at_activations, at_logits;
    i32 at_staged[DECODE_PRODUCTS];
};

#endif
