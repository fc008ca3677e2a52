/* What the backbone does between its matrices. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"
#include "gpu/kernels/rope.h"

KERNEL(norm_rows, struct norm_args, 256) {
    int row = block_x(), to = a->out_rows ? a->out_rows[row] : row;
    if (to < 0) return;
    const float *x = a->x + (i64)row * a->width;
    float *y = a->y + (i64)to * a->width, sum = 0;
    for (int i = thread_x(); i < a->width; i += 256) sum += x[i] * x[i];
    float scale = rsqrt_f32(block_sum(sum, 256) / (float)a->width + a->eps);
    for (int i = thread_x(); i < a->width; i += 256) y[i] = x[i] * scale * a->weight[i];
}

/* A thread takes four numbers at a time. */
KERNEL(add_norm, struct add_norm_args, 256) {
    int row = block_x(), to = a->y ? a->out_rows[row] : -1;
    float *x = a->x + (i64)row * a->width;
    float sum = 0;
    for (int i = 4 * thread_x(); i < a->width; i += 4 * 256) {
        f32x4 v = *(const f32x4 *)(x + i), part[ADD_SLICES];
        UNROLL for (int s = 0; s < ADD_SLICES; s++) part[s] =
            s < a->slices ? *(const f32x4 *)(a->partial + ((i64)s * a->n + row) * a->width + i) : (f32x4){0, 0, 0, 0};
        UNROLL for (int s = 1; s < ADD_SLICES; s++) part[0] += part[s];
        v += part[0] * a->scale;
        if (a->slices > 0) *(f32x4 *)(x + i) = v;
        sum += v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
    }
    if (!a->weight) return;
    float scale = rsqrt_f32(block_sum(sum, 256) / (float)a->width + a->eps);
    for (int i = 4 * thread_x(); i < a->width; i += 4 * 256) {
        f32x4 v = *(const f32x4 *)(x + i) * scale * *(const f32x4 *)(a->weight + i);
        if (to >= 0) *(f32x4 *)(a->y + (i64)to * a->width + i) = v;
        put_four(a->halves + row * a->stride, i, v[0], v[1], v[2], v[3]);
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
    int d = a->head_dim, pairs = d / 2;
    for (int h = warp(); h < a->n_heads + 2 * a->n_kv_heads; h += 256 / WARP) {
        int is_q = h < a->n_heads, is_v = h >= a->n_heads + a->n_kv_heads;
        int at = is_q ? h : is_v ? h - a->n_heads - a->n_kv_heads : h - a->n_heads;  // head of its kind
        if (is_q) {
            float *q = a->q + ((i64)row * a->n_heads + at) * d, scale = head_scale(q, a->q_norm, d, a->eps);
            for (int i = lane(); i < pairs; i += WARP) {
                const float *angle = angle_of(a, position, i);
                struct pair p = turned(pair_of(a, q, i), a->q_norm, scale, angle[0], angle[1]);
                q[p.first] = p.u;
                q[p.second] = p.v;
            }
            continue;
        }
        const float *x = (is_v ? a->v : a->k) + ((i64)row * a->n_kv_heads + at) * d;
        float scale = is_v ? 1 : head_scale(x, a->k_norm, d, a->eps);
        for (int i = lane(); i < pairs; i += WARP) {
            const float *angle = angle_of(a, position, i);
            struct pair p = pair_of(a, x, i);
            if (is_v) {
                store_value(a, p, slot, at, position);
            } else {
                store_key(a, turned(p, a->k_norm, scale, angle[0], angle[1]), slot, at, position);
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
