/* Attention over the cache on tensor cores, for heads of as many dimensions as the build names, -DFORMAT=64 or 128: 16
   rows of queries at a time, over 32 positions at a time. In a prompt a warp's rows are tokens that follow each other,
   and the heads that share keys are the warps of a block; in a step they are the heads of one token that share keys,
   and the positions are shared out over the warps.

   A lane reads 16 bytes at a time, of keys along the dimensions and of values along the positions; which of them meet
   in a product is as good in one order as in another. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

enum { ATTEND_ROWS = 16, ATTEND_POSITIONS = 32, ATTEND_WARPS = 8, MAX_DIM = 128 };
#define ATTEND_LOG2_E 1.44269504f

/* Rows lane / 4 and lane / 4 + 8 of a warp: where they end, how far they are. */
struct rows {
    int end;  // positions that the first of them sees
    float largest[2], total[2];
    float out[MAX_DIM / 8][4];  // columns 8 i + 2 (lane % 4) and the next; first of row lane / 4, then of the other
};

/* Queries of a row as the products want them: a lane has a quarter of the dimensions. */
INLINE void load_queries(const float *q, float scale, int dim, int half, u32 a[MAX_DIM / 16][4]) {
    UNROLL for (int m = 0; m < dim / 16; m++) {
        const float *from = q + lane() % 4 * (dim / 4) + 4 * m;
        f32x4 v = q ? *(const f32x4 *)from : (f32x4){0, 0, 0, 0};
        a[m][half] = pair_of_halves(v[0] * scale, v[1] * scale);
        a[m][half + 2] = pair_of_halves(v[2] * scale, v[3] * scale);
    }
}

/* `apart`: how many positions more the second row of a lane sees. */
INLINE void attend_to(const u16 *keys, const u16 *values, int stride, int dim, int position, u32 a[MAX_DIM / 16][4],
                      int apart, struct rows *r) {
    int g = lane() / 4, t = lane() % 4;
    float c[4][4] = {{0}};
    UNROLL for (int j = 0; j < 4; j++) {
        const u16 *row = keys + (i64)(position + 8 * (g / 2) + 2 * j + g % 2) * dim + t * (dim / 4);
        UNROLL for (int i = 0; i < dim / 32; i++) {
            u32x4 k = *((const u32x4 *)row + i);
            multiply_halves(c[j], a[2 * i], (u32[2]){k[0], k[1]});
            multiply_halves(c[j], a[2 * i + 1], (u32[2]){k[2], k[3]});
        }
    }
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
        UNROLL for (int i = 0; i < dim / 8; i++) UNROLL for (int e = 0; e < 2; e++) r->out[i][2 * h + e] *= rescale;
    }
    u32 p[4][2];
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int h = 0; h < 2; h++) p[j][h] =
        pair_of_halves(c[j][2 * h], c[j][2 * h + 1]);
    UNROLL for (int i = 0; i < dim / 8; i++) {
        u32x4 v = *(const u32x4 *)(values + (i64)(8 * i + g) * stride + position + 8 * t);
        multiply_halves(r->out[i], (u32[4]){p[0][0], p[0][1], p[1][0], p[1][1]}, (u32[2]){v[0], v[1]});
        multiply_halves(r->out[i], (u32[4]){p[2][0], p[2][1], p[3][0], p[3][1]}, (u32[2]){v[2], v[3]});
    }
}

INLINE struct rows no_rows(void) {
    struct rows r;
    r.end = 0;
    UNROLL for (int h = 0; h < 2; h++) {
        r.largest[h] = -INFINITE;
        r.total[h] = 0;
    }
    UNROLL for (int i = 0; i < MAX_DIM / 8; i++) UNROLL for (int j = 0; j < 4; j++) r.out[i][j] = 0;
    return r;
}

/* All n rows are of one slot, at positions that follow each other. block_x: head of keys; block_y: 16 rows. */
INLINE void attend_prompt(const struct attention_args *a, int dim) {
    int group = a->n_heads / a->n_kv_heads, slot = a->slots[0], first = block_y() * ATTEND_ROWS, g = lane() / 4;
    const u16 *keys = a->k + ((i64)slot * a->n_kv_heads + block_x()) * a->stride * dim;
    const u16 *values = a->v + ((i64)slot * a->n_kv_heads + block_x()) * a->stride * dim;
    for (int at = warp(); at < group; at += ATTEND_WARPS) {
        int head = block_x() * group + at;
        struct rows r = no_rows();
        u32 q[MAX_DIM / 16][4];
        UNROLL for (int h = 0; h < 2; h++) {
            int row = first + g + 8 * h;
            int there = row < a->n;
            load_queries(there ? a->q + row * a->q_stride + head * dim : (const float *)0, a->scale * ATTEND_LOG2_E,
                         dim, h, q);
        }
        r.end = a->positions[first] + g + 1;  // rows behind the last are computed and dropped
        int last = min_int(first + ATTEND_ROWS, a->n) - 1;
        for (int position = 0; position <= a->positions[last]; position += ATTEND_POSITIONS)
            attend_to(keys, values, a->stride, dim, position, q, ATTEND_ROWS / 2, &r);
        UNROLL for (int h = 0; h < 2; h++) {
            int row = first + g + 8 * h;
            if (row >= a->n) continue;
            float share = 1 / r.total[h];
            UNROLL for (int i = 0; i < dim / 8; i++) UNROLL for (int e = 0; e < 2; e++) {
                int k = head * dim + 8 * i + 2 * (lane() % 4) + e;
                a->halves[row * a->out_stride + place_of(k)] = f32_to_half(r.out[i][2 * h + e] * share);
            }
        }
    }
}

KERNEL(JOIN(attend_prompt, FORMAT), struct attention_args, 256) { attend_prompt(a, FORMAT); }

/* Each row is of a slot of its own, or of none. block_x: head of keys; block_y: row. At most 16 heads share keys. */
INLINE void attend_step(const struct attention_args *a, int dim) {
    SHARED float largest[ATTEND_WARPS][ATTEND_ROWS], total[ATTEND_WARPS][ATTEND_ROWS];
    SHARED float out[ATTEND_WARPS / 2][ATTEND_ROWS][MAX_DIM];
    int group = a->n_heads / a->n_kv_heads, row = block_y(), slot = a->slots[row], g = lane() / 4;
    if (slot < 0) return;
    const u16 *keys = a->k + ((i64)slot * a->n_kv_heads + block_x()) * a->stride * dim;
    const u16 *values = a->v + ((i64)slot * a->n_kv_heads + block_x()) * a->stride * dim;
    struct rows r = no_rows();
    u32 q[MAX_DIM / 16][4];
    UNROLL for (int h = 0; h < 2; h++) {
        int at = g + 8 * h;
        load_queries(at < group ? a->q + row * a->q_stride + (block_x() * group + at) * dim : (const float *)0,
                     a->scale * ATTEND_LOG2_E, dim, h, q);
    }
    r.end = a->positions[row] + 1;
    for (int position = warp() * ATTEND_POSITIONS; position < r.end; position += ATTEND_WARPS * ATTEND_POSITIONS)
        attend_to(keys, values, a->stride, dim, position, q, 0, &r);
    if (lane() % 4 == 0) UNROLL for (int h = 0; h < 2; h++) {
            largest[warp()][g + 8 * h] = r.largest[h];
            total[warp()][g + 8 * h] = r.total[h];
        }
    barrier();
    // each warp's share by the largest of all, then half of the warps hand theirs to the other half
    UNROLL for (int h = 0; h < 2; h++) {
        float m = -1e30f, sum = 0;
        UNROLL for (int w = 0; w < ATTEND_WARPS; w++) m = max_f32(m, largest[w][g + 8 * h]);
        UNROLL for (int w = 0; w < ATTEND_WARPS; w++) sum += total[w][g + 8 * h] * exp2_fast(largest[w][g + 8 * h] - m);
        float share = exp2_fast(r.largest[h] - m) / sum;
        UNROLL for (int i = 0; i < dim / 8; i++) UNROLL for (int e = 0; e < 2; e++) r.out[i][2 * h + e] *= share;
    }
    for (int half = ATTEND_WARPS / 2; half > 0; half /= 2) {
        UNROLL for (int i = 0; i < dim / 8; i++)
            UNROLL for (int j = 0; j < 4; j++) if (warp() >= half && warp() < 2 * half)
                out[warp() - half][g + j / 2 * 8][8 * i + 2 * (lane() % 4) + j % 2] = r.out[i][j];
        barrier();
        UNROLL for (int i = 0; i < dim / 8; i++) UNROLL for (int j = 0; j < 4; j++) if (warp() < half) r.out[i][j] +=
            out[warp()][g + j / 2 * 8][8 * i + 2 * (lane() % 4) + j % 2];
        barrier();
    }
    if (warp() > 0) return;
    UNROLL for (int i = 0; i < dim / 8; i++) UNROLL for (int j = 0; j < 4; j++) {
        int at = g + j / 2 * 8, k = (block_x() * group + at) * dim + 8 * i + 2 * (lane() % 4) + j % 2;
        if (at < group) a->halves[row * a->out_stride + place_of(k)] = f32_to_half(r.out[i][j]);
    }
}

KERNEL(JOIN(attend_step, FORMAT), struct attention_args, 256) { attend_step(a, FORMAT); }
