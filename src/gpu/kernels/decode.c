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
#define SAMPLE_THREADS DECODE_THREADS
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/sampling.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
static const enum format format = JOIN(AS, FORMAT);

enum {
    WARPS = DECODE_THREADS / WARP,
    PITCH = GROUP + 8,  // of a group of activations: the reads of a warp fall into different banks
    // units of a pair's weights that a warp has on their way while it waits: what registers hold. Of the others, which
    // are few, what the card's cache was asked for a layer before must do.
    AHEAD = JOIN(AS, FORMAT) == AS_q4_0 ? 2 : 0,
    D = DECODE_HEAD_DIM,
    STEP = 4,  // groups that a warp takes at once, one for each of four lanes
};

#define LOG2_E 1.44269504f
#define NO_WEIGHT -1e30f

struct tiles {
    i32 first, n;
};

struct shared {
    volatile i32 gave_up, nothing;
    i32 token;
    i64 until;  // timer_ns at which waiting ends
    struct decode_args args;
    struct tiles qkv, out, inner, head;  // this block's
    float sums[WARPS];
    u64 largest[WARPS];
    i32 n_candidates;
    u32 n_total;
    float __attribute__((aligned(16))) heads[(DECODE_GROUP + 2) * D];  // queries of the group, key, value
    u16 __attribute__((aligned(16))) queries[8 * D], newest[2 * D];    // halves; key and value of the new position
    float newest_score[8];
    float largest_score[WARPS][8], weight[WARPS][8];
    union {
        float mixed[WARPS][8][D];  // of each warp
        struct {                   // of sampling
            u64 keys[SAMPLE_LIST], order[SAMPLE_LIST];
            float p[SAMPLE_LIST];
        };
    };
    struct sequence sequence;
};
_Static_assert(sizeof(struct shared) <= DECODE_STATIC_BYTES, "the launch asks for room for it");

struct block {
    const struct decode_args *a;
    struct shared *s;
    int thread;
    u32 parity;  // of the layer
};

/* Each part of a token's way begins with this. Neither compiler knows that `nothing` is zero, so that they compute what
   a part needs when it begins: they would rather keep all there is to know for all parts in registers, and spill. */
INLINE struct block this_block(u32 parity) {
    struct shared *s = DYNAMIC_SHARED(struct shared);
    int nothing = s->nothing;
    return (struct block){.a = (const struct decode_args *)((const char *)&s->args + nothing),
                          .s = s,
                          .thread = thread_x() + nothing,
                          .parity = parity};
}

#define LANE (b->thread % WARP)
#define WARP_NOW (b->thread / WARP)

/* What follows struct shared. */
#define ROOM(b, type, place) ((type *)(DYNAMIC_SHARED(unsigned char) + (b)->a->place))
INLINE const struct decode_layer *layer_of(const struct block *b, int i) {
    return ROOM(b, const struct decode_layer, at_layers) + i;
}
INLINE float *residual_of(const struct block *b) { return ROOM(b, float, at_residual); }    // [own tiles, 8]
INLINE float *part_of(const struct block *b) { return ROOM(b, float, at_part); }            // [units, 16]
INLINE u16 *activations_of(const struct block *b) { return ROOM(b, u16, at_activations); }  // [groups, PITCH]
INLINE float *logits_of(const struct block *b) { return ROOM(b, float, at_logits); }        // [own rows of the head]

/* ---- waiting ---- */

INLINE int goes_on_waiting(const struct block *b, int *looks) {
    pause();
    if ((++*looks & 255) == 0 && (*(volatile u32 *)&b->a->state->fault || timer_ns() > b->s->until)) {
        b->s->gave_up = 1;
        *(volatile u32 *)&b->a->state->fault = 1;
    }
    return !b->s->gave_up;
}

INLINE u32 marked(float f, u32 parity) { return (bits_of_f32(f) & ~1u) | parity; }
INLINE u32 marked_pair(float first, float second, u32 parity) {
    return (pair_of_halves(within_half(first), within_half(second)) & 0xfffefffeu) | parity * 0x10001u;
}

INLINE int is_marked(u32x4 v, u32 mask, u32 parity) {
    u32 want = parity ? mask : 0;
    return (((v[0] ^ want) | (v[1] ^ want) | (v[2] ^ want) | (v[3] ^ want)) & mask) == 0;
}

/* A packet of four floats, or of eight halves. */
INLINE u32x4 receive(const struct block *b, const u32x4 *p, u32 mask) {
    int looks = 0;
    u32x4 v = load_shared_by_blocks(p);
    while (!is_marked(v, mask, b->parity) && goes_on_waiting(b, &looks)) v = load_shared_by_blocks(p);
    return v;
}

enum { FLOATS = 1, HALVES = 0x10001 };

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
    float sum = warp_sum(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
    if (LANE == 0) b->s->sums[WARP_NOW] = sum;
    barrier();
    sum = 0;
    UNROLL for (int w = 0; w < WARPS; w++) sum += b->s->sums[w];
    float scale = rsqrt_f32(sum / (float)width + a->eps);
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
    float sum = warp_sum(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
    if (LANE == 0) b->s->sums[WARP_NOW] = sum;
    barrier();
    sum = 0;
    UNROLL for (int w = 0; w < WARPS; w++) sum += b->s->sums[w];
    float scale = rsqrt_f32(sum / (float)width + a->eps);
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

/* ---- attention ---- */

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

/* ---- the head and sampling ---- */

INLINE void head_rows_of(const struct block *b, int *first, int *next) {
    *first = b->s->head.first * 16;
    *next = min_int(*first + b->s->head.n * 16, b->a->head.rows);
}

/* Logits of this block's rows. */
INLINE void multiply_head(const struct block *b, enum format f) {
    const struct weights *w = &b->a->head;
    int first, next, steps = (w->groups + STEP - 1) / STEP, g = LANE / 4, t = LANE % 4;
    head_rows_of(b, &first, &next);
    NO_UNROLL for (int row = first + WARP_NOW * 16; row < next; row += WARPS * 16) {
        float low = 0, high = 0;
        struct raw_group here[2], coming[2];
        coming[0] = load_raw(w, f, row + g, t);
        coming[1] = load_raw(w, f, row + 8 + g, t);
        NO_UNROLL for (int step = 0; step < steps; step++) {
            here[0] = coming[0], here[1] = coming[1];
            if (step + 1 < steps) {
                coming[0] = load_raw(w, f, row + g, (step + 1) * STEP + t);
                coming[1] = load_raw(w, f, row + 8 + g, (step + 1) * STEP + t);
            }
            float l, h;
            multiply_groups(b, &here[0], &here[1], f, activations_of(b), step * STEP, step * STEP, &l, &h);
            low += l;
            high += h;
        }
        if (t == 0 && row + g < next) logits_of(b)[row - first + g] = low;
        if (t == 0 && row + 8 + g < next) logits_of(b)[row - first + 8 + g] = high;
    }
    barrier();
}

/* Penalties on the logits of this block. */
INLINE void penalise_own(const struct block *b, int first, int next) {
    const struct sequence *s = &b->s->sequence;
    int n = s->n_drawn < HISTORY_DEVICE ? (int)s->n_drawn : HISTORY_DEVICE, i = b->thread;
    if (s->has_penalties && i < n && s->history[i] >= first && s->history[i] < next) {
        int index = s->history[i], count = 0, before = 0;
        for (int j = 0; j < n; j++) {
            if (s->history[j] != index) continue;
            count++;
            before += j < i;
        }
        if (before == 0) {
            float x = logits_of(b)[index - first];
            x = x <= 0 ? x * s->repeat_penalty : x / s->repeat_penalty;
            logits_of(b)[index - first] = x - ((float)count * s->frequency_penalty + s->presence_penalty);
        }
    }
    barrier();
}

INLINE u64 key_in_block(const struct block *b, int first, int i) {
    float x = logits_of(b)[i];
    return is_finite(x) ? candidate_key(x, first + i) : 0;
}

INLINE u64 max_u64(u64 x, u64 y) { return x > y ? x : y; }
INLINE u64 shuffle_xor_u64(u64 v, int mask) {
    u32 low = (u32)v, high = (u32)(v >> 32);
    low = bits_of_f32(shuffle_xor_f32(f32_of_bits(low), mask));
    high = bits_of_f32(shuffle_xor_f32(f32_of_bits(high), mask));
    return (u64)high << 32 | low;
}

/* The largest of the block's keys below `below`, 0 for none; all threads get it. */
INLINE u64 largest_in_block(const struct block *b, int first, int next, u64 below) {
    u64 largest = 0;
    for (int i = b->thread; i < next - first; i += DECODE_THREADS) {
        u64 key = key_in_block(b, first, i);
        if (key < below) largest = max_u64(largest, key);
    }
    UNROLL for (int mask = 16; mask; mask /= 2) largest = max_u64(largest, shuffle_xor_u64(largest, mask));
    if (LANE == 0) b->s->largest[WARP_NOW] = largest;
    barrier();
    largest = 0;
    UNROLL for (int w = 0; w < WARPS; w++) largest = max_u64(largest, b->s->largest[w]);
    barrier();
    return largest;
}

/* Packets of sampling carry the number of their round. */
INLINE u32x4 packet_of_key(u64 key, u32 more, u32 round) { return (u32x4){(u32)key, (u32)(key >> 32), more, round}; }
INLINE u64 key_of_packet(u32x4 p) { return p[0] | (u64)p[1] << 32; }

INLINE u32x4 receive_round(const struct block *b, const u32x4 *p, u32 round) {
    int looks = 0;
    u32x4 v = load_shared_by_blocks(p);
    while (v[3] != round && goes_on_waiting(b, &looks)) v = load_shared_by_blocks(p);
    return v;
}

/* The k-th largest (or, with fewer, smallest) of list[n] of distinct keys (0: none) goes to *kth; called by all. */
INLINE u64 kth_of_list(const struct block *b, const u64 *list, int n, int k) {
    if (b->thread == 0) b->s->order[0] = 0;
    barrier();
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = list[i];
        int rank = 0;
        for (int j = 0; j < n; j++) rank += list[j] > mine;
        if (mine && rank == k - 1) b->s->order[0] = mine;
    }
    barrier();
    u64 found = b->s->order[0];
    barrier();
    return found;
}

/* Rounds of counting may follow each other, and a block can be one ahead of others that still read: two places in
 * turns.
 */
INLINE u32x4 *counts_of(const struct decode_args *a, u32 round) { return a->count_packets + round % 2 * (u32)grid_x(); }

/* How many keys of all blocks are not below the threshold; those of this block go to its list as they are counted. */
INLINE int count_candidates(const struct block *b, int first, int next, u64 threshold, u32 *round) {
    struct shared *s = b->s;
    const struct decode_args *a = b->a;
    if (b->thread == 0) {
        s->n_candidates = 0;
        s->n_total = 0;
    }
    barrier();
    ++*round;
    u32x4 *mine = a->candidate_packets + (i64)block_x() * SAMPLE_LIST;
    for (int i = b->thread; i < next - first; i += DECODE_THREADS) {
        u64 key = key_in_block(b, first, i);
        if (key == 0 || key < threshold) continue;
        int at = __atomic_fetch_add(&s->n_candidates, 1, __ATOMIC_RELAXED);
        if (at < SAMPLE_LIST) store_shared_by_blocks(mine + at, packet_of_key(key, 0, *round));
    }
    barrier();
    u32x4 *counts = counts_of(a, *round);
    if (b->thread == 0) store_shared_by_blocks(counts + block_x(), packet_of_key(0, (u32)s->n_candidates, *round));
    for (int i = b->thread; i < grid_x(); i += DECODE_THREADS) {
        u32 n = receive_round(b, counts + i, *round)[2];
        __atomic_fetch_add(&s->n_total, n, __ATOMIC_RELAXED);
    }
    barrier();
    int total = (int)s->n_total;
    barrier();
    return total;
}

/* keys[n]: the k largest of all blocks, in order; n may be less when fewer are finite. */
INLINE int gather_largest(const struct block *b, int first, int next, int k, u32 *round) {
    struct shared *s = b->s;
    const struct decode_args *a = b->a;
    int each = (k + grid_x() - 1) / grid_x();  // of every block
    ++*round;
    u64 below = ~0ull;
    for (int i = 0; i < each; i++) {
        below = largest_in_block(b, first, next, below);
        if (b->thread == 0)
            store_shared_by_blocks(a->largest_packets + block_x() * each + i, packet_of_key(below, 0, *round));
    }
    for (int i = b->thread; i < grid_x() * each; i += DECODE_THREADS)
        s->keys[i] = key_of_packet(receive_round(b, a->largest_packets + i, *round));
    barrier();
    // at least k keys are not below the k-th of these
    u64 threshold = kth_of_list(b, s->keys, grid_x() * each, k), over = ~0ull;
    if (threshold == 0) threshold = 1;
    int n;
    NO_UNROLL for (u64 tried = threshold;; tried = threshold + (over - threshold) / 2) {
        n = count_candidates(b, first, next, tried, round);
        if (s->gave_up || (n <= SAMPLE_LIST && (n >= k || tried == threshold))) break;
        // too many: halve the distance to a threshold that is too high
        if (n < k) {
            over = tried;
        } else {
            threshold = tried;
        }
    }
    if (b->thread == 0) s->n_candidates = 0;
    barrier();
    for (int i = b->thread; i < grid_x(); i += DECODE_THREADS) {
        int mine = (int)min_int((int)load_shared_by_blocks(counts_of(a, *round) + i)[2], SAMPLE_LIST);
        for (int j = 0; j < mine && !s->gave_up; j++) {
            u64 key = key_of_packet(receive_round(b, a->candidate_packets + (i64)i * SAMPLE_LIST + j, *round));
            int at = __atomic_fetch_add(&s->n_candidates, 1, __ATOMIC_RELAXED);
            if (at < SAMPLE_LIST) s->order[at] = key;
        }
    }
    barrier();
    n = min_int(s->n_candidates, SAMPLE_LIST);
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = s->order[i];
        int rank = 0;
        for (int j = 0; j < n; j++) rank += s->order[j] > mine;
        s->keys[rank] = mine;
    }
    barrier();
    return min_int(n, k);
}

/* Draws the next token in every block alike; false when there is none. *round: of the last packets, which are told
   apart by it; also when there is no token. */
INLINE int sample_next(u32 *round) {
    struct block fresh = this_block(0), *b = &fresh;
    const struct decode_args *a = b->a;
    struct shared *s = b->s;
    struct sequence *q = &s->sequence;
    int first, next;
    head_rows_of(b, &first, &next);
    penalise_own(b, first, next);
    int n = gather_largest(b, first, next, q->temperature == 0 ? 1 : q->top_k, round);
    if (s->gave_up) return 0;
    int drawn = choose(q, s->keys, s->order, s->p, n);
    if (b->thread == 0) {
        if (drawn < 0) {
            q->fault = 1;
            q->active = 0;
        } else {
            if (block_x() == 0) a->out[q->n_out] = drawn;
            q->n_out++;
            q->history[q->n_drawn++ % HISTORY_DEVICE] = drawn;
            q->n_past++;
            q->ended = drawn == q->end_index;
            q->active = !q->ended && q->n_past < a->n_ctx;
            s->token = a->head_rows[drawn];
        }
    }
    barrier();
    return drawn >= 0;
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
