/* decode.c: attention of one sequence, its positions shared out among blocks and their warps. */
#ifndef UTTER_GPU_KERNELS_DECODE_ATTENTION_H
#define UTTER_GPU_KERNELS_DECODE_ATTENTION_H

#include "gpu/kernels/decode_products.h"

/* A head of the exchange's floats: normed, turned. Lanes have pairs (lane) and so on of the head. */
INLINE void turn_head(const struct block *b, const float *x, const float *norm, int position, float first[D / 64],
                      float second[D / 64]) {
    const struct decode_args *a = b->a;
    float sum = 0, scale = 1;
    UNROLL for (int i = 0; i < D / 64; i++) {
        int pair = LANE + i * WARP;
        first[i] = x[a->interleaved ? 2 * pair : pair];
        second[i] = x[a->interleaved ? 2 * pair + 1 : pair + D / 2];
        sum += first[i] * first[i] + second[i] * second[i];
    }
    if (norm) scale = rsqrt_f32(warp_sum(sum) / (float)D + a->eps);
    UNROLL for (int i = 0; i < D / 64; i++) {
        int pair = LANE + i * WARP;
        if (norm) {
            first[i] *= scale * norm[a->interleaved ? 2 * pair : pair];
            second[i] *= scale * norm[a->interleaved ? 2 * pair + 1 : pair + D / 2];
        }
        const float *angle = a->angles + ((i64)position * (D / 2) + pair) * 2;
        float turned = first[i] * angle[0] - second[i] * angle[1];
        second[i] = first[i] * angle[1] + second[i] * angle[0];
        first[i] = turned;
    }
}

/* A warp's attention, over 32 positions at a time. Rows of products are heads. */
struct mix {
    float largest, total;  // of row lane / 4
    float out[D / 8][4];   // columns 8 i + 2 (lane % 4) and the next
};

INLINE void load_keys(const struct block *b, const u16 *keys, int position, u32x4 k[4][D / 32]) {
    int g = LANE / 4, t = LANE % 4;
    UNROLL for (int j = 0; j < 4; j++) {
        const u16 *row = keys + (i64)(position + 8 * (g / 2) + 2 * j + g % 2) * D + t * (D / 4);
        UNROLL for (int i = 0; i < D / 32; i++) k[j][i] = load_from_cache((const u32x4 *)row + i);
    }
}

INLINE void attend_step(const struct block *b, const u16 *queries, u32x4 k[4][D / 32], const u16 *values, int stride,
                        int position, int n_past, struct mix *r) {
    int g = LANE / 4, t = LANE % 4;
    u32x4 v[D / 8];
    UNROLL for (int i = 0; i < D / 8; i++) v[i] =
        load_from_cache((const u32x4 *)(values + (i64)(8 * i + g) * stride + position + 8 * t));
    float c[4][4] = {{0}};
    const u16 *q = queries + g * D + t * (D / 4);
    UNROLL for (int m = 0; m < D / 16; m++) {
        u32 a[4] = {*(const u32 *)(q + 4 * m), 0, *(const u32 *)(q + 4 * m + 2), 0};
        UNROLL for (int j = 0; j < 4; j++)
            multiply_halves(c[j], a, (u32[2]){k[j][m / 2][m % 2 * 2], k[j][m / 2][m % 2 * 2 + 1]});
    }
    float m = -INFINITE;
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 2; e++) {
        if (position + 8 * t + 2 * j + e >= n_past) c[j][e] = -INFINITE;
        m = max_f32(m, c[j][e]);
    }
    m = max_f32(m, shuffle_xor_f32(m, 1));
    m = max_f32(m, shuffle_xor_f32(m, 2));
    m = max_f32(m, r->largest);
    float rescale = exp2_fast(r->largest - m), total = 0;
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 2; e++) {
        c[j][e] = exp2_fast(c[j][e] - m);
        total += c[j][e];
    }
    total += shuffle_xor_f32(total, 1);
    total += shuffle_xor_f32(total, 2);
    r->total = r->total * rescale + total;
    r->largest = m;
    u32 p[4];
    UNROLL for (int j = 0; j < 4; j++) p[j] = pair_of_halves(c[j][0], c[j][1]);
    UNROLL for (int i = 0; i < D / 8; i++) {
        r->out[i][0] *= rescale;
        r->out[i][1] *= rescale;
        multiply_halves(r->out[i], (u32[4]){p[0], 0, p[1], 0}, (u32[2]){v[i][0], v[i][1]});
        multiply_halves(r->out[i], (u32[4]){p[2], 0, p[3], 0}, (u32[2]){v[i][2], v[i][3]});
    }
}

/* One of `splits` parts of the attention of all heads that share the keys of head `kv`. */
INLINE void attend_part(const struct block *b, const struct decode_layer *l, int kv, int split, int splits,
                        int n_past) {
    const struct decode_args *a = b->a;
    struct shared *s = b->s;
    int heads = a->n_heads / a->n_kv_heads, t = b->thread;
    int kv_width = a->n_kv_heads * D, q_width = a->n_heads * D;
    u16 *keys = l->k_cache + ((i64)a->slot * a->n_kv_heads + kv) * a->stride * D;
    u16 *values = l->v_cache + ((i64)a->slot * a->n_kv_heads + kv) * a->stride * D;
    int n_steps = (n_past + 31) / 32, step = WARP_NOW * splits + split;
    u32x4 k[4][D / 32];
    if (step < n_steps) load_keys(b, keys, step * 32, k);

    int packets = (heads + 2) * (D / 4);
    for (int i = t; i < packets; i += DECODE_THREADS) {
        int head = i / (D / 4), at = i % (D / 4);
        int row = head < heads    ? (kv * heads + head) * D
                  : head == heads ? q_width + kv * D
                                  : q_width + kv_width + kv * D;
        u32x4 v = receive(b, a->qkv_packets + row / 4 + at, FLOATS);
        UNROLL for (int j = 0; j < 4; j++) s->heads[head * D + at * 4 + j] = f32_of_bits(v[j]);
    }
    barrier();
    for (int h = WARP_NOW; h < heads + 2; h += WARPS) {
        const float *x = s->heads + h * D;
        if (h == heads + 1) {
            for (int i = LANE; i < D; i += WARP) s->newest[D + i] = f32_to_half(x[i]);
        } else {
            float first[D / 64], second[D / 64];
            turn_head(b, x, h < heads ? l->q_norm : l->k_norm, n_past, first, second);
            float scale = h < heads ? a->scale * LOG2_E : 1;
            u16 *to = h < heads ? s->queries + h * D : s->newest;
            UNROLL for (int i = 0; i < D / 64; i++) {
                int pair = LANE + i * WARP;
                to[a->interleaved ? 2 * pair : pair] = f32_to_half(first[i] * scale);
                to[a->interleaved ? 2 * pair + 1 : pair + D / 2] = f32_to_half(second[i] * scale);
            }
        }
    }
    barrier();
    // the new position is no part of the cache yet: the first part takes it by itself, and writes it there
    if (split == 0) {
        if (WARP_NOW < heads) {
            float score = 0;
            for (int i = LANE; i < D; i += WARP)
                score += half_to_f32(s->queries[WARP_NOW * D + i]) * half_to_f32(s->newest[i]);
            score = warp_sum(score);
            if (LANE == 0) s->newest_score[WARP_NOW] = score;
        }
        if (t < D) {
            keys[(i64)n_past * D + t] = s->newest[t];
            values[(i64)t * a->stride + n_past] = s->newest[D + t];
        }
    }
    int g = LANE / 4;
    if (step < n_steps) {
        struct mix r = {.largest = -INFINITE};
        NO_UNROLL for (int at = step; at < n_steps; at += WARPS * splits) {
            if (at != step) load_keys(b, keys, at * 32, k);
            attend_step(b, s->queries, k, values, a->stride, at * 32, n_past, &r);
        }
        UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = 0; e < 2; e++)
            s->mixed[WARP_NOW][g][8 * i + 2 * (LANE % 4) + e] = r.out[i][e];
        if (LANE % 4 == 0) {
            s->largest_score[WARP_NOW][g] = r.largest;
            s->weight[WARP_NOW][g] = r.total;
        }
    }
    barrier();
    int active = min_int(WARPS, (n_steps - split + splits - 1) / splits);  // warps that had positions
    for (int base = 0; base < heads * D; base += DECODE_THREADS) {
        int i = base + t, head = min_int(i / D, heads - 1), dim = i % D;
        float m = split == 0 ? s->newest_score[head] : -INFINITE;
        for (int w = 0; w < active; w++) m = max_f32(m, s->largest_score[w][head]);
        float own = split == 0 ? exp2_fast(s->newest_score[head] - m) : 0;
        float out = own != 0 ? own * half_to_f32(s->newest[D + dim]) : 0, weight = own;
        for (int w = 0; w < active; w++) {
            float scale = exp2_fast(s->largest_score[w][head] - m);
            out += scale * s->mixed[w][head][dim];
            weight += scale * s->weight[w][head];
        }
        // every part is sent in every layer, also one without positions
        out = weight > 0 ? out / weight : 0;
        float log_weight = weight > 0 ? m + log2_fast(weight) : NO_WEIGHT;
        u32x4 packet;
        UNROLL for (int j = 0; j < 4; j++) {
            int from = (LANE & 24) + (j & 1) + (j & 2) * 2;  // in the order of activations
            packet[j] = marked_pair(shuffle_f32(out, from), shuffle_f32(out, from + 2), b->parity);
        }
        if (i >= heads * D) continue;
        int place = split * a->n_heads + kv * heads + head;
        if (dim % 8 == 0) store_shared_by_blocks(a->mixed_packets + place * (D / 8) + dim / 8, packet);
        if (dim == 0) store_word_shared_by_blocks(a->weights_of_mixed + place, marked(log_weight, b->parity));
    }
    // the cache, for the next token; nobody waits for it now
    if (split == 0 && t < D) publish();
}

/* What attention found, its parts merged, to activations. */
INLINE void receive_attention(const struct block *b, int splits) {
    const struct decode_args *a = b->a;
    int n = a->n_heads * (D / 8);
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u32x4 v[DECODE_SPLITS];
        u32 w[DECODE_SPLITS];
        int looks = 0, all;
        do {
            all = 1;
            UNROLL for (int s = 0; s < DECODE_SPLITS; s++) {
                if (s >= splits) continue;
                v[s] = load_shared_by_blocks(a->mixed_packets + s * n + i);
                w[s] = load_word_shared_by_blocks(a->weights_of_mixed + s * a->n_heads + i / (D / 8));
            }
            UNROLL for (int s = 0; s < DECODE_SPLITS; s++) if (s < splits) all =
                all && is_marked(v[s], HALVES, b->parity) && (w[s] & 1) == b->parity;
        } while (!all && goes_on_waiting(b, &looks));
        float m = -INFINITE, total = 0, out[8] = {0};
        UNROLL for (int s = 0; s < DECODE_SPLITS; s++) if (s < splits) m = max_f32(m, f32_of_bits(w[s]));
        UNROLL for (int s = 0; s < DECODE_SPLITS; s++) {
            if (s >= splits) continue;
            float weight = exp2_fast(f32_of_bits(w[s]) - m);
            total += weight;
            UNROLL for (int j = 0; j < 8; j++) out[j] += weight * half_to_f32((u16)(v[s][j / 2] >> (j % 2 * 16)));
        }
        float share = 1 / total;
        u16 *group = activations_of(b) + i * 8 / GROUP * PITCH;
        u32 pairs[4];
        UNROLL for (int j = 0; j < 4; j++) pairs[j] = pair_of_halves(out[2 * j] * share, out[2 * j + 1] * share);
        *(u64 *)(group + place_of(i * 8 % GROUP)) = pairs[0] | (u64)pairs[1] << 32;
        *(u64 *)(group + place_of(i * 8 % GROUP + 4)) = pairs[2] | (u64)pairs[3] << 32;
    }
    barrier();
}

#endif
