/* The codec's attention with heads of any width up to MAX_HEAD_DIM, slowly: a warp for each query. */
#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

INLINE float exact_at(const u16 *high, const u16 *low, i64 at) {
    return half_to_f32(high[at]) + (low ? half_to_f32(low[at]) : 0);
}

KERNEL(codec_attention_any, struct codec_attention_args, 128) {
    enum { PARTS = MAX_HEAD_DIM / WARP };
    const struct codec_tile *tile = &a->tiles[block_y()];
    int head = block_x() * a->head_dim, width = a->n_heads * a->head_dim;
    for (int query = tile->first + warp(); query < min_int(tile->n, tile->first + 64); query += 4) {
        float q[PARTS], out[PARTS] = {0}, largest = -INFINITE, total = 0;
        UNROLL for (int i = 0; i < PARTS; i++) {
            int dim = i * WARP + lane();
            i64 at = (i64)(tile->row + query) * a->qkv_stride + head + dim;
            q[i] = dim < a->head_dim ? exact_at(a->qkv, a->qkv_low, at) * a->scale * 1.44269504f : 0;
        }
        for (int key = 0; key < tile->n; key++) {
            i64 row = (i64)(tile->row + key) * a->qkv_stride + width + head;
            float score = 0;
            UNROLL for (int i = 0; i < PARTS; i++) {
                int dim = i * WARP + lane();
                if (dim < a->head_dim) score += q[i] * exact_at(a->qkv, a->qkv_low, row + dim);
            }
            score = warp_sum(score);
            float highest = max_f32(largest, score), rescale = exp2_fast(largest - highest);
            float p = exp2_fast(score - highest);
            largest = highest;
            total = total * rescale + p;
            UNROLL for (int i = 0; i < PARTS; i++) {
                int dim = i * WARP + lane();
                out[i] *= rescale;
                if (dim < a->head_dim) out[i] += p * exact_at(a->qkv, a->qkv_low, row + width + dim);
            }
        }
        i64 row = (tile->row + query) * a->out_stride + head;
        UNROLL for (int i = 0; i < PARTS; i++) {
            int dim = i * WARP + lane();
            if (dim < a->head_dim) put_half(a->out, a->out_low, row + dim, out[i] / total);
        }
    }
}
