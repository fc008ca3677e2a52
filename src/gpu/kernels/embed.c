/* Rows of a matrix as floats, for the block format that the build names: -DFORMAT=q4_0. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/ptx.h"
#include "gpu/kernels/weights.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
static const enum format format = JOIN(AS, FORMAT);

KERNEL(JOIN(embed, FORMAT), struct embed_args, 256) {
    int row = a->tokens[block_x()];
    if (row < 0 || row >= a->w.rows) return;  // a row that is not in use
    for (int i = thread_x(); i < a->w.groups * 4; i += 256) {
        int g = i / 4, q = i % 4;
        struct group raw = load_group(&a->w, format, row, g);
        float v[8];
        quarter_of_group(&raw, format, q, v);
        UNROLL for (int j = 0; j < 8; j++) {
            int col = g * GROUP + weight_of_quarter(q, j);
            if (col < a->w.cols) a->x[(i64)block_x() * a->w.cols + col] = v[j];
        }
    }
}
