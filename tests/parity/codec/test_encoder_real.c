/* NeuCodec's own geometry: weights from the rule, 450 million of them, made here; the expectation is the official
   classes'. With the best kernel set, F32 and F16. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "encoder_rig.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/folder.h"
#include "models/convert.h"
#include "rig.h"

enum { N = 20 };

static char source[FIXTURE_PATH], path[FIXTURE_PATH];

static int make_source(void **state) {
    (void)state;
    assert_ok(fixture_path("real-encoder.safetensors", source));
    assert_ok(fixture_path("real-encoder.gguf", path));
    assert_ok(fixture_encoder_safetensors(true, source));
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

struct seen {
    double features, project_in, bound2;  // largest differences
};

static double difference(const char *file, const float *rows, int64_t n) {
    char name[96];
    snprintf(name, sizeof name, "codec/encoder/real_6400/%s.npy", file);
    struct npy want = fixture_npy(name);
    assert_int_equal(want.n, n);
    double d = largest_difference(want.data, rows, n);
    npy_free(&want);
    return d;
}

static void compare(void *user, const char *stage, int index, const float *rows, int64_t n_rows, int64_t n_cols) {
    struct seen *seen = user;
    (void)index;
    if (strcmp(stage, "features") == 0) seen->features = difference("10_input_features", rows, n_rows * n_cols);
    if (strcmp(stage, "project_in") == 0) seen->project_in = difference("41_project_in", rows, n_rows * n_cols);
    if (strcmp(stage, "bound2") == 0) seen->bound2 = difference("43_bound2", rows, n_rows * n_cols);
}

/* Returns how many codes differ. */
static int run(block_type type, struct seen *seen) {
    const struct kernels *kernels;
    struct encoder_rig rig;
    int32_t codes[N];
    int n, n_wrong = 0;
    struct npy pcm = fixture_npy("codec/encoder/real_6400/input_f32.npy");
    struct npy want = fixture_npy("codec/encoder/real_6400/45_codes.npy");
    *seen = (struct seen){INFINITY, INFINITY, INFINITY};
    assert_ok(kernels_find(NULL, &kernels));
    assert_ok(convert_encoder(source, NULL, path, type));
    encoder_rig_open(&rig, path, kernels, 0);
    cpu_encoder_observe(rig.cpu, compare, seen);
    int64_t start = clock_ns();
    assert_ok(cpu_encoder_encode(rig.cpu, pcm.data, pcm.n, codes, &n, NO_DEADLINE));
    double seconds = (double)(clock_ns() - start) * 1e-9;
    assert_int_equal(n, N);
    assert_int_equal(want.n, N);
    for (int i = 0; i < N; i++) n_wrong += codes[i] != ((int32_t *)want.data)[i];
    printf("%-12s %s: %d of %d codes differ, features %.1e, z %.1e, bounded %.1e; %.1f s for 0.4 s\n", kernels->name,
           block_info(type)->name, n_wrong, N, seen->features, seen->project_in, seen->bound2, seconds);
    npy_free(&pcm);
    npy_free(&want);
    encoder_rig_close(&rig);
    return n_wrong;
}

static void f32_equals_the_official_encoder(void **state) {
    (void)state;
    struct seen seen;
    assert_int_equal(run(BLOCK_F32, &seen), 0);
    assert_true(seen.features < 1e-5);
    assert_true(seen.project_in < 2e-5);
    assert_true(seen.bound2 < 2e-5);
}

/* Random weights pass rounding on far louder than trained ones. */
static void f16_is_near(void **state) {
    (void)state;
    struct seen seen;
    assert_true(run(BLOCK_F16, &seen) <= 3);
    assert_true(seen.project_in < 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_equals_the_official_encoder),
        cmocka_unit_test(f16_is_near),
    };
    return cmocka_run_group_tests(tests, make_source, remove_all);
}
