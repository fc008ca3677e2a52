/* The kernel of decode.c and decode_staged.c: a layer after the other, the head, and what belongs to a launch. */
#ifndef UTTER_GPU_KERNELS_DECODE_KERNEL_H
#define UTTER_GPU_KERNELS_DECODE_KERNEL_H

#include "gpu/kernels/decode_attention.h"
#include "gpu/kernels/decode_products.h"
#include "gpu/kernels/decode_sampling.h"

/* ---- a layer ---- */

INLINE const struct decode_layer *layer_after(const struct block *b, int index) {
    return layer_of(b, index + 1 < b->a->n_layers ? index + 1 : 0);
}

/* Afterwards, when nobody waits for this block any more. */
INLINE void send_for_next(const struct block *b, int index, enum decode_product product) {
    struct task coming = task_of(b, layer_after(b, index), product);
    send_for(b, &coming);
}

/* What is added to row r of the queries, keys and values. */
INLINE float bias_of(const struct decode_layer *l, const struct task *k, int r) {
    if (r >= k->t.n * 8) return 0;
    int row;
    const struct weights *w = matrix_of(k, k->t.first + r / 8, &row);
    const float *bias = w == &l->q ? l->q_bias : w == &l->k ? l->k_bias : l->v_bias;
    return bias ? bias[row + r % 8] : 0;
}

PART void run_qkv(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_layer *l = layer_of(b, index);
    struct task k = task_of(b, l, QKV);
    struct ahead h;
    look_ahead(b, &k, &h);
    float bias = bias_of(l, &k, b->thread / 4);
    if (index == 0) {
        embed_token(b, l->attn_norm);
    } else if (k.t.n) {
        b->parity ^= 1;  // what the layer before sent
        receive_normed(b, b->a->down_packets, l->attn_norm, 0);
        b->parity ^= 1;
    }
    if (k.t.n) multiply_task(b, &k, &h);
    for (int base = 0; base < k.t.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float v = sum_of_row(b, &k, r, 0) + (base ? bias_of(l, &k, r) : bias);
        send_floats(b, b->a->qkv_packets, k.t.first + r / 8, v, r < k.t.n * 8);
    }
    send_for_next(b, index, QKV);
}

PART void run_attention(u32 parity, int index, int n_past) {
    struct block fresh = this_block(parity), *b = &fresh;
    int splits = b->a->n_splits;
    for (int part = grid_x() - 1 - block_x(); part < splits * b->a->n_kv_heads; part += grid_x())
        attend_part(b, layer_of(b, index), part / splits, part % splits, splits, n_past);
}

/* To the residual stream: own rows of a product, added to what they were. */
INLINE void send_residual(const struct block *b, const struct task *k, u32x4 *packets, float scale) {
    for (int base = 0; base < k->t.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float v = sum_of_row(b, k, r, 0) * scale;
        if (r < k->t.n * 8 && LANE % 4 == 0) v = residual_of(b)[r] += v;
        send_floats(b, packets, k->t.first + r / 8, v, r < k->t.n * 8);
    }
}

PART void run_out(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    struct task k = task_of(b, layer_of(b, index), ATTN_OUT);
    struct ahead h;
    look_ahead(b, &k, &h);
    if (k.t.n) {
        receive_attention(b, b->a->n_splits);
        multiply_task(b, &k, &h);
        send_residual(b, &k, b->a->out_packets, 1);
    }
    send_for_next(b, index, ATTN_OUT);
}

PART void run_inner(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_layer *l = layer_of(b, index);
    struct task k = task_of(b, l, INNER);
    struct ahead h;
    look_ahead(b, &k, &h);
    receive_normed(b, b->a->out_packets, l->ffn_norm, 0);
    multiply_task(b, &k, &h);
    for (int base = 0; base < k.t.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float gate = sum_of_row(b, &k, r, 0), up = sum_of_row(b, &k, r, 1);
        float v = gate * reciprocal_fast(1 + exp2_fast(-gate * LOG2_E)) * up * (1 / FFN_SCALE);
        u32x4 packet;
        UNROLL for (int j = 0; j < 4; j++) {
            int from = ((j & 1) + (j & 2) * 2) * 4;  // in the order of activations
            packet[j] = marked_pair(shuffle_f32(v, from), shuffle_f32(v, from + 8), b->parity);
        }
        if (r < k.t.n * 8 && LANE == 0) store_shared_by_blocks(b->a->inner_packets + k.t.first + r / 8, packet);
    }
    send_for_next(b, index, INNER);
}

PART void run_down(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    struct task k = task_of(b, layer_of(b, index), DOWN);
    struct ahead h;
    look_ahead(b, &k, &h);
    if (k.t.n) {
        receive_inner(b);
        multiply_task(b, &k, &h);
        send_residual(b, &k, b->a->down_packets, FFN_SCALE);
    }
    send_for_next(b, index, DOWN);
}

/* ---- the kernel ---- */

/* Logits from what the last layer sent, or (first) from where the sequence was left. */
INLINE void run_head_of(u32 parity, int first, enum format f) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_args *a = b->a;
    struct head_rows rows = head_rows_of(b);
    struct head_ahead h;
    look_ahead_of_head(b, f, &rows, &h);
    if (first) {
        const float *hidden = a->hidden + (i64)a->slot * a->width;
        for (int k = b->thread * 4; k < a->width; k += DECODE_THREADS * 4) {
            f32x4 v = *(const f32x4 *)(hidden + k);
            put_four(activations_of(b) + k / GROUP * (PITCH - GROUP), k, v[0], v[1], v[2], v[3]);
        }
        barrier();
    } else {
        receive_normed(b, a->down_packets, a->output_norm, 0);
    }
    multiply_head(b, f, &rows, &h);
}

PART void run_head_q8_0(u32 parity, int first) { run_head_of(parity, first, AS_q8_0); }
PART void run_head(u32 parity, int first) { run_head_of(parity, first, format); }

/* Where the sequence is left: the last layer's output, normed. */
PART void leave_hidden(u32 parity) {
    struct block fresh = this_block(parity), *b = &fresh;
    receive_normed(b, b->a->down_packets, b->a->output_norm, b->a->hidden + (i64)b->a->slot * b->a->width);
}

/* The first layer's weights, as if a layer had been before. */
PART void send_for_first(u32 parity) {
    struct block fresh = this_block(parity), *b = &fresh;
    NO_UNROLL for (int product = 0; product < DECODE_PRODUCTS; product++) {
        struct task k = task_of(b, layer_of(b, 0), (enum decode_product)product);
        send_for(b, &k);
    }
}

INLINE void copy_words(void *to, const void *from, int n_bytes) {
    for (int i = thread_x(); i < n_bytes / 4; i += DECODE_THREADS) ((u32 *)to)[i] = ((const u32 *)from)[i];
}

INLINE void decode(const struct decode_args *a) {
    struct shared *s = DYNAMIC_SHARED(struct shared);
    copy_words(&s->args, a, sizeof s->args);
    copy_words(&s->sequence, a->sequence, sizeof s->sequence);
    copy_words(DYNAMIC_SHARED(unsigned char) + a->at_layers, a->layers, a->n_layers * (int)sizeof *a->layers);
    // what is not written is multiplied with zeros, and must be a number
    u32 *activations = (u32 *)(void *)(DYNAMIC_SHARED(unsigned char) + a->at_activations);
    for (int i = thread_x(); i < (a->at_logits - a->at_activations) / 4; i += DECODE_THREADS) activations[i] = 0;
    for (int i = thread_x(); i < 8 * D; i += DECODE_THREADS) s->queries[i] = 0;
    if (thread_x() == 0) {
        s->gave_up = 0;
        s->until = timer_ns() + a->limit_ns;
        s->tiles[QKV] = own_tiles((a->n_heads + 2 * a->n_kv_heads) * (D / 8), &a->layers->q, 0);
        s->tiles[ATTN_OUT] = own_tiles(a->width / 8, &a->layers->attn_out, 0);
        s->tiles[INNER] = own_tiles(a->inner / 8, &a->layers->gate, 1);
        s->tiles[DOWN] = own_tiles(a->width / 8, &a->layers->down, 0);
        s->head_first = first_own((a->head.rows + 15) / 16, block_x());
        s->head_n = first_own((a->head.rows + 15) / 16, block_x() + 1) - s->head_first;
    }
    u32 layers_done = a->state->layers, round = a->state->rounds;
    int from_hidden = 1;
    struct sequence *q = &s->sequence;
    barrier();
    send_for_first(layers_done & 1);
    for (int left = a->steps; left > 0; left--) {
        if (s->args.head_is_q8) {
            run_head_q8_0(layers_done & 1, from_hidden);
        } else {
            run_head(layers_done & 1, from_hidden);
        }
        if (!sample_next(&round)) break;
        int n_past = q->n_past - 1;
        for (int i = 0; i < s->args.n_layers; i++) {
            u32 parity = ++layers_done & 1;
            run_qkv(parity, i);
            run_attention(parity, i, n_past);
            run_out(parity, i);
            run_inner(parity, i);
            run_down(parity, i);
        }
        from_hidden = 0;
        barrier();
        int ends = !q->active || s->gave_up;
        barrier();  // before anybody waits again
        if (ends) break;
    }
    if (!from_hidden && block_x() == 0) leave_hidden(layers_done & 1);
    if (STAGED) copies_wait(0);
    barrier();
    if (block_x() != 0) return;
    copy_words(s->args.sequence, &s->sequence, sizeof s->sequence);
    if (thread_x() == 0) {
        s->args.state->layers = layers_done;
        s->args.state->rounds = round;
    }
}

#endif
