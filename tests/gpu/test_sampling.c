/* Sampling on the GPU device against backbone/sampler.c: the kernel alone, on made-up logits under the emulator, and
   whole generate calls. The same seed must give the same tokens. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler_state.h"
#include "base/clock.h"
#include "emulator.h"
#include "fixtures/folder.h"
#include "gpu/internal.h"
#include "rig.h"

static const struct sampling settings[] = {
    {.temperature = 1, .top_k = 50, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1},  // NeuTTS
    {.temperature = 0, .top_k = 50, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1},
    {.temperature = 0, .repeat_penalty = 1.5f, .top_p = 1},
    {.temperature = 0.7f, .top_k = 1, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 1.5f, .top_k = 200, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 1, .top_k = 1024, .top_p = 0.99f, .repeat_penalty = 1},
    {.temperature = 1, .top_k = 1100, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 1, .top_k = 0, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 2, .top_k = -1, .top_p = 0.9f, .min_p = 0.001f, .repeat_penalty = 1},
    {.temperature = 0.8f, .top_k = 40, .typical_p = 0.5f, .top_p = 0.95f, .repeat_penalty = 1.1f},
    {.temperature = 1, .top_k = 0, .typical_p = 0.9f, .top_p = 1, .repeat_penalty = 1},
    {.temperature = 1,
     .top_k = 20,
     .top_p = 0.9f,
     .repeat_penalty = 1.3f,
     .frequency_penalty = 0.5f,
     .presence_penalty = 0.7f},
    {.temperature = 1, .top_k = 3000, .top_p = 0, .repeat_penalty = 1},
};
enum {
    N_SETTINGS = sizeof settings / sizeof *settings,
    N_LOGITS = 1300,
    MANY_LOGITS = 20011,
    N_SORT = 2048,
    STEPS = 100
};

/* ---- the kernel ---- */

enum kind { BELL, TIES, FEW_FINITE, FLAT, N_KINDS, NEIGHBOURS = N_KINDS };

static void make_logits(enum kind kind, int step, float *logits, int n_logits) {
    uint64_t state = (uint64_t)kind * 1000003 + (uint64_t)step;
    for (int i = 0; i < n_logits; i++) {
        double sum = 0;
        for (int j = 0; j < 4; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 40) / (1 << 24) - 0.5;
        }
        switch (kind) {
            case BELL:
                logits[i] = (float)(sum * 6);
                break;
            case TIES:
                logits[i] = (float)(int)(sum * 4);
                break;
            case FEW_FINITE:
                logits[i] = i % 37 ? (i % 2 ? -INFINITY : NAN) : (float)(sum * 3);
                break;
            case NEIGHBOURS:  // the largest are all those that one thread looks at
                logits[i] = (float)(sum + (i % 512 == 7 ? 20 : 0));
                break;
            default:
                logits[i] = i == step ? 0.0f : -0.0f;
                break;
        }
    }
}

/* Draws by the kernel and by the sampler, one after another from the same logits. */
static void check_kernel(const struct sampling *set, enum kind kind, int n_logits) {
    struct sampler *s;
    assert_ok(sampler_new(set, 12345, n_logits, &s));
    struct sequence *q = calloc(1, sizeof *q);
    assert_non_null(q);
    q->active = 1;
    q->end_index = -1;
    gpu_sequence_of_sampler(s, q);
    static float logits[MANY_LOGITS], copy[MANY_LOGITS], p[N_SORT];
    static u64 keys[N_SORT], order[N_SORT];
    static int32_t rows[MANY_LOGITS];
    int32_t token = 0, slot = 0, position = 0, out[STEPS];
    for (int i = 0; i < n_logits; i++) rows[i] = 5000 + i;
    struct sample_args args = {.sequences = q,
                               .logits = copy,
                               .head_rows = rows,
                               .tokens = &token,
                               .slots = &slot,
                               .positions = &position,
                               .out = out,
                               .keys = keys,
                               .order = order,
                               .p = p,
                               .n_logits = n_logits,
                               .n_sort = N_SORT,
                               .n_ctx = 1000,
                               .steps = STEPS};
    const struct emulated_entry *kernel = emulator_find("sample");
    // enough draws for the random words to be made anew and the history to come round
    int steps = n_logits > N_LOGITS                                        ? 3
                : set->top_k == 50 && set->temperature > 0 && kind == BELL ? 400
                : kind == BELL                                             ? STEPS
                                                                           : 6;
    for (int step = 0; step < steps; step++) {
        make_logits(kind, step, logits, n_logits);
        memcpy(copy, logits, sizeof copy);
        int expected;
        assert_ok(sampler_draw(s, logits, &expected));
        q->n_out = 0;
        assert_null(emulator_launch(kernel->kernel, 1, 1, kernel->n_threads, 0, &args));
        assert_int_equal(q->fault, 0);
        assert_int_equal(q->n_out, 1);
        if (out[0] != expected)
            fail_msg("settings %d, logits %d, draw %d: %d instead of %d", (int)(set - settings), (int)kind, step,
                     (int)out[0], expected);
        assert_int_equal(token, 5000 + expected);
        assert_int_equal(position, step);
    }
    struct sampler *back;
    assert_ok(sampler_new(set, 1, n_logits, &back));
    gpu_sampler_of_sequence(q, back);
    assert_memory_equal(&back->random, &s->random, sizeof s->random);
    assert_memory_equal(back->history, s->history, sizeof s->history);
    assert_int_equal(back->n_drawn, s->n_drawn);
    sampler_free(back);
    sampler_free(s);
    free(q);
}

static void kernel_as_sampler(void **unused) {
    (void)unused;
    for (int i = 0; i < N_SETTINGS; i++)
        for (enum kind kind = 0; kind < N_KINDS; kind++) check_kernel(&settings[i], kind, N_LOGITS);
    emulator_order = EMULATOR_DESCENDING;
    for (int i = 0; i < N_SETTINGS; i++) check_kernel(&settings[i], TIES, N_LOGITS);
    // more than the threads look at in one go
    for (enum kind kind = 0; kind <= NEIGHBOURS; kind++) check_kernel(&settings[0], kind, MANY_LOGITS);
    emulator_order = EMULATOR_ASCENDING;
}

/* ---- whole calls ---- */

enum { PROMPT = 6, DRAWS = 6 };

/* What the sampler draws when it is given the device's own logits of the path that generate took. */
static void check_path(struct device *d, int n_head, const struct sampling *set, const int32_t *prompt,
                       const int32_t *indices) {
    int32_t tokens[PROMPT + DRAWS];
    memcpy(tokens, prompt, PROMPT * sizeof *tokens);
    memcpy(tokens + PROMPT, indices, DRAWS * sizeof *tokens);  // the head has all tokens, so an index is a token
    float *logits = calloc((size_t)n_head * (PROMPT + DRAWS), sizeof *logits);
    assert_non_null(logits);
    d->ops->reset(d, 0);
    // in the steps that generate takes, so that roundings are the same
    assert_ok(d->ops->prefill(d, 0, tokens, PROMPT, logits, NO_DEADLINE));
    for (int i = PROMPT; i < PROMPT + DRAWS; i++)
        assert_ok(d->ops->prefill(d, 0, tokens + i, 1, logits + (size_t)i * (size_t)n_head, NO_DEADLINE));
    struct sampler *s;
    assert_ok(sampler_new(set, 99, n_head, &s));
    for (int i = 0; i < DRAWS; i++) {
        int drawn;
        assert_ok(sampler_draw(s, logits + (size_t)(PROMPT - 1 + i) * (size_t)n_head, &drawn));
        if (drawn != indices[i])
            fail_msg("settings %d, draw %d: %d instead of %d", (int)(set - settings), i, (int)indices[i], drawn);
    }
    sampler_free(s);
    free(logits);
}

static void generate_as_sampler(void **unused) {
    (void)unused;
    struct backbone *b = rig_backbone("qwen2-q4_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 2, 32));
    static const int32_t prompt[PROMPT] = {350, 313, 25, 220, 525, 478};
    int n_head = b->config.n_vocab;
    for (int i = 0; i < N_SETTINGS; i += 2) {
        // two rows of one call with different settings; the call in two parts, so that state comes back and goes up
        // again
        int32_t indices[2][DRAWS];
        struct generation g[2];
        const struct sampling *sets[2] = {&settings[i], &settings[(i + 1) % N_SETTINGS]};
        for (int row = 0; row < 2; row++) {
            g[row] = (struct generation){.slot = row, .indices = indices[row], .end_index = -1};
            assert_ok(sampler_new(sets[row], 99, n_head, &g[row].sampler));
            d->ops->reset(d, row);
            assert_ok(d->ops->prefill(d, row, prompt, PROMPT, NULL, NO_DEADLINE));
        }
        assert_ok(d->ops->generate(d, g, 2, 2, NO_DEADLINE));
        for (int row = 0; row < 2; row++) g[row].indices += 2;
        assert_ok(d->ops->generate(d, g, 2, DRAWS - 2, NO_DEADLINE));
        for (int row = 0; row < 2; row++) {
            assert_int_equal(g[row].n, DRAWS - 2);
            sampler_free(g[row].sampler);
            check_path(d, n_head, sets[row], prompt, indices[row]);
        }
    }
    struct sampler *wrong;
    assert_ok(sampler_new(&settings[0], 1, n_head + 1, &wrong));
    int32_t index;
    struct generation g = {.slot = 0, .sampler = wrong, .indices = &index, .end_index = -1};
    assert_int_equal(d->ops->generate(d, &g, 1, 1, NO_DEADLINE), UTTER_INTERNAL);
    sampler_free(wrong);
    rig_close(d);
    backbone_free(b);
}

/* One sequence by the kernel that makes many tokens a launch, with lists of candidates from short to longer than there
   is room for at first. */
static void one_sequence(void **unused) {
    (void)unused;
    static const struct sampling sets[] = {
        {.temperature = 1, .top_k = 50, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.2f},
        {.temperature = 0.8f, .top_k = 40, .typical_p = 0.5f, .top_p = 0.95f, .repeat_penalty = 1.1f},
        {.temperature = 1, .top_k = 1000, .top_p = 0.99f, .repeat_penalty = 1},
    };
    struct backbone *b = rig_backbone("llama-q4_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 2, 32));
    static const int32_t prompt[PROMPT] = {350, 313, 25, 220, 525, 478};
    int32_t expected[DRAWS], indices[DRAWS];
    for (int i = 0; i < 3; i++)
        for (unsigned order = EMULATOR_ASCENDING; order < 4; order++) {
            struct standin *now = rig_standin_now();
            if (now) now->order = order;
            struct generation g = {.indices = order == 0 ? expected : indices, .end_index = -1};
            assert_ok(sampler_new(&sets[i], 99, b->config.n_vocab, &g.sampler));
            d->ops->reset(d, 0);
            assert_ok(d->ops->prefill(d, 0, prompt, PROMPT, NULL, NO_DEADLINE));
            assert_ok(d->ops->generate(d, &g, 1, DRAWS, NO_DEADLINE));
            assert_int_equal(g.n, DRAWS);
            if (order > 0) assert_memory_equal(indices, expected, sizeof expected);
            sampler_free(g.sampler);
        }
    rig_close(d);
    backbone_free(b);
}

/* A call that could not draw leaves nothing behind that the next takes for its own. */
static void after_no_token(void **unused) {
    (void)unused;
    struct backbone *b = rig_backbone("llama-q4_0");
    struct device *d = rig_open();
    assert_ok(d->ops->load_backbone(d, b, false, 2, 32));
    static const int32_t prompt[PROMPT] = {350, 313, 25, 220, 525, 478}, other[PROMPT] = {17, 8, 411, 90, 33, 5};
    int32_t expected[DRAWS], indices[DRAWS];
    struct generation g = {.indices = expected, .end_index = -1};
    for (int i = 0; i < 3; i++) {
        assert_ok(sampler_new(&settings[0], 99, b->config.n_vocab, &g.sampler));
        d->ops->reset(d, 0);
        assert_ok(d->ops->prefill(d, 0, prompt, PROMPT, NULL, NO_DEADLINE));
        g.indices = i == 0 ? expected : indices;
        assert_ok(d->ops->generate(d, &g, 1, DRAWS, NO_DEADLINE));
        assert_int_equal(g.n, DRAWS);
        if (i > 0) assert_memory_equal(indices, expected, sizeof expected);
        sampler_free(g.sampler);

        assert_ok(sampler_new(&settings[0], 99, b->config.n_vocab, &g.sampler));
        g.sampler->settings.temperature = 1e-43f;  // no logit over this is a number
        d->ops->reset(d, 0);
        assert_ok(d->ops->prefill(d, 0, other, PROMPT, NULL, NO_DEADLINE));
        assert_int_equal(d->ops->generate(d, &g, 1, DRAWS, NO_DEADLINE), UTTER_SPEECH);
        sampler_free(g.sampler);
    }
    rig_close(d);
    backbone_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernel_as_sampler), cmocka_unit_test(generate_as_sampler),
                                       cmocka_unit_test(one_sequence), cmocka_unit_test(after_no_token)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
