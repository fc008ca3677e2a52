/* What the backbone does between its matrices. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

/* Norms over a row: RMS, layer. */
KERNEL(norm_rows, struct norm_args, 256) {
    int row = block_x(), to = a->out_rows ? a->out_rows[row] : row;
    if (to < 0) return;
    const float *x = a->x + (i64)row * a->width;
    float *y = a->y + (i64)to * a->width;
    float mean = 0, sum = 0;
    if (a->bias) {
        for (int i = thread_x(); i < a->width; i += 256) sum += x[i];
        mean = block_sum(sum, 256) / (float)a->width;
        sum = 0;
    }
    for (int i = thread_x(); i < a->width; i += 256) sum += (x[i] - mean) * (x[i] - mean);
    float scale = rsqrt_f32(block_sum(sum, 256) / (float)a->width + a->eps);
    for (int i = thread_x(); i < a->width; i += 256) {
        float v = (x[i] - mean) * scale * a->weight[i];
        if (a->halves) {
            a->halves[to * a->stride + place_of(i)] = f32_to_half(within_half(v));
        } else {
            y[i] = a->bias ? v + a->bias[i] : v;
        }
    }
}

KERNEL(gather_rows, struct gather_args, 256) {
    int row = a->rows[block_x()];
    for (int i = thread_x(); i < a->width; i += 256) {
        float v = row < 0 ? 0 : a->x[(i64)row * a->width + i];
        if (a->halves) {
            a->halves[block_x() * a->stride + place_of(i)] = f32_to_half(within_half(v));
        } else {
            a->y[(i64)block_x() * a->width + i] = v;
        }
    }
}

/* A block for each row, a warp for each head: queries, then keys, then values. A lane takes pairs of dimensions. */
KERNEL(rope_store, struct rope_args, 256) {
    int row = block_x(), slot = a->slots[row], position = a->positions[row];
    if (slot < 0) return;
    int d = a->head_dim, pairs = d / 2, kv_width = a->n_kv_heads * d;
    for (int h = warp(); h < a->n_heads + 2 * a->n_kv_heads; h += 256 / WARP) {
        int is_q = h < a->n_heads, is_v = h >= a->n_heads + a->n_kv_heads;
        int at = is_q ? h : is_v ? h - a->n_heads - a->n_kv_heads : h - a->n_heads;  // head of its kind
        const float *x = is_q   ? a->q + ((i64)row * a->n_heads + at) * d
                         : is_v ? a->v + (i64)row * kv_width + at * d
                                : a->k + (i64)row * kv_width + at * d;
        const float *norm = is_q ? a->q_norm : a->k_norm;
        i64 cache = ((i64)slot * a->n_kv_heads + at) * a->stride * d;
        u16 *keys = a->k_cache + cache + (i64)position * d, *values = a->v_cache + cache + position;
        float scale = 1;
        if (!is_v && norm) {
            float sum = 0;
            for (int i = lane(); i < d; i += WARP) sum += x[i] * x[i];
            scale = rsqrt_f32(warp_sum(sum) / (float)d + a->eps);
        }
        for (int i = lane(); i < pairs; i += WARP) {
            int first = a->interleaved ? 2 * i : i, second = a->interleaved ? 2 * i + 1 : i + pairs;
            float u = x[first], v = x[second];
            if (is_v) {
                values[(i64)first * a->stride] = f32_to_half(u);
                values[(i64)second * a->stride] = f32_to_half(v);
                continue;
            }
            if (norm) {
                u *= scale * norm[first];
                v *= scale * norm[second];
            }
            const float *angle = a->angles + ((i64)position * pairs + i) * 2;
            float turned_u = u * angle[0] - v * angle[1], turned_v = u * angle[1] + v * angle[0];
            if (is_q) {
                float *q = a->q + ((i64)row * a->n_heads + at) * d;
                q[first] = turned_u;
                q[second] = turned_v;
            } else {
                keys[first] = f32_to_half(turned_u);
                keys[second] = f32_to_half(turned_v);
            }
        }
    }
}

KERNEL(swiglu, struct swiglu_args, 256) {
    for (i64 i = (i64)block_x() * 256 + thread_x(); i < a->n; i += (i64)grid_x() * 256)
        if (a->halves) {
            float v = silu_f32(a->gate[i]) * a->up[i] * (1 / FFN_SCALE);
            a->halves[i / a->width * a->stride + place_of((int)(i % a->width))] = f32_to_half(within_half(v));
        } else {
            a->gate[i] = silu_f32(a->gate[i]) * a->up[i];
        }
}
