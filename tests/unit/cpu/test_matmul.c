/* Products of every block type, kernel set and awkward shape against float64 sums of the dequantised weights. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/matmul.h"

static const block_type types[] = {BLOCK_F32,  BLOCK_F16,  BLOCK_BF16, BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q4_1,
                                   BLOCK_Q5_0, BLOCK_Q5_1, BLOCK_Q4_K, BLOCK_Q5_K, BLOCK_Q6_K};
enum { N_TYPES = sizeof types / sizeof *types, BOUND_GUARD = 4 };

static uint64_t state;

static uint32_t random_bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static float random_float(void) { return (float)(random_bits() >> 8) / (1 << 23) - 1; }

static void put_half(uint8_t *p, float v) {
    uint16_t h = f32_to_f16(v);
    memcpy(p, &h, sizeof h);
}

/* Any bytes are weights, as long as the scales are numbers. */
static void random_block(block_type type, uint8_t *p) {
    const int n_bytes = block_info(type)->n_bytes;
    for (int i = 0; i < n_bytes; i++) p[i] = (uint8_t)random_bits();
    float v = random_float();
    uint16_t h = f32_to_f16(v);
    switch (type) {
        case BLOCK_F32:
            memcpy(p, &v, sizeof v);
            break;
        case BLOCK_F16:
            memcpy(p, &h, sizeof h);
            break;
        case BLOCK_BF16:
            h = f32_to_bf16(v), memcpy(p, &h, sizeof h);
            break;
        case BLOCK_Q6_K:
            put_half(p + 208, v / 1000);
            break;
        case BLOCK_Q4_1:
        case BLOCK_Q5_1:
        case BLOCK_Q4_K:
        case BLOCK_Q5_K:
            put_half(p + 2, random_float() / 8);  // fall through
        default:
            put_half(p, v / 16);
    }
}

struct problem {
    struct matrix m;
    int64_t n, x_stride;
    bool coarse;
    uint8_t *weights;
    float *dequantised;  // [rows, cols]
    float *x;            // n rows of cols, x_stride apart
    float *bias;         // [rows]
};

static struct problem problem_new(block_type type, int64_t rows, int64_t cols, int64_t n, int64_t x_stride) {
    state = (uint64_t)(type * 1000003 + rows * 1009 + cols * 31 + n);
    const struct block_info *info = block_info(type);
    struct problem p = {.m = {NULL, type, rows, cols}, .n = n, .x_stride = x_stride};
    const size_t row_bytes = block_row_bytes(type, cols);
    const int64_t n_x = (n - 1) * x_stride + cols;
    p.weights = alloc_aligned((size_t)rows, row_bytes);
    p.dequantised = alloc_aligned((size_t)(rows * cols), sizeof(float));
    p.x = alloc_aligned((size_t)n_x, sizeof(float));
    p.bias = alloc_aligned((size_t)rows, sizeof(float));
    p.m.data = p.weights;
    for (size_t i = 0; i < (size_t)rows * row_bytes; i += (size_t)info->n_bytes) random_block(type, p.weights + i);
    for (int64_t r = 0; r < rows; r++)
        dequantize_row(type, p.weights + (size_t)r * row_bytes, p.dequantised + r * cols, cols);
    for (int64_t i = 0; i < n_x; i++) p.x[i] = random_float() * (float)(1 + i % 7);
    for (int64_t i = 0; i < rows; i++) p.bias[i] = random_float();
    return p;
}

static void problem_free(struct problem *p) {
    free_aligned(p->weights);
    free_aligned(p->dequantised);
    free_aligned(p->x);
    free_aligned(p->bias);
}

/* Half-precision weights become 16-bit integers; how far off they may be: [row, column's block]. */
static bool is_whole(const struct problem *p) {
    return (p->m.type == BLOCK_F16 || p->m.type == BLOCK_BF16) && p->m.cols % BLOCK16 == 0;
}

/* A block's length is known to half a unit of 8 bits for each of its numbers. */
static double whole_step(int block, const float *x) {
    double most = 0, squares = 0;
    for (int i = 0; i < block; i++) most = fmax(most, fabs(x[i])), squares += (double)x[i] * x[i];
    return fmax(most / INT16_MAX, (sqrt(squares) + sqrt(block) * most / UINT8_MAX) / LENGTH_MOST);
}

static double whole_bound(int block, const float *w, const float *x) {
    double sum_w = 0, sum_x = 0, step = whole_step(block, w);
    for (int i = 0; i < block; i++) sum_w += fabs(w[i]), sum_x += fabs(x[i]);
    return (step / 2 * sum_x + whole_step(block, x) / 2 * (sum_w + block * step / 2)) * 1.001;
}

/* What the product should be: x as the small formats round it, and how far that may be from x itself. */
static void expect(const struct problem *p, bool small, int64_t row, int64_t t, double *exact, double *rounded,
                   double *bound, double *size) {
    const float *w = p->dequantised + row * p->m.cols, *x = p->x + t * p->x_stride;
    float most = 0;
    const float whole = p->coarse ? COARSE_MOST : QUANTISED_MOST;
    *exact = *rounded = *bound = *size = 0;
    for (int64_t c = 0; c < p->m.cols; c++) {
        if (is_whole(p) && c % block16(p->m.cols) == 0) *bound += whole_bound(block16(p->m.cols), w + c, x + c);
        if (small && c % BLOCK == 0) {
            most = 0;
            for (int i = 0; i < BLOCK; i++) most = fmaxf(most, fabsf(x[c + i]));
        }
        const double q = small && most > 0 ? nearbyintf(x[c] * (whole / most)) * (most / whole) : x[c];
        *exact += (double)w[c] * x[c];
        *rounded += w[c] * q;
        *bound += fabs(w[c]) * most / whole / 2 * 1.001;
        *size += fabs((double)w[c] * x[c]);
    }
}

/* A set of tiles rounds weights and activations to bfloat16: one of each if they are coarse, else two. */
static bool uses_bf16(const struct kernels *k, const struct problem *p) {
    return k->for_steps && (block_info(p->m.type)->n_weights > 1 || is_whole(p));
}

static double bf16_bound(const struct problem *p) { return p->coarse && !is_whole(p) ? 0x1p-7 : 0x1p-15; }

static status packed_make(const struct kernels *k, const struct matrix *m, const int32_t *rows, int64_t n_rows,
                          struct packed *out) {
    struct pool *one;
    struct pages memory;
    assert_ok(pool_new(1, &one));
    status s = pack_all(k, one, &(struct to_pack){m, rows, n_rows, out, false}, 1, "a matrix", &memory);
    pool_free(one);
    return s;
}

static void packed_free(struct packed *p) { pages_free(&(struct pages){(uint8_t *)p->panels.data, p->n_bytes}); }

static void check(const struct kernels *k, struct pool *pool, struct matmul_scratch *scratch, const struct problem *p,
                  const int32_t *rows, int64_t n_rows, bool bias) {
    struct packed w;
    assert_ok(packed_make(k, &p->m, rows, n_rows, &w));
    assert_int_equal(w.rows, n_rows);
    w.coarse = p->coarse;
    const int64_t y_stride = n_rows + 3;
    float *y = alloc_aligned((size_t)(p->n * y_stride + BOUND_GUARD), sizeof(float));
    for (int64_t i = 0; i < p->n * y_stride + BOUND_GUARD; i++) y[i] = 12345;
    float *b = bias ? alloc_aligned((size_t)n_rows, sizeof(float)) : NULL;
    for (int64_t r = 0; b && r < n_rows; r++) b[r] = p->bias[rows ? rows[r] : r];
    assert_ok(matmul(k, pool, scratch, &w, p->x, p->x_stride, p->n, b, y, y_stride));
    const bool small = block_info(p->m.type)->n_weights > 1;
    for (int64_t t = 0; t < p->n; t++) {
        for (int64_t r = 0; r < n_rows; r++) {
            double exact, rounded, bound, size;
            const int64_t row = rows ? rows[r] : r;
            expect(p, small, row, t, &exact, &rounded, &bound, &size);
            const double got = y[t * y_stride + r] - (b ? (double)b[r] : 0);
            const double off = is_whole(p) ? bound : 0;
            if (uses_bf16(k, p)) {
                if (!(fabs(got - exact) <= bf16_bound(p) * size + off + 1e-5))
                    fail_msg("%s, %s: token %lld row %lld is %.9g, not %.9g", k->name, block_info(p->m.type)->name,
                             (long long)t, (long long)r, got, exact);
                continue;
            }
            if (!(fabs(got - rounded) <= off + 1e-6 * size + 1e-5) ||
                !(fabs(got - exact) <= bound + 1e-6 * size + 1e-5))
                fail_msg("%s, %s [%lld, %lld], n %lld: token %lld row %lld is %.9g, not %.9g (float64: %.9g)", k->name,
                         block_info(p->m.type)->name, (long long)n_rows, (long long)p->m.cols, (long long)p->n,
                         (long long)t, (long long)r, got, rounded, exact);
        }
        for (int64_t r = n_rows; r < y_stride; r++) assert_true(y[t * y_stride + r] == 12345);
    }
    for (int i = 0; i < BOUND_GUARD; i++) assert_true(y[p->n * y_stride + i] == 12345);
    free_aligned(b);
    free_aligned(y);
    packed_free(&w);
}

struct machine {
    struct pool *pools[3];
    struct matmul_scratch *scratch;
};

static struct machine machine_new(void) {
    struct machine m;
    for (int i = 0; i < 3; i++) assert_ok(pool_new(i + 1, &m.pools[i]));
    assert_ok(matmul_scratch_new(&m.scratch));
    return m;
}

static void machine_free(struct machine *m) {
    for (int i = 0; i < 3; i++) pool_free(m->pools[i]);
    matmul_scratch_free(m->scratch);
}

/* Set i of those that this processor can run; NULL beyond the last. */
static const struct kernels *usable(int i) {
    const char *missing;
    const struct kernels *k;
    for (int at = 0; (k = kernels_at(at, &missing)); at++)
        if (!missing && i-- == 0) return k;
    return NULL;
}

static void every_type_and_shape(void **unused) {
    (void)unused;
    static const int64_t n[] = {1, 2, 3, 7, 16, 33, 100};
    static const struct { int64_t rows, cols; } shapes[] = {{1, 256}, {7, 512}, {16, 256}, {33, 768}, {95, 256}};
    const bool briefly = getenv("UTTER_BRIEFLY");  // under emulation all would take minutes
    const size_t n_shapes = briefly ? 3 : sizeof shapes / sizeof *shapes, n_ns = briefly ? 5 : sizeof n / sizeof *n;
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++)
            for (size_t s = 0; s < n_shapes; s++)
                for (size_t j = 0; j < n_ns; j++) {
                    struct problem p = problem_new(types[i], shapes[s].rows, shapes[s].cols, n[j], shapes[s].cols);
                    check(usable(set), m.pools[j % 3], m.scratch, &p, NULL, shapes[s].rows, j % 2);
                    p.coarse = true;
                    check(usable(set), m.pools[j % 3], m.scratch, &p, NULL, shapes[s].rows, j % 2);
                    problem_free(&p);
                }
    machine_free(&m);
}

/* Blocks of 32 come in pairs inside; floats of any number of columns, with sums cut every 256. */
static void odd_columns(void **unused) {
    (void)unused;
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++) {
            static const int64_t floats[] = {1, 3, 255, 257, 600}, blocks[] = {32, 96, 160, 288, 992};
            const int n_weights = block_info(types[i])->n_weights;
            for (int j = 0; n_weights <= BLOCK && j < 5; j++) {
                const int64_t cols = n_weights == 1 ? floats[j] : blocks[j];
                struct problem p = problem_new(types[i], 37, cols, 5, cols);
                check(usable(set), m.pools[1], m.scratch, &p, NULL, 37, true);
                problem_free(&p);
            }
        }
    machine_free(&m);
}

/* A convolution: rows of x overlap. */
static void overlapping_rows(void **unused) {
    (void)unused;
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++) {
            struct problem p = problem_new(types[i], 40, 768, 19, 256);
            check(usable(set), m.pools[1], m.scratch, &p, NULL, 40, true);
            problem_free(&p);
        }
    machine_free(&m);
}

static void chosen_rows(void **unused) {
    (void)unused;
    int32_t rows[61];
    for (int i = 0; i < 61; i++) rows[i] = (i * 29 + 5) % 90;
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++) {
            struct problem p = problem_new(types[i], 90, 256, 3, 256);
            check(usable(set), m.pools[2], m.scratch, &p, rows, 61, true);
            problem_free(&p);
        }
    machine_free(&m);
}

/* Results do not depend on the threads, nor on what stands beside a row or a token. */
static void same_bits_however_it_is_split(void **unused) {
    (void)unused;
    enum { N = 23, ROWS = 77 };
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < 2 * N_TYPES; i++) {
            const struct kernels *k = usable(set);
            struct problem p = problem_new(types[i / 2], ROWS, 512, N, 512);
            struct packed w;
            float all[N * ROWS], again[N * ROWS];
            assert_ok(packed_make(k, &p.m, NULL, 0, &w));
            w.coarse = i % 2;
            assert_ok(matmul(k, m.pools[0], m.scratch, &w, p.x, 512, N, p.bias, all, ROWS));
            for (int pool = 1; pool < 3; pool++) {
                assert_ok(matmul(k, m.pools[pool], m.scratch, &w, p.x, 512, N, p.bias, again, ROWS));
                assert_memory_equal(again, all, sizeof all);
            }
            for (int t = 0; t < N; t++) {
                assert_ok(matmul(k, m.pools[1], m.scratch, &w, p.x + t * 512, 512, 1, p.bias, again, ROWS));
                assert_memory_equal(again, all + t * ROWS, sizeof(float) * ROWS);
            }
            packed_free(&w);
            problem_free(&p);
        }
    machine_free(&m);
}

/* Matrices of types that want x in different forms, at once. */
static void groups(void **unused) {
    (void)unused;
    enum { N = 9, COLS = 512 };
    static const block_type mixed[] = {BLOCK_Q4_0, BLOCK_Q4_0, BLOCK_F16, BLOCK_F32, BLOCK_Q6_K, BLOCK_Q8_0};
    enum { N_MIXED = sizeof mixed / sizeof *mixed };
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++) {
        const struct kernels *k = usable(set);
        struct problem p[N_MIXED];
        struct packed w[N_MIXED];
        struct product products[N_MIXED];
        for (int i = 0; i < N_MIXED; i++) {
            p[i] = problem_new(mixed[i], 20 + 13 * i, COLS, N, COLS);
            assert_ok(packed_make(k, &p[i].m, NULL, 0, &w[i]));
            w[i].coarse = i == 1;
            float *y = alloc_aligned((size_t)(N * w[i].rows), sizeof(float));
            products[i] = (struct product){&w[i], i % 2 ? p[i].bias : NULL, y, w[i].rows};
        }
        assert_ok(matmul_group(k, m.pools[2], m.scratch, products, N_MIXED, p[0].x, COLS, N));
        for (int i = 0; i < N_MIXED; i++) {
            float *alone = alloc_aligned((size_t)(N * w[i].rows), sizeof(float));
            assert_ok(matmul(k, m.pools[0], m.scratch, &w[i], p[0].x, COLS, N, products[i].bias, alone, w[i].rows));
            assert_memory_equal(alone, products[i].y, sizeof(float) * (size_t)(N * w[i].rows));
            free_aligned(alone);
            free_aligned(products[i].y);
            packed_free(&w[i]);
        }
        for (int i = 0; i < N_MIXED; i++) problem_free(&p[i]);
    }
    machine_free(&m);
}

/* Float32 rounding apart, all sets compute the same. */
static void sets_agree(void **unused) {
    (void)unused;
    enum { N = 17, ROWS = 50, COLS = 1024 };
    struct machine m = machine_new();
    for (int i = 0; i < N_TYPES; i++) {
        struct problem p = problem_new(types[i], ROWS, COLS, N, COLS);
        float first[N * ROWS], y[N * ROWS];
        for (int set = 0; usable(set); set++) {
            struct packed w;
            assert_ok(packed_make(usable(set), &p.m, NULL, 0, &w));
            assert_ok(matmul(usable(set), m.pools[1], m.scratch, &w, p.x, COLS, N, NULL, set ? y : first, ROWS));
            packed_free(&w);
            for (int j = 0; set && j < N * ROWS; j++) {
                double exact, rounded, bound, size;
                expect(&p, !is_whole(&p), j % ROWS, j / ROWS, &exact, &rounded, &bound, &size);
                const double off = uses_bf16(usable(set), &p)              ? bf16_bound(&p) * size
                                   : is_whole(&p) && !usable(set)->round16 ? bound
                                                                           : 0;
                assert_true(fabs((double)y[j] - first[j]) <= off + 1e-6 * size + 1e-6);
            }
        }
        problem_free(&p);
    }
    machine_free(&m);
}

/* Sets with vectors of the same size, of which none has 16-bit integers, differ only in how they sum bytes: exactly. */
static void neon_sets_give_the_same_bits(void **unused) {
    (void)unused;
    enum { N = 17, ROWS = 50, COLS = 1024 };
    struct machine m = machine_new();
    for (int i = 0; i < 2 * N_TYPES; i++) {
        struct problem p = problem_new(types[i / 2], ROWS, COLS, N, COLS);
        float first[N * ROWS], y[N * ROWS];
        bool is_first = true;
        for (int set = 0; usable(set); set++) {
            struct packed w;
            if (usable(set)->round16) continue;
            assert_ok(packed_make(usable(set), &p.m, NULL, 0, &w));
            w.coarse = i % 2;
            assert_ok(matmul(usable(set), m.pools[1], m.scratch, &w, p.x, COLS, N, p.bias, y, ROWS));
            packed_free(&w);
            if (is_first) memcpy(first, y, sizeof first);
            is_first = false;
            assert_memory_equal(y, first, sizeof first);
        }
        problem_free(&p);
    }
    machine_free(&m);
}

/* Numbers that are none come out as such, and no others. */
static void not_a_number(void **unused) {
    (void)unused;
    enum { N = 3, ROWS = 20, COLS = 256 };
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++)
            for (int j = 0; j < 3; j++) {
                struct problem p = problem_new(types[i], ROWS, COLS, N, COLS);
                struct packed w;
                float y[N * ROWS];
                p.x[COLS + 100] = bad[j];
                assert_ok(packed_make(usable(set), &p.m, NULL, 0, &w));
                w.coarse = j == 1;
                assert_ok(matmul(usable(set), m.pools[1], m.scratch, &w, p.x, COLS, N, NULL, y, ROWS));
                for (int r = 0; r < ROWS; r++) {
                    assert_false(isfinite(y[ROWS + r]));
                    assert_true(isfinite(y[r]) && isfinite(y[2 * ROWS + r]));
                }
                packed_free(&w);
                problem_free(&p);
            }
    machine_free(&m);
}

/* Activations of any size: all zero, too small to count, very large. */
static void extreme_activations(void **unused) {
    (void)unused;
    enum { ROWS = 20, COLS = 256 };
    static const float sizes[] = {0, 1e-45f, 1e-36f, 1e-20f, 1e30f};
    struct machine m = machine_new();
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < N_TYPES; i++)
            for (int j = 0; j < 10; j++) {
                struct problem p = problem_new(types[i], ROWS, COLS, 1, COLS);
                struct packed w;
                float y[ROWS];
                for (int c = 0; c < COLS; c++) p.x[c] = sizes[j % 5] * (c % 2 ? 1 : -1);
                assert_ok(packed_make(usable(set), &p.m, NULL, 0, &w));
                w.coarse = j >= 5;
                assert_ok(matmul(usable(set), m.pools[1], m.scratch, &w, p.x, COLS, 1, NULL, y, ROWS));
                for (int r = 0; r < ROWS; r++) {
                    double exact = 0, size = 0;
                    for (int c = 0; c < COLS; c++) {
                        exact += (double)p.dequantised[r * COLS + c] * p.x[c];
                        size += fabs((double)p.dequantised[r * COLS + c] * p.x[c]);
                    }
                    const double off = j >= 5 && uses_bf16(usable(set), &p) ? 0x1p-7 : 1e-4;
                    assert_true(fabs(y[r] - exact) <= off * size + 1e-28);
                }
                packed_free(&w);
                problem_free(&p);
            }
    machine_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_shape),
        cmocka_unit_test(odd_columns),
        cmocka_unit_test(overlapping_rows),
        cmocka_unit_test(chosen_rows),
        cmocka_unit_test(same_bits_however_it_is_split),
        cmocka_unit_test(groups),
        cmocka_unit_test(sets_agree),
        cmocka_unit_test(neon_sets_give_the_same_bits),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(extreme_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
