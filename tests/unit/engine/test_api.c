/* include/utter.h with the built-in model: what a program that embeds utter relies on. */
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "utter.h"

static utter *engine;

static int setup(void **state) {
    (void)state;
    utter_options options = utter_options_default();
    return utter_open(&options, &engine) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    utter_close(engine);
    return 0;
}

struct speech {
    const char *text;
    const char *voice;
    bool streaming;
    size_t block;  // samples asked for at a time
    utter_status result;
    float *pcm;
    size_t n;
    utter_report report;
};

static void *speak(void *argument) {
    struct speech *s = argument;
    utter_request request = utter_request_default();
    request.text = s->text;
    request.voice = s->voice;
    request.streaming = s->streaming;
    utter_stream *stream = NULL;
    s->result = utter_speak(engine, &request, &stream);
    size_t cap = 0, got = 1;
    while (s->result == UTTER_OK && got > 0) {
        if (s->n + s->block > cap) s->pcm = realloc(s->pcm, (cap = (s->n + s->block) * 2) * sizeof *s->pcm);
        s->result = utter_read(stream, s->pcm + s->n, s->block, &got);
        s->n += got;
    }
    if (stream) utter_stream_report(stream, &s->report);
    utter_stream_close(stream);
    return NULL;
}

static void test_speech_comes_out(void **state) {
    (void)state;
    struct speech s = {.text = "The old man walked slowly down the quiet street.", .block = 4096};
    speak(&s);
    assert_ok(s.result);
    assert_true(s.n > 24000 && s.n < 24000 * 6);
    double sum = 0;
    for (size_t i = 0; i < s.n; i++) sum += (double)s.pcm[i] * s.pcm[i];
    assert_true(sqrt(sum / (double)s.n) > 0.01);
    assert_int_equal(s.report.n_samples, s.n);
    assert_int_equal(s.report.n_sentences, 1);
    assert_int_equal(s.report.progress_permille, 1000);
    assert_true(s.report.prefill_s > 0 && s.report.decode_s > 0 && s.report.codec_s > 0);
    free(s.pcm);
}

static void test_block_size_does_not_matter(void **state) {
    (void)state;
    struct speech a = {.text = "She put the red cup on the table.", .block = 100000, .streaming = true};
    struct speech b = {.text = "She put the red cup on the table.", .block = 17, .streaming = true};
    speak(&a);
    speak(&b);
    assert_ok(a.result);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.pcm, b.pcm, a.n * sizeof *a.pcm);
    free(a.pcm);
    free(b.pcm);
}

static void test_two_threads_at_once_give_what_each_gives_alone(void **state) {
    (void)state;
    enum { N = 4 };
    struct speech alone[N] = {
        {.text = "We went to the beach early in the morning.", .voice = "slt", .block = 1000},
        {.text = "She put the red cup on the kitchen table.", .voice = "sam", .block = 1000, .streaming = true},
        {.text = "The old man walked slowly.", .voice = "sam", .block = 333},
        {.text = "Good morning.", .voice = "slt", .block = 5000, .streaming = true},
    };
    struct speech together[N];
    memcpy(together, alone, sizeof alone);
    for (int i = 0; i < N; i++) speak(&alone[i]);
    pthread_t threads[N];
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&threads[i], NULL, speak, &together[i]), 0);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(together[i].result, UTTER_OK);
        assert_int_equal(together[i].n, alone[i].n);
        assert_memory_equal(together[i].pcm, alone[i].pcm, alone[i].n * sizeof *alone[i].pcm);
        free(together[i].pcm);
        free(alone[i].pcm);
    }
}

static void test_cancel_and_close_early(void **state) {
    (void)state;
    utter_request request = utter_request_default();
    request.text = "We went to the beach early in the morning. She put the red cup on the kitchen table.";
    request.streaming = true;
    utter_stream *s;
    float samples[256];
    size_t n;
    for (int i = 0; i < 10; i++) {  // more often than there are slots: each must come back
        assert_ok(utter_speak(engine, &request, &s));
        assert_ok(utter_read(s, samples, 256, &n));
        assert_int_equal(n, 256);
        if (i % 2) {
            utter_cancel(s);
            status result = UTTER_OK;
            for (int k = 0; result == UTTER_OK && k < 10000; k++) result = utter_read(s, samples, 256, &n);
            assert_int_equal(result, UTTER_CANCELLED);
        }
        utter_stream_close(s);
    }
    utter_stream_close(NULL);
}

static void test_voices(void **state) {
    (void)state;
    utter_voice v;
    assert_int_equal(utter_voice_count(engine), 2);
    assert_ok(utter_voice_get(engine, 0, &v));
    assert_string_equal(v.name, "slt");
    assert_string_equal(v.language, "en-us");
    assert_ok(utter_voice_get(engine, 1, &v));
    assert_string_equal(v.name, "sam");
    assert_int_equal(utter_voice_get(engine, 2, &v), UTTER_INVALID);
    assert_int_equal(utter_voice_get(engine, -1, &v), UTTER_INVALID);
    assert_int_equal(utter_voice_load(engine, "/no/such/voice.json"), UTTER_IO);
}

static void test_options_that_cannot_be(void **state) {
    (void)state;
    utter *u;
    utter_options options = utter_options_default();
    options.n_streams = -1;
    assert_int_equal(utter_open(&options, &u), UTTER_INVALID);
    assert_null(u);
    options = utter_options_default();
    options.device = "toaster";
    assert_int_equal(utter_open(&options, &u), UTTER_INVALID);
    assert_non_null(strstr(utter_error_message(), "toaster"));
    options = utter_options_default();
    options.kernels = "abacus";
    assert_int_not_equal(utter_open(&options, &u), UTTER_OK);
    assert_non_null(strstr(utter_error_message(), "abacus"));
    utter_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_comes_out),
        cmocka_unit_test(test_block_size_does_not_matter),
        cmocka_unit_test(test_two_threads_at_once_give_what_each_gives_alone),
        cmocka_unit_test(test_cancel_and_close_early),
        cmocka_unit_test(test_voices),
        cmocka_unit_test(test_options_that_cannot_be),
    };
    return cmocka_run_group_tests_name("api", tests, setup, teardown);
}
