/* Attention over the cache on tensor cores, for heads of as many dimensions as the build names, -DFORMAT=64 or 128: 16
   rows of queries at a time, over 32 positions at a time. In a prompt a warp's rows are tokens that follow each other,
   and the heads that share keys are the warps of a block; in a step they are the heads of one token that share keys,
   and the positions are shared out over the warps. A step also turns its queries and puts its key and value into the
   cache.

   A lane reads 16 bytes at a time, of keys along the dimensions and of values along the positions; which of them meet
   in a product is as good in one order as in another. Of heads of 64 the next are
   on their way while some are multiplied. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/rope.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

enum {
    DIM = FORMAT,
    ATTEND_ROWS = 16,
    ATTEND_POSITIONS = 32,
    PROMPT_WARPS = 8,
    STEP_WARPS = 4,
    AHEAD = DIM == 64,  // for more registers are too few
};
#define ATTEND_LOG2_E 1.44269504f
#if FORMAT == 64 && UTTER_SM != 75
#define STEP_BLOCKS 3  // of a multiprocessor
#else
#define STEP_BLOCKS 2
#endif

/* Rows lane / 4 and lane / 4 + 8 of a warp: where they end, how far they are. */
struct rows {
    int end;  // positions that the first of them sees
    float largest[2], total[2];
    float out[DIM / 8][4];  // columns 8 i + 2 (lane % 4) and the next; first of row lane / 4, then of the other
};

/* A head's cache, and a lane's share of 32 positions of it. */
struct cache {
    const u16 *keys, *values;
    int stride;
    u32x4 k[4][DIM / 32], v[DIM / 8];
};

INLINE struct cache cache_of(const struct attention_args *a, int slot, int head) {
    i64 at = ((i64)slot * a->n_kv_heads + head) * a->stride * DIM;
    struct cache c;
    c.keys = a->k + at;
    c.values = a->v + at;
    c.stride = a->stride;
    return c;
}

INLINE void load_keys(struct cache *c, int position) {
    int g = lane() / 4, t = lane() % 4;
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < DIM / 32; i++) c->k[j][i] =
        *(const u32x4 *)(c->keys + (i64)(position + 8 * (g / 2) + 2 * j + g % 2) * DIM + 32 * i + 8 * t);
}

INLINE void load_values(struct cache *c, int position) {
    int g = lane() / 4, t = lane() % 4;
    UNROLL for (int i = 0; i < DIM / 8; i++) c->v[i] =
        *(const u32x4 *)(c->values + (i64)(8 * i + g) * c->stride + position + 8 * t);
}

/* Queries of a row as the products want them: a lane has 8 of every 32 dimensions. */
INLINE void load_queries(const float *q, float scale, int half, u32 a[DIM / 16][4]) {
    UNROLL for (int m = 0; m < DIM / 16; m++) {
        f32x4 v = q ? *(const f32x4 *)(q + m / 2 * 32 + lane() % 4 * 8 + m % 2 * 4) : (f32x4){0, 0, 0, 0};
        a[m][half] = pair_of_halves(v[0] * scale, v[1] * scale);
        a[m][half + 2] = pair_of_halves(v[2] * scale, v[3] * scale);
    }
}

/* 32 positions, loaded if AHEAD; then those `step` further are. apart: how many positions more the second row of a lane
   sees; last: the position behind those that any row of the warp sees. */
INLINE void attend_to(struct cache *cache, int position, int step, int last, u32 a[DIM / 16][4], int apart,
                      struct rows *r) {
    int t = lane() % 4, more = position + step < last;
    float c[4][4] = {{0}};
    if (!AHEAD) load_keys(cache, position);
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < DIM / 32; i++) {
        u32x4 k = cache->k[j][i];
        multiply_halves(c[j], a[2 * i], (u32[2]){k[0], k[1]});
        multiply_halves(c[j], a[2 * i + 1], (u32[2]){k[2], k[3]});
    }
    if (!AHEAD) load_values(cache, position);
    if (AHEAD && more) load_keys(cache, position + step);
    UNROLL for (int h = 0; h < 2; h++) {
        float m = -INFINITE;
        UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 2; e++) {
            if (position + 8 * t + 2 * j + e >= r->end + h * apart) c[j][2 * h + e] = -INFINITE;
            m = max_f32(m, c[j][2 * h + e]);
        }
        m = max_f32(m, shuffle_xor_f32(m, 1));
        m = max_f32(m, shuffle_xor_f32(m, 2));
        m = max_f32(max_f32(m, r->largest[h]), -1e30f);  // a row without positions yet stays without
        float rescale = exp2_fast(r->largest[h] - m), total = 0;
        UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 2; e++) {
            c[j][2 * h + e] = exp2_fast(c[j][2 * h + e] - m);
            total += c[j][2 * h + e];
        }
        total += shuffle_xor_f32(total, 1);
        total += shuffle_xor_f32(total, 2);
        r->total[h] = r->total[h] * rescale + total;
        r->largest[h] = m;
        UNROLL for (int i = 0; i < DIM / 8; i++) UNROLL for (int e = 0; e < 2; e++) r->out[i][2 * h + e] *= rescale;
    }
    u32 p[4][2];
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int h = 0; h < 2; h++) p[j][h] =
        pair_of_halves(c[j][2 * h], c[j][2 * h + 1]);
    UNROLL for (int i = 0; i < DIM / 8; i++) {
        u32x4 v = cache->v[i];
        multiply_halves(r->out[i], (u32[4]){p[0][0], p[0][1], p[1][0], p[1][1]}, (u32[2]){v[0], v[1]});
        multiply_halves(r->out[i], (u32[4]){p[2][0], p[2][1], p[3][0], p[3][1]}, (u32[2]){v[2], v[3]});
    }
    if (AHEAD && more) load_values(cache, position + step);
}

/* Positions first, first + step .. before last. */
INLINE void attend_from(struct cache *cache, int first, int step, int last, u32 a[DIM / 16][4], int apart,
                        struct rows *r) {
    if (AHEAD && first < last) {
        load_keys(cache, first);
        load_values(cache, first);
    }
    NO_UNROLL for (int position = first; position < last; position += step)
        attend_to(cache, position, step, last, a, apart, r);
}

INLINE struct rows no_rows(int end) {
    struct rows r;
    r.end = end;
    UNROLL for (int h = 0; h < 2; h++) {
        r.largest[h] = -INFINITE;
        r.total[h] = 0;
    }
    UNROLL for (int i = 0; i < DIM / 8; i++) UNROLL for (int j = 0; j < 4; j++) r.out[i][j] = 0;
    return r;
}

/* All n rows are of one slot, at positions that follow each other. block_x: head of keys; block_y: 16 rows. */
KERNEL(JOIN(attend_prompt, FORMAT), struct attention_args, 256) {
    int group = a->n_heads / a->n_kv_heads, g = lane() / 4;
    // those that see most begin first
    int first = (grid_y() - 1 - block_y()) * ATTEND_ROWS;
    struct cache cache = cache_of(a, a->slots[0], block_x());
    for (int at = warp(); at < group; at += PROMPT_WARPS) {
        int head = block_x() * group + at;
        u32 q[DIM / 16][4];
        UNROLL for (int h = 0; h < 2; h++) {
            int row = first + g + 8 * h;
            load_queries(row < a->n ? a->q + row * a->q_stride + head * DIM : (const float *)0,
                         a->scale * ATTEND_LOG2_E, h, q);
        }
        struct rows r = no_rows(a->positions[first] + g + 1);  // rows behind the last are computed and dropped
        int last = min_int(first + ATTEND_ROWS, a->n) - 1;
        attend_from(&cache, 0, ATTEND_POSITIONS, a->positions[last] + 1, q, ATTEND_ROWS / 2, &r);
        UNROLL for (int h = 0; h < 2; h++) {
            int row = first + g + 8 * h;
            if (row >= a->n) continue;
            float share = 1 / r.total[h];
            UNROLL for (int i = 0; i < DIM / 8; i++) UNROLL for (int e = 0; e < 2; e++) {
                int k = head * DIM + 8 * i + 2 * (lane() % 4) + e;
                a->halves[row * a->out_stride + place_of(k)] = f32_to_half(r.out[i][2 * h + e] * share);
            }
        }
    }
}

/* Turns the queries of a head of keys, into q, and puts the key and the value into the cache. */
INLINE void turn_step(const struct attention_args *a, int row, int slot, int position, float (*q)[DIM + 4]) {
    enum { MOST = (ATTEND_ROWS + 2 + STEP_WARPS - 1) / STEP_WARPS, PAIRS = DIM / 2 / WARP };
    const struct rope_args *rope = &a->rope;
    int group = a->n_heads / a->n_kv_heads, head = block_x();
    const float *x[MOST];
    struct pair p[MOST][PAIRS];
    float cosine[PAIRS], sine[PAIRS];
    // all of a warp's heads are on their way together
    UNROLL for (int j = 0; j < MOST; j++) {
        int h = warp() + j * STEP_WARPS;
        i64 of_kv = ((i64)row * a->n_kv_heads + head) * DIM;
        x[j] = h < group        ? rope->q + ((i64)row * a->n_heads + head * group + h) * DIM
               : h == group     ? rope->k + of_kv
               : h == group + 1 ? rope->v + of_kv
                                : (const float *)0;
        UNROLL for (int i = 0; i < PAIRS; i++) if (x[j]) p[j][i] = pair_of(rope, x[j], lane() + i * WARP);
    }
    UNROLL for (int i = 0; i < PAIRS; i++) {
        const float *angle = angle_of(rope, position, lane() + i * WARP);
        cosine[i] = angle[0];
        sine[i] = angle[1];
    }
    UNROLL for (int j = 0; j < MOST; j++) {
        int h = warp() + j * STEP_WARPS;
        if (!x[j]) continue;
        const float *norm = h < group ? rope->q_norm : rope->k_norm;
        float scale = h == group + 1 ? 1 : head_scale(x[j], norm, DIM, rope->eps);
        UNROLL for (int i = 0; i < PAIRS; i++) {
            if (h == group + 1) {
                store_value(rope, p[j][i], slot, head, position);
                continue;
            }
            struct pair to = turned(p[j][i], norm, scale, cosine[i], sine[i]);
            if (h == group) {
                store_key(rope, to, slot, head, position);
            } else {
                q[h][to.first] = to.u;
                q[h][to.second] = to.v;
            }
        }
    }
}

/* Each row is of a slot of its own, or of none. block_x: head of keys; block_y: row. At most 16 heads share keys. */
KERNEL_SHARING(JOIN(attend_step, FORMAT), struct attention_args, 128, STEP_BLOCKS) {
    SHARED float __attribute__((aligned(16))) queries[ATTEND_ROWS][DIM + 4];
    SHARED float largest[STEP_WARPS][ATTEND_ROWS], total[STEP_WARPS][ATTEND_ROWS];
    SHARED float __attribute__((aligned(16))) out[STEP_WARPS][ATTEND_ROWS][DIM + 8];
    int group = a->n_heads / a->n_kv_heads, row = block_y(), slot = a->slots[row], g = lane() / 4, t = lane() % 4;
    int position = a->positions[row];
    if (slot < 0) return;
    turn_step(a, row, slot, position, (float(*)[DIM + 4]) queries);
    barrier();
    struct cache cache = cache_of(a, slot, block_x());
    u32 q[DIM / 16][4];
    UNROLL for (int h = 0; h < 2; h++)
        load_queries(g + 8 * h < group ? AS_GENERIC(const float, queries[g + 8 * h]) : (const float *)0,
                     a->scale * ATTEND_LOG2_E, h, q);
    struct rows r = no_rows(position + 1);
    attend_from(&cache, warp() * ATTEND_POSITIONS, STEP_WARPS * ATTEND_POSITIONS, position + 1, q, 0, &r);
    UNROLL for (int h = 0; h < 2; h++) {
        if (t == 0) {
            largest[warp()][g + 8 * h] = r.largest[h];
            total[warp()][g + 8 * h] = r.total[h];
        }
        UNROLL for (int i = 0; i < DIM / 8; i++) UNROLL for (int e = 0; e < 2; e++)
            out[warp()][g + 8 * h][8 * i + 2 * t + e] = r.out[i][2 * h + e];
    }
    barrier();
    // each warp's share by the largest of all
    for (int i = thread_x(); i < group * DIM / 4; i += STEP_WARPS * WARP) {
        int at = i / (DIM / 4), k = i % (DIM / 4) * 4;
        float m = -1e30f, sum = 0;
        f32x4 v = {0, 0, 0, 0};
        UNROLL for (int w = 0; w < STEP_WARPS; w++) m = max_f32(m, largest[w][at]);
        UNROLL for (int w = 0; w < STEP_WARPS; w++) {
            float share = exp2_fast(largest[w][at] - m);
            sum += total[w][at] * share;
            v += *(const f32x4 *)AS_GENERIC(const float, &out[w][at][k]) * share;
        }
        v *= 1 / sum;
        put_four(a->halves + row * a->out_stride, (block_x() * group + at) * DIM + k, v[0], v[1], v[2], v[3]);
    }
}
