/* Matrix times activations, for the block format that the build names: -DFORMAT=q4_0. Weights become floats and sums
   are floats. Three kernels by the number of columns: one, few, many. */
#include "gpu/kernels/args.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"
#include "gpu/kernels/weights.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define OF_FORMAT(name) JOIN(name, FORMAT)
static const enum format format = JOIN(AS, FORMAT);

INLINE void put(const struct matmul_args *a, int row, int column, float sum) {
    float *y = a->y + (i64)column * a->y_stride + row;
    if (a->bias) sum += a->bias[row];
    if (a->activation == ACTIVATION_SILU) sum = silu_f32(sum);
    *y = a->accumulate ? *y + sum : sum;
}

/* A warp for each row; each lane takes every 32nd group. The activations come through shared memory, 32 groups at a
   time, each padded to 36 floats so that the lanes' reads fall into different banks. */
INLINE void multiply_rows(const struct matmul_args *a, int max_columns) {
    enum { CHUNK = WARP * GROUP, PITCH = GROUP + 4 };
    SHARED float __attribute__((aligned(16))) one[WARP * PITCH];
    SHARED float __attribute__((aligned(16))) few[MATVEC_MAX * WARP * PITCH];
    float *x = max_columns == 1 ? AS_GENERIC(float, one) : AS_GENERIC(float, few);  // [max_columns, WARP * PITCH]
    int row = block_x() * ROWS_PER_BLOCK + warp();
    int first = block_y() * max_columns, n = min_int(a->n - first, max_columns);
    float sum[MATVEC_MAX] = {0};
    for (int g0 = 0; g0 < a->w.groups; g0 += WARP) {
        int g = g0 + lane(), mine = row < a->w.rows && g < a->w.groups;
        struct group raw = {0};
        if (mine) raw = load_group(&a->w, format, row, g);  // on its way while the others are waited for
        barrier();
        for (int c = 0; c < n; c++)
            for (int k = thread_x(); k < CHUNK; k += 256) {
                int col = g0 * GROUP + k;
                x[c * WARP * PITCH + k / GROUP * PITCH + k % GROUP] =
                    col < a->w.cols ? a->x[(i64)(first + c) * a->x_stride + col] : 0;
            }
        barrier();
        if (!mine) continue;
        UNROLL for (int q = 0; q < 4; q++) {
            float v[8];
            quarter_of_group(&raw, format, q, v);
            UNROLL for (int c = 0; c < max_columns; c++) {
                if (c >= n) continue;
                const float *mine_x = x + (c * WARP + lane()) * PITCH + 4 * q;
                UNROLL for (int j = 0; j < 4; j++) sum[c] += v[j] * mine_x[j] + v[j + 4] * mine_x[j + 16];
            }
        }
    }
    UNROLL for (int c = 0; c < max_columns; c++) {
        if (c >= n) continue;
        float total = warp_sum(sum[c]);
        if (lane() == 0 && row < a->w.rows) put(a, row, first + c, total);
    }
}

KERNEL(OF_FORMAT(matvec), struct matmul_args, 256) { multiply_rows(a, 1); }
KERNEL(OF_FORMAT(matmul_rows), struct matmul_args, 256) { multiply_rows(a, MATVEC_MAX); }

/* A block makes 64 rows x 64 columns, a thread 4 x 4 of them; 32 weights deep at a time. */
KERNEL(OF_FORMAT(matmul_tile), struct matmul_args, 256) {
    enum { PITCH = TILE + 4, EACH = 4, ACROSS = TILE / EACH };
    SHARED float __attribute__((aligned(16))) w[GROUP][PITCH];
    SHARED float __attribute__((aligned(16))) x[GROUP][PITCH];
    int t = thread_x(), row0 = block_x() * TILE, column0 = block_y() * TILE;
    int my_row = t % ACROSS * EACH, my_column = t / ACROSS * EACH;
    float sum[EACH][EACH] = {{0}};
    for (int g = 0; g < a->w.groups; g++) {
        int r = t / 4, q = t % 4;  // the row and the quarter that this thread unpacks
        float v[8] = {0};
        if (row0 + r < a->w.rows) {
            struct group raw = load_group(&a->w, format, row0 + r, g);
            quarter_of_group(&raw, format, q, v);
        }
        barrier();
        UNROLL for (int j = 0; j < 8; j++) w[weight_of_quarter(q, j)][r] = v[j];
        for (int i = t; i < TILE * GROUP; i += 256) {
            int c = i / GROUP, k = i % GROUP, col = g * GROUP + k;
            x[k][c] = column0 + c < a->n && col < a->w.cols ? a->x[(i64)(column0 + c) * a->x_stride + col] : 0;
        }
        barrier();
        UNROLL for (int k = 0; k < GROUP; k++) {
            float wr[EACH], xc[EACH];
            UNROLL for (int i = 0; i < EACH; i++) {
                wr[i] = w[k][my_row + i];
                xc[i] = x[k][my_column + i];
            }
            UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < EACH; j++) sum[i][j] += wr[i] * xc[j];
        }
    }
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int j = 0; j < EACH; j++) if (row0 + my_row + i < a->w.rows && column0 + my_column + j < a->n)
            put(a, row0 + my_row + i, column0 + my_column + j, sum[i][j]);
}
