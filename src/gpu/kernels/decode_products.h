/* decode.c: this block's tiles of a matrix times one vector of activations, and how activations come. */
#ifndef UTTER_GPU_KERNELS_DECODE_PRODUCTS_H
#define UTTER_GPU_KERNELS_DECODE_PRODUCTS_H

#include "gpu/kernels/decode_block.h"

/* ---- tiles ---- */

/* The first of this block's among n. */
INLINE int first_own(int n, int block) { return (int)((i64)block * n / grid_x()); }

INLINE struct tiles own_tiles(int n, const struct weights *w, int pair) {
    int first = first_own(n, block_x()), steps = (w->groups + STEP - 1) / STEP;
    int per_tile = pair ? steps : (steps + 1) / 2;
    return (struct tiles){.first = first,
                          .n = first_own(n, block_x() + 1) - first,
                          .per_tile = per_tile,
                          .share = (65536 + (u32)per_tile - 1) / (u32)per_tile};
}

/* Tiles of one matrix, or of three with the same input (queries, keys, values), or of a pair that is multiplied row by
   row (gate, up). A unit is 16 products of a row and 128 columns (or, without a pair, of 8 rows and two times 128). */
struct task {
    const struct weights *w, *second, *third;
    int pair;
    struct tiles t;
    int staged;  // where its weights come to in shared memory
};

INLINE struct task task_of(const struct block *b, const struct decode_layer *l, enum decode_product product) {
    struct task k = {.w = product == QKV        ? &l->q
                          : product == ATTN_OUT ? &l->attn_out
                          : product == INNER    ? &l->gate
                                                : &l->down,
                     .second = product == QKV ? &l->k : &l->up,
                     .third = product == QKV ? &l->v : 0,
                     .pair = product == INNER,
                     .staged = b->a->at_staged[product]};
    k.t = b->s->tiles[product];
    return k;
}

/* The matrix of a tile; its row there. */
INLINE const struct weights *matrix_of(const struct task *k, int tile, int *row) {
    const struct weights *w = k->w;
    *row = tile * 8;
    if (!k->third) return w;
    if (*row >= w->rows) {
        *row -= w->rows;
        w = k->second;
        if (*row >= w->rows) {
            *row -= w->rows;
            w = k->third;
        }
    }
    return w;
}

INLINE int tile_of(const struct task *k, int u) { return (int)((u32)u * k->t.share >> 16); }

struct unit {
    struct raw_group low, high;
};

/* The weights of a unit's two halves that this lane has: their matrix, row and group. */
struct unit_place {
    const struct weights *w[2];
    int row, group[2];
};

INLINE struct unit_place place_of_unit(const struct block *b, const struct task *k, int u) {
    struct unit_place p;
    int tile = tile_of(k, u), step = u - tile * k->t.per_tile;
    p.w[0] = matrix_of(k, k->t.first + tile, &p.row);
    p.w[1] = k->pair ? k->second : p.w[0];
    p.row += LANE / 4;
    p.group[0] = step * STEP + LANE % 4;
    p.group[1] = p.group[0] + (k->pair ? 0 : k->t.per_tile * STEP);
    return p;
}

/* A staged unit: for each half the quants, 16 bytes of every lane after each other, then the scales of both. */
enum {
    PIECES = JOIN(AS, FORMAT) == AS_q4_0 ? 1 : 2,  // of 16 bytes, of a group
    AT_SCALES = 2 * PIECES * WARP * 16,
    UNIT_BYTES = AT_SCALES + 2 * WARP * 2,
};
_Static_assert(UNIT_BYTES == DECODE_UNIT_BYTES(PIECES), "as the host lays them out");

INLINE void load_unit(const struct block *b, const struct task *k, int u, struct unit *out) {
    if (STAGED) {
        const u8 *from = DYNAMIC_SHARED(u8) + k->staged + u * UNIT_BYTES;
        struct raw_group *halves[2] = {&out->low, &out->high};
        UNROLL for (int h = 0; h < 2; h++) {
            UNROLL for (int j = 0; j < PIECES; j++) halves[h]->quants[j] =
                *(const u32x4 *)(from + ((h * PIECES + j) * WARP + LANE) * 16);
            halves[h]->scale = *(const u16 *)(from + AT_SCALES + (h * WARP + LANE) * 2);
        }
        return;
    }
    struct unit_place p = place_of_unit(b, k, u);
    out->low = load_raw(p.w[0], format, p.row, p.group[0]);
    out->high = load_raw(p.w[1], format, p.row, p.group[1]);
}

INLINE void stage_unit(const struct block *b, const struct task *k, int u) {
    struct unit_place p = place_of_unit(b, k, u);
    shared_place to = DYNAMIC_SHARED_PLACE + k->staged + u * UNIT_BYTES;
    UNROLL for (int h = 0; h < 2; h++) {
        const struct weights *w = p.w[h];
        int given = p.row < w->rows && p.group[h] < w->groups;
        u64 i = (u64)p.row * (u64)w->groups + (u64)p.group[h];
        UNROLL for (int j = 0; j < PIECES; j++)
            copy16(to + ((h * PIECES + j) * WARP + LANE) * 16, (const u32x4 *)w->quants + i * PIECES + j, given);
        if (LANE % 2 == 0) copy4(to + AT_SCALES + (h * WARP + LANE) * 2, (const u16 *)w->scales + i, given);
    }
}

/* Sends for the weights of the next layer's task, when those of this one's are not needed any more. Every task of a
   layer does this once, so that the copies of a task are the fourth last when it begins. A warp sends for what it will
   multiply. */
INLINE void send_for(const struct block *b, const struct task *k) {
    int n = k->t.n * k->t.per_tile;
    NO_UNROLL for (int u = WARP_NOW; u < n; u += WARPS) {
        if (STAGED) {
            stage_unit(b, k, u);
        } else {
            struct unit_place p = place_of_unit(b, k, u);
            UNROLL for (int h = 0; h < 2; h++) prefetch_raw(p.w[h], format, p.row, p.group[h]);
        }
    }
    if (STAGED) copies_commit();
}

/* Rows of weights times groups of activations: *low and *high of row lane / 4. The product's columns hold one vector
   each: those of even number the one at `first`, the others that at `second`. */
INLINE void multiply_groups(const struct block *b, const struct raw_group *low, const struct raw_group *high,
                            enum format f, const u16 *activations, int first, int second, float *low_sum,
                            float *high_sum) {
    const u16 *x = activations + ((LANE / 4 % 2 ? second : first) + LANE % 4) * PITCH;
    float c[4][4] = {{0}};
    UNROLL for (int q = 0; q < 4; q++) {
        u32x4 v = *(const u32x4 *)(x + q * 8);
        u32 l[4], h[4];
        pairs_of_raw(low, f, q, l);
        pairs_of_raw(high, f, q, h);
        multiply_halves(c[q], (u32[4]){l[0], h[0], l[1], h[1]}, (u32[2]){v[0], v[1]});
        multiply_halves(c[q], (u32[4]){l[2], h[2], l[3], h[3]}, (u32[2]){v[2], v[3]});
    }
    *low_sum = c[0][0] + c[1][0] + (c[2][0] + c[3][0]);
    *high_sum = c[0][3] + c[1][3] + (c[2][3] + c[3][3]);
}

INLINE void multiply_unit(const struct block *b, const struct task *k, int u, const struct unit *w) {
    int step = (u - tile_of(k, u) * k->t.per_tile) * STEP;
    float low, high;
    multiply_groups(b, &w->low, &w->high, format, activations_of(b), step, k->pair ? step : step + k->t.per_tile * STEP,
                    &low, &high);
    if (LANE % 4 != 0) return;
    if (k->pair) {
        part_of(b)[u * 16 + LANE / 4] = low;
        part_of(b)[u * 16 + 8 + LANE / 4] = high;
    } else {
        part_of(b)[u * 8 + LANE / 4] = low + high;
    }
}

/* The first units of each warp, in registers while it waits for what they are multiplied with. */
struct ahead {
    struct unit units[AHEAD];
};

INLINE void look_ahead(const struct block *b, const struct task *k, struct ahead *h) {
    if (STAGED) {
        copies_wait(DECODE_PRODUCTS - 1);
        warp_barrier();
    }
    UNROLL for (int i = 0; i < AHEAD; i++) {
        int u = WARP_NOW + i * WARPS;
        if (u < k->t.n * k->t.per_tile) load_unit(b, k, u, &h->units[i]);
    }
}

/* All units, with the activations in place; ends with a barrier. */
INLINE void multiply_task(const struct block *b, const struct task *k, struct ahead *h) {
    int n = k->t.n * k->t.per_tile;
    NO_UNROLL for (int first = WARP_NOW; first < n; first += AHEAD * WARPS) {
        UNROLL for (int i = 0; i < AHEAD; i++) {
            int u = first + i * WARPS;
            if (u >= n) continue;
            struct unit w = h->units[i];
            if (u + AHEAD * WARPS < n) load_unit(b, k, u + AHEAD * WARPS, &h->units[i]);
            multiply_unit(b, k, u, &w);
        }
    }
    barrier();
}

/* Sums of row r (of all own tiles; of a pair the first's or the second's): four lanes take a row, each gets the sum. */
INLINE float sum_of_row(const struct block *b, const struct task *k, int r, int second) {
    int stride = k->pair ? 16 : 8;
    r = min_int(r, k->t.n * 8 - 1);
    const float *part = part_of(b) + r / 8 * k->t.per_tile * stride + second * 8 + r % 8;
    float sum = 0;
    NO_UNROLL for (int first = LANE % 4; first < k->t.per_tile; first += 16) {
        float v[4];
        UNROLL for (int j = 0; j < 4; j++) v[j] = part[min_int(first + 4 * j, k->t.per_tile - 1) * stride];
        UNROLL for (int j = 0; j < 4; j++) sum += first + 4 * j < k->t.per_tile ? v[j] : 0;
    }
    sum += shuffle_xor_f32(sum, 1);
    return sum + shuffle_xor_f32(sum, 2);
}

/* Own rows base .. base + 7 of a warp are in its lanes 0, 4, 8, ...; sends them as two packets of floats. */
INLINE void send_floats(const struct block *b, u32x4 *to, int tile, float v, int valid) {
    u32x4 packet;
    UNROLL for (int j = 0; j < 4; j++) packet[j] = marked(shuffle_f32(v, (LANE & 16) + 4 * j), b->parity);
    if (valid && LANE % 16 == 0) store_shared_by_blocks(to + tile * 2 + LANE / 16, packet);
}

/* ---- inputs ---- */

/* What RMSNorm multiplies with; squares: those of this thread's numbers, summed. */
INLINE float norm_of(const struct block *b, int width, float squares) {
    float sum = warp_sum(squares);
    if (LANE == 0) b->s->sums[WARP_NOW] = sum;
    barrier();
    sum = 0;
    UNROLL for (int w = 0; w < WARPS; w++) sum += b->s->sums[w];
    return rsqrt_fast(sum / (float)width + b->a->eps);
}

/* Waits for the width's numbers; normed they become the activations. Ends with a barrier. */
INLINE void receive_normed(const struct block *b, const u32x4 *from, const float *gain, float *hidden) {
    const struct decode_args *a = b->a;
    int width = a->width, k = b->thread * 4;
    f32x4 g = {0, 0, 0, 0};
    float v[4] = {0};
    if (k < width) {
        g = *(const f32x4 *)(gain + k);
        u32x4 packet = receive(b, from + b->thread, FLOATS);
        UNROLL for (int j = 0; j < 4; j++) v[j] = f32_of_bits(packet[j]);
    }
    float scale = norm_of(b, width, v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
    if (k < width) {
        UNROLL for (int j = 0; j < 4; j++) v[j] *= scale * g[j];
        put_four(activations_of(b) + k / GROUP * (PITCH - GROUP), k, v[0], v[1], v[2], v[3]);
        if (hidden) *(f32x4 *)(hidden + k) = (f32x4){v[0], v[1], v[2], v[3]};
    }
    barrier();
}

/* Weights k .. k + 3 of a row. */
INLINE f32x4 four_weights(const struct weights *w, enum format f, int row, int k) {
    struct group raw = load_group(w, f, row, k / GROUP);
    float v[8];
    switch (k % 16 / 4) {
        case 0:
            quarter_of_group(&raw, f, 0, v);
            break;
        case 1:
            quarter_of_group(&raw, f, 1, v);
            break;
        case 2:
            quarter_of_group(&raw, f, 2, v);
            break;
        default:
            quarter_of_group(&raw, f, 3, v);
    }
    return k % GROUP < 16 ? (f32x4){v[0], v[1], v[2], v[3]} : (f32x4){v[4], v[5], v[6], v[7]};
}

/* The token's row of the embedding, as if it had come from the other blocks. */
INLINE void embed_token(const struct block *b, const float *gain) {
    const struct decode_args *a = b->a;
    int width = a->width, row = b->s->token, k = b->thread * 4;
    f32x4 v = {0, 0, 0, 0};
    if (k < width)
        v = a->embedding_is_q8 ? four_weights(&a->embedding, AS_q8_0, row, k)
                               : four_weights(&a->embedding, format, row, k);
    float scale = norm_of(b, width, v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
    int first = b->s->tiles[ATTN_OUT].first * 8;
    if (k < width) {
        f32x4 g = *(const f32x4 *)(gain + k) * scale * v;
        put_four(activations_of(b) + k / GROUP * (PITCH - GROUP), k, g[0], g[1], g[2], g[3]);
        if (k >= first && k < first + b->s->tiles[ATTN_OUT].n * 8) *(f32x4 *)(residual_of(b) + k - first) = v;
    }
    barrier();
}

/* The network's inner numbers, eight halves a packet, to activations. */
INLINE void receive_inner(const struct block *b) {
    const struct decode_args *a = b->a;
    int n = a->inner / 8;
    for (int i = b->thread; i < n; i += DECODE_THREADS * 2) {
        // two at once
        const u32x4 *p[2] = {a->inner_packets + i, a->inner_packets + i + DECODE_THREADS};
        int two = i + DECODE_THREADS < n, looks = 0;
        u32x4 v[2];
        do {
            v[0] = load_shared_by_blocks(p[0]);
            if (two) v[1] = load_shared_by_blocks(p[1]);
        } while (!(is_marked(v[0], HALVES, b->parity) && (!two || is_marked(v[1], HALVES, b->parity))) &&
                 goes_on_waiting(b, &looks));
        UNROLL for (int j = 0; j < 2; j++) {
            if (j && !two) continue;
            int k = (i + j * DECODE_THREADS) * 8;
            u16 *group = activations_of(b) + k / GROUP * PITCH;
            *(u64 *)(group + place_of(k % GROUP)) = v[j][0] | (u64)v[j][1] << 32;
            *(u64 *)(group + place_of(k % GROUP + 4)) = v[j][2] | (u64)v[j][3] << 32;
        }
    }
    barrier();
}

#endif
