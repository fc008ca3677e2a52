/* The fixtures' rules make what the expectations were computed with. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/sha256.h"
#include "fixtures/tiny.h"
#include "gguf/gguf.h"

static void test_sha256(void **state) {
    (void)state;
    struct sha256 h;
    char hex[65];
    sha256_start(&h);
    sha256_add(&h, "abc", 3);
    sha256_finish(&h, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_start(&h);
    for (int i = 0; i < 1000000; i += 1000) {
        static char as[1000];
        memset(as, 'a', sizeof as);
        sha256_add(&h, as, 999);
        sha256_add(&h, as, 1);
    }
    sha256_finish(&h, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Sums of the files that the expectations of tests/parity/backbone were computed with.
static void test_tiny(void **state) {
    (void)state;
    static const struct {
        const char *name, *sum;
    } expected[] = {
        {"qwen2-f32", "a3eb6c2af8aabd47b1f3b89f6adb5bca4c01dfab92ae1f798cbbeeaf23e04ae8"},
        {"qwen2-f16", "4d07a201c991941831b0fca7dcacbc09e9e5fa8eeea8b5c675146d7986182972"},
        {"qwen2-bf16", "a2949ffd653b091c182d227de24ce31add4f289bff1d9ddec56908cea203edd5"},
        {"qwen2-q8_0", "aa785c94edd9421bf464eb36ac67723906049fa54d448024db5c527c07b36438"},
        {"qwen2-q4_0", "1a813ecc2c068502caf4b220eb458808b3c0f6e7db6d5276d13afcf37d593cbf"},
        {"qwen2-q4_1", "4be2c47ca1e79e10cc1b82b81940ec9c10a454a0e5a90ffce68b939219c28ec5"},
        {"qwen2-q5_0", "01e3214f7ff5014b1c35f85f6dada3d805bc9e4f7c5063961eb21e2ae90a28ca"},
        {"qwen2-q5_1", "1078e217e6e43914995179f62fae3eba872997c033a6d666be813a904db65f59"},
        {"qwen2-q4_k", "558b8a3dc18bcdb90a9d022102b560f4724ed306a447757fa373715a7583e753"},
        {"qwen2-q5_k", "ae3e98c53c2d0180ccf9467629efac0b2dccedf19382875fa32776c1f0961a76"},
        {"qwen2-q6_k", "f4b8156dd465e3745f0047b856a9ada600821f39202b835328dad0dc5b5da5c5"},
        {"qwen2-mix", "e29d7b05c87bcd3adc2ccf66e3990ed1f4b01df205e2d660c03688dcb9f18db8"},
        {"llama-f16", "1c698f06203c1846937221cf39b3feb04e99be1dab092ede693363d6f08b4f2f"},
        {"llama-q4_0", "e0b9fb8190f4f1f7f2acaa4f8381dd7eeb884d6c212de9df658245124892ef32"},
        {"qwen3-f16", "9dfb937b9449e75b5924ab3d36df32aff0f4b4a0bdfbe1c66190972428942488"},
        {"qwen3-q4_0", "2879783df83dd3c2292641f1f62b6873346c0a6d6c38b6f3792522a84ce973f3"},
        {"vocab-llama-bpe", "51a958c9b7843ee26b5e07a6649ed21f15c0c06bd9ffbce90daa655d1f563d46"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char path[FIXTURE_PATH], hex[65];
        assert_ok(fixture_path("tiny.gguf", path));
        assert_ok(fixture_tiny(expected[i].name, path));
        assert_ok(sha256_file(path, hex));
        if (strcmp(hex, expected[i].sum) != 0) fail_msg("%s: %s", expected[i].name, hex);
        assert_string_equal(fixture_tiny_names[i], expected[i].name);
        remove(path);
    }
    assert_null(fixture_tiny_names[sizeof expected / sizeof *expected]);
    assert_int_equal(fixture_tiny("qwen2-q3", "/tmp/never"), UTTER_INVALID);
}

// The sum was taken over the weights that the small codec's expectations were computed with.
static void test_small_codec(void **state) {
    (void)state;
    static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
    int n = codec_rule_tensors(false, tensors), n_needed = 0;
    struct sha256 h;
    sha256_start(&h);
    for (int i = 0; i < n; i++) {
        const struct codec_rule_tensor *t = &tensors[i];
        if (!t->needed) continue;
        n_needed++;
        size_t size = (size_t)(t->dims[0] * (t->n_dims > 1 ? t->dims[1] : 1) * (t->n_dims > 2 ? t->dims[2] : 1));
        float *values = malloc(size * sizeof *values);
        assert_non_null(values);
        codec_rule_fill(t, 0, values, size / 2);  // in two parts, as a writer may
        codec_rule_fill(t, size / 2, values + size / 2, size - size / 2);
        sha256_add(&h, values, size * sizeof *values);
        free(values);
    }
    char hex[65];
    sha256_finish(&h, hex);
    assert_int_equal(n_needed, 54);
    assert_string_equal(hex, "9c79ab57a768f451f28fd96bf41f3cc7382243272ad0ae19a66636f1e6172edf");
}

static const struct codec_rule_tensor *find(const struct codec_rule_tensor *tensors, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    return NULL;
}

static double sum_of(const struct codec_rule_tensor *t, uint64_t n, float *first, float *eighth, float *last) {
    static float values[16384];
    double sum = 0;
    for (uint64_t at = 0; at < n; at += 16384) {
        size_t m = n - at < 16384 ? (size_t)(n - at) : 16384;
        codec_rule_fill(t, at, values, m);
        if (at == 0) {
            *first = values[0];
            *eighth = values[7];
        }
        for (size_t i = 0; i < m; i++) sum += values[i];
        *last = values[m - 1];
    }
    return sum;
}

// weights_real.tsv: name, shape, first, eighth and last element, and sum of every weight of the real geometry.
static void test_real_codec(void **state) {
    (void)state;
    static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
    int n_tensors = codec_rule_tensors(true, tensors), n_lines = 0;
    char path[FIXTURE_PATH], line[256];
    assert_ok(fixture_stored("codec/weights_real.tsv", path));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char name[80], shape[40], found_shape[40];
        float first, eighth, last, found_first = 0, found_eighth = 0, found_last = 0;
        double sum;
        assert_int_equal(sscanf(line, "%79s %39s %f %f %f %lf", name, shape, &first, &eighth, &last, &sum), 6);
        const struct codec_rule_tensor *t = find(tensors, n_tensors, name);
        if (!t) fail_msg("%s is not there", name);
        uint64_t n = 1;
        int len = 0;
        for (int d = 0; d < t->n_dims; d++) {
            n *= (uint64_t)t->dims[d];
            len += snprintf(found_shape + len, sizeof found_shape - (size_t)len, "%s%lld", d ? "," : "",
                            (long long)t->dims[d]);
        }
        assert_string_equal(found_shape, shape);
        double found_sum = sum_of(t, n, &found_first, &found_eighth, &found_last);
        if (found_first != first || found_eighth != eighth || found_last != last || fabs(found_sum - sum) > 1e-6)
            fail_msg("%s: %a %a %a %.9f", name, (double)found_first, (double)found_eighth, (double)found_last,
                     found_sum);
        n_lines++;
    }
    fclose(f);
    assert_int_equal(n_lines, 116);
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_small_codec),
        cmocka_unit_test(test_real_codec),
    };
    return cmocka_run_group_tests_name("fixtures", tests, NULL, teardown);
}
