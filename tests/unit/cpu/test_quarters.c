/* Products by quarters against sums in double, with every kernel set that has them. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/quarters.h"

enum { GUARD = 16 };

static uint64_t state = 1;

static float random_float(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) / (1 << 23) - 1;
}

/* What is multiplied: weights as they are stored, and in float. */
struct problem {
    block_type type;
    int64_t rows, cols, n, x_stride;
    float *w, *x, *bias;  // [rows, cols], n rows of cols, x_stride apart, [rows] or NULL
    void *stored;
};

static struct problem problem_new(block_type type, int64_t rows, int64_t cols, int64_t n, int64_t x_stride, bool bias) {
    struct problem p = {.type = type, .rows = rows, .cols = cols, .n = n, .x_stride = x_stride};
    const int64_t n_x = (n - 1) * x_stride + cols;
    p.w = alloc_aligned((size_t)(rows * cols), sizeof *p.w);
    p.stored = alloc_aligned((size_t)rows, block_row_bytes(type, cols));
    p.x = alloc_aligned((size_t)n_x, sizeof *p.x);
    if (bias) p.bias = alloc_aligned((size_t)rows, sizeof *p.bias);
    for (int64_t i = 0; i < rows * cols; i++) p.w[i] = random_float();
    for (int64_t i = 0; i < n_x; i++) p.x[i] = random_float() * 3;
    for (int64_t i = 0; bias && i < rows; i++) p.bias[i] = random_float() * 30;
    return p;
}

static void problem_free(struct problem *p) {
    free_aligned(p->w);
    free_aligned(p->stored);
    free_aligned(p->x);
    free_aligned(p->bias);
}

/* Stores the weights; what is lost thereby is lost in float, too. */
static void store_weights(struct problem *p) {
    for (int64_t i = 0; i < p->rows * p->cols; i++) {
        uint16_t *half = (uint16_t *)p->stored + i;
        if (p->type == BLOCK_F32) {
            ((float *)p->stored)[i] = p->w[i];
        } else if (p->type == BLOCK_F16) {
            *half = f32_to_f16(p->w[i]);
            p->w[i] = f16_to_f32(*half);
        } else {
            *half = f32_to_bf16(p->w[i]);
            p->w[i] = bf16_to_f32(*half);
        }
    }
}

/* y[n, rows] with a guard behind it. */
static float *multiply(const struct kernels *k, int n_threads, const struct problem *p, bool quarters) {
    struct pool *pool;
    struct matmul_scratch *scratch;
    struct packed w;
    struct pages memory;
    const struct matrix m = {p->stored, p->type, p->rows, p->cols};
    assert_ok(pool_new(n_threads, &pool));
    assert_ok(matmul_scratch_new(&scratch));
    assert_ok(pack_all(k, pool, &(struct to_pack){.m = &m, .out = &w, .quarters = quarters}, 1, "a test", &memory));
    assert_int_equal(w.quarters, quarters);
    float *y = alloc_aligned((size_t)(p->n * p->rows + GUARD), sizeof *y);
    for (int64_t i = 0; i < p->n * p->rows + GUARD; i++) y[i] = 12345;
    assert_ok(matmul(k, pool, scratch, &w, p->x, p->x_stride, p->n, p->bias, y, p->rows));
    for (int i = 0; i < GUARD; i++) assert_true(y[p->n * p->rows + i] == 12345);
    pages_free(&memory);
    matmul_scratch_free(scratch);
    pool_free(pool);
    return y;
}

/* The root of the mean of squared differences, over that of the results; and the largest difference over it. */
static double error_of(const struct problem *p, const float *y, double *largest) {
    double noise = 0, signal = 0;
    *largest = 0;
    for (int64_t t = 0; t < p->n; t++)
        for (int64_t r = 0; r < p->rows; r++) {
            const float *w = p->w + r * p->cols, *x = p->x + t * p->x_stride;
            double sum = p->bias ? p->bias[r] : 0;
            for (int64_t c = 0; c < p->cols; c++) sum += (double)w[c] * x[c];
            const double off = y[t * p->rows + r] - sum;
            noise += off * off;
            signal += sum * sum;
            if (!(fabs(off) <= *largest)) *largest = fabs(off);
        }
    *largest /= sqrt(signal / (double)(p->n * p->rows));
    return sqrt(noise / signal);
}

static void near_exact(const struct kernels *k, block_type type, int64_t rows, int64_t cols, int64_t n,
                       int64_t x_stride, bool bias) {
    struct problem p = problem_new(type, rows, cols, n, x_stride, bias);
    store_weights(&p);
    float *y = multiply(k, 3, &p, true);
    double largest;
    const double error = error_of(&p, y, &largest), most = type == BLOCK_F32 ? 2e-6 : 1e-3;
    if (!(error < most && largest < 8 * most))
        fail_msg("%s, %s, %d rows, %d columns, %d tokens: off by %g, at most %g", k->name, block_info(type)->name,
                 (int)rows, (int)cols, (int)n, error, largest);
    free_aligned(y);
    problem_free(&p);
}

/* Calls `check` with every set that runs here and has such products. */
static void with_every_set(void (*check)(const struct kernels *k)) {
    const char *missing;
    const struct kernels *k;
    int n = 0;
    for (int i = 0; (k = kernels_at(i, &missing)); i++)
        if (!missing && k->multiply_parts) check(k), n++;
    if (n == 0) {
        printf("skipped: no kernel set of this processor has products by quarters\n");
        skip();
    }
}

static void shapes(const struct kernels *k) {
    static const block_type types[] = {BLOCK_F32, BLOCK_F16, BLOCK_BF16};
    static const int lengths[] = {56, 57, 58, 59, 81, 113};  // tiles of 7 to 14 tokens, last quarters that lack some
    for (size_t i = 0; i < 3; i++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            near_exact(k, types[i], 8 * k->lanes, 1024, lengths[l], 1024, l % 2);
    for (size_t i = 0; i < 3; i++) {
        near_exact(k, types[i], 16 * k->lanes, 3072, 60, 1024, true);  // a convolution's rows overlap
        near_exact(k, types[i], 8 * k->lanes, 2048, 60, 2051, false);
    }
}

static void equals_sums_in_double(void **unused) {
    (void)unused;
    with_every_set(shapes);
}

/* All signs alike, or such that a sum of four parts has four times their length: integers must not overflow. */
static void loud(const struct kernels *k) {
    for (int sign = 0; sign < 16; sign++) {
        struct problem p = problem_new(BLOCK_F16, 8 * k->lanes, 1024, 56, 1024, false);
        for (int64_t i = 0; i < p.rows * p.cols; i++) {
            const int64_t row = i / p.cols * 4 / p.rows, col = i % p.cols / 256;
            p.w[i] = (sign & 1 ? row & 1 : 0) ^ (sign & 2 ? col & 1 : 0) ^ (sign & 4 ? row >> 1 : 0) ^
                             (sign & 8 ? col >> 1 : 0)
                         ? -1
                         : 1;
        }
        for (int64_t i = 0; i < p.n * p.cols; i++) {
            const int64_t token = i / p.cols / 14, col = i % p.cols / 256;
            p.x[i] = (sign & 1 ? token & 1 : 0) ^ (sign & 2 ? col & 1 : 0) ^ (sign & 4 ? token >> 1 : 0) ^
                             (sign & 8 ? col >> 1 : 0)
                         ? -1
                         : 1;
        }
        store_weights(&p);
        float *y = multiply(k, 2, &p, true);
        double largest;
        error_of(&p, y, &largest);
        if (!(largest < 1e-3)) fail_msg("%s: with signs %d off by %g", k->name, sign, largest);
        free_aligned(y);
        problem_free(&p);
    }
}

static void integers_do_not_overflow(void **unused) {
    (void)unused;
    with_every_set(loud);
}

/* Zeros, one weight that is a thousand times the others, rows and tokens of very different size. */
static void uneven(const struct kernels *k) {
    struct problem p = problem_new(BLOCK_F16, 8 * k->lanes, 1024, 57, 1024, true);
    for (int64_t c = 0; c < p.cols; c++) p.w[5 * p.cols + c] = 0, p.x[7 * p.cols + c] = 0, p.x[8 * p.cols + c] *= 1e-3f;
    p.w[9 * p.cols + 100] = 1000;
    p.x[11 * p.cols + 900] = 3000;
    store_weights(&p);
    float *y = multiply(k, 2, &p, true);
    double largest;
    const double error = error_of(&p, y, &largest);
    if (!(error < 2e-2)) fail_msg("%s: off by %g, at most %g", k->name, error, largest);
    for (int64_t t = 0; t < p.n; t++)  // what other rows have added and taken away again is rounded
        if (t % 15 != 11) assert_true(fabsf(y[t * p.rows + 5] - p.bias[5]) < 1e-2f);
    free_aligned(y);
    memset(p.w, 0, (size_t)(p.rows * p.cols) * sizeof *p.w);
    store_weights(&p);
    y = multiply(k, 2, &p, true);
    for (int64_t i = 0; i < p.n * p.rows; i++) assert_true(y[i] == p.bias[i % p.rows]);
    free_aligned(y);
    problem_free(&p);
}

static void uneven_rows_are_multiplied(void **unused) {
    (void)unused;
    with_every_set(uneven);
}

static void no_number(const struct kernels *k) {
    static const block_type types[] = {BLOCK_F32, BLOCK_F16};
    static const float values[] = {NAN, INFINITY};
    for (int i = 0; i < 8; i++) {
        struct problem p = problem_new(types[i % 2], 8 * k->lanes, 1024, 56, 1024, false);
        if (i < 4)
            p.x[20 * p.cols + 333] = values[i / 2 % 2];
        else
            p.w[20 * p.cols + 333] = values[i / 2 % 2];
        store_weights(&p);
        float *y = multiply(k, 2, &p, true);
        for (int64_t j = 0; j < (i < 4 ? p.rows : p.n); j++)
            assert_false(isfinite(i < 4 ? y[20 * p.rows + j] : y[j * p.rows + 20]));
        free_aligned(y);
        problem_free(&p);
    }
}

static void what_is_no_number_is_seen(void **unused) {
    (void)unused;
    with_every_set(no_number);
}

/* Few tokens are multiplied as ever by the same panels; results do not depend on the threads. */
static void threads(const struct kernels *k) {
    for (int i = 0; i < 2; i++) {
        struct problem p = problem_new(i ? BLOCK_F16 : BLOCK_F32, 16 * k->lanes, 2048, 81, 2048, true);
        store_weights(&p);
        float *want = multiply(k, 1, &p, true);
        for (int n_threads = 2; n_threads < 6; n_threads++) {
            float *got = multiply(k, n_threads, &p, true);
            assert_memory_equal(got, want, (size_t)(p.n * p.rows) * sizeof *want);
            free_aligned(got);
        }
        free_aligned(want);
        p.n = QUARTERS_LEAST - 1;
        float *y = multiply(k, 2, &p, true);
        double largest;
        assert_true(error_of(&p, y, &largest) < (i ? 3e-4 : 1e-6));
        free_aligned(y);
        problem_free(&p);
    }
}

static void threads_and_few_tokens_change_nothing(void **unused) {
    (void)unused;
    with_every_set(threads);
}

static void only_what_fits_is_cut(void **unused) {
    (void)unused;
    static const int64_t shapes_that_do_not[][2] = {{1922, 1024}, {1024, 1000}, {1024, 512}, {64, 1024}};
    const char *missing;
    const struct kernels *k;
    for (int i = 0; (k = kernels_at(i, &missing)); i++)
        for (size_t s = 0; s < 4; s++) {
            const struct matrix m = {NULL, BLOCK_F32, shapes_that_do_not[s][0], shapes_that_do_not[s][1]};
            if (m.rows == 64 && k->lanes < 16) continue;
            assert_false(quarters_fit(k, &m));
            assert_false(quarters_fit(k, &(struct matrix){NULL, BLOCK_Q8_0, 1024, 1024}));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_sums_in_double),
        cmocka_unit_test(integers_do_not_overflow),
        cmocka_unit_test(uneven_rows_are_multiplied),
        cmocka_unit_test(what_is_no_number_is_seen),
        cmocka_unit_test(threads_and_few_tokens_change_nothing),
        cmocka_unit_test(only_what_fits_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
