/* Streams over a scripted device: what the engine does when speech comes out wrong, late, or not at all. The device
   behind the built-in model is replaced by one that gives codes and samples as each test says. */
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"

enum plan { PLAN_SPEECH, PLAN_STUCK, PLAN_ENDLESS, PLAN_SHORT, PLAN_SILENT, PLAN_NAN, PLAN_LOGITS_NAN, PLAN_LATE };

enum { N_SLOTS = 2 };

/* A device that follows `plans`, one for each attempt; after the last it speaks well. The low bits of a code tell the
   plan of its attempt, so that its sound can follow it too. */
struct scripted {
    struct device device;
    const struct backbone *backbone;
    const struct codec *codec;
    enum plan plans[8];
    int n_plans;
    int attempt;  // of all sequences, so far
    struct {
        enum plan plan;
        int n_made;  // codes
    } slots[N_SLOTS];
    atomic_int n_calls;  // of generate and synthesize together
    bool breaks;
    atomic_int calls_left;  // until the device is lost
    int n_speech;           // codes of good speech
};

static struct scripted *self(struct device *d) { return (struct scripted *)d; }

static void scripted_reset(struct device *d, int slot) {
    struct scripted *s = self(d);
    assert_in_range(slot, 0, N_SLOTS - 1);
    s->slots[slot].plan = s->attempt < s->n_plans ? s->plans[s->attempt] : PLAN_SPEECH;
    s->slots[slot].n_made = 0;
    s->attempt++;
}

// Codes behind the prompt are those that the sequence has already.
static status scripted_prefill(struct device *d, int slot, const int32_t *tokens, int n, float *logits,
                               int64_t deadline) {
    (void)logits, (void)deadline;
    const struct backbone *b = self(d)->backbone;
    for (int i = 0; i < n; i++)
        self(d)->slots[slot].n_made += tokens[i] >= b->code_token[0] && tokens[i] <= b->code_token[b->n_codes - 1];
    return UTTER_OK;
}

static bool is_lost(struct scripted *s) {
    atomic_fetch_add(&s->n_calls, 1);
    return s->breaks && atomic_fetch_sub(&s->calls_left, 1) <= 0;
}

static void make_codes(struct scripted *s, struct generation *g, int steps) {
    enum plan plan = s->slots[g->slot].plan;
    int length = plan == PLAN_SHORT ? 3 : plan == PLAN_STUCK || plan == PLAN_ENDLESS ? 1 << 20 : s->n_speech;
    int *n_made = &s->slots[g->slot].n_made;
    g->n = 0;
    g->ended = false;
    while (g->n < steps && !g->ended) {
        unsigned code = plan == PLAN_STUCK ? 0 : (unsigned)*n_made * 2654435761u >> 20 & ~15u;
        g->ended = *n_made >= length;
        g->indices[g->n++] = g->ended ? g->end_index : (int32_t)(code | plan);
        ++*n_made;
    }
}

static status scripted_generate(struct device *d, struct generation *g, int n, int steps, int64_t deadline) {
    struct scripted *s = self(d);
    for (int i = 0; i < n; i++) {
        enum plan plan = s->slots[g[i].slot].plan;
        if (plan == PLAN_LOGITS_NAN) return fail(UTTER_SPEECH, "no logit is finite");
        if (is_lost(s)) return fail(UTTER_DEVICE, "GPU 0 fell off its bus");
        if (plan == PLAN_LATE) {
            while (clock_ns() < deadline) usleep(1000);
            return fail(UTTER_DEADLINE, "late");
        }
    }
    for (int i = 0; i < n; i++) make_codes(s, &g[i], steps);
    return UTTER_OK;
}

static status scripted_synthesize(struct device *d, const struct synthesis *pieces, int n, int64_t deadline) {
    (void)deadline;
    struct scripted *s = self(d);
    for (int k = 0; k < n; k++) {
        float *pcm = pieces[k].pcm;
        int64_t n_pcm = (int64_t)pieces[k].n * s->codec->config.hop;
        enum plan plan = pieces[k].codes[pieces[k].n - 1] & 15;
        if (is_lost(s)) return fail(UTTER_DEVICE, "GPU 0 fell off its bus");
        for (int64_t i = 0; i < n_pcm; i++) pcm[i] = plan == PLAN_SILENT ? 0 : 0.1f * sinf((float)i * 0.03f);
        if (plan == PLAN_NAN) pcm[n_pcm / 2] = NAN;
    }
    return UTTER_OK;
}

static const char *scripted_describe(const struct device *d) {
    (void)d;
    return "a script";
}

static void scripted_close(struct device *d) { free(d); }

static const struct device_ops scripted_ops = {
    .reset = scripted_reset,
    .prefill = scripted_prefill,
    .generate = scripted_generate,
    .synthesize = scripted_synthesize,
    .describe = scripted_describe,
    .close = scripted_close,
};

static utter *engine;
static struct scripted *script;

static struct scripted *scripted_new(void) {
    struct scripted *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->device.ops = &scripted_ops;
    s->backbone = engine->backbone;
    s->codec = engine->codec;
    s->n_speech = 100;
    return s;
}

static struct runner *put_to_work(struct scripted *s, bool is_gpu) {
    struct runner *r;
    assert_ok(runner_start(&engine->runners, &s->device, &s->device, N_SLOTS, is_gpu, &r));
    r->next = engine->runners.all;
    engine->runners.all = r;
    return r;
}

static int setup(void **state) {
    (void)state;
    utter_options options = utter_options_default();
    options.model = "built-in";
    options.device = "cpu";
    if (utter_open(&options, &engine) != UTTER_OK) return 1;
    struct runner *real = engine->runners.cpu;
    script = scripted_new();
    engine->runners.cpu = put_to_work(script, false);
    real->lost = true;
    real->n_users = 1;
    runners_leave(&engine->runners, real);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    utter_close(engine);
    return 0;
}

static void follow(const enum plan *plans, int n) {
    if (n > 0) memcpy(script->plans, plans, (size_t)n * sizeof *plans);
    script->n_plans = n;
    script->attempt = 0;
}

// Speaks to the end; the report in *report, the status returned, samples in *n_samples.
static status speak(const utter_request *request, utter_report *report, int64_t *n_samples) {
    utter_stream *s;
    status result = utter_speak(engine, request, &s);
    if (result != UTTER_OK) return result;
    float samples[1000];
    size_t n = 1;
    *n_samples = 0;
    while (result == UTTER_OK && n > 0) {
        result = utter_read(s, samples, sizeof samples / sizeof *samples, &n);
        *n_samples += (int64_t)n;
        for (size_t i = 0; i < n; i++) assert_true(isfinite(samples[i]));
    }
    if (result != UTTER_OK) assert_int_equal(utter_read(s, samples, 10, &n), result);  // and stays so
    utter_stream_report(s, report);
    utter_stream_close(s);
    return result;
}

static const char sentence[] = "The old man walked slowly down the quiet street.";

static void test_each_kind_of_garbage_is_tried_again(void **state) {
    (void)state;
    const enum plan kinds[] = {PLAN_STUCK, PLAN_ENDLESS, PLAN_SHORT, PLAN_SILENT, PLAN_NAN, PLAN_LOGITS_NAN};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        follow(&kinds[i], 1);
        utter_request request = utter_request_default();
        request.text = sentence;
        utter_report report;
        int64_t n;
        assert_ok(speak(&request, &report, &n));
        assert_int_equal(report.n_retries, 1);
        assert_int_equal(report.n_failed, 0);
        assert_int_equal(n, 100 * 480);
    }
}

static void test_what_garbage_leaves_after_the_last_retry(void **state) {
    (void)state;
    const enum plan stuck[] = {PLAN_STUCK, PLAN_STUCK, PLAN_STUCK, PLAN_STUCK};
    follow(stuck, 4);
    utter_request request = utter_request_default();
    request.text = sentence;
    utter_report report;
    int64_t n;
    // stuck from its first code on: nothing of it is good but that code
    assert_ok(speak(&request, &report, &n));
    assert_int_equal(report.n_retries, 2);
    assert_int_equal(report.n_failed, 1);
    assert_int_equal(n, 480);

    const enum plan silent[] = {PLAN_SILENT, PLAN_SILENT};
    follow(silent, 2);
    request.retries = 1;
    assert_int_equal(speak(&request, &report, &n), UTTER_SPEECH);
    assert_non_null(strstr(utter_error_message(), "no usable speech"));
    assert_int_equal(n, 0);

    // one bad sentence does not take the others with it
    follow(silent, 2);
    request.text = "The old man walked slowly down the quiet street.\n\nShe put the red cup on the kitchen table.";
    assert_ok(speak(&request, &report, &n));
    assert_int_equal(report.n_sentences, 2);
    assert_int_equal(report.n_failed, 1);
    assert_int_equal(n, 100 * 480);
}

static void test_greedy_attempts_are_not_repeated(void **state) {
    (void)state;
    const enum plan stuck[] = {PLAN_SHORT};
    follow(stuck, 1);
    utter_request request = utter_request_default();
    request.text = sentence;
    request.temperature = 0;
    utter_report report;
    int64_t n;
    assert_ok(speak(&request, &report, &n));
    assert_int_equal(report.n_retries, 0);
    assert_int_equal(report.n_failed, 1);
    assert_int_equal(n, 3 * 480);
}

static void test_streaming_gives_as_much_as_a_whole_decode(void **state) {
    (void)state;
    utter_request request = utter_request_default();
    request.text = sentence;
    request.streaming = true;
    for (int first = 0; first <= 25; first += 5) {
        follow(NULL, 0);
        request.first_frames = first;
        utter_report report;
        int64_t n;
        assert_ok(speak(&request, &report, &n));
        assert_int_equal(n, 100 * 480);
        assert_true(report.first_audio_s > 0);
        assert_int_equal(report.progress_permille, 1000);
    }
}

static void test_streaming_retries_before_the_first_sound(void **state) {
    (void)state;
    const enum plan plans[] = {PLAN_SHORT, PLAN_NAN};
    follow(plans, 2);
    utter_request request = utter_request_default();
    request.text = sentence;
    request.streaming = true;
    utter_report report;
    int64_t n;
    assert_ok(speak(&request, &report, &n));
    assert_int_equal(report.n_retries, 2);
    assert_int_equal(n, 100 * 480);
}

static void test_sentences_are_parted_by_pauses(void **state) {
    (void)state;
    follow(NULL, 0);
    utter_request request = utter_request_default();
    request.text = "The old man walked slowly down the quiet street.\n\nShe put the red cup on the kitchen table.";
    utter_report report;
    int64_t n;
    assert_ok(speak(&request, &report, &n));
    assert_int_equal(report.n_sentences, 2);
    assert_int_equal(n, 2 * 100 * 480 + 12000);
}

static void test_deadline(void **state) {
    (void)state;
    const enum plan late[] = {PLAN_LATE};
    follow(late, 1);
    utter_request request = utter_request_default();
    request.text = sentence;
    request.deadline_ms = 50;
    utter_report report;
    int64_t n;
    assert_int_equal(speak(&request, &report, &n), UTTER_DEADLINE);
}

static void *cancel_soon(void *stream) {
    usleep(20000);
    utter_cancel(stream);
    return NULL;
}

static void test_cancel_ends_a_wait_for_a_slot(void **state) {
    (void)state;
    follow(NULL, 0);
    utter_request request = utter_request_default();
    request.text = sentence;
    utter_stream *holders[2], *waiting;
    float sample;
    size_t n;
    for (int i = 0; i < 2; i++) {  // both slots are held by streams that are not read on
        request.streaming = true;
        assert_ok(utter_speak(engine, &request, &holders[i]));
        assert_ok(utter_read(holders[i], &sample, 1, &n));
        assert_int_equal(n, 1);
    }
    assert_ok(utter_speak(engine, &request, &waiting));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, waiting), 0);
    assert_int_equal(utter_read(waiting, &sample, 1, &n), UTTER_CANCELLED);
    pthread_join(thread, NULL);
    utter_stream_close(waiting);
    request.deadline_ms = 30;
    assert_ok(utter_speak(engine, &request, &waiting));
    assert_int_equal(utter_read(waiting, &sample, 1, &n), UTTER_DEADLINE);
    utter_stream_close(waiting);
    for (int i = 0; i < 2; i++) utter_stream_close(holders[i]);
}

// Gives the engine a GPU that is lost after so many calls.
static struct scripted *plug_in_a_gpu(int calls) {
    struct scripted *gpu = scripted_new();
    gpu->calls_left = calls;
    gpu->breaks = true;
    engine->runners.gpu = put_to_work(gpu, true);
    engine->runners.gpu_again = 0;
    engine->runners.choice.gpu = true;
    return gpu;
}

static int n_runners(void) {
    int n = 0;
    for (const struct runner *r = engine->runners.all; r; r = r->next) n++;
    return n;
}

static void test_a_lost_gpu_costs_no_sound(void **state) {
    (void)state;
    int before = n_runners();
    utter_state now;
    for (int streaming = 0; streaming < 2; streaming++) {
        bool lost = true;
        for (int calls = 0; lost; calls++) {  // lost at every step of the way, and not at all
            follow(NULL, 0);
            struct scripted *gpu = plug_in_a_gpu(calls);
            int losses = engine->runners.n_gpu_losses;
            utter_request request = utter_request_default();
            request.text = sentence;
            request.streaming = streaming;
            utter_report report;
            int64_t n;
            assert_ok(speak(&request, &report, &n));
            assert_int_equal(n, 100 * 480);
            assert_int_equal(report.n_codes, 100);
            assert_int_equal(report.n_retries, 0);
            lost = engine->runners.gpu == NULL;
            assert_ok(utter_state_get(engine, &now));
            assert_int_equal(now.n_gpu_losses, losses + lost);
            assert_int_equal(now.is_gpu, !lost);
            assert_int_equal(now.gpu_lost, lost);
            assert_int_equal(now.n_active, 0);
            if (lost) {
                assert_int_equal(n_runners(), before);                // what was lost is let go of
                assert_true(engine->runners.gpu_again > clock_ns());  // and not tried again at once
            } else {
                assert_true(calls > 4 && calls == gpu->n_calls);
            }
        }
        struct runner *gpu = engine->runners.gpu;
        gpu->n_users = 1;
        runners_lose(&engine->runners, gpu, "unplugged");
        runners_leave(&engine->runners, gpu);
    }
    engine->runners.choice = (struct device_choice){.cpu = true};
}

struct listener {
    pthread_t thread;
    status result;
    utter_report report;
    int64_t n;
};

static void *listen(void *listener) {
    struct listener *l = listener;
    utter_request request = utter_request_default();
    request.text = "The old man walked slowly down the quiet street.\n\nShe put the red cup on the kitchen table.";
    request.streaming = true;
    l->result = speak(&request, &l->report, &l->n);
    return NULL;
}

static void test_a_lost_gpu_costs_no_one_any_sound(void **state) {
    (void)state;
    enum { N = 5 };
    for (int calls = 0; calls < 60; calls += 4) {
        follow(NULL, 0);
        plug_in_a_gpu(calls);
        struct listener l[N] = {0};
        for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&l[i].thread, NULL, listen, &l[i]), 0);
        for (int i = 0; i < N; i++) pthread_join(l[i].thread, NULL);
        for (int i = 0; i < N; i++) {
            assert_ok(l[i].result);
            assert_int_equal(l[i].n, 2 * 100 * 480 + 12000);
            assert_int_equal(l[i].report.n_codes, 200);
        }
        utter_state now;
        assert_ok(utter_state_get(engine, &now));
        assert_int_equal(now.n_active + now.n_waiting, 0);
        struct runner *gpu = engine->runners.gpu;
        if (!gpu) continue;
        gpu->n_users = 1;
        runners_lose(&engine->runners, gpu, "unplugged");
        runners_leave(&engine->runners, gpu);
    }
    engine->runners.choice = (struct device_choice){.cpu = true};
}

static void test_who_stops_reading_stops_only_its_own_speech(void **state) {
    (void)state;
    follow(NULL, 0);
    utter_request request = utter_request_default();
    request.text = sentence;
    request.streaming = true;
    utter_stream *stopped;
    float sample;
    size_t n;
    assert_ok(utter_speak(engine, &request, &stopped));
    assert_ok(utter_read(stopped, &sample, 1, &n));
    struct listener l[3] = {0};
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&l[i].thread, NULL, listen, &l[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(l[i].thread, NULL);
    for (int i = 0; i < 3; i++) {
        assert_ok(l[i].result);
        assert_int_equal(l[i].n, 2 * 100 * 480 + 12000);
    }
    // its first portion, and one ahead
    assert_int_equal(script->slots[0].n_made, 30 + 25);
    utter_stream_close(stopped);
}

static void test_one_with_no_numbers_does_not_harm_the_others(void **state) {
    (void)state;
    const enum plan plans[] = {PLAN_LOGITS_NAN, PLAN_SPEECH, PLAN_LOGITS_NAN};
    for (int round = 0; round < 10; round++) {
        follow(plans, 3);
        struct listener l[2] = {0};
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&l[i].thread, NULL, listen, &l[i]), 0);
        int n_retries = 0;
        for (int i = 0; i < 2; i++) {
            pthread_join(l[i].thread, NULL);
            assert_ok(l[i].result);
            assert_int_equal(l[i].n, 2 * 100 * 480 + 12000);
            n_retries += l[i].report.n_retries;
        }
        assert_true(n_retries >= 1 && n_retries <= 2);  // a slot filled anew takes the next plan
    }
}

static void test_a_gpu_that_was_asked_for_fails_aloud(void **state) {
    (void)state;
    follow(NULL, 0);
    plug_in_a_gpu(2);
    engine->runners.choice = (struct device_choice){.gpu = true};
    utter_request request = utter_request_default();
    request.text = sentence;
    utter_report report;
    int64_t n;
    assert_int_equal(speak(&request, &report, &n), UTTER_DEVICE);
    assert_non_null(strstr(utter_error_message(), "fell off its bus"));
    assert_int_equal(speak(&request, &report, &n), UTTER_DEVICE);  // within the cool-down
    engine->runners.choice = (struct device_choice){.cpu = true};
}

static void test_bad_requests(void **state) {
    (void)state;
    utter_stream *s;
    const struct {
        const char *text, *voice, *language, *emotion;
        float temperature;
        status wanted;
        const char *says;
    } cases[] = {
        {NULL, NULL, NULL, NULL, -1, UTTER_INVALID, "no text"},
        {"", NULL, NULL, NULL, -1, UTTER_NO_TEXT, "empty"},
        {"  \n\t ", NULL, NULL, NULL, -1, UTTER_NO_TEXT, "nothing to say"},
        {"?! ... — \"\"", NULL, NULL, NULL, -1, UTTER_NO_TEXT, "nothing to say"},
        {"Hello.", "nobody", NULL, NULL, -1, UTTER_INVALID, "slt"},
        {"Hello.", NULL, "xx-nowhere", NULL, -1, UTTER_INVALID, "xx-nowhere"},
        {"Hello.", NULL, NULL, "furious", -1, UTTER_INVALID, "furious"},
        {"Hello.", NULL, NULL, NULL, NAN, UTTER_INVALID, "temperature"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        utter_request request = utter_request_default();
        request.text = cases[i].text;
        request.voice = cases[i].voice;
        request.language = cases[i].language;
        request.emotion = cases[i].emotion;
        request.temperature = cases[i].temperature;
        assert_int_equal(utter_speak(engine, &request, &s), cases[i].wanted);
        assert_null(s);
        if (!strstr(utter_error_message(), cases[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, utter_error_message(), cases[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_garbage_is_tried_again),
        cmocka_unit_test(test_what_garbage_leaves_after_the_last_retry),
        cmocka_unit_test(test_greedy_attempts_are_not_repeated),
        cmocka_unit_test(test_streaming_gives_as_much_as_a_whole_decode),
        cmocka_unit_test(test_streaming_retries_before_the_first_sound),
        cmocka_unit_test(test_sentences_are_parted_by_pauses),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel_ends_a_wait_for_a_slot),
        cmocka_unit_test(test_a_lost_gpu_costs_no_sound),
        cmocka_unit_test(test_a_lost_gpu_costs_no_one_any_sound),
        cmocka_unit_test(test_who_stops_reading_stops_only_its_own_speech),
        cmocka_unit_test(test_one_with_no_numbers_does_not_harm_the_others),
        cmocka_unit_test(test_a_gpu_that_was_asked_for_fails_aloud),
        cmocka_unit_test(test_bad_requests),
    };
    return cmocka_run_group_tests_name("stream", tests, setup, teardown);
}
