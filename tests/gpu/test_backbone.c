/* The backbone on the GPU device against the float64 reference, for every block format and architecture: logits in
   batches and one by one, greedy continuations, several slots at once, the context's end. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "emulator.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "rig.h"

enum { N_TOKENS = 40, N_GREEDY = 32 };

/* Activations are floats; the cache is halves, which alone makes up to 0.015 (llama.cpp, F32 weights). */
static const double tolerance = 0.04;

struct expected {
    int n_vocab;
    int32_t tokens[N_TOKENS], greedy[N_GREEDY];
    struct file_map reference;  // float [N_TOKENS, n_vocab]
};

static void read_ids(const json_t *root, const char *key, int32_t *out, size_t n) {
    const json_t *list = json_object_get(root, key);
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
}

static struct expected expected_of(const char *name) {
    struct expected e;
    char path[FIXTURE_PATH], file[64];
    snprintf(file, sizeof file, "tiny/%s.json", name);
    assert_ok(fixture_stored(file, path));
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    e.n_vocab = (int)json_integer_value(json_object_get(root, "n_vocab"));
    read_ids(root, "tokens", e.tokens, N_TOKENS);
    read_ids(root, "greedy_ref", e.greedy, N_GREEDY);
    json_decref(root);
    snprintf(file, sizeof file, "tiny/%s.ref.f32", name);
    assert_ok(fixture_stored(file, path));
    assert_ok(file_map_open(path, &e.reference));
    assert_int_equal(e.reference.size, sizeof(float) * N_TOKENS * (size_t)e.n_vocab);
    return e;
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= largest)) largest = d;
    }
    return largest;
}

static struct sampler *greedy_sampler(int n_logits) {
    struct sampling settings = sampling_neutts();
    settings.temperature = 0;
    struct sampler *s;
    assert_ok(sampler_new(&settings, 1, n_logits, &s));
    return s;
}

/* Greedy tokens of slot 0 after the prompt; as many as the reference path is asked for. */
static void check_greedy(const char *name, const struct expected *e, struct device *d, int steps) {
    int32_t indices[N_GREEDY];
    struct generation g = {.slot = 0, .sampler = greedy_sampler(e->n_vocab), .indices = indices, .end_index = -1};
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, e->tokens, N_TOKENS, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &g, 1, steps, NO_DEADLINE));
    assert_int_equal(g.n, steps);
    assert_false(g.ended);
    for (int i = 0; i < steps; i++)
        if (indices[i] != e->greedy[i])
            fail_msg("%s: greedy token %d is %d, not %d", name, i, (int)indices[i], (int)e->greedy[i]);
    sampler_free(g.sampler);
}

static void check_model(const char *name, int steps) {
    struct expected e = expected_of(name);
    struct backbone *b = rig_backbone(name);
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 2, N_TOKENS + N_GREEDY));
    float *logits = calloc((size_t)e.n_vocab * N_TOKENS, sizeof *logits);
    assert_non_null(logits);

    // parts of 1, 5 and many tokens: each a kernel of its own
    static const int parts[] = {1, 5, 8, N_TOKENS - 14};
    int done = 0;
    for (int i = 0; i < 4; done += parts[i++])
        assert_ok(
            d->ops->prefill(d, 1, e.tokens + done, parts[i], logits + (size_t)done * (size_t)e.n_vocab, NO_DEADLINE));
    assert_int_equal(done, N_TOKENS);
    double largest = largest_difference(logits, e.reference.data, (size_t)e.n_vocab * N_TOKENS);
    printf("%-11s largest difference %.4f\n", name, largest);
    assert_true(largest < tolerance);

    check_greedy(name, &e, d, steps);
    free(logits);
    rig_close(d);
    backbone_free(b);
    file_map_close(&e.reference);
}

static void every_model(void **unused) {
    (void)unused;
    for (const char *const *name = fixture_tiny_names; *name; name++)
        if (strncmp(*name, "vocab", 5))
            check_model(*name, strcmp(*name, "qwen2-mix") && strncmp(*name, "qwen3", 5) ? 4 : N_GREEDY);
}

/* Three slots at different places give what each gives alone. */
static void several_slots(void **unused) {
    (void)unused;
    struct expected e = expected_of("llama-q4_0");
    struct backbone *b = rig_backbone("llama-q4_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 3, 64));
    static const int lengths[3] = {N_TOKENS, 7, 1};
    enum { STEPS = 6 };
    int32_t alone[3][STEPS], together[3][STEPS];
    struct generation g[3];
    for (int i = 0; i < 3; i++) {
        g[i] = (struct generation){
            .slot = 2 - i, .sampler = greedy_sampler(e.n_vocab), .indices = alone[i], .end_index = -1};
        assert_ok(d->ops->prefill(d, 2 - i, e.tokens, lengths[i], NULL, NO_DEADLINE));
        assert_ok(d->ops->generate(d, &g[i], 1, STEPS, NO_DEADLINE));
        assert_int_equal(g[i].n, STEPS);
    }
    for (int i = 0; i < STEPS; i++) assert_int_equal(alone[0][i], e.greedy[i]);
    for (int i = 0; i < 3; i++) {
        d->ops->reset(d, 2 - i);
        assert_ok(d->ops->prefill(d, 2 - i, e.tokens, lengths[i], NULL, NO_DEADLINE));
        g[i].indices = together[i];
    }
    g[1].end_index = alone[1][2];  // this one ends early
    assert_ok(d->ops->generate(d, g, 3, STEPS, NO_DEADLINE));
    assert_int_equal(g[0].n, STEPS);
    assert_int_equal(g[2].n, STEPS);
    assert_memory_equal(together[0], alone[0], sizeof alone[0]);
    assert_memory_equal(together[2], alone[2], sizeof alone[2]);
    int first = 0;
    while (alone[1][first] != g[1].end_index) first++;
    assert_int_equal(g[1].n, first + 1);
    assert_true(g[1].ended);
    assert_memory_equal(together[1], alone[1], (size_t)g[1].n * sizeof(int32_t));

    // one call or two: the same tokens
    d->ops->reset(d, 2);
    assert_ok(d->ops->prefill(d, 2, e.tokens, N_TOKENS, NULL, NO_DEADLINE));
    g[0].indices = together[0];
    assert_ok(d->ops->generate(d, g, 1, 2, NO_DEADLINE));
    g[0].indices = together[0] + 2;
    assert_ok(d->ops->generate(d, g, 1, STEPS - 2, NO_DEADLINE));
    assert_memory_equal(together[0], alone[0], sizeof alone[0]);

    // an end that comes long before the steps are used up, and what can be done after it: going on
    d->ops->reset(d, 1);
    assert_ok(d->ops->prefill(d, 1, e.tokens, lengths[1], NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &g[1], 1, 50, NO_DEADLINE));
    assert_int_equal(g[1].n, first + 1);
    assert_true(g[1].ended);
    g[1].indices = together[1] + first + 1;
    g[1].end_index = -1;
    assert_ok(d->ops->generate(d, &g[1], 1, STEPS - first - 1, NO_DEADLINE));
    assert_memory_equal(together[1], alone[1], sizeof alone[1]);
    for (int i = 0; i < 3; i++) sampler_free(g[i].sampler);
    rig_close(d);
    backbone_free(b);
    file_map_close(&e.reference);
}

static void context_end(void **unused) {
    (void)unused;
    struct expected e = expected_of("qwen3-q4_0");
    struct backbone *b = rig_backbone("qwen3-q4_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 1, N_TOKENS + 3));
    int32_t indices[8];
    struct generation g = {.slot = 0, .sampler = greedy_sampler(e.n_vocab), .indices = indices, .end_index = -1};
    assert_int_equal(d->ops->generate(d, &g, 1, 8, NO_DEADLINE), UTTER_INVALID);  // no prompt
    assert_ok(d->ops->prefill(d, 0, e.tokens, N_TOKENS, NULL, NO_DEADLINE));
    assert_int_equal(d->ops->prefill(d, 0, e.tokens, 4, NULL, NO_DEADLINE), UTTER_LIMIT);
    assert_ok(d->ops->generate(d, &g, 1, 8, NO_DEADLINE));
    assert_int_equal(g.n, 3);
    assert_false(g.ended);
    assert_memory_equal(indices, e.greedy, 3 * sizeof *indices);
    assert_ok(d->ops->generate(d, &g, 1, 8, NO_DEADLINE));
    assert_int_equal(g.n, 0);
    int32_t bad = e.n_vocab;
    d->ops->reset(d, 0);
    assert_int_equal(d->ops->prefill(d, 0, &bad, 1, NULL, NO_DEADLINE), UTTER_INVALID);
    sampler_free(g.sampler);
    rig_close(d);
    backbone_free(b);
    file_map_close(&e.reference);
}

/* With a speech-only head, logit i is that of code i, and the last that of the end token. */
static void speech_head(void **unused) {
    (void)unused;
    struct expected e = expected_of("qwen2-q8_0");
    struct backbone *b = rig_backbone("qwen2-q8_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, true, 1, 48));
    float *logits = calloc((size_t)(b->n_codes + 1) * 2, sizeof *logits);
    assert_non_null(logits);
    assert_ok(d->ops->prefill(d, 0, e.tokens, 2, logits, NO_DEADLINE));
    const float *reference = e.reference.data;
    for (int t = 0; t < 2; t++)
        for (int i = 0; i <= b->n_codes; i++) {
            int token = i < b->n_codes ? b->code_token[i] : b->end_token;
            assert_true(fabsf(logits[t * (b->n_codes + 1) + i] - reference[t * e.n_vocab + token]) < tolerance);
        }
    free(logits);
    rig_close(d);
    backbone_free(b);
    file_map_close(&e.reference);
}

/* With threads, and blocks that wait for each other, in other orders: a missing barrier would show. By the general
   kernels, and by those for prompts, batches and one sequence. */
static void other_orders(void **unused) {
    (void)unused;
    static const char *const names[] = {"qwen2-q5_1", "llama-q4_0", "qwen2-q8_0"};
    for (int i = 0; i < 3; i++) {
        struct expected e = expected_of(names[i]);
        struct backbone *b = rig_backbone(names[i]);
        for (unsigned order = EMULATOR_DESCENDING; order < 4; order++) {
            struct device *d = rig_open();
            struct standin *s = rig_standin_now();
            if (s) s->order = order;
            assert_ok(d->ops->load_backbone(d, b, false, 1, 64));
            check_greedy(names[i], &e, d, 4);
            rig_close(d);
        }
        backbone_free(b);
        file_map_close(&e.reference);
    }
}

/* One sequence with its weights staged in shared memory, and on a card that has no room for them there. */
static void staged_or_not(void **unused) {
    (void)unused;
    if (!rig_standin_now()) skip();  // a card is as it is
    static const char *const names[] = {"llama-q4_0", "qwen2-q8_0"};
    static const char *const kernels[][2] = {{"decode_q4_0", "decode_staged_q4_0"},
                                             {"decode_q8_0", "decode_staged_q8_0"}};
    for (int i = 0; i < 2; i++)
        for (int staged = 0; staged < 2; staged++) {
            struct expected e = expected_of(names[i]);
            struct backbone *b = rig_backbone(names[i]);
            struct standin *s = rig_standin();
            s->shared_bytes = staged ? 227 << 10 : 99 << 10;
            s->missing = kernels[i][!staged];
            struct device *d = rig_open_now();
            assert_ok(d->ops->load_backbone(d, b, false, 1, 64));
            check_greedy(names[i], &e, d, 4);
            assert_true(s->n_together > 0);
            rig_close(d);
            backbone_free(b);
            file_map_close(&e.reference);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_model),  cmocka_unit_test(several_slots),
                                       cmocka_unit_test(context_end),  cmocka_unit_test(speech_head),
                                       cmocka_unit_test(other_orders), cmocka_unit_test(staged_or_not)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
