/* product.c's kernels for many columns, which the tiny models are too small for, against sums in doubles. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"
#include "gguf/blocks.h"
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"

enum { ROWS = 72, COLUMNS = 130, GROUPS = 5, WIDTH = GROUPS * GROUP, X_STRIDE = 256, INNER_STRIDE = 128 };

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

static void make(struct case_matrix *m) {
    for (int i = 0; i < ROWS * GROUPS; i++) {
        m->scales[i] = f32_to_f16(0.01f + (float)(next_random() % 100) / 2000);
        for (int j = 0; j < 16; j++) {
            unsigned char byte = (unsigned char)next_random();
            m->quants[i * 16 + j] = byte;
            double d = f16_to_f32(m->scales[i]);
            m->w[i / GROUPS][i % GROUPS * GROUP + j] = d * ((byte & 15) - 8);
            m->w[i / GROUPS][i % GROUPS * GROUP + j + 16] = d * ((byte >> 4) - 8);
        }
    }
}

static struct weights weights_of(const struct case_matrix *m) {
    return (struct weights){.quants = m->quants, .scales = m->scales, .rows = ROWS, .cols = WIDTH, .groups = GROUPS};
}

static void check(const char *name, int columns, bool pair) {
    static struct case_matrix m[2];
    static u16 x[COLUMNS * X_STRIDE], inner[COLUMNS * INNER_STRIDE];
    static double exact[COLUMNS][WIDTH];
    static float y[COLUMNS * ROWS], bias[ROWS];
    for (int i = 0; i < 2; i++) make(&m[i]);
    memset(x, 0, sizeof x);
    memset(y, 0xff, sizeof y);
    memset(inner, 0xff, sizeof inner);
    for (int c = 0; c < columns; c++)
        for (int k = 0; k < WIDTH; k++) {
            u16 h = f32_to_f16((float)(next_random() % 2001) / 500 - 2);
            x[c * X_STRIDE + place_of(k)] = h;
            exact[c][k] = f16_to_f32(h);
        }
    for (int r = 0; r < ROWS; r++) bias[r] = (float)r;
    const struct emulated_entry *kernel = emulator_find(name);
    assert_non_null(kernel);
    bool many = strstr(name, "many") != NULL;
    struct product_args args = {
        .parts = {{weights_of(&m[0]), pair ? NULL : bias, y, ROWS}, {weights_of(&m[1]), NULL, NULL, 0}},
        .x = x,
        .inner = inner,
        .x_stride = X_STRIDE,
        .inner_stride = INNER_STRIDE,
        .n = columns,
        .n_parts = pair ? 2 : 1,
        .scale = 2};
    int tile = !many ? 16 : pair ? 64 : 32, across = many ? 128 : pair ? 32 : 64;
    assert_null(emulator_launch(kernel->kernel, (ROWS + tile - 1) / tile, (columns + across - 1) / across,
                                kernel->n_threads, 0, &args));
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++) {
            double sum[2] = {0};
            for (int k = 0; k < WIDTH; k++)
                for (int i = 0; i < 2; i++) sum[i] += m[i].w[r][k] * exact[c][k];
            double expected = pair ? sum[0] / (1 + exp(-sum[0])) * sum[1] / FFN_SCALE : 2 * sum[0] + r;
            double got = pair ? f16_to_f32(inner[c * INNER_STRIDE + place_of(r)]) : y[c * ROWS + r];
            if (!(fabs(got - expected) < 0.004 * (1 + fabs(expected))))
                fail_msg("%s, column %d, row %d: %g instead of %g", name, c, r, got, expected);
        }
}

static void against_doubles(void **unused) {
    (void)unused;
    static const int columns[] = {1, 9, 64, COLUMNS};
    for (int i = 0; i < 4; i++) {
        check("product_few_q4_0", columns[i], false);
        check("product_few_pair_q4_0", columns[i], true);
        check("product_many_q4_0", columns[i], false);
        check("product_many_pair_q4_0", columns[i], true);
    }
    emulator_order = EMULATOR_DESCENDING;
    check("product_many_q4_0", COLUMNS, false);
    check("product_few_pair_q4_0", COLUMNS, true);
    emulator_order = EMULATOR_ASCENDING;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_doubles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
