/* GGUF with its matrices in another type: what changes, what does not, and the K types' error. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "gguf/gguf.h"
#include "gguf/write.h"
#include "models/requantize.h"

static char in[FIXTURE_PATH], out[FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    return fixture_path("in.gguf", in) == UTTER_OK && fixture_path("out.gguf", out) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

struct told {
    int n;
    uint64_t done, total;
};

static void tell(void *user, const char *tensor, uint64_t done, uint64_t total) {
    struct told *t = user;
    assert_true(*tensor && done >= t->done && done < total);
    t->n++;
    t->done = done;
    t->total = total;
}

static void check_tensor(const struct gguf_tensor *was, const struct gguf_tensor *is, block_type wanted) {
    assert_non_null(is);
    assert_memory_equal(is->dims, was->dims, sizeof is->dims);
    if (is->type != wanted)
        fail_msg("%s is %s, wanted %s", is->name, block_info(is->type)->name, block_info(wanted)->name);
    if (was->type == wanted) {
        assert_int_equal(is->n_bytes, was->n_bytes);
        assert_memory_equal(is->data, was->data, was->n_bytes);
        return;
    }
    int64_t n = was->dims[0] * was->dims[1] * was->dims[2];
    float *values = malloc((size_t)n * sizeof *values);
    void *blocks = malloc(is->n_bytes);
    assert_true(values && blocks);
    dequantize_row(was->type, was->data, values, n);
    assert_ok(quantize_row(wanted, values, blocks, n));
    assert_memory_equal(is->data, blocks, is->n_bytes);
    free(values);
    free(blocks);
}

static void requantized(const char *name, block_type type, block_type output) {
    struct gguf *was, *is;
    struct told told = {0};
    assert_ok(fixture_tiny(name, in));
    assert_ok(requantize(in, out, type, tell, &told));
    assert_ok(gguf_open(in, &was));
    assert_ok(gguf_open(out, &is));
    struct gguf_string a = gguf_key_bytes(was), b = gguf_key_bytes(is);
    assert_int_equal(a.len, b.len);
    int64_t file_type = gguf_u32_offset(was, "general.file_type");
    for (size_t i = 0; i < a.len; i++)
        if (file_type < 0 || i < (size_t)file_type || i >= (size_t)file_type + 4)
            assert_int_equal(a.data[i], b.data[i]);
    assert_int_equal(gguf_n_tensors(was), gguf_n_tensors(is));
    assert_int_equal(told.n, gguf_n_tensors(was));
    bool own = gguf_find_tensor(was, "output.weight");
    for (int64_t i = 0; i < gguf_n_tensors(was); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(was, i);
        bool is_output = strcmp(t->name, own ? "output.weight" : "token_embd.weight") == 0;
        check_tensor(t, gguf_find_tensor(is, t->name),
                     t->n_dims < 2 ? t->type
                     : is_output   ? output
                                   : block_type_for(type, t->dims[0]));
        assert_string_equal(gguf_tensor_at(is, i)->name, t->name);
    }
    gguf_close(was);
    gguf_close(is);
    remove(out);
}

static void test_types(void **state) {
    (void)state;
    requantized("qwen2-f32", BLOCK_Q4_0, BLOCK_Q8_0);
    requantized("qwen2-f32", BLOCK_F32, BLOCK_F32);
    requantized("qwen2-f16", BLOCK_Q8_0, BLOCK_Q8_0);
    requantized("qwen2-f32", BLOCK_Q4_K, BLOCK_Q8_0);
    requantized("qwen3-f16", BLOCK_Q5_K, BLOCK_Q8_0);
    requantized("qwen2-f32", BLOCK_Q6_K, BLOCK_Q8_0);
    requantized("llama-f16", BLOCK_Q5_0, BLOCK_Q8_0);
    requantized("qwen2-q8_0", BLOCK_Q4_0, BLOCK_Q8_0);
    requantized("qwen2-q4_0", BLOCK_F16, BLOCK_F16);
}

static void test_fallback(void **state) {
    (void)state;
    assert_int_equal(block_type_for(BLOCK_Q4_K, 896), BLOCK_Q5_0);
    assert_int_equal(block_type_for(BLOCK_Q5_K, 896), BLOCK_Q5_1);
    assert_int_equal(block_type_for(BLOCK_Q6_K, 896), BLOCK_Q8_0);
    assert_int_equal(block_type_for(BLOCK_Q4_K, 8), BLOCK_F16);
    assert_int_equal(block_type_for(BLOCK_Q4_0, 8), BLOCK_F16);
    assert_int_equal(block_type_for(BLOCK_F32, 8), BLOCK_F32);
    assert_int_equal(block_type_for(BLOCK_Q4_K, 512), BLOCK_Q4_K);
    // A codec: convolutions, rows of eight, and no output.
    assert_ok(fixture_codec(false, BLOCK_F32, in));
    assert_ok(requantize(in, out, BLOCK_Q8_0, NULL, NULL));
    struct gguf *g;
    assert_ok(gguf_open(out, &g));
    assert_int_equal(gguf_find_tensor(g, "generator.backbone.embed.weight")->type, BLOCK_Q8_0);
    assert_int_equal(gguf_find_tensor(g, "generator.quantizer.project_out.weight")->type, BLOCK_F16);
    assert_int_equal(gguf_find_tensor(g, "generator.head.out.bias")->type, BLOCK_F32);
    gguf_close(g);
}

static void test_keys_that_change(void **state) {
    (void)state;
    struct gguf_writer *w;
    float row[32] = {1};
    assert_ok(gguf_writer_open(in, &w));
    gguf_put_u32(w, "general.alignment", 32);
    gguf_put_u32(w, "general.file_type", 0);
    gguf_put_string(w, "a", "general.file_type");
    gguf_put_tensor(w, "x.weight", BLOCK_F32, 2, (const int64_t[]){16, 2});
    assert_ok(gguf_write_data(w, row, sizeof row));
    assert_ok(gguf_writer_finish(w));
    assert_ok(requantize(in, out, BLOCK_F16, NULL, NULL));
    struct gguf *g;
    int64_t v;
    assert_ok(gguf_open(out, &g));
    assert_true(gguf_get_i64(g, "general.file_type", &v) && v == 1);
    gguf_close(g);
    remove(out);
}

static void test_refused(void **state) {
    (void)state;
    assert_ok(fixture_tiny("qwen2-f32", in));
    assert_int_equal(requantize(in, in, BLOCK_Q8_0, NULL, NULL), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "are the same file"));
    assert_int_equal(requantize("/nonexistent", out, BLOCK_Q8_0, NULL, NULL), UTTER_IO);
    assert_int_not_equal(access(out, F_OK), 0);
    struct gguf_writer *w;
    float row[64] = {[40] = NAN};
    assert_ok(gguf_writer_open(in, &w));
    gguf_put_tensor(w, "x.weight", BLOCK_F32, 2, (const int64_t[]){32, 2});
    assert_ok(gguf_write_data(w, row, sizeof row));
    assert_ok(gguf_writer_finish(w));
    assert_int_equal(requantize(in, out, BLOCK_Q8_0, NULL, NULL), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "tensor x.weight, row 1: weight 8 of a row is nan"));
    assert_int_not_equal(access(out, F_OK), 0);
}

/* ---- K types ---- */

static double rmse(block_type type, const float *x, int64_t n) {
    void *blocks = malloc(block_row_bytes(type, n));
    float *y = malloc((size_t)n * sizeof *y);
    double sum = 0;
    assert_true(blocks && y);
    assert_ok(quantize_row(type, x, blocks, n));
    dequantize_row(type, blocks, y, n);
    for (int64_t i = 0; i < n; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    free(blocks);
    free(y);
    return sqrt(sum / (double)n);
}

// quantize_row_q4_K_ref, _q5_K_ref and _q6_K_ref of llama.cpp (as of llama-cpp-python 0.3.16) give these on the same
// numbers: uniform in [-1, 1), and their cubes.
static void test_error_of_k(void **state) {
    (void)state;
    enum { N = 1 << 18 };
    static const struct {
        block_type type;
        double uniform, cubes;
    } reference[] = {
        {BLOCK_Q4_K, 0.031499, 0.0271828}, {BLOCK_Q5_K, 0.0159042, 0.0140963}, {BLOCK_Q6_K, 0.00763805, 0.00658358}};
    float *x = malloc(N * sizeof *x), *cubes = malloc(N * sizeof *cubes);
    assert_true(x && cubes);
    uint64_t state_of = 1;
    for (int i = 0; i < N; i++) {
        state_of = state_of * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state_of >> 40) * 0x1p-23 - 1);
        cubes[i] = x[i] * x[i] * x[i];
    }
    for (size_t i = 0; i < sizeof reference / sizeof *reference; i++) {
        double u = rmse(reference[i].type, x, N), c = rmse(reference[i].type, cubes, N);
        print_message("%s: %.6g and %.6g of %.6g and %.6g\n", block_info(reference[i].type)->name, u, c,
                      reference[i].uniform, reference[i].cubes);
        assert_true(u < reference[i].uniform * 1.001 && c < reference[i].cubes * 1.001);
    }
    free(x);
    free(cubes);
}

static void test_extremes_of_k(void **state) {
    (void)state;
    static const block_type types[] = {BLOCK_Q4_K, BLOCK_Q5_K, BLOCK_Q6_K};
    static const float values[] = {0, 1, -1, 65504, -65504, 1e-8f, -1e-8f, 1e-40f, 0.1f};
    float x[256], y[256];
    uint8_t blocks[256];
    for (size_t t = 0; t < 3; t++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            for (int alone = 0; alone < 2; alone++) {
                for (int i = 0; i < 256; i++) x[i] = alone && i != 77 ? 0 : values[v];
                assert_ok(quantize_row(types[t], x, blocks, 256));
                dequantize_row(types[t], blocks, y, 256);
                for (int i = 0; i < 256; i++)
                    if (!(fabsf(x[i] - y[i]) <= 0.01f * fabsf(values[v]) + 1e-5f))
                        fail_msg("%s: %g became %g", block_info(types[t])->name, (double)x[i], (double)y[i]);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_fallback),   cmocka_unit_test(test_keys_that_change),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_error_of_k), cmocka_unit_test(test_extremes_of_k),
    };
    return cmocka_run_group_tests_name("requantize", tests, setup, teardown);
}
