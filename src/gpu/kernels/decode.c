/* One sequence, many tokens in one launch: norm, matrices, attention and sampling, all blocks on the card at once, for
   layers whose matrices have one block format (-DFORMAT=q4_0) and an embedding and head of that format or Q8_0.

   Every block owns tiles of 8 rows of every matrix and computes them from the whole input. Results go from block to
   block as packets of 16 bytes, without barriers: the lowest bit of each number in a packet tells in which layer it was
   written (the layers of all tokens are counted; odd and even are enough, since nobody can be two layers ahead of a
   block that has work), and who needs a packet looks until that bit comes. So a packet is complete or not there.
   While a block waits for its input, the weights it will need are already on their way to its registers, and those of
   the next layer to the card's cache.

   Every wait ends: when the launch has taken longer than its limit, or another block gave up, waiting stops and the
   state's fault is set. */
#include "gpu/kernels/decode_attention.h"
#include "gpu/kernels/decode_products.h"
#include "gpu/kernels/decode_sampling.h"

/* ---- a layer ---- */

INLINE const struct decode_layer *layer_after(const struct block *b, int index) {
    return layer_of(b, index + 1 < b->a->n_layers ? index + 1 : 0);
}

INLINE void run_qkv(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_layer *l = layer_of(b, index), *next = layer_after(b, index);
    struct task k = task_of(b, &l->q, &l->k, &l->v, 0), coming = k;
    coming.w = &next->q, coming.second = &next->k, coming.third = &next->v;
    if (index == 0) {
        embed_token(b, l->attn_norm);
    } else if (k.n) {
        b->parity ^= 1;  // what the layer before sent
        receive_normed(b, b->a->down_packets, l->attn_norm, 0);
        b->parity ^= 1;
    }
    if (!k.n) return;
    multiply_task(b, &k, &coming, 0, 0);
    for (int base = 0; base < k.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4, row;
        float v = sum_of_row(b, &k, r, 1, 1);
        const struct weights *w = matrix_of(&k, k.first + r / 8, &row);
        const float *bias = w == &l->q ? l->q_bias : w == &l->k ? l->k_bias : l->v_bias;
        if (bias && r < k.n * 8) v += bias[row + r % 8];
        send_floats(b, b->a->qkv_packets, k.first + r / 8, v, r < k.n * 8);
    }
}

INLINE void run_attention(u32 parity, int index, int n_past) {
    struct block fresh = this_block(parity), *b = &fresh;
    int splits = b->a->n_splits;
    for (int part = grid_x() - 1 - block_x(); part < splits * b->a->n_kv_heads; part += grid_x())
        attend_part(b, layer_of(b, index), part / splits, part % splits, splits, n_past);
}

INLINE void run_out(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    struct task k = task_of(b, &layer_of(b, index)->attn_out, 0, 0, 0), coming = k;
    if (!k.n) return;
    coming.w = &layer_after(b, index)->attn_out;
    receive_attention(b, b->a->n_splits);
    multiply_task(b, &k, &coming, 0, 0);
    for (int base = 0; base < k.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float v = sum_of_row(b, &k, r, 1, 1);
        if (r < k.n * 8 && LANE % 4 == 0) v = residual_of(b)[r] += v;
        send_floats(b, b->a->out_packets, k.first + r / 8, v, r < k.n * 8);
    }
}

INLINE void run_inner(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_layer *l = layer_of(b, index), *next = layer_after(b, index);
    struct task k = task_of(b, &l->gate, &l->up, 0, 1), coming = k;
    coming.w = &next->gate, coming.second = &next->up;
    struct ahead h;
    look_ahead(b, &k, AHEAD, &h);
    receive_normed(b, b->a->out_packets, l->ffn_norm, 0);
    multiply_task(b, &k, &coming, AHEAD, &h);
    for (int base = 0; base < k.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float gate = sum_of_row(b, &k, r, 0, 1), up = sum_of_row(b, &k, r, 1, 0);
        float v = gate / (1 + exp2_fast(-gate * LOG2_E)) * up * (1 / FFN_SCALE);
        u32x4 packet;
        UNROLL for (int j = 0; j < 4; j++) {
            int from = ((j & 1) + (j & 2) * 2) * 4;  // in the order of activations
            packet[j] = marked_pair(shuffle_f32(v, from), shuffle_f32(v, from + 8), b->parity);
        }
        if (r < k.n * 8 && LANE == 0) store_shared_by_blocks(b->a->inner_packets + k.first + r / 8, packet);
    }
}

INLINE void run_down(u32 parity, int index) {
    struct block fresh = this_block(parity), *b = &fresh;
    struct task k = task_of(b, &layer_of(b, index)->down, 0, 0, 0), coming = k;
    if (!k.n) return;
    coming.w = &layer_after(b, index)->down;
    receive_inner(b);
    multiply_task(b, &k, &coming, 0, 0);
    for (int base = 0; base < k.n * 8; base += DECODE_THREADS / 4) {
        int r = base + b->thread / 4;
        float v = sum_of_row(b, &k, r, 1, 1) * FFN_SCALE;
        if (r < k.n * 8 && LANE % 4 == 0) v = residual_of(b)[r] += v;
        send_floats(b, b->a->down_packets, k.first + r / 8, v, r < k.n * 8);
    }
}

/* ---- the kernel ---- */

/* Logits from what the last layer sent, or (first) from where the sequence was left. */
INLINE void run_head(u32 parity, int first) {
    struct block fresh = this_block(parity), *b = &fresh;
    const struct decode_args *a = b->a;
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
    if (a->head_is_q8) {
        multiply_head(b, AS_q8_0);
    } else {
        multiply_head(b, format);
    }
}

/* Where the sequence is left: the last layer's output, normed. */
INLINE void leave_hidden(u32 parity) {
    struct block fresh = this_block(parity), *b = &fresh;
    receive_normed(b, b->a->down_packets, b->a->output_norm, b->a->hidden + (i64)b->a->slot * b->a->width);
}

INLINE void copy_words(void *to, const void *from, int n_bytes) {
    for (int i = thread_x(); i < n_bytes / 4; i += DECODE_THREADS) ((u32 *)to)[i] = ((const u32 *)from)[i];
}

KERNEL(JOIN(decode, FORMAT), struct decode_args, DECODE_THREADS) {
    struct shared *s = DYNAMIC_SHARED(struct shared);
    copy_words(&s->args, a, sizeof s->args);
    copy_words(&s->sequence, a->sequence, sizeof s->sequence);
    copy_words(DYNAMIC_SHARED(unsigned char) + a->at_layers, a->layers, a->n_layers * (int)sizeof *a->layers);
    // what is not written is multiplied with zeros, and must be a number
    u32 *activations = (u32 *)(void *)(DYNAMIC_SHARED(unsigned char) + a->at_activations);
    for (int i = thread_x(); i < (a->at_logits - a->at_activations) / 4; i += DECODE_THREADS) activations[i] = 0;
    for (int i = thread_x(); i < 8 * D; i += DECODE_THREADS) s->queries[i] = 0;
    if (thread_x() == 0) {
        s->gave_up = s->nothing = 0;
        s->until = timer_ns() + a->limit_ns;
        s->qkv = own_tiles((a->n_heads + 2 * a->n_kv_heads) * (D / 8));
        s->out = own_tiles(a->width / 8);
        s->inner = own_tiles(a->inner / 8);
        s->head = own_tiles((a->head.rows + 15) / 16);
    }
    u32 layers_done = a->state->layers, round = a->state->rounds;
    int from_hidden = 1;
    struct sequence *q = &s->sequence;
    barrier();
    for (int left = a->steps; left > 0; left--) {
        run_head(layers_done & 1, from_hidden);
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
    barrier();
    if (block_x() != 0) return;
    copy_words(s->args.sequence, &s->sequence, sizeof s->sequence);
    if (thread_x() == 0) {
        s->args.state->layers = layers_done;
        s->args.state->rounds = round;
    }
}
