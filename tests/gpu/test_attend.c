/* attend.c and add_norm, which the tiny models are too short and too narrow for, against sums in doubles. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "emulator.h"
#include "gguf/blocks.h"
#include "gpu/kernels/args.h"
#include "gpu/kernels/fragments.h"

enum {
    SLOTS = 3,
    KV_HEADS = 2,
    STRIDE = 320,  // positions of the cache
    MOST_GROUP = 16,
    MOST_DIM = 128,
    MOST_HEADS = KV_HEADS * MOST_GROUP,
    MOST_ROWS = 40,
    OUT_STRIDE = MOST_HEADS * MOST_DIM,
};

static uint32_t state = 3;

static float next_number(void) {
    state = state * 1664525 + 1013904223;
    return (float)(state >> 8) / (1 << 23) - 1;
}

static u16 keys[SLOTS * KV_HEADS * STRIDE * MOST_DIM], values[SLOTS * KV_HEADS * STRIDE * MOST_DIM];
static float q[MOST_ROWS * MOST_HEADS * MOST_DIM], k[MOST_ROWS * KV_HEADS * MOST_DIM],
    v[MOST_ROWS * KV_HEADS * MOST_DIM];
static float angles[STRIDE * MOST_DIM];
static u16 out[MOST_ROWS * OUT_STRIDE];

static void make(int dim) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        keys[i] = f32_to_f16(next_number());
        values[i] = f32_to_f16(next_number());
    }
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) q[i] = 3 * next_number();
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) k[i] = next_number();
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) v[i] = next_number();
    for (int i = 0; i < STRIDE * dim / 2; i++) {
        angles[2 * i] = cosf((float)i);
        angles[2 * i + 1] = sinf((float)i);
    }
    memset(out, 0xff, sizeof out);
}

/* What attention gives for queries turned already, over positions 0 .. n - 1 of the cache as it is now. */
static void attend(const float *queries, int slot, int kv_head, int dim, int n, double scale, double *to) {
    static double p[STRIDE];
    double largest = -INFINITY, total = 0;
    size_t at = (size_t)(slot * KV_HEADS + kv_head) * STRIDE * (size_t)dim;
    for (int i = 0; i < n; i++) {
        p[i] = 0;
        for (int j = 0; j < dim; j++)
            p[i] += (double)queries[j] * f16_to_f32(keys[at + (size_t)i * (size_t)dim + (size_t)j]) * scale;
        largest = fmax(largest, p[i]);
    }
    for (int i = 0; i < n; i++) total += p[i] = exp(p[i] - largest);
    for (int j = 0; j < dim; j++) {
        to[j] = 0;
        for (int i = 0; i < n; i++) to[j] += p[i] / total * f16_to_f32(values[at + (size_t)j * STRIDE + (size_t)i]);
    }
}

static void turn(float *x, int dim, int position) {
    for (int i = 0; i < dim / 2; i++) {
        const float *angle = angles + (position * (dim / 2) + i) * 2;
        float a = x[i], b = x[i + dim / 2];
        x[i] = a * angle[0] - b * angle[1];
        x[i + dim / 2] = a * angle[1] + b * angle[0];
    }
}

static struct attention_args args_of(int dim, int group, int n, const i32 *slots, const i32 *positions) {
    return (struct attention_args){.rope = {.q = q,
                                            .k = k,
                                            .v = v,
                                            .angles = angles,
                                            .k_cache = keys,
                                            .v_cache = values,
                                            .slots = slots,
                                            .positions = positions,
                                            .stride = STRIDE,
                                            .n_heads = KV_HEADS * group,
                                            .n_kv_heads = KV_HEADS,
                                            .head_dim = dim},
                                   .q = q,
                                   .halves = out,
                                   .out_stride = OUT_STRIDE,
                                   .k = keys,
                                   .v = values,
                                   .slots = slots,
                                   .positions = positions,
                                   .q_stride = KV_HEADS * group * dim,
                                   .n = n,
                                   .stride = STRIDE,
                                   .n_heads = KV_HEADS * group,
                                   .n_kv_heads = KV_HEADS,
                                   .head_dim = dim,
                                   .scale = 0.1f};
}

static void launch(const char *what, int dim, int grid_x, int grid_y, const struct attention_args *args) {
    char name[32];
    snprintf(name, sizeof name, "attend_%s_%d", what, dim);
    const struct emulated_entry *kernel = emulator_find(name);
    assert_non_null(kernel);
    assert_null(emulator_launch(kernel->kernel, grid_x, grid_y, kernel->n_threads, 0, args));
}

static void check_row(const float *queries, int row, int slot, int n, int dim, int group) {
    for (int head = 0; head < KV_HEADS * group; head++) {
        double expected[MOST_DIM];
        attend(queries + head * dim, slot, head / group, dim, n, 0.1f, expected);
        for (int j = 0; j < dim; j++) {
            double got = f16_to_f32(out[row * OUT_STRIDE + place_of(head * dim + j)]);
            if (!(fabs(got - expected[j]) < 0.004))
                fail_msg("%d dimensions, %d heads a key, row %d, head %d, dimension %d: %g instead of %g", dim, group,
                         row, head, j, got, expected[j]);
        }
    }
}

/* Steps turn queries and key, and put key and value where they belong. */
static void steps(void **unused) {
    (void)unused;
    static const int dims[] = {64, 128}, groups[] = {1, 7, MOST_GROUP}, places[] = {0, 31, 32, 127, 128, 299};
    for (int d = 0; d < 2; d++)
        for (int g = 0; g < 3; g++)
            for (int at = 0; at < 6; at++) {
                int dim = dims[d], group = groups[g], width = KV_HEADS * group * dim;
                emulator_order = (unsigned)at;
                make(dim);
                const i32 slots[] = {2, -1, 0}, positions[] = {places[at], 5, places[5 - at]};
                struct attention_args args = args_of(dim, group, 3, slots, positions);
                launch("step", dim, KV_HEADS, 3, &args);
                for (int row = 0; row < 3; row++) {
                    if (slots[row] < 0) continue;
                    for (int h = 0; h < KV_HEADS * group; h++) turn(q + row * width + h * dim, dim, positions[row]);
                    for (int h = 0; h < KV_HEADS; h++) {
                        float *key = k + (row * KV_HEADS + h) * dim;
                        turn(key, dim, positions[row]);
                        size_t cache = (size_t)(slots[row] * KV_HEADS + h) * STRIDE * (size_t)dim;
                        for (int j = 0; j < dim; j++) {
                            u16 in_keys = keys[cache + (size_t)(positions[row] * dim + j)];
                            u16 in_values = values[cache + (size_t)(j * STRIDE + positions[row])];
                            assert_float_equal(f16_to_f32(in_keys), key[j], 0.002);
                            assert_float_equal(f16_to_f32(in_values), v[(row * KV_HEADS + h) * dim + j], 0.002);
                        }
                    }
                    check_row(q + row * width, row, slots[row], positions[row] + 1, dim, group);
                }
            }
    emulator_order = EMULATOR_ASCENDING;
}

/* A prompt's queries are turned before. */
static void prompts(void **unused) {
    (void)unused;
    static const int dims[] = {64, 128}, firsts[] = {0, 100, 275};
    for (int d = 0; d < 2; d++)
        for (int at = 0; at < 3; at++) {
            int dim = dims[d], group = 9, n = MOST_ROWS - at;  // more heads than warps
            i32 slots[MOST_ROWS], positions[MOST_ROWS];
            emulator_order = (unsigned)at;
            make(dim);
            for (int i = 0; i < n; i++) {
                slots[i] = 1;
                positions[i] = firsts[at] + i;
            }
            struct attention_args args = args_of(dim, group, n, slots, positions);
            launch("prompt", dim, KV_HEADS, (n + 15) / 16, &args);
            for (int row = 0; row < n; row += 13)
                check_row(q + row * KV_HEADS * group * dim, row, 1, positions[row] + 1, dim, group);
        }
    emulator_order = EMULATOR_ASCENDING;
}

static void norms(void **unused) {
    (void)unused;
    enum { ROWS = 3, WIDTH = 1184, PADDED = 1280 };  // more than the threads of a block take at once
    static float x[ROWS * WIDTH], before[ROWS * WIDTH], y[ROWS * WIDTH], weight[WIDTH],
        partial[ADD_SLICES * ROWS * WIDTH];
    static u16 halves[ROWS * PADDED];
    for (int i = 0; i < WIDTH; i++) weight[i] = 1 + next_number() / 2;
    for (int slices = 0; slices <= ADD_SLICES; slices++) {
        const i32 rows[ROWS] = {1, -1, 0};
        for (int i = 0; i < ROWS * WIDTH; i++) x[i] = before[i] = next_number();
        for (int i = 0; i < slices * ROWS * WIDTH; i++) partial[i] = next_number();
        memset(y, 0xff, sizeof y);
        struct add_norm_args args = {.x = x,
                                     .partial = partial,
                                     .weight = slices == 1 ? NULL : weight,
                                     .halves = halves,
                                     .y = slices % 2 ? NULL : y,
                                     .out_rows = rows,
                                     .stride = PADDED,
                                     .n = ROWS,
                                     .width = WIDTH,
                                     .slices = slices,
                                     .scale = 0.5f,
                                     .eps = 1e-5f};
        const struct emulated_entry *kernel = emulator_find("add_norm");
        emulator_order = (unsigned)slices;
        assert_null(emulator_launch(kernel->kernel, ROWS, 1, kernel->n_threads, 0, &args));
        for (int row = 0; row < ROWS; row++) {
            double squares = 0;
            for (int i = 0; i < WIDTH; i++) {
                double sum = 0;
                for (int s = 0; s < slices; s++) sum += partial[(s * ROWS + row) * WIDTH + i];
                sum = before[row * WIDTH + i] + sum * 0.5;
                assert_float_equal(x[row * WIDTH + i], sum, 1e-5);
                squares += sum * sum;
            }
            for (int i = 0; i < WIDTH && args.weight; i++) {
                double expected = x[row * WIDTH + i] / sqrt(squares / WIDTH + 1e-5) * weight[i];
                assert_float_equal(f16_to_f32(halves[row * PADDED + place_of(i)]), expected, 0.004);
                if (args.y && rows[row] >= 0) assert_float_equal(y[rows[row] * WIDTH + i], expected, 1e-5);
            }
        }
    }
    emulator_order = EMULATOR_ASCENDING;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps), cmocka_unit_test(prompts), cmocka_unit_test(norms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
