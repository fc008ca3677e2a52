/* decode.c: attention of one sequence, its positions shared out among blocks and their warps. */
#ifndef UTTER_GPU_KERNELS_DECODE_ATTENTION_H
#define UTTER_GPU_KERNELS_DECODE_ATTENTION_H

#include "gpu/kernels/decode_products.h"

/* A packet of the exchange is four dimensions of a head, 4 at .. 4 at + 3. What it is turned by, read before it comes.
 */
struct turn {
    f32x4 gain;       // of the norm
    f32x4 angles[2];  // cosines and sines: interleaved of two pairs within the packet, else of its four dimensions
};

INLINE void load_turn(const struct block *b, const float *norm, int at, int position, struct turn *r) {
    const struct decode_args *a = b->a;
    const float *angles = a->angles + (i64)position * D;
    const f32x4 *from = (const f32x4 *)(angles + (a->interleaved ? 4 * at : 8 * (at % (D / 8))));
    r->gain = norm ? *(const f32x4 *)(norm + 4 * at) : (f32x4){1, 1, 1, 1};
    r->angles[0] = from[0];
    if (!a->interleaved) r->angles[1] = from[1];
}

/* x[4], normed and turned; called by all lanes of a warp. The packets of a head are D / 4 lanes that follow each other.
 */
INLINE void turn_packet(const struct block *b, const struct turn *r, int normed, int at, float x[4]) {
    const struct decode_args *a = b->a;
    if (normed) {
        float sum = x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3];
        UNROLL for (int mask = D / 8; mask; mask /= 2) sum += shuffle_xor_f32(sum, mask);
        float scale = rsqrt_fast(sum / (float)D + a->eps);
        UNROLL for (int j = 0; j < 4; j++) x[j] *= scale * r->gain[j];
    }
    float other[4];
    UNROLL for (int j = 0; j < 4; j++) other[j] = shuffle_xor_f32(x[j], D / 8);
    if (a->interleaved) {
        UNROLL for (int j = 0; j < 4; j += 2) {
            float first = x[j], second = x[j + 1], cosine = r->angles[0][j], sine = r->angles[0][j + 1];
            x[j] = first * cosine - second * sine;
            x[j + 1] = first * sine + second * cosine;
        }
    } else {
        UNROLL for (int j = 0; j < 4; j++) {
            float cosine = r->angles[j / 2][j % 2 * 2], sine = r->angles[j / 2][j % 2 * 2 + 1];
            x[j] = x[j] * cosine + (at < D / 8 ? -other[j] : other[j]) * sine;
        }
    }
}

/* A warp's attention, over 32 positions at a time. Rows of products are heads. */
struct mix {
    float largest, total;  // of row lane / 4
    float out[D / 8][4];   // columns 8 i + 2 (lane % 4) and the next
};

/* Keys and values of 32 positions: keys of positions 8 (g / 2) + 2 j + g % 2, a quarter of their dimensions; values of
   positions 8 t .. 8 t + 7, dimensions 8 i + g. */
struct cached {
    u32x4 k[4][D / 32], v[D / 8];
};

INLINE int key_of_lane(const struct block *b, int j) { return 8 * (LANE / 8) + 2 * j + LANE / 4 % 2; }

INLINE void load_cached(const struct block *b, const u16 *keys, const u16 *values, int position, struct cached *c) {
    int g = LANE / 4, t = LANE % 4;
    UNROLL for (int j = 0; j < 4; j++) {
        const u16 *row = keys + (i64)(position + key_of_lane(b, j)) * D + t * (D / 4);
        UNROLL for (int i = 0; i < D / 32; i++) c->k[j][i] = load_from_cache((const u32x4 *)row + i);
    }
    UNROLL for (int i = 0; i < D / 8; i++) c->v[i] =
        load_from_cache((const u32x4 *)(values + (i64)(8 * i + g) * b->a->stride + position + 8 * t));
}

/* The new position is no part of the cache yet: it is put among what was loaded, and there. Only this warp reads it
   there, for all tokens of a launch. */
INLINE void add_newest(const struct block *b, u16 *keys, u16 *values, int position, int n_past, struct cached *c) {
    const u16 *newest = b->s->newest;
    int g = LANE / 4, t = LANE % 4, at = n_past - position - 8 * t;
    UNROLL for (int j = 0; j < 4; j++) if (position + key_of_lane(b, j) == n_past)
        UNROLL for (int i = 0; i < D / 32; i++) c->k[j][i] = *(const u32x4 *)(newest + t * (D / 4) + 8 * i);
    UNROLL for (int i = 0; i < D / 8; i++) {
        u32 value = newest[D + 8 * i + g];
        UNROLL for (int j = 0; j < 4; j++) {
            if (at == 2 * j) c->v[i][j] = (c->v[i][j] & 0xffff0000u) | value;
            if (at == 2 * j + 1) c->v[i][j] = (c->v[i][j] & 0xffffu) | value << 16;
        }
    }
    for (int i = LANE; i < D; i += WARP) {
        keys[(i64)n_past * D + i] = newest[i];
        values[(i64)i * b->a->stride + n_past] = newest[D + i];
    }
}

/* Of positions before `end`. */
INLINE void attend_step(const struct block *b, const struct cached *cached, int position, int end, struct mix *r) {
    int g = LANE / 4, t = LANE % 4;
    float c[4][4] = {{0}};
    const u16 *q = b->s->queries + g * D + t * (D / 4);
    UNROLL for (int m = 0; m < D / 16; m++) {
        u32 a[4] = {*(const u32 *)(q + 4 * m), 0, *(const u32 *)(q + 4 * m + 2), 0};
        UNROLL for (int j = 0; j < 4; j++)
            multiply_halves(c[j], a, (u32[2]){cached->k[j][m / 2][m % 2 * 2], cached->k[j][m / 2][m % 2 * 2 + 1]});
    }
    float m = -INFINITE;
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 2; e++) {
        if (position + 8 * t + 2 * j + e >= end) c[j][e] = -INFINITE;
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
        multiply_halves(r->out[i], (u32[4]){p[0], 0, p[1], 0}, (u32[2]){cached->v[i][0], cached->v[i][1]});
        multiply_halves(r->out[i], (u32[4]){p[2], 0, p[3], 0}, (u32[2]){cached->v[i][2], cached->v[i][3]});
    }
}

/* One of `splits` parts of the attention of all heads that share the keys of head `kv`. */
INLINE void attend_part(const struct block *b, const struct decode_layer *l, int kv, int split, int splits,
                        int n_past) {
    const struct decode_args *a = b->a;
    struct shared *s = b->s;
    int heads = a->n_heads / a->n_kv_heads, t = b->thread, g = LANE / 4;
    u16 *keys = l->k_cache + ((i64)a->slot * a->n_kv_heads + kv) * a->stride * D;
    u16 *values = l->v_cache + ((i64)a->slot * a->n_kv_heads + kv) * a->stride * D;
    int n_steps = n_past / 32 + 1, step = WARP_NOW * splits + split;
    struct cached cached;
    if (step < n_steps) load_cached(b, keys, values, step * 32, &cached);

    // a packet each: of the queries, then the key, then the value
    int head = t / (D / 4), at = t % (D / 4);
    struct turn turn;
    load_turn(b, head < heads ? l->q_norm : l->k_norm, at, n_past, &turn);
    float x[4] = {0};
    if (head < heads + 2) {
        int width = a->n_heads * D, row = head < heads    ? (kv * heads + head) * D
                                          : head == heads ? width + kv * D
                                                          : width + (a->n_kv_heads + kv) * D;
        u32x4 packet = receive(b, a->qkv_packets + row / 4 + at, FLOATS);
        UNROLL for (int j = 0; j < 4; j++) x[j] = f32_of_bits(packet[j]);
    }
    float value[4] = {x[0], x[1], x[2], x[3]};
    turn_packet(b, &turn, l->q_norm != 0, at, x);
    if (head < heads + 2) {
        float scale = head < heads ? a->scale * LOG2_E : 1;
        u16 *to = head < heads ? s->queries + head * D : s->newest + (head - heads) * D;
        UNROLL for (int j = 0; j < 4; j++) to[4 * at + j] = f32_to_half(head > heads ? value[j] : x[j] * scale);
    }
    barrier();

    if (step < n_steps) {
        struct mix r = {.largest = -INFINITE};
        NO_UNROLL for (int now = step; now < n_steps; now += WARPS * splits) {
            if (now != step) load_cached(b, keys, values, now * 32, &cached);
            if (now == n_steps - 1) add_newest(b, keys, values, now * 32, n_past, &cached);
            attend_step(b, &cached, now * 32, n_past + 1, &r);
        }
        UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = 0; e < 2; e++)
            s->mixed[WARP_NOW][g][8 * i + 2 * (LANE % 4) + e] = r.out[i][e];
        if (LANE % 4 == 0) {
            s->largest_score[WARP_NOW][g] = r.largest;
            s->weight[WARP_NOW][g] = r.total;
        }
    }
    barrier();
    // a packet each: eight dimensions of a head, of all warps that had positions
    int active = min_int(WARPS, (n_steps - split + splits - 1) / splits);
    head = t / (D / 8), at = t % (D / 8);
    if (head >= heads) return;
    float m = -INFINITE, weight = 0, out[8] = {0};
    for (int w = 0; w < active; w++) m = max_f32(m, s->largest_score[w][head]);
    for (int w = 0; w < active; w++) {
        float scale = exp2_fast(s->largest_score[w][head] - m);
        const f32x4 *from = (const f32x4 *)(s->mixed[w][head] + 8 * at);
        UNROLL for (int j = 0; j < 8; j++) out[j] += scale * from[j / 4][j % 4];
        weight += scale * s->weight[w][head];
    }
    // every part is sent in every layer, also one without positions
    float share = weight > 0 ? 1 / weight : 0, log_weight = weight > 0 ? m + log2_fast(weight) : NO_WEIGHT;
    u32x4 packet;
    UNROLL for (int j = 0; j < 4; j++) {
        int from = (j & 1) + (j & 2) * 2;  // in the order of activations
        packet[j] = marked_pair(out[from] * share, out[from + 2] * share, b->parity);
    }
    int place = split * a->n_heads + kv * heads + head;
    store_shared_by_blocks(a->mixed_packets + place * (D / 8) + at, packet);
    if (at == 0) store_word_shared_by_blocks(a->weights_of_mixed + place, marked(log_weight, b->parity));
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
