/* Norms over a row: RMS, layer. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

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
