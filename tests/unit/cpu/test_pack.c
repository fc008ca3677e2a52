/* Weights packed by many threads into one piece of memory are those that each matrix makes panel by panel. */
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "cpu/matmul.h"
#include "cpu/pack.h"

static const struct {
    block_type type;
    int64_t rows, cols;
    int64_t n_rows;  // of those taken, in an order of their own; 0: all
} shapes[] = {
    {BLOCK_Q4_0, 3001, 1024, 0}, {BLOCK_F32, 37, 67, 0},        {BLOCK_F16, 1500, 768, 0},  {BLOCK_F16, 9, 100, 0},
    {BLOCK_Q8_0, 2500, 896, 70}, {BLOCK_BF16, 8, 192, 0},       {BLOCK_Q6_K, 640, 512, 0},  {BLOCK_Q5_1, 17, 96, 0},
    {BLOCK_F32, 1, 64, 0},       {BLOCK_Q4_K, 2048, 1024, 400}, {BLOCK_Q8_0, 16, 32, 0},    {BLOCK_F32, 1100, 516, 0},
    {BLOCK_Q4_0, 48, 160, 0},    {BLOCK_Q5_K, 33, 256, 11},     {BLOCK_F16, 4096, 1024, 0},
};
enum { N = sizeof shapes / sizeof *shapes };

struct weights {
    struct matrix m[N];
    int32_t *rows[N];  // NULL: all
    struct packed out[N];
    struct to_pack list[N];
};

static void weights_new(struct weights *w) {
    uint32_t random = 1;
    for (int i = 0; i < N; i++) {
        const size_t n_bytes = (size_t)shapes[i].rows * block_row_bytes(shapes[i].type, shapes[i].cols);
        uint8_t *data = alloc_aligned(n_bytes, 1);
        for (size_t k = 0; k < n_bytes; k++) data[k] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24) & 0x3f;
        w->m[i] = (struct matrix){data, shapes[i].type, shapes[i].rows, shapes[i].cols};
        w->rows[i] = shapes[i].n_rows ? alloc_aligned((size_t)shapes[i].n_rows, sizeof(int32_t)) : NULL;
        for (int64_t k = 0; k < shapes[i].n_rows; k++) w->rows[i][k] = (int32_t)(k * 7919 % shapes[i].rows);
        w->list[i] = (struct to_pack){&w->m[i], w->rows[i], shapes[i].n_rows, &w->out[i], false};
    }
}

static void weights_free(struct weights *w) {
    for (int i = 0; i < N; i++) {
        free_aligned((void *)w->m[i].data);
        free_aligned(w->rows[i]);
    }
}

static void check(const struct kernels *k, const struct weights *w, int i) {
    const struct packed *p = &w->out[i];
    const int64_t n_rows = shapes[i].n_rows ? shapes[i].n_rows : shapes[i].rows;
    assert_int_equal(p->rows, n_rows);
    assert_int_equal(p->cols, shapes[i].cols);
    assert_int_equal((uintptr_t)p->panels.data % 64, 0);
    const int64_t n_panels = (n_rows + k->lanes - 1) / k->lanes;
    assert_int_equal(p->n_bytes, (size_t)n_panels * p->panels.panel_bytes);
    uint8_t *panel = alloc_aligned(p->panels.panel_bytes, 1);
    for (int64_t at = 0; at < n_panels; at++) {
        memset(panel, 0, p->panels.panel_bytes);
        pack_panel(k, &w->m[i], w->rows[i], n_rows, at, NULL, panel);
        assert_memory_equal(p->panels.data + at * (int64_t)p->panels.panel_bytes, panel, p->panels.panel_bytes);
    }
    free_aligned(panel);
}

static void together_as_alone(void **unused) {
    (void)unused;
    struct weights w;
    struct pool *pool;
    const struct kernels *k;
    const char *lacks;
    weights_new(&w);
    assert_ok(pool_new(3, &pool));
    for (int set = 0; (k = kernels_at(set, &lacks)); set++) {
        struct pages memory;
        if (lacks) continue;
        assert_ok(pack_all(k, pool, w.list, N, "a test", &memory));
        for (int i = 0; i < N; i++) {
            check(k, &w, i);
            if (i > 0) assert_ptr_equal(w.out[i].panels.data, w.out[i - 1].panels.data + w.out[i - 1].n_bytes);
        }
        pages_free(&memory);
    }
    pool_free(pool);
    weights_free(&w);
}

/* What panels are, in the words of kernels.h: a word of four columns of each row, rows side by side. */
static void words_stand_side_by_side(void **unused) {
    (void)unused;
    enum { ROWS = 21, COLS = 96, BYTES = COLS / 32 * 34 };
    uint8_t *data = alloc_aligned(ROWS, BYTES);
    for (int i = 0; i < ROWS * BYTES; i++) data[i] = (uint8_t)(i * 31 % 113);
    const struct matrix m = {data, BLOCK_Q8_0, ROWS, COLS};
    const char *lacks;
    const struct kernels *k;
    for (int set = 0; (k = kernels_at(set, &lacks)); set++) {
        if (lacks) continue;
        const size_t n_bytes = pack_panel_bytes(FORMAT_Q8, k->lanes, COLS);
        uint8_t *panel = alloc_aligned(n_bytes, 1);
        for (int first = 0; first < ROWS; first += k->lanes) {
            memset(panel, 0, n_bytes);
            pack_panel(k, &m, NULL, ROWS, first / k->lanes, NULL, panel);
            for (int r = 0; r < k->lanes; r++)
                for (int c = 0; c < COLS; c++) {
                    const int b = c / 32, pair_bytes = 2 * k->lanes * (32 + 2);
                    const uint8_t *words = panel + b / 2 * pair_bytes + b % 2 * 32 * k->lanes;
                    const uint8_t *row = data + (first + r) * BYTES + b * 34;
                    const int want = first + r < ROWS ? (row[2 + c % 32] + k->zero8) & 255 : 0;
                    assert_int_equal(words[(c % 32 / 4 * k->lanes + r) * 4 + c % 4], want);
                }
        }
        free_aligned(panel);
    }
    free_aligned(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together_as_alone),
        cmocka_unit_test(words_stand_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
