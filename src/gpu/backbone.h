/* The backbone on the device. Every pointer but those named "host" is a device address. */
#ifndef UTTER_GPU_BACKBONE_H
#define UTTER_GPU_BACKBONE_H

#include "gpu/decode.h"
#include "gpu/graph.h"
#include "gpu/internal.h"

struct gpu_layer {
    float *attn_norm, *ffn_norm;  // [E]
    struct gpu_matrix q, k, v, attn_out, gate, up, down;
    float *q_bias, *k_bias, *v_bias;  // NULL without
    float *q_norm, *k_norm;           // [D]; NULL without
};

struct gpu_backbone {
    struct backbone_config config;
    int n_slots, n_ctx, n_head;
    double n_weights;  // that a token is multiplied with
    struct device_memory memory;

    struct gpu_matrix token_embd, head;  // [V, E], [n_head, E]
    struct gpu_layer *layers;            // host [n_layers]
    float *output_norm;                  // [E]
    int32_t *head_rows;                  // [n_head] token of each index
    float *angles;                       // [n_ctx, D / 2, 2]

    int stride;              // n_ctx rounded up to 32
    u16 *k_cache, *v_cache;  // halves [n_layers, n_slots, G, stride, D] and [n_layers, n_slots, G, D, stride]
    float *hidden;           // [n_slots, E] last position of each slot, normed

    /* Of a forward pass of up to max_rows tokens. */
    int max_rows, logit_rows;
    int32_t *tokens, *slots, *positions;  // [max_rows]
    float *x, *normed;                    // [max_rows, E]
    float *q, *k, *v, *att;               // [max_rows, H * D], [max_rows, G * D]
    float *gate, *up;                     // [max_rows, F]; or, together, n_partial floats for sums of products
    int64_t n_partial;
    float *logits;  // [logit_rows, n_head]
    /* Activations of product.c: halves, rows of whole steps of 128. */
    bool products;  // all matrices are of formats that it takes
    int64_t normed_stride, att_stride, inner_stride;
    u16 *normed_halves, *att_halves, *inner_halves;  // [max_rows, the stride]

    /* Of sampling. */
    struct sequence *sequences;    // [n_slots]
    int32_t *out;                  // [n_slots, n_ctx + 1]
    int n_sort;                    // n_head rounded up to a power of two
    struct device_memory sorting;  // only taken once a sampler keeps more than SAMPLE_LIST candidates
    u64 *keys, *order;             // [n_slots, n_sort]
    float *p;                      // [n_slots, n_sort]

    struct gpu_decode decode;  // for one sequence
    struct gpu_graphs graphs;  // of steps of several

    /* Host: where each slot stands. */
    int *n_past;  // [n_slots]
    bool *ready;  // [n_slots] hidden is of the last position

    /* Host: what the job in hand is to do. */
    const struct backbone *file;  // while loading
    int n, first_row, steps, first_slot;
    bool wants_hidden, wants_sorting;
    int slices;  // of sums in `gate` that are still to be added to x, times sums_scale
    float sums_scale;
};

/* Marks the module of attention over the cache; products: on tensor cores. */
void gpu_want_attention(const struct backbone_config *c, bool products, bool wanted[N_MODULES]);

/* Of keys, or of values. */
size_t gpu_cache_bytes(const struct gpu_backbone *d);

#endif
