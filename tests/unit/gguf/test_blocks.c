/* Block formats: decoded and quantised bit for bit as the numpy reference of the gguf package (PyPI gguf 0.19.0,
   gguf.quants.dequantize and quantize, which ggml's own tests compare with ggml's C code) has them. blocks.json holds
   what it made: blocks of random bytes, blocks whose scale is subnormal, negative or zero with all quants at their
   highest, and floats with blocks of zeros, of one value, of exact ties, of subnormals, and of magnitudes far apart. */
#include "test.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/sha256.h"
#include "fixtures/tiny.h"
#include "gguf/gguf.h"

static const block_type all_types[] = {BLOCK_F32,  BLOCK_F16,  BLOCK_BF16, BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q4_1,
                                       BLOCK_Q5_0, BLOCK_Q5_1, BLOCK_Q4_K, BLOCK_Q5_K, BLOCK_Q6_K};
enum { N_TYPES = sizeof all_types / sizeof *all_types };

static json_t *expected(const char *part) {
    char path[FIXTURE_PATH];
    json_error_t error;
    assert_ok(fixture_stored("blocks.json", path));
    json_t *root = json_load_file(path, 0, &error);
    assert_non_null(root);
    json_t *object = json_incref(json_object_get(root, part));
    assert_non_null(object);
    json_decref(root);
    return object;
}

// The bytes behind a hexadecimal string of the file, in new memory.
static void *bytes_of(const json_t *object, const char *key, size_t *n) {
    const char *hex = json_string_value(json_object_get(object, key));
    assert_non_null(hex);
    *n = strlen(hex) / 2;
    uint8_t *bytes = malloc(*n);
    assert_non_null(bytes);
    for (size_t i = 0; i < *n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return bytes;
}

static void test_dequantize(void **state) {
    (void)state;
    json_t *types = expected("dequantized");
    for (int i = 0; i < N_TYPES; i++) {
        const struct block_info *info = block_info(all_types[i]);
        const json_t *entry = json_object_get(types, info->name);
        size_t n_blocks, n_weights;
        uint8_t *blocks = bytes_of(entry, "blocks", &n_blocks);
        float *weights = bytes_of(entry, "weights", &n_weights);
        int64_t n = (int64_t)(n_weights / sizeof(float));
        assert_int_equal(block_row_bytes(all_types[i], n), n_blocks);
        float *found = malloc(n_weights);
        assert_non_null(found);
        dequantize_row(all_types[i], blocks, found, n);
        for (int64_t j = 0; j < n; j++)
            if (memcmp(&found[j], &weights[j], sizeof(float)) != 0)
                fail_msg("%s: weight %lld is %a, wanted %a", info->name, (long long)j, (double)found[j],
                         (double)weights[j]);
        free(blocks);
        free(weights);
        free(found);
    }
    json_decref(types);
}

static void test_quantize(void **state) {
    (void)state;
    json_t *types = expected("quantized");
    size_t n_bytes;
    float *weights = bytes_of(types, "weights", &n_bytes);
    int64_t n = (int64_t)(n_bytes / sizeof(float));
    for (int i = 0; i < N_TYPES; i++) {
        const char *name = block_info(all_types[i])->name;
        if (!json_object_get(types, name)) continue;
        size_t n_blocks;
        uint8_t *blocks = bytes_of(types, name, &n_blocks), *found = malloc(n_blocks);
        assert_non_null(found);
        assert_int_equal(block_row_bytes(all_types[i], n), n_blocks);
        assert_ok(quantize_row(all_types[i], weights, found, n));
        for (size_t j = 0; j < n_blocks; j++)
            if (found[j] != blocks[j]) fail_msg("%s: byte %zu is %u, wanted %u", name, j, found[j], blocks[j]);
        free(blocks);
        free(found);
    }
    float *same = malloc(n_bytes);
    assert_non_null(same);
    assert_ok(quantize_row(BLOCK_F32, weights, same, n));
    assert_memory_equal(same, weights, n_bytes);
    free(same);
    free(weights);
    json_decref(types);
}

// Many weights: the last matrix of the small codec, and the sums of what gguf.quants.quantize makes of it.
static void test_quantize_many(void **state) {
    (void)state;
    static const struct {
        block_type type;
        const char *sum;
    } expected[] = {
        {BLOCK_F16, "12e3b7121ea6946adb3a87cc3aaf18b617b4e26ab410cf2230e66c08fe853a5b"},
        {BLOCK_BF16, "428359d31c3b727461ea2453cb4d5b424011ce3024090b5d0ed68c3a0e938499"},
        {BLOCK_Q8_0, "f657c8cd4f9c0a8e1dc29e997f88eaf7aed2222708743f171b48a08f17434b76"},
        {BLOCK_Q4_0, "260accdb4553aa6f2fe4c21fb5ffe104754caa62856882ae45fa4828ca531879"},
        {BLOCK_Q4_1, "01131c10d94911843840efd99db4440659e544755d6490909fc99921a3b90f75"},
        {BLOCK_Q5_0, "ed13ccce23e90e764f58ef371157589f4c26882b63919fdcb3c5a39ad0ef4a78"},
        {BLOCK_Q5_1, "829b65e68884f54a6ef556550b7b387b78cbaa7f53568dd4daed7caccca8326f"},
    };
    const struct codec_rule_tensor rule = {.name = "generator.head.out.weight", .n_dims = 2, .dims = {1922, 128}};
    const int64_t n = 1922 * 128;
    float *weights = malloc((size_t)n * sizeof *weights);
    void *blocks = malloc((size_t)n * sizeof *weights);
    assert_non_null(weights);
    assert_non_null(blocks);
    codec_rule_fill(&rule, 0, weights, (size_t)n);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct sha256 h;
        char hex[65];
        assert_ok(quantize_row(expected[i].type, weights, blocks, n));
        sha256_start(&h);
        sha256_add(&h, blocks, block_row_bytes(expected[i].type, n));
        sha256_finish(&h, hex);
        if (strcmp(hex, expected[i].sum) != 0) fail_msg("%s: %s", block_info(expected[i].type)->name, hex);
    }
    free(weights);
    free(blocks);
}

// A whole model with all eleven types; the sum was taken over gguf.quants.dequantize of its tensors, in file order.
static void test_dequantize_model(void **state) {
    (void)state;
    char path[FIXTURE_PATH], hex[65];
    assert_ok(fixture_path("mix.gguf", path));
    assert_ok(fixture_tiny("qwen2-mix", path));
    struct gguf *g;
    assert_ok(gguf_open(path, &g));
    struct sha256 h;
    sha256_start(&h);
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        int64_t n = t->dims[0] * t->dims[1];
        float *weights = malloc((size_t)n * sizeof *weights);
        assert_non_null(weights);
        dequantize_row(t->type, t->data, weights, n);
        sha256_add(&h, weights, (size_t)n * sizeof *weights);
        free(weights);
    }
    sha256_finish(&h, hex);
    assert_string_equal(hex, "11ca3d432eabca7ad5dc86b147800d0cb54d423d164c436351ae5c6e45f900b5");
    gguf_close(g);
}

static void test_quantize_refuses(void **state) {
    (void)state;
    float x[256] = {0};
    uint8_t blocks[1024];
    for (int i = 0; i < N_TYPES; i++) {
        block_type type = all_types[i];
        x[3] = 0;
        assert_int_equal(quantize_row(type, x, blocks, 256), UTTER_OK);
        x[3] = NAN;
        assert_int_equal(quantize_row(type, x, blocks, 256), UTTER_INVALID);
        assert_non_null(strstr(fail_message(), "weight 3 of a row is nan"));
        x[3] = -INFINITY;
        assert_int_equal(quantize_row(type, x, blocks, 256), UTTER_INVALID);
        x[3] = 65520;  // becomes infinite in half precision
        assert_int_equal(quantize_row(type, x, blocks, 256),
                         type == BLOCK_F32 || type == BLOCK_BF16 ? UTTER_OK : UTTER_INVALID);
        x[3] = FLT_MAX;
        assert_int_equal(quantize_row(type, x, blocks, 256), type == BLOCK_F32 ? UTTER_OK : UTTER_INVALID);
    }
}

static void test_halves(void **state) {
    (void)state;
    // Every half-precision number comes back from float; NaNs stay NaNs.
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);
        uint16_t back = f32_to_f16(f);
        if (isnan(f))
            assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff) && isnan(f16_to_f32(back)) &&
                        (back & 0x8000) == (h & 0x8000));
        else
            assert_int_equal(back, h);
        assert_true(isnan(bf16_to_f32((uint16_t)h)) ? isnan(bf16_to_f32(f32_to_bf16(bf16_to_f32((uint16_t)h))))
                                                    : f32_to_bf16(bf16_to_f32((uint16_t)h)) == h);
    }
    // Halfway between two neighbours goes to the even one; just beyond goes up.
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double low = f16_to_f32((uint16_t)h), high = f16_to_f32((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2);
        assert_int_equal(f32_to_f16(middle), h % 2 ? h + 1 : h);
        assert_int_equal(f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(f32_to_f16(-nextafterf(middle, INFINITY)), 0x8000 | (h + 1));
    }
    assert_int_equal(f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-FLT_MAX), 0xfc00);
    assert_int_equal(f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(f32_to_f16(FLT_MIN), 0);
    assert_int_equal(f32_to_bf16(1.00390625f), 0x3f80);  // a tie, to even
    assert_int_equal(f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(f32_to_bf16(INFINITY), 0x7f80);
}

static void test_names(void **state) {
    (void)state;
    block_type type;
    for (int i = 0; i < N_TYPES; i++) {
        assert_true(block_type_by_name(block_info(all_types[i])->name, &type));
        assert_int_equal(type, all_types[i]);
    }
    assert_true(block_type_by_name("q4_k", &type));
    assert_int_equal(type, BLOCK_Q4_K);
    assert_false(block_type_by_name("Q4_2", &type));
    assert_false(block_type_by_name("", &type));
    assert_null(block_info(4));
    assert_null(block_info(31));
    assert_null(block_info(UINT32_MAX));
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_quantize_many),
        cmocka_unit_test(test_dequantize_model),
        cmocka_unit_test(test_quantize_refuses),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("blocks", tests, NULL, teardown);
}
