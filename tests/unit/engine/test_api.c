/* include/utter.h with the built-in model: what a program that embeds utter relies on. */
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/stream.h"
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
    bool rests;    // after each block
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
        if (s->rests) stream_rest(stream);
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

static void test_more_streams_than_places_give_what_each_gives_alone(void **state) {
    (void)state;
    enum { N = 9 };
    utter *roomy = engine;
    utter_options options = utter_options_default();
    options.model = "built-in";
    options.n_streams = 2;
    assert_ok(utter_open(&options, &engine));
    struct speech alone[3] = {
        {.text = "Good morning. It is late.\n\nShe put the red cup on the table.", .block = 700, .streaming = true},
        {.text = "The old man walked slowly.\n\nGood morning.", .block = 5000},
        {.text = "We went to the beach early in the morning.", .voice = "sam", .block = 333, .streaming = true},
    };
    struct speech together[N];
    for (int i = 0; i < N; i++) together[i] = alone[i % 3];
    for (int i = 0; i < 3; i++) speak(&alone[i]);
    pthread_t threads[N];
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&threads[i], NULL, speak, &together[i]), 0);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(together[i].result, UTTER_OK);
        assert_int_equal(together[i].n, alone[i % 3].n);
        assert_memory_equal(together[i].pcm, alone[i % 3].pcm, together[i].n * sizeof(float));
        free(together[i].pcm);
    }
    for (int i = 0; i < 3; i++) free(alone[i].pcm);
    utter_close(engine);
    engine = roomy;
}

// Wherever a stream gives its place back, it goes on there: in the prompt, in its codes, between two pieces.
static void test_a_stream_that_rests_says_the_same(void **state) {
    (void)state;
    static const char text[] = "Good morning. It is late.\n\nShe put the red cup on the kitchen table.";
    for (int streaming = 0; streaming < 2; streaming++) {
        struct speech on = {.text = text, .streaming = streaming == 1, .block = 5000}, rests = on;
        rests.rests = true;
        speak(&on);
        speak(&rests);
        assert_ok(rests.result);
        assert_int_equal(rests.n, on.n);
        assert_memory_equal(rests.pcm, on.pcm, on.n * sizeof *on.pcm);
        assert_int_equal(rests.report.n_codes, on.report.n_codes);
        free(on.pcm);
        free(rests.pcm);
    }
    utter_request request = utter_request_default();
    request.text = text;
    request.streaming = true;
    utter_stream *s;
    float sample;
    size_t n;
    assert_ok(utter_speak(engine, &request, &s));
    assert_ok(utter_read(s, &sample, 1, &n));
    stream_rest(s);
    utter_state now;
    assert_ok(utter_state_get(engine, &now));
    assert_int_equal(now.n_active + now.n_waiting, 0);
    stream_rest(s);  // there is nothing left to give
    utter_stream_close(s);
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

static void put_voice(const char *folder, const char *name, const char *token) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"%s\", \"token\": \"%s\"}", name, token);
    assert_int_equal(fclose(f), 0);
}

static int voice_index(const utter *u, const char *name) {
    utter_voice v;
    for (int i = 0; utter_voice_get(u, i, &v) == UTTER_OK; i++)
        if (strcmp(v.name, name) == 0) return i;
    return -1;
}

static void test_voices_are_reloaded_under_running_streams(void **state) {
    (void)state;
    char data[] = "/tmp/utter-voices-XXXXXX", folder[200], path[600];
    assert_non_null(mkdtemp(data));
    snprintf(folder, sizeof folder, "%s/utter", data);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(folder, sizeof folder, "%s/utter/voices", data);
    assert_int_equal(mkdir(folder, 0700), 0);
    const char *before = getenv("XDG_DATA_HOME");
    setenv("XDG_DATA_HOME", data, 1);
    utter_options options = utter_options_default();
    options.model = "built-in";
    utter *u;
    put_voice(folder, "anna", "<|VOICE_slt|>");
    put_voice(data, "bert", "<|VOICE_sam|>");
    assert_ok(utter_open(&options, &u));
    snprintf(path, sizeof path, "%s/bert.json", data);
    assert_ok(utter_voice_load(u, path));
    assert_int_equal(utter_voice_count(u), 4);
    utter_voice anna;
    assert_ok(utter_voice_get(u, voice_index(u, "anna"), &anna));

    utter_request request = utter_request_default();
    request.text = "Good morning.";
    request.voice = "anna";
    utter_stream *s;
    assert_ok(utter_speak(u, &request, &s));

    put_voice(folder, "carl", "<|VOICE_sam|>");
    for (int round = 0; round < 3; round++) {  // anna goes, is another, and comes back
        snprintf(path, sizeof path, "%s/anna.json", folder);
        remove(path);
        assert_ok(utter_voices_reload(u));
        assert_int_equal(voice_index(u, "slt"), 0);
        assert_int_equal(voice_index(u, "anna"), -1);
        assert_true(voice_index(u, "bert") >= 0);
        assert_true(voice_index(u, "carl") >= 0);
        put_voice(folder, "anna", "<|VOICE_sam|>");
        assert_ok(utter_voices_reload(u));
        assert_int_equal(utter_voice_count(u), 5);
        put_voice(folder, "anna", "<|VOICE_slt|>");
        assert_ok(utter_voices_reload(u));
        assert_int_equal(utter_voice_count(u), 5);
    }
    utter_voice again;
    assert_ok(utter_voice_get(u, voice_index(u, "anna"), &again));
    assert_ptr_equal(anna.name, again.name);  // what did not change is what it was

    float samples[4096];
    size_t n = 1, total = 0;
    while (n > 0) {
        assert_ok(utter_read(s, samples, 4096, &n));
        total += n;
    }
    assert_true(total > 10000);
    utter_stream_close(s);
    utter_close(u);

    const char *const files[] = {
        "utter/voices/anna.json", "utter/voices/carl.json", "bert.json", "utter/voices", "utter", ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", data, files[i]);
        assert_int_equal(remove(path), 0);
    }
    if (before)
        setenv("XDG_DATA_HOME", before, 1);
    else
        unsetenv("XDG_DATA_HOME");
}

static void test_pieces_of_text_are_known_with_their_samples(void **state) {
    (void)state;
    for (int streaming = 0; streaming < 2; streaming++) {
        utter_request request = utter_request_default();
        request.text = "  Good **morning**,\nfriends.\n\n1 red cup.";
        request.streaming = streaming;
        utter_stream *s;
        assert_ok(utter_speak(engine, &request, &s));
        utter_sentence piece;
        assert_int_equal(utter_stream_sentence(s, 0, &piece), UTTER_INVALID);
        float samples[1000];
        size_t n = 1;
        int64_t total = 0;
        int pieces = 0;
        while (n > 0) {
            assert_ok(utter_read(s, samples, 1000, &n));
            total += (int64_t)n;
            while (utter_stream_sentence(s, pieces, &piece) == UTTER_OK) {
                assert_true(piece.n_samples > 0);
                assert_true(piece.first_sample + piece.n_samples <= total);
                pieces++;
            }
        }
        assert_int_equal(pieces, 2);
        assert_ok(utter_stream_sentence(s, 0, &piece));
        assert_string_equal(piece.text, "Good morning, friends.");
        assert_int_equal(piece.first_sample, 0);
        int64_t end = piece.n_samples;
        assert_ok(utter_stream_sentence(s, 1, &piece));
        assert_string_equal(piece.text, "1 red cup.");
        assert_int_equal(piece.first_sample, end + 12000);  // half a second between paragraphs
        assert_int_equal(piece.first_sample + piece.n_samples, total);
        assert_int_equal(utter_stream_sentence(s, 2, &piece), UTTER_INVALID);
        assert_int_equal(utter_stream_sentence(s, -1, &piece), UTTER_INVALID);
        utter_stream_close(s);
    }
}

struct traced {
    int n;
    int n_text, n_phonemes, n_place, n_prefill;
    int n_codes, n_frames;
};

static void trace(void *user, const utter_span *span) {
    struct traced *t = user;
    t->n++;
    assert_true(span->begin_s >= 0 && span->end_s >= span->begin_s && span->count >= 0);
    if (strcmp(span->stage, "text") == 0) t->n_text++;
    if (strcmp(span->stage, "phonemes") == 0) t->n_phonemes++;
    if (strcmp(span->stage, "place") == 0) t->n_place++;
    if (strcmp(span->stage, "prefill") == 0) t->n_prefill += span->count;
    if (strcmp(span->stage, "decode") == 0) t->n_codes += span->count;
    if (strcmp(span->stage, "codec") == 0) t->n_frames += span->count;
}

static void test_a_trace_tells_where_the_time_goes(void **state) {
    (void)state;
    struct traced t = {0};
    utter_request request = utter_request_default();
    request.text = "Good morning.\n\nThe old man walked slowly.";
    request.trace = trace;
    request.trace_user = &t;
    utter_stream *s;
    assert_ok(utter_speak(engine, &request, &s));
    assert_true(t.n_text >= 1 && t.n_phonemes >= 1);
    float samples[4096];
    size_t n = 1;
    while (n > 0) assert_ok(utter_read(s, samples, 4096, &n));
    utter_report report;
    utter_stream_report(s, &report);
    assert_int_equal(t.n_text, 2);
    assert_int_equal(t.n_place, 2 + report.n_retries);
    assert_int_equal(t.n_codes, report.n_codes + 2 + report.n_retries);  // with the ends
    assert_int_equal((int64_t)t.n_frames * 480, report.n_samples - 12000);
    assert_true(t.n_prefill > 20);
    utter_stream_close(s);
}

static void test_state(void **state) {
    (void)state;
    utter_options options = utter_options_default();
    options.n_streams = 3;
    options.device = "cpu";
    utter *u;
    utter_state now;
    assert_ok(utter_open(&options, &u));
    assert_ok(utter_state_get(u, &now));
    assert_int_equal(now.n_places, 3);
    assert_int_equal(now.n_active, 0);
    assert_int_equal(now.n_waiting, 0);
    assert_int_equal(now.n_tokens, 0);
    assert_false(now.is_gpu || now.gpu_lost);
    assert_non_null(strstr(now.device, "CPU"));
    assert_true(now.device_bytes > 1 << 20);
    utter_request request = utter_request_default();
    request.text = "Good morning.";
    request.streaming = true;
    utter_stream *s;
    float sample;
    size_t n;
    assert_ok(utter_speak(u, &request, &s));
    assert_ok(utter_read(s, &sample, 1, &n));
    assert_ok(utter_state_get(u, &now));
    assert_int_equal(now.n_active, 1);
    assert_true(now.n_tokens > 0);
    utter_stream_close(s);
    assert_ok(utter_state_get(u, &now));
    assert_int_equal(now.n_active, 0);
    utter_close(u);
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
        cmocka_unit_test(test_more_streams_than_places_give_what_each_gives_alone),
        cmocka_unit_test(test_a_stream_that_rests_says_the_same),
        cmocka_unit_test(test_cancel_and_close_early),
        cmocka_unit_test(test_voices),
        cmocka_unit_test(test_voices_are_reloaded_under_running_streams),
        cmocka_unit_test(test_pieces_of_text_are_known_with_their_samples),
        cmocka_unit_test(test_a_trace_tells_where_the_time_goes),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_options_that_cannot_be),
    };
    return cmocka_run_group_tests_name("api", tests, setup, teardown);
}
