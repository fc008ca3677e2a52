/* The whole pipe against the official Python pipeline, by way of the public interface: the same text, voice and
   networks, greedy, give the same samples; at once and streaming. Two models: phonemes on qwen2, text with an emotion
   on llama. tests/fixtures/e2e holds what the official code gave. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/npy.h"
#include "fixtures/folder.h"
#include "utter.h"
#include "fixtures/xz/unxz.h"

static char codec_path[FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    if (fixture_path("codec.gguf", codec_path) != UTTER_OK) return 1;
    return fixture_unxz("e2e/codec.gguf.xz", codec_path) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static json_t *stored_json(const char *name) {
    char path[FIXTURE_PATH];
    assert_ok(fixture_stored(name, path));
    json_t *object = json_load_file(path, 0, NULL);
    if (!object) fail_msg("%s cannot be read", path);
    return object;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

// The case's voice as a voice file of utter's: "voice-dawn.pt" has the codes "dawn" of voices.json.
static void write_voice(const json_t *e, const char *path) {
    char name[32] = "";
    sscanf(text_of(e, "voice"), "voice-%31[a-z]", name);
    json_t *codes = stored_json("e2e/voices.json");
    json_t *voice =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:O}", "format", "utter-voice", "version", 1, "name", name, "language",
                  "en-us", "text", text_of(e, "voice_text"), "codes", json_object_get(codes, name));
    assert_non_null(voice);
    assert_int_equal(json_dump_file(voice, path, 0), 0);
    json_decref(voice);
    json_decref(codes);
}

static utter *open_case(const json_t *e) {
    char name[64], stored[96], model[FIXTURE_PATH], voice[FIXTURE_PATH];
    snprintf(name, sizeof name, "%s", text_of(e, "backbone"));
    snprintf(stored, sizeof stored, "e2e/%s.xz", name);
    assert_ok(fixture_path(name, model));
    assert_ok(fixture_unxz(stored, model));
    utter_options options = utter_options_default();
    options.model = model;
    options.codec = codec_path;
    utter *u;
    assert_ok(utter_open(&options, &u));
    assert_ok(fixture_path("voice.json", voice));
    write_voice(e, voice);
    assert_ok(utter_voice_load(u, voice));
    return u;
}

// Everything the stream gives, [*n]; to be freed.
static float *speak(utter *u, const json_t *e, bool streaming, int64_t *n, utter_report *report) {
    utter_request request = utter_request_default();
    request.text = text_of(e, "text");
    request.emotion = json_string_value(json_object_get(e, "emotion"));
    request.raw = true;
    request.streaming = streaming;
    request.temperature = 0;
    utter_stream *s;
    assert_ok(utter_speak(u, &request, &s));
    float *pcm = NULL;
    size_t got = 1;
    *n = 0;
    while (got > 0) {
        pcm = realloc(pcm, ((size_t)*n + 4096) * sizeof *pcm);
        assert_non_null(pcm);
        assert_ok(utter_read(s, pcm + *n, 4096, &got));
        *n += (int64_t)got;
    }
    utter_stream_report(s, report);
    utter_stream_close(s);
    return pcm;
}

// Largest difference of pcm[n] from the stored file `part` of the case.
static double difference(const char *name, const char *part, const float *pcm, int64_t from, int64_t n) {
    char stored[128], path[FIXTURE_PATH];
    snprintf(stored, sizeof stored, "e2e/%s/%s", name, part);
    assert_ok(fixture_stored(stored, path));
    struct npy wanted;
    assert_ok(npy_read(path, &wanted));
    assert_true(wanted.n >= n - from);
    double most = 0;
    for (int64_t i = from; i < n; i++) {
        const double off = fabs((double)pcm[i] - ((float *)wanted.data)[i - from]);
        assert_true(isfinite(off));
        if (off > most) most = off;
    }
    npy_free(&wanted);
    return most;
}

static void check_case(const char *name) {
    char stored[96];
    snprintf(stored, sizeof stored, "e2e/%s.json", name);
    json_t *e = stored_json(stored);
    const json_t *consistent = json_object_get(e, "stream_consistent");
    int64_t n_codes = (int64_t)json_integer_value(json_object_get(e, "n_codes"));
    int64_t tail = (int64_t)json_integer_value(json_object_get(consistent, "starts_at_sample"));
    utter *u = open_case(e);
    utter_report report;
    int64_t n;

    float *pcm = speak(u, e, false, &n, &report);
    assert_int_equal(report.n_codes, n_codes);
    assert_int_equal(n, n_codes * 480);
    double whole = difference(name, "infer.npy", pcm, 0, n);
    free(pcm);

    pcm = speak(u, e, true, &n, &report);
    assert_int_equal(n, n_codes * 480);
    double head = difference(name, "stream.npy", pcm, 0, tail),
           end = difference(name, "stream_consistent_tail.npy", pcm, tail, n);
    free(pcm);
    print_message(
        "%s: %lld codes equal; largest difference of samples: %.1e at once, %.1e streaming, %.1e in its last piece\n",
        name, (long long)n_codes, whole, head, end);
    assert_true(whole < 1e-4 && head < 1e-4 && end < 1e-4);
    utter_close(u);
    json_decref(e);
}

static void test_phonemes_on_qwen2(void **state) {
    (void)state;
    check_case("p5-two-sentences");
}

static void test_text_with_an_emotion_on_llama(void **state) {
    (void)state;
    check_case("b2-punctuation-happy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phonemes_on_qwen2),
        cmocka_unit_test(test_text_with_an_emotion_on_llama),
    };
    return cmocka_run_group_tests_name("pipeline", tests, setup, teardown);
}
