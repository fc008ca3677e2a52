/* product.c's kernels, of whose tiles the tiny models fill only a part, against sums in doubles. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"
#include "gguf/blocks.h"
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"

enum { ROWS = 200, COLUMNS = 150, GROUPS = 6, WIDTH = GROUPS * GROUP, X_STRIDE = 256, INNER_STRIDE = 256, SLICES = 3 };

static uint32_t state = 7;

static uint32_t next_random(void) {
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* A Q4_0 matrix as it lies on the device, and the same in doubles. */
struct case_matrix {
    unsigned char quants[ROWS * GROUPS * 16];
    u16 scales[ROWS * GROUPS];
    double w[ROWS][WIDTH];
};

static void make(struct case_matrix *m, int groups) {
    for (int i = 0; i < ROWS * groups; i++) {
        m->scales[i] = f32_to_f16(0.01f + (float)(next_random() % 100) / 2000);
        for (int j = 0; j < 16; j++) {
            unsigned char byte = (unsigned char)next_random();
            m->quants[i * 16 + j] = byte;
            double d = f16_to_f32(m->scales[i]);
            m->w[i / groups][i % groups * GROUP + j] = d * ((byte & 15) - 8);
            m->w[i / groups][i % groups * GROUP + j + 16] = d * ((byte >> 4) - 8);
        }
    }
}

static struct weights weights_of(const struct case_matrix *m, int rows, int groups) {
    return (struct weights){
        .quants = m->quants, .scales = m->scales, .rows = rows, .cols = groups * GROUP, .groups = groups};
}

enum wanted { ONE, TWO, PAIR, SUMS };  // a matrix; two side by side; feed-forward; shares of the depth

static void check(int tile_rows, int tile_columns, int columns, int groups, enum wanted wanted) {
    static struct case_matrix m[2];
    static u16 x[COLUMNS * X_STRIDE], inner[COLUMNS * INNER_STRIDE];
    static double exact[COLUMNS][WIDTH];
    static float y[2][COLUMNS * ROWS], bias[ROWS], partial[SLICES * COLUMNS * ROWS];
    const int rows[2] = {ROWS, wanted == TWO ? 70 : ROWS};
    for (int i = 0; i < 2; i++) make(&m[i], groups);
    memset(x, 0, sizeof x);
    memset(y, 0xff, sizeof y);
    memset(partial, 0xff, sizeof partial);
    memset(inner, 0xff, sizeof inner);
    for (int c = 0; c < columns; c++)
        for (int k = 0; k < groups * GROUP; k++) {
            u16 h = f32_to_f16((float)(next_random() % 2001) / 500 - 2);
            x[c * X_STRIDE + place_of(k)] = h;
            exact[c][k] = f16_to_f32(h);
        }
    for (int r = 0; r < ROWS; r++) bias[r] = (float)r;
    struct product_args args = {.parts = {{weights_of(&m[0], rows[0], groups), wanted < PAIR ? bias : NULL, y[0]},
                                          {weights_of(&m[1], rows[1], groups), NULL, y[1]}},
                                .x = x,
                                .inner = wanted == PAIR ? inner : NULL,
                                .partial = wanted == SUMS ? partial : NULL,
                                .slices = wanted == SUMS ? SLICES : 1,
                                .x_stride = X_STRIDE,
                                .inner_stride = INNER_STRIDE,
                                .n = columns,
                                .n_parts = wanted == TWO || wanted == PAIR ? 2 : 1,
                                .stages = 2 + columns % 3};
    char name[32];
    snprintf(name, sizeof name, "product_%dx%d_q4_0", tile_rows, tile_columns);
    const struct emulated_entry *kernel = emulator_find(name);
    assert_non_null(kernel);
    int tiles = 0;
    for (int i = 0; i < args.n_parts; i++) tiles += (rows[i] + tile_rows - 1) / tile_rows;
    if (wanted == PAIR) tiles = (2 * ROWS + tile_rows - 1) / tile_rows;
    assert_null(emulator_launch(kernel->kernel, tiles, (columns + tile_columns - 1) / tile_columns * args.slices,
                                kernel->n_threads, args.stages * PRODUCT_STAGE_BYTES(tile_rows, tile_columns, 18),
                                &args));
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++) {
            double sum[2] = {0}, expected[2], got[2];
            for (int k = 0; k < groups * GROUP; k++)
                for (int i = 0; i < 2; i++) sum[i] += m[i].w[r][k] * exact[c][k];
            bool both = wanted == TWO && r < rows[1];
            expected[0] = wanted == PAIR   ? sum[0] / (1 + exp(-sum[0])) * sum[1] / FFN_SCALE
                          : wanted == SUMS ? sum[0]
                                           : sum[0] + r;
            expected[1] = both ? sum[1] : 0;
            got[0] = wanted == PAIR ? f16_to_f32(inner[c * INNER_STRIDE + place_of(r)]) : y[0][c * ROWS + r];
            got[1] = both ? y[1][c * rows[1] + r] : 0;
            for (int s = 0; wanted == SUMS && s < SLICES; s++)
                got[0] = (s ? got[0] : 0) + partial[(s * columns + c) * ROWS + r];
            for (int i = 0; i < 2; i++)
                if (!(fabs(got[i] - expected[i]) < 0.004 * (1 + fabs(expected[i]))))
                    fail_msg("%s, %d columns, column %d, row %d: %g instead of %g", name, columns, c, r, got[i],
                             expected[i]);
        }
}

static void against_doubles(void **unused) {
    (void)unused;
    static const int tiles[][2] = {{64, 64}, {128, 64}, {128, 128}}, columns[] = {1, 9, 64, COLUMNS};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            for (enum wanted wanted = ONE; wanted <= SUMS; wanted++)
                for (int groups = GROUPS - 1; groups <= GROUPS; groups++)
                    check(tiles[i][0], tiles[i][1], columns[j], groups, wanted);
    for (emulator_order = EMULATOR_DESCENDING; emulator_order < 5; emulator_order++) {
        check(64, 64, COLUMNS, GROUPS, SUMS);
        check(128, 64, COLUMNS, GROUPS - 1, TWO);
        check(128, 128, COLUMNS, GROUPS, PAIR);
    }
    emulator_order = EMULATOR_ASCENDING;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_doubles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
