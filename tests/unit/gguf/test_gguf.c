/* gguf/: what a sound file gives, and what its users are refused. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fixtures/folder.h"
#include "gguf/write.h"
#include "raw.h"

#define assert_refused(call, code, words)                                                      \
    do {                                                                                       \
        assert_int_equal(call, code);                                                          \
        if (!strstr(fail_message(), words)) print_error("the sentence: %s\n", fail_message()); \
        assert_non_null(strstr(fail_message(), words));                                        \
    } while (0)

static struct gguf *open_raw(struct raw *r) {
    struct gguf *g;
    assert_ok(gguf_open_memory(r->bytes.data, r->bytes.len, "sample", &g));
    return g;
}

static void test_numbers(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct raw r = {0};
        raw_sample(&r, version);
        struct gguf *g = open_raw(&r);
        assert_int_equal(gguf_n_keys(g), 16);
        assert_string_equal(gguf_label(g), "sample");
        static const struct {
            const char *key;
            int64_t value;
        } integers[] = {{"u8", 200},         {"i8", -1},  {"u16", 65535}, {"i16", -2},
                        {"u32", 4000000000}, {"i32", -3}, {"i64", -4}};
        for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
            int64_t v;
            double f;
            assert_true(gguf_get_i64(g, integers[i].key, &v));
            assert_int_equal(v, integers[i].value);
            assert_true(gguf_get_f64(g, integers[i].key, &f));
            assert_true(f == (double)integers[i].value);
        }
        int64_t v;
        double f;
        bool b;
        assert_false(gguf_get_i64(g, "u64", &v));  // beyond the range of the result
        assert_false(gguf_get_i64(g, "f32", &v));
        assert_false(gguf_get_i64(g, "bool", &v));
        assert_false(gguf_get_i64(g, "string", &v));
        assert_false(gguf_get_i64(g, "strings", &v));
        assert_false(gguf_get_i64(g, "absent", &v));
        assert_true(gguf_get_f64(g, "f32", &f) && f == -1.5);
        assert_true(gguf_get_f64(g, "f64", &f) && f == 1e100);
        assert_false(gguf_get_f64(g, "bool", &f));
        assert_true(gguf_get_bool(g, "bool", &b) && b);
        assert_false(gguf_get_bool(g, "u8", &b));
        gguf_value_type type;
        assert_string_equal(gguf_key_at(g, 4, &type), "u32");
        assert_int_equal(type, GGUF_U32);
        gguf_close(g);
        str_free(&r.bytes);
    }
}

static void test_strings_and_arrays(void **state) {
    (void)state;
    struct raw r = {0};
    raw_sample(&r, 3);
    struct gguf *g = open_raw(&r);
    struct gguf_string s;
    struct gguf_array a;
    int64_t v;
    double f;
    assert_true(gguf_get_string(g, "string", &s));
    assert_int_equal(s.len, 5);
    assert_memory_equal(s.data, "hello", 5);
    assert_false(gguf_get_string(g, "u8", &s));
    assert_true(gguf_get_array(g, "strings", &a));
    assert_int_equal(a.n, 3);
    assert_int_equal(a.strings[1].len, 0);
    assert_memory_equal(a.strings[2].data, "ccc", 3);
    assert_false(gguf_array_i64(&a, 0, &v));
    assert_true(gguf_get_array(g, "i32s", &a));
    assert_null(a.strings);
    assert_true(gguf_array_i64(&a, 1, &v) && v == -1);
    assert_true(gguf_array_f64(&a, 0, &f) && f == 7);
    assert_false(gguf_array_i64(&a, 2, &v));
    assert_false(gguf_get_array(g, "string", &a));
    gguf_close(g);
    str_free(&r.bytes);
}

static void test_need(void **state) {
    (void)state;
    struct raw r = {0};
    raw_sample(&r, 3);
    struct gguf *g = open_raw(&r);
    int64_t v;
    double f;
    assert_ok(gguf_need_i64(g, "u8", 1, 200, &v));
    assert_int_equal(v, 200);
    assert_refused(gguf_need_i64(g, "u8", 1, 199, &v), UTTER_FORMAT, "sample: key u8 is 200; wanted 1 to 199");
    assert_refused(gguf_need_i64(g, "absent", 1, 199, &v), UTTER_FORMAT, "sample: key absent is missing");
    assert_refused(gguf_need_i64(g, "string", 1, 199, &v), UTTER_FORMAT, "sample: key string is not a whole number");
    assert_ok(gguf_need_f64(g, "f32", -2, 0, &f));
    assert_refused(gguf_need_f64(g, "f64", -2, 0, &f), UTTER_FORMAT, "sample: key f64 is 1e+100; wanted -2 to 0");
    gguf_close(g);
    str_free(&r.bytes);
}

static void test_tensors(void **state) {
    (void)state;
    struct raw r = {0};
    size_t start = raw_sample(&r, 3);
    struct gguf *g = open_raw(&r);
    assert_int_equal(gguf_n_tensors(g), 3);
    const struct gguf_tensor *t = gguf_find_tensor(g, "matrix");
    assert_ptr_equal(t, gguf_tensor_at(g, 1));
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 32);
    assert_int_equal(t->dims[1], 2);
    assert_int_equal(t->dims[2], 1);
    assert_int_equal(t->type, BLOCK_Q8_0);
    assert_int_equal(t->n_bytes, 68);
    assert_ptr_equal(t->data, r.bytes.data + start + 64);
    assert_null(gguf_find_tensor(g, "matri"));
    assert_null(gguf_find_tensor(g, ""));
    gguf_close(g);
    str_free(&r.bytes);
}

static void test_matrix(void **state) {
    (void)state;
    struct raw r = {0};
    raw_sample(&r, 3);
    struct gguf *g = open_raw(&r);
    struct matrix m;
    assert_ok(gguf_matrix(g, "matrix", 2, 32, &m));
    assert_int_equal(m.rows, 2);
    assert_int_equal(m.cols, 32);
    assert_int_equal(m.type, BLOCK_Q8_0);
    assert_ok(gguf_matrix(g, "convolution", 2, 12, &m));
    assert_int_equal(m.cols, 12);
    assert_refused(gguf_matrix(g, "matrix", 32, 2, &m), UTTER_FORMAT,
                   "sample: tensor matrix has the shape [32, 2] (innermost dimension first); wanted [2, 32]");
    assert_refused(gguf_matrix(g, "matrix", 1, 64, &m), UTTER_FORMAT, "[32, 2]");
    assert_refused(gguf_matrix(g, "convolution", 6, 4, &m), UTTER_FORMAT, "[4, 3, 2]");
    assert_refused(gguf_matrix(g, "absent", 1, 4, &m), UTTER_FORMAT, "sample: tensor absent is missing");
    gguf_close(g);
    str_free(&r.bytes);
}

static void test_vector(void **state) {
    (void)state;
    struct raw r = {0};
    size_t start = raw_sample(&r, 3);
    struct gguf *g = open_raw(&r);
    float *v;
    assert_ok(gguf_vector(g, "vector", 4, &v));
    for (int i = 0; i < 4; i++) assert_true(v[i] == (float)i);
    free_aligned(v);
    assert_refused(gguf_vector(g, "vector", 3, &v), UTTER_FORMAT, "has the shape [4]");
    assert_null(v);
    assert_refused(gguf_vector(g, "matrix", 32, &v), UTTER_FORMAT, "wanted [32]");
    assert_refused(gguf_vector(g, "absent", 4, &v), UTTER_FORMAT, "tensor absent is missing");
    memcpy(r.bytes.data + start + 8, &(float){INFINITY}, 4);
    assert_refused(gguf_vector(g, "vector", 4, &v), UTTER_FORMAT, "element 2 of tensor vector is inf");
    gguf_close(g);
    str_free(&r.bytes);
}

static void test_memory_must_be_aligned(void **state) {
    (void)state;
    static _Alignas(8) const char bytes[64] = "GGUF";
    struct gguf *g;
    assert_refused(gguf_open_memory(bytes + 4, 32, "sample", &g), UTTER_INVALID, "sample lies at an address");
    assert_null(g);
}

static void test_open_files(void **state) {
    (void)state;
    struct gguf *g;
    char path[FIXTURE_PATH];
    assert_ok(fixture_path("absent.gguf", path));
    assert_refused(gguf_open(path, &g), UTTER_IO, "absent.gguf");
    assert_ok(fixture_path("empty.gguf", path));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fclose(f);
    assert_refused(gguf_open(path, &g), UTTER_FORMAT, "empty.gguf is not a GGUF file");
    assert_null(g);
}

/* ---- writing ---- */

static void test_round_trip(void **state) {
    (void)state;
    char path[FIXTURE_PATH];
    struct gguf_writer *w;
    assert_ok(fixture_path("written.gguf", path));
    assert_ok(gguf_writer_open(path, &w));
    gguf_put_string(w, "general.architecture", "test");
    gguf_put_u32(w, "count", 4000000000);
    gguf_put_f32(w, "half", 0.5f);
    gguf_put_bool(w, "yes", true);
    gguf_put_i32_array(w, "whole", (const int32_t[]){-1, 2}, 2);
    gguf_put_f32_array(w, "real", (const float[]){0.25f}, 1);
    gguf_put_string_array(w, "none", NULL, 0);
    gguf_put_tensor(w, "a", BLOCK_F32, 1, (const int64_t[]){3});
    gguf_put_tensor(w, "b", BLOCK_Q8_0, 2, (const int64_t[]){32, 2});
    uint8_t blocks[68];
    for (int i = 0; i < 68; i++) blocks[i] = (uint8_t)i;
    assert_ok(gguf_write_data(w, (const float[]){1, 2, 3}, 12));
    assert_ok(gguf_write_data(w, blocks, 34));
    assert_ok(gguf_write_data(w, blocks + 34, 34));
    assert_ok(gguf_writer_finish(w));

    struct gguf *g;
    int64_t v;
    double f;
    bool b;
    struct gguf_array a;
    struct gguf_string s;
    assert_ok(gguf_open(path, &g));
    assert_true(gguf_get_string(g, "general.architecture", &s) && s.len == 4);
    assert_true(gguf_get_i64(g, "count", &v) && v == 4000000000);
    assert_true(gguf_get_f64(g, "half", &f) && f == 0.5);
    assert_true(gguf_get_bool(g, "yes", &b) && b);
    assert_true(gguf_get_array(g, "whole", &a) && a.n == 2 && gguf_array_i64(&a, 0, &v) && v == -1);
    assert_true(gguf_get_array(g, "real", &a) && gguf_array_f64(&a, 0, &f) && f == 0.25);
    assert_true(gguf_get_array(g, "none", &a) && a.n == 0 && a.type == GGUF_STRING);
    const struct gguf_tensor *t = gguf_find_tensor(g, "b");
    assert_non_null(t);
    assert_int_equal(t->n_bytes, 68);
    assert_memory_equal(t->data, blocks, 68);
    assert_int_equal((uintptr_t)t->data % 32, 0);
    gguf_close(g);
}

static void test_a_real_vocabulary(void **state) {
    (void)state;
    enum { N = 217232 };
    char path[FIXTURE_PATH];
    struct gguf_writer *w;
    const char **texts = calloc(N, sizeof *texts);
    char(*buffer)[24] = calloc(N, sizeof *buffer);
    assert_non_null(texts);
    assert_non_null(buffer);
    for (int i = 0; i < N; i++) {
        snprintf(buffer[i], sizeof buffer[i], "<|speech_%d|>", i);
        texts[i] = buffer[i];
    }
    assert_ok(fixture_path("vocabulary.gguf", path));
    assert_ok(gguf_writer_open(path, &w));
    gguf_put_string_array(w, "tokens", texts, N);
    assert_ok(gguf_writer_finish(w));
    struct gguf *g;
    struct gguf_array a;
    assert_ok(gguf_open(path, &g));
    assert_true(gguf_get_array(g, "tokens", &a));
    assert_int_equal(a.n, N);
    assert_int_equal(a.strings[N - 1].len, strlen(texts[N - 1]));
    assert_memory_equal(a.strings[N - 1].data, texts[N - 1], a.strings[N - 1].len);
    gguf_close(g);
    free(texts);
    free(buffer);
}

static void assert_nothing_written(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_null(f);
}

static void test_writer_refuses(void **state) {
    (void)state;
    char path[FIXTURE_PATH];
    struct gguf_writer *w;
    assert_ok(fixture_path("refused.gguf", path));

    assert_ok(gguf_writer_open(path, &w));  // data that never came
    gguf_put_tensor(w, "a", BLOCK_F32, 1, (const int64_t[]){3});
    assert_ok(gguf_write_data(w, (const float[]){1, 2}, 8));
    assert_refused(gguf_writer_finish(w), UTTER_INTERNAL, "data came for 0 of 1 tensors");
    assert_nothing_written(path);

    assert_ok(gguf_writer_open(path, &w));  // too much data
    gguf_put_tensor(w, "a", BLOCK_F32, 1, (const int64_t[]){1});
    assert_refused(gguf_write_data(w, (const float[]){1, 2}, 8), UTTER_INTERNAL, "8 bytes for tensor 0 of 1");
    assert_refused(gguf_writer_finish(w), UTTER_INTERNAL, "an earlier write failed");
    assert_nothing_written(path);

    assert_ok(gguf_writer_open(path, &w));  // rows that are no whole blocks
    gguf_put_tensor(w, "a", BLOCK_Q8_0, 1, (const int64_t[]){33});
    assert_refused(gguf_writer_finish(w), UTTER_INVALID, "tensor a: 1 dimensions, rows of 33 weights and type Q8_0");
    assert_nothing_written(path);

    assert_ok(gguf_writer_open(path, &w));  // a change of mind
    gguf_writer_abandon(w);
    gguf_writer_abandon(NULL);
    assert_nothing_written(path);

    assert_refused(gguf_writer_open("/nonexistent/folder/x.gguf", &w), UTTER_IO, "/nonexistent/folder/x.gguf");
    assert_null(w);
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings_and_arrays),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_vector),
        cmocka_unit_test(test_memory_must_be_aligned),
        cmocka_unit_test(test_open_files),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_a_real_vocabulary),
        cmocka_unit_test(test_writer_refuses),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, teardown);
}
