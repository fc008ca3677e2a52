/* The sampler against llama.cpp's own draws (fixtures/tiny/sampler.json), and what those do not show. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler.h"
#include "base/file.h"
#include "fixtures/folder.h"

enum { ROWS = 40, VOCAB = 1200 };

static struct sampling plain(void) { return (struct sampling){.temperature = 1, .top_p = 1, .repeat_penalty = 1}; }

static float number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("sampler.json: no number %s", key);
    return (float)json_number_value(v);
}

static void run_case(const json_t *c, const float *logits) {
    const json_t *p = json_object_get(c, "params");
    struct sampling set = {
        .temperature = number(p, "temperature"),
        .top_k = (int)number(p, "top_k"),
        .typical_p = number(p, "typical_p"),
        .top_p = number(p, "top_p"),
        .min_p = number(p, "min_p"),
        .repeat_penalty = number(p, "repeat_penalty"),
        .frequency_penalty = number(p, "frequency_penalty"),
        .presence_penalty = number(p, "presence_penalty"),
    };
    const char *label = json_string_value(json_object_get(c, "label"));
    bool twice = strcmp(json_string_value(json_object_get(c, "rows")), "0..39") != 0;  // each row twice, first 40
    float scale = number(c, "logit_scale");
    struct sampler *s;
    assert_ok(sampler_new(&set, (uint32_t)number(p, "seed"), VOCAB, &s));
    const json_t *tokens = json_object_get(c, "tokens");
    assert_int_equal(json_array_size(tokens), ROWS);
    for (int row = 0; row < ROWS; row++) {
        float x[VOCAB];
        for (int i = 0; i < VOCAB; i++) x[i] = logits[(twice ? row / 2 : row) * VOCAB + i] * scale;
        int index, want = (int)json_integer_value(json_array_get(tokens, (size_t)row));
        assert_ok(sampler_draw(s, x, &index));
        if (index != want) fail_msg("%s: row %d gave %d, not %d", label, row, index, want);
        const json_t *candidates = json_object_get(c, "first_row_candidates");  // null for greedy cases
        if (row > 0 || !json_is_array(candidates)) continue;
        int n;
        const struct candidate *got = sampler_candidates(s, &n);
        assert_int_equal(n < 64 ? n : 64, json_array_size(candidates));
        for (size_t i = 0; i < json_array_size(candidates); i++) {
            const json_t *pair = json_array_get(candidates, i);
            assert_int_equal(got[i].index, json_integer_value(json_array_get(pair, 0)));
            double off = (double)got[i].p - json_number_value(json_array_get(pair, 1));
            if (fabs(off) > 2e-7) fail_msg("%s: candidate %zu is off by %g", label, i, off);
        }
    }
    sampler_free(s);
}

static void test_equal_to_llama_cpp(void **state) {
    (void)state;
    char path[FIXTURE_PATH];
    struct file_map map;
    assert_ok(fixture_stored("tiny/qwen2-q4_0.llama.f32", path));
    assert_ok(file_map_open(path, &map));
    assert_int_equal(map.size, ROWS * VOCAB * sizeof(float));
    assert_ok(fixture_stored("tiny/sampler.json", path));
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) >= 20);
    for (size_t i = 0; i < json_array_size(cases); i++) run_case(json_array_get(cases, i), map.data);
    json_decref(root);
    file_map_close(&map);
}

/* Logits with many equal values, from a small generator. */
static void fill(float *x, int n, uint32_t seed) {
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int)(seed >> 24) / 16.0f - 8;
    }
}

static int by_logit_then_index(const void *a, const void *b) {
    const struct candidate *p = a, *q = b;
    if (p->logit != q->logit) return p->logit < q->logit ? 1 : -1;
    return p->index - q->index;
}

static void test_top_k_is_the_sorted_head(void **state) {
    (void)state;
    enum { N = 5003 };
    static float x[N];
    static struct candidate all[N];
    const int ks[] = {1, 2, 31, 50, 128, 129, 1000, N, 2 * N, 0};
    for (uint32_t seed = 1; seed <= 3; seed++) {
        fill(x, N, seed);
        x[7] = NAN, x[8] = INFINITY, x[9] = -INFINITY;  // impossible
        x[10] = -0.0f, x[11] = 0.0f;                    // equal
        int n = 0;
        for (int i = 0; i < N; i++)
            if (isfinite(x[i])) all[n++] = (struct candidate){.index = i, .logit = x[i]};
        qsort(all, (size_t)n, sizeof *all, by_logit_then_index);
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
            struct sampling set = plain();
            set.top_k = ks[k];
            struct sampler *s;
            assert_ok(sampler_new(&set, seed, N, &s));
            int drawn, got_n, want_n = ks[k] == 0 || ks[k] > n ? n : ks[k];
            assert_ok(sampler_draw(s, x, &drawn));
            const struct candidate *got = sampler_candidates(s, &got_n);
            assert_int_equal(got_n, want_n);
            for (int i = 0; i < got_n; i++) assert_int_equal(got[i].index, all[i].index);
            sampler_free(s);
        }
    }
}

static void test_draws_follow_the_probabilities(void **state) {
    (void)state;
    enum { N = 5, DRAWS = 100000 };
    const float x[N] = {logf(0.1f), logf(0.4f), -INFINITY, logf(0.2f), logf(0.3f)};
    const double p[N] = {0.1, 0.4, 0, 0.2, 0.3};
    int count[N] = {0};
    struct sampling set = plain();
    struct sampler *s;
    assert_ok(sampler_new(&set, 0xffffffffu, N, &s));  // llama.cpp would take a random seed; here it is one like any
    for (int i = 0; i < DRAWS; i++) {
        int drawn;
        assert_ok(sampler_draw(s, x, &drawn));
        count[drawn]++;
    }
    for (int i = 0; i < N; i++)
        if (fabs(count[i] - p[i] * DRAWS) > 5 * sqrt(DRAWS * p[i] * (1 - p[i])))
            fail_msg("index %d came %d times", i, count[i]);
    sampler_free(s);
}

static void test_greedy(void **state) {
    (void)state;
    const float x[6] = {-1, 3, NAN, 3, INFINITY, 2};
    struct sampling set = sampling_neutts();
    set.temperature = 0;
    struct sampler *s;
    int drawn;
    assert_ok(sampler_new(&set, 1, 6, &s));
    assert_ok(sampler_draw(s, x, &drawn));
    assert_int_equal(drawn, 1);  // the first of equals
    sampler_free(s);

    set.presence_penalty = 2;  // what was drawn falls behind
    assert_ok(sampler_new(&set, 1, 6, &s));
    const int want[] = {1, 3, 5, 1, 1};
    for (int i = 0; i < 5; i++) {
        assert_ok(sampler_draw(s, x, &drawn));
        assert_int_equal(drawn, want[i]);
    }
    sampler_free(s);
}

static void test_history_forgets_after_64(void **state) {
    (void)state;
    float x[SAMPLER_HISTORY + 1] = {0};
    struct sampling set = plain();
    set.temperature = 0;
    set.presence_penalty = 1;
    struct sampler *s;
    assert_ok(sampler_new(&set, 1, SAMPLER_HISTORY + 1, &s));
    for (int i = 0; i < 200; i++) {
        int drawn;
        assert_ok(sampler_draw(s, x, &drawn));
        assert_int_equal(drawn, i % (SAMPLER_HISTORY + 1));  // 65 in turn: the oldest is free again
    }
    sampler_free(s);
}

static void test_nothing_finite(void **state) {
    (void)state;
    float x[200];
    for (int i = 0; i < 200; i++) x[i] = i % 2 ? NAN : -INFINITY;
    const int ks[] = {0, 50, 150};
    for (int k = 0; k < 3; k++) {
        struct sampling set = sampling_neutts();
        set.top_k = ks[k];
        struct sampler *s;
        int drawn;
        assert_ok(sampler_new(&set, 1, 200, &s));
        assert_int_equal(sampler_draw(s, x, &drawn), UTTER_SPEECH);
        sampler_free(s);
    }
}

static void test_extreme_logits(void **state) {
    (void)state;
    const float huge[3] = {3e38f, -3e38f, 3e38f}, flat[3] = {-3e38f, -3e38f, -3e38f};
    struct sampling set = sampling_neutts();
    set.typical_p = 0.5f;
    set.temperature = 0.5f;
    struct sampler *s;
    int drawn;
    assert_ok(sampler_new(&set, 1, 3, &s));
    assert_int_equal(sampler_draw(s, huge, &drawn), UTTER_SPEECH);  // 3e38 / 0.5 is no float
    sampler_free(s);
    set.temperature = 1;
    assert_ok(sampler_new(&set, 1, 3, &s));
    assert_ok(sampler_draw(s, huge, &drawn));
    assert_int_not_equal(drawn, 1);
    assert_ok(sampler_draw(s, flat, &drawn));
    sampler_free(s);
}

static void test_settings_are_checked(void **state) {
    (void)state;
    struct sampling bad[10];
    for (int i = 0; i < 10; i++) bad[i] = sampling_neutts();
    bad[0].temperature = -1;
    bad[1].temperature = NAN;
    bad[2].temperature = 1e-9f;
    bad[3].top_p = NAN;
    bad[4].top_p = -0.1f;
    bad[5].min_p = 1.5f;
    bad[6].repeat_penalty = 0;
    bad[7].frequency_penalty = INFINITY;
    bad[8].presence_penalty = NAN;
    bad[9].typical_p = NAN;
    for (int i = 0; i < 10; i++) {
        struct sampler *s = (void *)1;
        assert_int_equal(sampler_new(&bad[i], 1, 10, &s), UTTER_INVALID);
        assert_null(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_llama_cpp),
        cmocka_unit_test(test_top_k_is_the_sorted_head),
        cmocka_unit_test(test_draws_follow_the_probabilities),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_history_forgets_after_64),
        cmocka_unit_test(test_nothing_finite),
        cmocka_unit_test(test_extreme_logits),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
