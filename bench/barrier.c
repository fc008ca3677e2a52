/* What handing a job to the threads and waiting for them costs, against the smallest matrix of a model.

       bench_barrier [THREADS [ROWS COLUMNS]]

   A job whose tasks end when all have begun, so that each thread has to come; and a Q4_0 matrix, NeuTTS Air's keys if
   not told, times one token, as a step of decoding has it: by one thread, and by all. Least and median of many, in
   microseconds. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cpu/matmul.h"

enum { N = 4001, EACH = 20 };

struct bench {
    const struct kernels *kernels;
    struct pool *pool;
    struct matmul_scratch *scratch;
    struct packed w;
    float *x, *y;
};

static void meet(void *argument, int task, int n_tasks) {
    _Atomic int *n_begun = argument;
    (void)task;
    atomic_fetch_add(n_begun, 1);
    while (atomic_load(n_begun) < n_tasks) {
    }
}

static status barrier(struct bench *b) {
    _Atomic int n_begun = 0;
    pool_run(b->pool, meet, &n_begun);
    return UTTER_OK;
}

static status product(struct bench *b) {
    return matmul(b->kernels, b->pool, b->scratch, &b->w, b->x, b->w.cols, 1, NULL, b->y, b->w.rows);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status measure(const char *what, int n_threads, status (*once)(struct bench *), struct bench *b) {
    static double us[N];
    for (int i = 0; i < N; i++) {
        const int64_t since = clock_ns();
        for (int k = 0; k < EACH; k++) TRY(once(b));
        us[i] = (double)(clock_ns() - since) * 1e-3 / EACH;
    }
    qsort(us, N, sizeof *us, by_size);
    printf("%-24s %d thread%s  %6.2f %6.2f\n", what, n_threads, n_threads == 1 ? " " : "s", us[0], us[N / 2]);
    return UTTER_OK;
}

static status run(int n_threads, int64_t rows, int64_t cols) {
    struct bench b = {0};
    struct pages memory = {0};
    uint8_t *weights;
    char what[64];
    TRY(kernels_find(NULL, &b.kernels));
    TRY(matmul_scratch_new(&b.scratch));
    TRY(alloc_for(&weights, (size_t)rows, block_row_bytes(BLOCK_Q4_0, cols), "weights"));
    TRY(alloc_for(&b.x, (size_t)cols, sizeof *b.x, "a token"));
    TRY(alloc_for(&b.y, (size_t)rows, sizeof *b.y, "results"));
    const struct matrix m = {weights, BLOCK_Q4_0, rows, cols};
    snprintf(what, sizeof what, "%lld x %lld, Q4_0", (long long)rows, (long long)cols);
    printf("%-24s %9s  %6s %6s  microseconds, kernels %s\n", "", "", "least", "median", b.kernels->name);
    for (int n = 1; n <= n_threads; n += n == n_threads || n_threads == 1 ? 1 : n_threads - 1) {
        TRY(pool_new(n, &b.pool));
        TRY(pack_all(b.kernels, b.pool, &(struct to_pack){.m = &m, .out = &b.w}, 1, "weights", &memory));
        TRY(measure("all threads meet", n, barrier, &b));
        TRY(measure(what, n, product, &b));
        pages_free(&memory);
        pool_free(b.pool);
    }
    free_aligned(weights);
    free_aligned(b.x);
    free_aligned(b.y);
    matmul_scratch_free(b.scratch);
    return UTTER_OK;
}

int main(int argc, char **argv) {
    const int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    const long long rows = argc > 3 ? atoll(argv[2]) : 128, cols = argc > 3 ? atoll(argv[3]) : 896;
    if (n_threads < 1 || rows < 1 || cols < 32 || cols % 32) {
        fprintf(stderr, "bench_barrier: THREADS and ROWS are 1 or more, COLUMNS a multiple of 32\n");
        return 2;
    }
    if (run(n_threads, rows, cols) == UTTER_OK) return 0;
    fprintf(stderr, "bench_barrier: %s\n", fail_message());
    return 1;
}
