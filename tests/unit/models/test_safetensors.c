/* safetensors files: what sound ones give, and that damaged ones give a sentence. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "builder.h"
#include "fixtures/folder.h"
#include "models/safetensors.h"

static char path[FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    return fixture_path("sample.safetensors", path) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static void test_sound(void **state) {
    (void)state;
    struct builder b;
    builder_start(&b);
    builder_add(&b, "whole", "I64", 1, (const int64_t[]){1}, "12345678", 8);
    builder_add(&b, "odd", "U8", 1, (const int64_t[]){3}, "abc", 3);
    builder_add(&b, "single", "F32", 2, (const int64_t[]){1, 2}, (const float[]){1, 2}, 8);  // at an odd address
    builder_add(&b, "half", "F16", 3, (const int64_t[]){1, 1, 2}, "abcd", 4);
    builder_add(&b, "brain", "BF16", 0, NULL, "ab", 2);
    builder_add(&b, "none", "F32", 2, (const int64_t[]){0, 1024}, "", 0);
    builder_metadata(&b, "format", "pt");
    assert_ok(builder_write(&b, path));
    builder_free(&b);

    struct safetensors *s;
    assert_ok(safetensors_open(path, &s));
    assert_int_equal(safetensors_n_tensors(s), 6);
    for (int64_t i = 1; i < 6; i++) assert_true(strcmp(safetensors_at(s, i - 1)->name, safetensors_at(s, i)->name) < 0);
    const struct safetensors_tensor *t = safetensors_find(s, "single");
    assert_non_null(t);
    assert_true(t->is_float);
    assert_int_equal(t->type, BLOCK_F32);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 1);
    assert_int_equal(t->dims[1], 2);
    assert_int_equal(t->n_bytes, 8);
    assert_memory_equal(t->data, ((const float[]){1, 2}), 8);
    t = safetensors_find(s, "half");
    assert_int_equal(t->type, BLOCK_F16);
    assert_int_equal(t->n_dims, 3);
    t = safetensors_find(s, "brain");
    assert_int_equal(t->type, BLOCK_BF16);
    assert_int_equal(t->n_dims, 0);
    t = safetensors_find(s, "whole");
    assert_false(t->is_float);
    assert_string_equal(t->dtype, "I64");
    assert_int_equal(safetensors_find(s, "none")->n_bytes, 0);
    assert_null(safetensors_find(s, "absent"));
    assert_null(safetensors_find(s, "__metadata__"));
    assert_string_equal(safetensors_metadata(s, "format"), "pt");
    assert_null(safetensors_metadata(s, "absent"));
    safetensors_close(s);
}

static void test_without_metadata_and_with_gaps(void **state) {
    (void)state;
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}   ";
    assert_ok(write_safetensors(path, header, sizeof header - 1, "01234567", 8));
    struct safetensors *s;
    assert_ok(safetensors_open(path, &s));
    assert_memory_equal(safetensors_find(s, "a")->data, "67", 2);
    assert_null(safetensors_metadata(s, "format"));
    safetensors_close(s);
}

static void refused(const char *sentence) {
    struct safetensors *s;
    status code = safetensors_open(path, &s);
    if (code != UTTER_FORMAT || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(code), fail_message(), sentence);
    assert_null(s);
}

#define TENSOR(fields) "{\"a\":{" fields "}}"

static void test_sentences(void **state) {
    (void)state;
    static const struct {
        const char *header, *sentence;
    } files[] = {
        {"", "the safetensors header cannot be read"},
        {"{", "the safetensors header cannot be read"},
        {"[]", "the safetensors header is not an object"},
        {"{} {}", "the safetensors header cannot be read"},
        {"{\"a\":1,\"a\":2}", "duplicate object key"},
        {"{\"a\":{}}", "tensor a: \"dtype\" is not there"},
        {"{\"a\":7}", "tensor a: \"dtype\" is not there"},
        {TENSOR("\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]"),
         "tensor a: \"dtype\" is F33, which does not exist"},
        {TENSOR("\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]"), "tensor a: \"dtype\" is not there"},
        {TENSOR("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), "tensor a: \"shape\" is not a list"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), "tensor a: \"shape\" is not a list"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]"),
         "a list of at most 8 numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"),
         "element 0 of \"shape\" is not a whole number"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]"),
         "element 0 of \"shape\" is not a whole number"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]"),
         "header cannot be read: too big integer"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"),
         "dimension 1 is 4294967296"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]"),
         "has 4611686018427387906 elements"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2]"), "tensor a: \"data_offsets\" is not a list of two numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]"),
         "\"data_offsets\" is not a list of two numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]"),
         "element 1 of \"data_offsets\" is not a whole"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]"),
         "element 0 of \"data_offsets\" is not a whole"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"), "tensor a lies at bytes 8 to 0 of 16"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]"), "tensor a lies at bytes 12 to 20 of 16"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9223372036854775800,9223372036854775807]"),
         "tensor a lies at"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"),
         "tensor a has 2 elements of F32, and \"data_offsets\""},
        {TENSOR("\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]"), "tensor a has 2 elements of F16"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"
         "offsets\":[3,7]}}",
         "tensors a and b lie over one another"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[9],\"data_"
         "offsets\":[0,9]}}",
         "tensors b and a lie over one another"},
        {"{\"__metadata__\":[]}", "\"__metadata__\" is not an object"},
        {"{\"__metadata__\":{\"n\":4}}", "\"__metadata__\": n is not a string"},
        {"{\"a\\u0000b\":{}}", "the safetensors header cannot be read"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        assert_ok(write_safetensors(path, files[i].header, strlen(files[i].header), "0123456789abcdef", 16));
        refused(files[i].sentence);
        assert_non_null(strstr(fail_message(), "sample.safetensors"));
    }
}

static void write_file(const void *data, size_t n) {
    struct file_writer w;
    assert_ok(file_create(path, &w));
    assert_ok(file_write(&w, data, n));
    assert_ok(file_commit(&w));
}

static void test_header_length(void **state) {
    (void)state;
    write_file("", 0);
    refused("is not a safetensors file: it has 0 bytes");
    write_file("1234567", 7);
    refused("is not a safetensors file: it has 7 bytes");
    static const uint64_t lengths[] = {9, 1u << 31, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char bytes[16] = {0};
        memcpy(bytes, &lengths[i], 8);
        write_file(bytes, 16);
        refused("the header's length is ");
    }
}

// Read, so that a checker of memory sees what lies outside.
static uint64_t visit(const struct safetensors *s) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < safetensors_n_tensors(s); i++) {
        const struct safetensors_tensor *t = safetensors_at(s, i);
        for (size_t j = 0; j < t->n_bytes; j++) sum += ((const unsigned char *)t->data)[j];
    }
    return sum;
}

static void test_cut_off_and_each_byte(void **state) {
    (void)state;
    struct builder b;
    builder_start(&b);
    builder_add(&b, "one", "F32", 2, (const int64_t[]){1, 2}, (const float[]){1, 2}, 8);
    builder_add(&b, "two", "F16", 1, (const int64_t[]){3}, "abcdef", 6);
    builder_metadata(&b, "format", "pt");
    assert_ok(builder_write(&b, path));
    builder_free(&b);
    struct file_map m;
    assert_ok(file_map_open(path, &m));
    char *bytes = malloc(m.size), *good = malloc(m.size);
    assert_non_null(bytes);
    assert_non_null(good);
    size_t size = m.size;
    memcpy(good, m.data, size);
    file_map_close(&m);

    struct safetensors *s;
    for (size_t n = 0; n < size; n++) {
        write_file(good, n);
        assert_int_equal(safetensors_open(path, &s), UTTER_FORMAT);
    }
    static const unsigned char values[] = {0, '"', '{', '}', '9', '-', ',', 0x80, 0xff};
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j < sizeof values; j++) {
            memcpy(bytes, good, size);
            bytes[i] = (char)values[j];
            write_file(bytes, size);
            if (safetensors_open(path, &s) != UTTER_OK) continue;
            assert_true(visit(s) > 0);
            safetensors_close(s);
        }
    free(bytes);
    free(good);
}

static void test_deep_header(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    char *header = malloc(DEPTH);
    assert_non_null(header);
    memset(header, '[', DEPTH);
    assert_ok(write_safetensors(path, header, DEPTH, "", 0));
    refused("maximum parsing depth reached");
    free(header);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_without_metadata_and_with_gaps),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_cut_off_and_each_byte),
        cmocka_unit_test(test_deep_header),
    };
    return cmocka_run_group_tests_name("safetensors", tests, setup, teardown);
}
