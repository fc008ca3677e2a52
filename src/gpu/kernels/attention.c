/* Attention: a block for each head of each row, the warps side by side over the positions, each with its own running
   maximum; merged at the end. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

#define LOG2_E 1.44269504f

INLINE float value_at(const void *p, i64 i, int halves) {
    return halves ? half_to_f32(((const u16 *)p)[i]) : ((const float *)p)[i];
}

INLINE void attend(const struct attention_args *a, int halves) {
    enum { WARPS = 256 / WARP, PARTS = MAX_HEAD_DIM / WARP };
    SHARED float q[MAX_HEAD_DIM];
    SHARED float largest[WARPS], total[WARPS], out[WARPS][MAX_HEAD_DIM];
    int head = block_x(), row = block_y(), d = a->head_dim;
    int slot = a->slots ? a->slots[row] : 0;
    if (slot < 0) return;
    int n = a->positions ? a->positions[row] + 1 : a->n;
    int kv = head / (a->n_heads / a->n_kv_heads);
    i64 start = halves ? ((i64)slot * a->n_kv_heads + kv) * a->stride * d : kv * d;
    // from a position, or a dimension of values, to the next
    i64 key_step = halves ? d : a->kv_stride, value_step = halves ? 1 : a->kv_stride, dim_step = halves ? a->stride : 1;

    // scores in powers of two, so that exponentials are one instruction
    for (int i = thread_x(); i < d; i += 256) q[i] = a->q[row * a->q_stride + head * d + i] * a->scale * LOG2_E;
    barrier();

    float m = -INFINITE, sum = 0, o[PARTS] = {0};
    for (int base = warp() * WARP; base < n; base += 256) {
        int position = base + lane();
        float score = -INFINITE;
        if (position < n) {
            i64 at = start + position * key_step;
            score = 0;
            for (int i = 0; i < d; i++) score += q[i] * value_at(a->k, at + i, halves);
        }
        float new_m = max_f32(m, warp_max(score));
        float rescale = exp2_fast(m - new_m), p = exp2_fast(score - new_m);
        m = new_m;
        sum = sum * rescale + warp_sum(p);
        UNROLL for (int i = 0; i < PARTS; i++) o[i] *= rescale;
        int here = min_int(WARP, n - base);
        for (int j = 0; j < here; j++) {
            float pj = shuffle_f32(p, j);
            i64 at = start + (base + j) * value_step;
            UNROLL for (int i = 0; i < PARTS; i++) {
                int dim = i * WARP + lane();
                if (dim < d) o[i] += pj * value_at(a->v, at + dim * dim_step, halves);
            }
        }
    }
    if (lane() == 0) {
        largest[warp()] = m;
        total[warp()] = sum;
    }
    UNROLL for (int i = 0; i < PARTS; i++) if (i * WARP + lane() < d) out[warp()][i * WARP + lane()] = o[i];
    barrier();
    float all = -INFINITE;
    for (int w = 0; w < WARPS; w++) all = max_f32(all, largest[w]);
    for (int i = thread_x(); i < d; i += 256) {
        float value = 0, weight = 0;
        for (int w = 0; w < WARPS; w++) {
            if (total[w] == 0) continue;  // a warp without positions
            float scale = exp2_fast(largest[w] - all);
            value += out[w][i] * scale;
            weight += total[w] * scale;
        }
        if (a->halves) {
            a->halves[row * a->out_stride + place_of(head * d + i)] = f32_to_half(value / weight);
        } else {
            a->out[((i64)row * a->n_heads + head) * d + i] = value / weight;
        }
    }
}

KERNEL(attention_cache, struct attention_args, 256) { attend(a, 1); }
KERNEL(attention_full, struct attention_args, 256) { attend(a, 0); }
