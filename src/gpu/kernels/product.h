/* Matrix times many columns on tensor cores, for the block format that the build names: -DFORMAT=q4_0. Activations are
   halves in the order of fragments.h, rows padded to whole steps of 128 with zeros.

   Weights go from memory to registers as they lie, each group to one lane, and become halves there; no block reads a
   weight twice. Two kernels by the number of columns:
   product_few   up to 64 columns a block: a tile of 16 rows (of a pair 32, and 16 rows of each); its warps
                 share out the depth and add up at the end
   product_many  128 columns a block, and 32 rows (or 64 of each of a pair); activations come through shared memory, the
                 next step's while this one's are multiplied */
#ifndef UTTER_GPU_KERNELS_PRODUCT_H
#define UTTER_GPU_KERNELS_PRODUCT_H

#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define OF_FORMAT(name) JOIN(name, FORMAT)
static const enum format format = JOIN(AS, FORMAT);

enum {
    STEP = 4,  // groups, one for each of four lanes
    DEEP = STEP * GROUP,
};

/* The part of a concatenation of matrices that a tile of rows belongs to. */
INLINE const struct product_part *part_of_tile(const struct product_args *a, int tile_rows, int *row) {
    int tile = block_x(), i = 0;
    for (; i < a->n_parts - 1; i++) {
        int tiles = (a->parts[i].w.rows + tile_rows - 1) / tile_rows;
        if (tile < tiles) break;
        tile -= tiles;
    }
    *row = tile * tile_rows;
    return &a->parts[i];
}

/* What a number is added to. All of a thread's are read before any is written, so that they come together. */
INLINE float number_before(const struct product_args *a, const struct product_part *p, int row, int column) {
    return a->accumulate && row < p->w.rows && column < a->n ? p->y[(i64)column * p->y_stride + row] : 0;
}

INLINE void put(const struct product_args *a, const struct product_part *p, int row, int column, float v) {
    if (row >= p->w.rows || column >= a->n) return;
    p->y[(i64)column * p->y_stride + row] = p->bias ? v + p->bias[row] : v;
}

/* Feed-forward: the product of the pair, as activations of the next matrix. */
INLINE void put_inner(const struct product_args *a, int row, int column, float gate, float up) {
    if (row >= a->parts[0].w.rows || column >= a->n) return;
    float v = silu_f32(gate) * up * (1 / FFN_SCALE);
    a->inner[(i64)column * a->inner_stride + place_of(row)] = f32_to_half(within_half(v));
}

/* ---- few columns ---- */

enum { FEW_WARPS = 8, FEW_TILES = 8 };

INLINE void multiply_few(const struct product_args *a, int pair) {
    SHARED float __attribute__((aligned(16))) sums[FEW_WARPS / 2][16 * 2][8 * FEW_TILES + 4];
    int g = lane() / 4, t = lane() % 4, row, n_mats = pair ? 2 : 1, most = pair ? FEW_TILES / 2 : FEW_TILES;
    const struct product_part *p = part_of_tile(a, 16, &row);
    int first = block_y() * 8 * most, n = min_int(a->n - first, 8 * most), tiles = (n + 7) / 8;
    int steps = (p->w.groups + STEP - 1) / STEP;
    float c[2][FEW_TILES][4];
    UNROLL for (int m = 0; m < 2; m++) UNROLL for (int i = 0; i < most; i++) UNROLL for (int j = 0; j < 4; j++)
        c[m][i][j] = 0;
    for (int step = warp(); step < steps; step += FEW_WARPS) {
        struct raw_group raw[2][2];
        UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int h = 0; h < 2; h++) raw[m][h] =
            load_raw(m ? &a->parts[1].w : &p->w, format, row + 8 * h + g, step * STEP + t);
        UNROLL for (int q = 0; q < 4; q++) {
            u32 w[2][2][4];
            UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int h = 0; h < 2; h++)
                pairs_of_raw(&raw[m][h], format, q, w[m][h]);
            UNROLL for (int i = 0; i < most; i++) {
                if (i >= tiles) continue;
                int column = first + min_int(8 * i + g, n - 1);
                u32x4 x = *(const u32x4 *)(a->x + (i64)column * a->x_stride + (step * STEP + t) * GROUP + q * 8);
                UNROLL for (int m = 0; m < n_mats; m++) {
                    multiply_halves(c[m][i], (u32[4]){w[m][0][0], w[m][1][0], w[m][0][1], w[m][1][1]},
                                    (u32[2]){x[0], x[1]});
                    multiply_halves(c[m][i], (u32[4]){w[m][0][2], w[m][1][2], w[m][0][3], w[m][1][3]},
                                    (u32[2]){x[2], x[3]});
                }
            }
        }
    }
    // half of the warps hand their sums to the other half, until one has all
    for (int half = FEW_WARPS / 2; half > 0; half /= 2) {
        if (warp() >= half && warp() < 2 * half)
            UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int i = 0; i < most; i++)
                UNROLL for (int j = 0; j < 4; j++) if (i < tiles)
                    sums[warp() - half][m * 16 + g + j / 2 * 8][8 * i + 2 * t + j % 2] = c[m][i][j];
        barrier();
        if (warp() < half)
            UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int i = 0; i < most; i++)
                UNROLL for (int j = 0; j < 4; j++) if (i < tiles) c[m][i][j] +=
                sums[warp()][m * 16 + g + j / 2 * 8][8 * i + 2 * t + j % 2];
        barrier();
    }
    if (warp() > 0) return;
    if (!pair)
        UNROLL for (int i = 0; i < most; i++) UNROLL for (int j = 0; j < 4; j++) if (i < tiles) c[0][i][j] =
            c[0][i][j] * a->scale + number_before(a, p, row + g + j / 2 * 8, first + 8 * i + 2 * t + j % 2);
    UNROLL for (int i = 0; i < most; i++) UNROLL for (int j = 0; j < 4; j++) {
        int r = row + g + j / 2 * 8, column = first + 8 * i + 2 * t + j % 2;
        if (i >= tiles) continue;
        if (pair) {
            put_inner(a, r, column, c[0][i][j], c[1][i][j]);
        } else {
            put(a, p, r, column, c[0][i][j]);
        }
    }
}

/* ---- many columns ---- */

enum { MANY_COLUMNS = 128, MANY_TILES = 8 };  // columns of a block; tiles of 8 columns of a warp

/* Sends for half a step of the block's columns: 8 pieces of 16 bytes a column, quarters 2 s and 2 s + 1 (s: which half)
   of four groups, moved about so that a warp's reads fall into different banks. */
#define copy_half(a, to, first, half) copy_half_to(a, SHARED_PLACE(to), first, half)
INLINE void copy_half_to(const struct product_args *a, shared_place to, int first, int half) {
    for (int i = thread_x(); i < MANY_COLUMNS * 8; i += 256) {
        int column = i / 8, piece = i % 8;  // of group piece / 2, quarter 2 s + piece % 2
        const u16 *from = a->x + (i64)(first + column) * a->x_stride + (half / 2 * STEP + piece / 2) * GROUP +
                          (half % 2 * 2 + piece % 2) * 8;
        copy16(to + (column * 8 + (piece ^ (column & 1))) * 16, from, first + column < a->n);
    }
    copies_commit();
}

/* 8 warps. Of a pair: 4 down the rows, 2 across the columns, and a warp takes 16 rows of each and 64 columns. Else: 2
   down, 4 across, and a warp takes 16 rows and 32 columns; the matrices that come alone have few rows. */
INLINE void multiply_many(const struct product_args *a, int pair) {
    SHARED u16 __attribute__((aligned(16))) x[2][MANY_COLUMNS * DEEP / 2];
    int g = lane() / 4, t = lane() % 4, row, n_mats = pair ? 2 : 1, down = pair ? 4 : 2, tiles = pair ? 8 : 4;
    const struct product_part *p = part_of_tile(a, down * 16, &row);
    row += warp() % down * 16;
    int first = block_y() * MANY_COLUMNS, mine = warp() / down * tiles * 8;
    int steps = (p->w.groups + STEP - 1) / STEP;
    float c[2][MANY_TILES][4];
    UNROLL for (int m = 0; m < 2; m++) UNROLL for (int i = 0; i < tiles; i++) UNROLL for (int j = 0; j < 4; j++)
        c[m][i][j] = 0;

    struct raw_group raw[2][2], coming[2][2];
    UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int h = 0; h < 2; h++) coming[m][h] =
        load_raw(m ? &a->parts[1].w : &p->w, format, row + 8 * h + g, t);
    copy_half(a, x[0], first, 0);
    for (int step = 0; step < steps; step++) {
        UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int h = 0; h < 2; h++) {
            raw[m][h] = coming[m][h];
            if (step + 1 < steps)
                coming[m][h] = load_raw(m ? &a->parts[1].w : &p->w, format, row + 8 * h + g, (step + 1) * STEP + t);
        }
        UNROLL for (int s = 0; s < 2; s++) {
            if (2 * step + s + 1 < 2 * steps) {
                copy_half(a, x[(s + 1) % 2], first, 2 * step + s + 1);
            } else {
                copies_commit();
            }
            copies_wait(1);
            barrier();
            UNROLL for (int k = 0; k < 2; k++) {
                u32 w[2][2][4];
                UNROLL for (int m = 0; m < n_mats; m++) UNROLL for (int h = 0; h < 2; h++)
                    pairs_of_raw(&raw[m][h], format, 2 * s + k, w[m][h]);
                UNROLL for (int i = 0; i < tiles; i++) {
                    int column = mine + 8 * i + g;
                    u32x4 v =
                        *(const u32x4 *)(AS_GENERIC(const u16, x[s]) + (column * 8 + ((2 * t + k) ^ (column & 1))) * 8);
                    UNROLL for (int m = 0; m < n_mats; m++) {
                        multiply_halves(c[m][i], (u32[4]){w[m][0][0], w[m][1][0], w[m][0][1], w[m][1][1]},
                                        (u32[2]){v[0], v[1]});
                        multiply_halves(c[m][i], (u32[4]){w[m][0][2], w[m][1][2], w[m][0][3], w[m][1][3]},
                                        (u32[2]){v[2], v[3]});
                    }
                }
            }
            barrier();
        }
    }
    if (!pair)
        UNROLL for (int i = 0; i < tiles; i++) UNROLL for (int j = 0; j < 4; j++) c[0][i][j] =
            c[0][i][j] * a->scale + number_before(a, p, row + g + j / 2 * 8, first + mine + 8 * i + 2 * t + j % 2);
    UNROLL for (int i = 0; i < tiles; i++) UNROLL for (int j = 0; j < 4; j++) {
        int r = row + g + j / 2 * 8, column = first + mine + 8 * i + 2 * t + j % 2;
        if (pair) {
            put_inner(a, r, column, c[0][i][j], c[1][i][j]);
        } else {
            put(a, p, r, column, c[0][i][j]);
        }
    }
}

#endif
