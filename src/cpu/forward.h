/* The backbone's forward pass: tokens in, hidden states out, keys and values kept in between.

   Shapes: E = n_embd, H = n_heads, G = n_kv_heads, D = head_dim, F = n_ffn, as in backbone/backbone.h. */
#ifndef UTTER_CPU_FORWARD_H
#define UTTER_CPU_FORWARD_H

#include "backbone/backbone.h"
#include "cpu/matmul.h"
#include "cpu/pages.h"

/* Where a token stands. */
struct place {
    int32_t token;
    int slot;
    int at;  // position in the slot; those before it are in the cache already or come before it in the same pass
};

struct layer {
    const struct backbone_layer *weights;  // norms and biases
    struct packed q, k, v, attn_out, gate, up, down;
};

struct forward {
    const struct backbone *model;
    const struct kernels *kernels;
    struct pool *pool;
    struct matmul_scratch *scratch;
    int n_slots, n_ctx;
    int n_rows;  // tokens that one pass can take

    struct pages weights;  // packed, in the order of a pass
    struct layer *layers;  // [n_layers]
    float *cos, *sin;      // [n_ctx, D / 2]

    /* Keys and values of every position so far, half precision. A head's are together, as attention reads them:
       keys [n_slots, n_layers, G][ctx / lanes, D, lanes], values [n_slots, n_layers, G][ctx, D rounded up to lanes],
       with ctx = n_ctx rounded up to lanes. */
    struct pages keys, values;

    /* One pass, a row for each token, in `rows`. */
    struct pages rows;
    float *x;             // [n_rows, E] what runs through the layers
    float *normed;        // [n_rows, E]
    float *q;             // [n_rows, H*D]
    float *k, *v;         // [n_rows, G*D]
    float *attended;      // [n_rows, H*D]
    float *gate, *up;     // [n_rows, F]
    float *added;         // [n_rows, E] what a layer adds to x
    struct pages scores;  // [n_threads][attention_room(lanes, n_ctx)]
};

/* `model`, `kernels` and `pool` stay the caller's. A pass takes up to n_rows tokens. */
status forward_new(const struct backbone *model, const struct kernels *kernels, struct pool *pool, int n_slots,
                   int n_ctx, int n_rows, struct forward **out);
void forward_free(struct forward *f);

/* What steps of generation are multiplied with, and the head. */
const struct kernels *forward_step_kernels(const struct forward *f);

/* Runs places[n], n <= n_rows, of a prompt or of a step of generation: either is the same to the bit however many stand
   together, but they may be multiplied by different kernels. Of the last n_keep places, hidden states (normed, ready
   for the output matrix) are left in f->normed [n_keep, E]. */
status forward_run(struct forward *f, bool prompt, const struct place *places, int n, int n_keep);

#endif
