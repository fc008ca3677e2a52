/* Attention over the cache for heads of any size: a block for each head of each row, the warps side by side over the
   positions, each with its own running maximum; merged at the end. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

#define LOG2_E 1.44269504f

KERNEL(attention_cache, struct attention_args, 256) {
    enum { WARPS = 256 / WARP, PARTS = MAX_HEAD_DIM / WARP };
    SHARED float q[MAX_HEAD_DIM];
    SHARED float largest[WARPS], total[WARPS], out[WARPS][MAX_HEAD_DIM];
    int head = block_x(), row = block_y(), d = a->head_dim;
    int slot = a->slots[row], n = a->positions[row] + 1;
    if (slot < 0) return;
    i64 start = ((i64)slot * a->n_kv_heads + head / (a->n_heads / a->n_kv_heads)) * a->stride * d;
    const u16 *keys = a->k + start, *values = a->v + start;

    // scores in powers of two, so that exponentials are one instruction
    for (int i = thread_x(); i < d; i += 256) q[i] = a->q[row * a->q_stride + head * d + i] * a->scale * LOG2_E;
    barrier();

    float m = -INFINITE, sum = 0, o[PARTS] = {0};
    for (int base = warp() * WARP; base < n; base += 256) {
        int position = base + lane();
        float score = -INFINITE;
        if (position < n) {
            const u16 *key = keys + (i64)position * d;
            score = 0;
            for (int i = 0; i < d; i++) score += q[i] * half_to_f32(key[i]);
        }
        float new_m = max_f32(m, warp_max(score));
        float rescale = exp2_fast(m - new_m), p = exp2_fast(score - new_m);
        m = new_m;
        sum = sum * rescale + warp_sum(p);
        UNROLL for (int i = 0; i < PARTS; i++) o[i] *= rescale;
        int here = min_int(WARP, n - base);
        for (int j = 0; j < here; j++) {
            float pj = shuffle_f32(p, j);
            UNROLL for (int i = 0; i < PARTS; i++) {
                int dim = i * WARP + lane();
                if (dim < d) o[i] += pj * half_to_f32(values[(i64)dim * a->stride + base + j]);
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
