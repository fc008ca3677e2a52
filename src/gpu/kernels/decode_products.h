/* decode.c: this block's tiles of a matrix times one vector of activations, and how activations come. */
#ifndef UTTER_GPU_KERNELS_DECODE_PRODUCTS_H
#define UTTER_GPU_KERNELS_DECODE_PRODUCTS_H

#include "gpu/kernels/decode_block.h"

/* ---- tiles ---- */

INLINE struct tiles own_tiles(int n) {
    int first = (int)((i64)block_x() * n / grid_x());
    return (struct tiles){first, (int)((i64)(block_x() + 1) * n / grid_x()) - first};
}

/* Tiles of one matrix, or of three with the same input (queries, keys, values), or of a pair that is multiplied row by
   row (gate, up). A unit is 16 products of a row and 128 columns (or, without a pair, of 8 rows and two times 128). */
struct task {
    const struct weights *w, *second, *third;
    int pair;
    int first, n;  // tiles
    int per_tile;  // units
    u32 share;     // 65536 / per_tile, rounded up: divides numbers of units without a division
};

INLINE struct task task_of(const struct block *b, const struct weights *w, const struct weights *second,
                           const struct weights *third, int pair) {
    struct task k = {.w = w, .second = second, .third = third, .pair = pair};
    const struct tiles *own = third ? &b->s->qkv : pair ? &b->s->inner : &b->s->out;
    k.first = own->first;
    k.n = own->n;
    int steps = (w->groups + STEP - 1) / STEP;
    k.per_tile = pair ? steps : (steps + 1) / 2;
    k.share = (65536 + (u32)k.per_tile - 1) / (u32)k.per_tile;
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

INLINE int tile_of(const struct task *k, int u) { return (int)((u32)u * k->share >> 16); }

struct unit {
    struct raw_group low, high;
};

INLINE void load_unit(const struct block *b, const struct task *k, int u, struct unit *out) {
    int tile = tile_of(k, u), step = u - tile * k->per_tile, row, g = step * STEP + LANE % 4;
    const struct weights *w = matrix_of(k, k->first + tile, &row);
    row += LANE / 4;
    out->low = load_raw(w, format, row, g);
    out->high = k->pair ? load_raw(k->second, format, row, g) : load_raw(w, format, row, g + k->per_tile * STEP);
}

INLINE void prefetch_unit(const struct block *b, const struct task *k, int u) {
    int tile = tile_of(k, u), step = u - tile * k->per_tile, row, g = step * STEP + LANE % 4;
    const struct weights *w = matrix_of(k, k->first + tile, &row);
    row += LANE / 4;
    prefetch_raw(w, format, row, g);
    if (k->pair) {
        prefetch_raw(k->second, format, row, g);
    } else {
        prefetch_raw(w, format, row, g + k->per_tile * STEP);
    }
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
    int step = (u - tile_of(k, u) * k->per_tile) * STEP;
    float low, high;
    multiply_groups(b, &w->low, &w->high, format, activations_of(b), step, k->pair ? step : step + k->per_tile * STEP,
                    &low, &high);
    if (LANE % 4 == 0) {
        part_of(b)[u * 16 + LANE / 4] = low;
        part_of(b)[u * 16 + 8 + LANE / 4] = high;
    }
}

struct ahead {
    struct unit units[2];
};

INLINE void look_ahead(const struct block *b, const struct task *k, int n_ahead, struct ahead *h) {
    UNROLL for (int i = 0; i < n_ahead; i++) {
        int u = WARP_NOW + i * WARPS;
        if (u < k->n * k->per_tile) load_unit(b, k, u, &h->units[i]);
    }
}

/* All units, with the activations in place; ends with a barrier. */
INLINE void multiply_task(const struct block *b, const struct task *k, const struct task *next_layer, int n_ahead,
                          struct ahead *h) {
    int n = k->n * k->per_tile;
    NO_UNROLL for (int u = WARP_NOW; u < n; u += WARPS) prefetch_unit(b, next_layer, u);
    UNROLL for (int i = 0; i < n_ahead; i++) {
        int u = WARP_NOW + i * WARPS;
        if (u < n) multiply_unit(b, k, u, &h->units[i]);
    }
    NO_UNROLL for (int u = WARP_NOW + n_ahead * WARPS; u < n; u += WARPS) {
        struct unit w;
        load_unit(b, k, u, &w);
        multiply_unit(b, k, u, &w);
    }
    barrier();
}

/* Sums of row r (of all own tiles): four lanes take a row, each gets the sum. */
INLINE float sum_of_row(const struct block *b, const struct task *k, int r, int high, int low) {
    float sum = 0;
    if (r < k->n * 8)
        for (int i = LANE % 4; i < k->per_tile; i += 4) {
            const float *part = part_of(b) + (r / 8 * k->per_tile + i) * 16 + r % 8;
            if (low) sum += part[0];
            if (high) sum += part[8];
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
    return rsqrt_f32(sum / (float)width + b->a->eps);
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
    int first = b->s->out.first * 8;
    if (k < width) {
        f32x4 g = *(const f32x4 *)(gain + k) * scale * v;
        put_four(activations_of(b) + k / GROUP * (PITCH - GROUP), k, g[0], g[1], g[2], g[3]);
        if (k >= first && k < first + b->s->out.n * 8) *(f32x4 *)(residual_of(b) + k - first) = v;
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
