/* utter serve as clients ask it: speech in every form, lists, errors, files. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run.h"
#include "serve.h"

static struct served shared;  // one that most tests ask

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    char path[300];
    snprintf(path, sizeof path, "%s/out", run_folder());
    if (mkdir(path, 0755) != 0) return 1;
    shared = serve_start("--output-folder out --log json");
    return 0;
}

static int tear_down(void **state) {
    if (shared.pid) assert_int_equal(serve_end(&shared, SIGTERM), 0);
    return run_cleanup(state);
}

static json_t *object(const struct answer *a) {
    json_error_t error;
    json_t *o = json_loads(a->body, 0, &error);
    if (!o) fail_msg("no JSON: %s", a->body);
    return o;
}

static struct answer speak(const char *format, ...) {
    char body[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(body, sizeof body, format, arguments);
    va_end(arguments);
    struct answer a = serve_post(&shared, SPEECH, body);
    if (a.status != 200 || !a.whole)
        fail_msg("%s: %d%s %s", body, a.status, a.whole ? "" : ", cut off", a.status == 200 ? "" : a.body);
    return a;
}

// ---- speech ----

static double seconds_of(const struct answer *a) {
    char path[300];
    snprintf(path, sizeof path, "%s/answer", run_folder());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(a->body, 1, a->n, f);
    fclose(f);
    SF_INFO info = {0};
    SNDFILE *sound = sf_open(path, SFM_READ, &info);
    if (!sound) fail_msg("not a sound: %s", sf_strerror(NULL));
    float block[4096];
    sf_count_t n = 0, got;
    while ((got = sf_read_float(sound, block, 4096)) > 0) n += got;
    sf_close(sound);
    return (double)n / info.samplerate;
}

static void test_every_format_is_spoken(void **state) {
    (void)state;
    struct answer pcm = speak("{\"input\": \"" SENTENCE
                              "\", \"voice\": \"alloy\", \"model\": \"tts-1\", \"response_format\": \"pcm\"}");
    double seconds = (double)pcm.n / 2 / 24000;
    assert_true(seconds > 1.5 && seconds < 8);
    static const struct {
        const char *name, *mime;
    } formats[] = {{"mp3", "audio/mpeg"}, {"opus", "audio/"}, {"flac", "audio/flac"}, {"wav", "audio/wav"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct answer a =
            speak("{\"input\": \"" SENTENCE "\", \"voice\": \"alloy\", \"response_format\": \"%s\"}", formats[i].name);
        assert_non_null(strstr(answer_header(&a, "Content-Type"), formats[i].mime));
        assert_string_equal(answer_header(&a, "Transfer-Encoding"), "chunked");
        double took = seconds_of(&a);
        if (fabs(took - seconds) > 0.15) fail_msg("%s: %.2f s, and %.2f s as pcm", formats[i].name, took, seconds);
        answer_free(&a);
    }
    struct answer a = speak("{\"input\": \"" SENTENCE "\"}");  // neither model nor voice nor format
    assert_string_equal(answer_header(&a, "Content-Type"), "audio/mpeg");
    answer_free(&a);
    answer_free(&pcm);
}

static void test_voices_seeds_and_names_choose_the_sound(void **state) {
    (void)state;
    struct answer a = speak("{\"input\": \"Hello.\", \"voice\": \"slt\", \"response_format\": \"pcm\", \"seed\": 7}");
    struct answer same =
        speak("{\"input\": \"Hello.\", \"voice\": {\"id\": \"slt\"}, \"response_format\": \"pcm\", \"seed\": 7}");
    struct answer alias =
        speak("{\"input\": \"Hello.\", \"voice\": \"nova\", \"response_format\": \"pcm\", \"seed\": 7}");
    struct answer other =
        speak("{\"input\": \"Hello.\", \"voice\": \"onyx\", \"response_format\": \"pcm\", \"seed\": 7}");
    assert_int_equal(a.n, same.n);
    assert_memory_equal(a.body, same.body, a.n);
    assert_int_equal(a.n, alias.n);
    assert_memory_equal(a.body, alias.body, a.n);
    assert_true(other.n != a.n || memcmp(other.body, a.body, a.n) != 0);
    answer_free(&a);
    answer_free(&same);
    answer_free(&alias);
    answer_free(&other);
}

static void test_speed_changes_the_length(void **state) {
    (void)state;
    struct answer plain = speak("{\"input\": \"" SENTENCE "\", \"response_format\": \"pcm\", \"seed\": 3}");
    struct answer fast =
        speak("{\"input\": \"" SENTENCE "\", \"response_format\": \"pcm\", \"seed\": 3, \"speed\": 2}");
    struct answer slow =
        speak("{\"input\": \"" SENTENCE "\", \"response_format\": \"pcm\", \"seed\": 3, \"speed\": 0.5}");
    assert_true(fabs((double)plain.n / (double)fast.n - 2) < 0.1);
    assert_true(fabs((double)slow.n / (double)plain.n - 2) < 0.1);
    answer_free(&plain);
    answer_free(&fast);
    answer_free(&slow);
}

static size_t from_base64(const char *text, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, bits = 0;
    unsigned v = 0;
    for (; *text && *text != '='; text++) {
        v = v << 6 | (unsigned)(strchr(digits, *text) - digits);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        out[n++] = (char)(v >> bits);
    }
    return n;
}

static void test_events_carry_the_same_sound_and_its_sentences(void **state) {
    (void)state;
    struct answer plain = speak("{\"input\": \"One here. And two there.\", \"response_format\": \"pcm\", \"seed\": 5}");
    struct answer a = speak(
        "{\"input\": \"One here. And two there.\", \"response_format\": \"pcm\", \"seed\": 5, \"stream_format\": "
        "\"sse\", \"timestamps\": true}");
    assert_string_equal(answer_header(&a, "Content-Type"), "text/event-stream");
    char *sound = calloc(1, a.n);
    assert_non_null(sound);
    size_t n = 0;
    int n_sentences = 0;
    double end = 0;
    bool done = false;
    char *rest;
    for (char *line = strtok_r(a.body, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        assert_false(done);
        assert_int_equal(strncmp(line, "data: ", 6), 0);
        json_t *o = json_loads(line + 6, 0, NULL);
        const char *type = json_string_value(json_object_get(o, "type"));
        if (strcmp(type, "speech.audio.delta") == 0)
            n += from_base64(json_string_value(json_object_get(o, "audio")), sound + n);
        else if (strcmp(type, "speech.audio.sentence") == 0) {
            assert_int_equal(json_integer_value(json_object_get(o, "index")), n_sentences++);
            double begin = json_number_value(json_object_get(o, "start"));
            assert_true(begin >= end);
            end = json_number_value(json_object_get(o, "end"));
            assert_true(end > begin);
            assert_true(end <= (double)n / 48000 + 1e-3);
        } else {
            assert_string_equal(type, "speech.audio.done");
            const json_t *usage = json_object_get(o, "usage");
            assert_int_equal(json_integer_value(json_object_get(usage, "input_tokens")), 24);
            assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")),
                             24 + json_integer_value(json_object_get(usage, "output_tokens")));
            done = true;
        }
        json_decref(o);
    }
    assert_true(done);
    assert_true(n_sentences >= 1);
    assert_int_equal(n, plain.n);
    assert_memory_equal(sound, plain.body, n);
    free(sound);
    answer_free(&a);
    answer_free(&plain);
}

static void test_sound_begins_before_it_ends(void **state) {
    (void)state;
    char text[2000] = "";
    for (int i = 0; i < 12; i++) strcat(text, SENTENCE " ");
    double begun = seconds_now();
    struct answer a = speak("{\"input\": \"%s\", \"response_format\": \"wav\"}", text);
    double took = seconds_now() - begun;
    if (a.first_s > took / 2) fail_msg("the first sound after %.2f s of %.2f s", a.first_s, took);
    assert_int_equal(memcmp(a.body, "RIFF", 4), 0);
    answer_free(&a);
}

// ---- lists and state ----

static void test_lists(void **state) {
    (void)state;
    struct answer a = serve_get(&shared, "/v1/models");
    assert_int_equal(a.status, 200);
    json_t *o = object(&a);
    bool found = false;
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(o, "data"), i, m) found |=
        strcmp(json_string_value(json_object_get(m, "id")), "tts-1") == 0;
    assert_true(found);
    json_decref(o);
    answer_free(&a);
    a = serve_get(&shared, "/v1/models/tts-1");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = serve_get(&shared, "/v1/audio/models");  // as chat front ends look for them
    o = object(&a);
    assert_true(json_array_size(json_object_get(o, "models")) >= 4);
    json_decref(o);
    answer_free(&a);
    a = serve_get(&shared, "/v1/models/none");
    assert_int_equal(a.status, 404);
    answer_free(&a);
    a = serve_get(&shared, "/v1/audio/voices");
    o = object(&a);
    const json_t *voices = json_object_get(o, "voices");
    assert_true(json_array_size(voices) >= 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(voices, 0), "id")), "slt");
    json_decref(o);
    answer_free(&a);
    a = serve_get(&shared, "/v1/audio/voices?legacy=true");
    o = object(&a);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "voices"), 0)), "slt");
    json_decref(o);
    answer_free(&a);
}

static void test_state_and_ids(void **state) {
    (void)state;
    struct answer a = serve_get(&shared, "/health");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = serve_get(&shared, "/ready");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = serve_get(&shared, "/");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(answer_header(&a, "Content-Type"), "text/html"));
    assert_non_null(answer_header(&a, "Content-Security-Policy"));
    answer_free(&a);
    double n = serve_metric(&shared, "utter_requests_total{route=\"health\",status=\"200\"}");
    assert_true(n >= 1);
    assert_true(serve_metric(&shared, "utter_ready") == 1);
    assert_true(serve_metric(&shared, "utter_first_audio_seconds_count") >= 1);
    assert_true(serve_metric(&shared, "utter_tokens_total") > 50);
    assert_true(serve_metric(&shared, "utter_slots_active") == 0);

    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    char headers[200];
    snprintf(headers, sizeof headers, "X-Request-Id: my-own.id_1\r\ntraceparent: %s\r\n", trace);
    a = serve_ask(&shared, "GET", "/health", headers, NULL, 0);
    assert_string_equal(answer_header(&a, "X-Request-Id"), "my-own.id_1");
    assert_string_equal(answer_header(&a, "traceparent"), trace);
    answer_free(&a);
    a = serve_ask(&shared, "GET", "/health", "X-Request-Id: <script>\r\ntraceparent: 00-zz\r\n", NULL, 0);
    assert_string_not_equal(answer_header(&a, "X-Request-Id"), "<script>");
    assert_null(answer_header(&a, "traceparent"));
    answer_free(&a);
    assert_true(serve_said(&shared, "\"id\":\"my-own.id_1\""));
    assert_true(serve_said(&shared, trace));
}

static void test_methods_and_paths(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
    } tries[] = {{"GET", "/nowhere", 404},
                 {"GET", SPEECH, 405},
                 {"DELETE", "/health", 405},
                 {"HEAD", "/health", 200},
                 {"OPTIONS", SPEECH, 204},
                 {"GET", "/../etc/passwd", 404},
                 {"GET", "/%2e%2e/", 404},
                 {"GET", "//health", 404},
                 {"POST", "/v1/models", 405},
                 {"BREW", "/", 405},
                 {"GET", "/v1/audio/voices/../../health", 404}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct answer a = serve_ask(&shared, tries[i].method, tries[i].path, "", NULL, 0);
        if (a.status != tries[i].status) fail_msg("%s %s: %d", tries[i].method, tries[i].path, a.status);
        if (a.status == 405) assert_non_null(strstr(a.body, "method_not_allowed"));
        answer_free(&a);
    }
}

// ---- what is wrong ----

static void test_wrong_requests_are_told_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *words;
    } tries[] = {
        {"", 400, "not JSON"},
        {"hello", 400, "not JSON"},
        {"{\"input\": \"Hello.\"", 400, "not JSON"},
        {"[1, 2]", 400, "no object"},
        {"{}", 400, "\\\"input\\\" is missing"},
        {"{\"input\": null}", 400, "missing"},
        {"{\"input\": 7}", 400, "whole number"},
        {"{\"input\": [\"Hello.\"]}", 400, "a list"},
        {"{\"input\": \"\"}", 400, "empty"},
        {"{\"input\": \"***\"}", 400, "no letters"},
        {"{\"input\": \"Hello.\\u0000\"}", 400, "not JSON"},
        {"{\"input\": \"Hello \xff\xfe.\"}", 400, "not JSON"},
        {"{\"input\": \"Hello.\", \"voice\": \"slr\"}", 400, "did you mean"},
        {"{\"input\": \"Hello.\", \"voice\": \"nobody at all\"}", 400, "slt, sam"},
        {"{\"input\": \"Hello.\", \"voice\": 3}", 400, "voice"},
        {"{\"input\": \"Hello.\", \"voice\": {\"name\": \"slt\"}}", 400, "id"},
        {"{\"input\": \"Hello.\", \"model\": \"gpt-4\"}", 404, "model_not_found"},
        {"{\"input\": \"Hello.\", \"model\": 4}", 400, "model"},
        {"{\"input\": \"Hello.\", \"response_format\": \"midi\"}", 400, "flac"},
        {"{\"input\": \"Hello.\", \"response_format\": 1}", 400, "response_format"},
        {"{\"input\": \"Hello.\", \"stream_format\": \"ws\"}", 400, "sse"},
        {"{\"input\": \"Hello.\", \"speed\": 0.1}", 400, "speed"},
        {"{\"input\": \"Hello.\", \"speed\": 4.1}", 400, "speed"},
        {"{\"input\": \"Hello.\", \"speed\": NaN}", 400, "not JSON"},
        {"{\"input\": \"Hello.\", \"speed\": 1e999}", 400, "not JSON"},
        {"{\"input\": \"Hello.\", \"speed\": \"fast\"}", 400, "speed"},
        {"{\"input\": \"Hello.\", \"timestamps\": 1}", 400, "timestamps"},
        {"{\"input\": \"Hello.\", \"timestamps\": true}", 400, "sse"},
        {"{\"input\": \"Hello.\", \"language\": \"xx-nowhere\"}", 400, "xx-nowhere"},
        {"{\"input\": \"Hello.\", \"seed\": -1}", 400, "seed"},
        {"{\"input\": \"Hello.\", \"seed\": 1.5}", 400, "seed"},
        {"{\"input\": \"Hello.\", \"instructions\": 5}", 400, "instructions"},
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct answer a = serve_post(&shared, SPEECH, tries[i].body);
        if (a.status != tries[i].status || !strstr(a.body, tries[i].words))
            fail_msg("%s: %d %s", tries[i].body, a.status, a.body);
        json_t *o = object(&a), *error = json_object_get(o, "error");
        assert_non_null(json_string_value(json_object_get(error, "message")));
        assert_non_null(json_string_value(json_object_get(error, "type")));
        assert_non_null(json_object_get(error, "param"));
        assert_non_null(json_object_get(error, "code"));
        json_decref(o);
        answer_free(&a);
    }
    char *longest = malloc(6000);
    assert_non_null(longest);
    memset(longest, 'a', 6000);
    memcpy(longest, "{\"input\": \"", 11);
    strcpy(longest + 11 + 4097, "\"}");
    struct answer a = serve_post(&shared, SPEECH, longest);
    assert_int_equal(a.status, 400);
    assert_non_null(strstr(a.body, "4097 characters; at most 4096"));
    answer_free(&a);
    free(longest);
}

// ---- the first server's way ----

static void assert_outside_is_untouched(void) {
    const struct result *r =
        run("find . -newer out -not -path \"./out*\" -type f -name \"*.wav\" | head; ls /tmp/evil.wav /evil.wav "
            "2>/dev/null");
    assert_string_equal(r->out, "");
}

static void test_files_are_written_in_the_folder_alone(void **state) {
    (void)state;
    struct answer a = serve_post(&shared, "/", "{\"text\": \"Hello.\", \"voice\": \"sam\", \"output\": \"hello.wav\"}");
    if (a.status != 200) fail_msg("%s", a.body);
    json_t *o = object(&a);
    assert_string_equal(json_string_value(json_object_get(o, "status")), "ok");
    assert_string_equal(json_string_value(json_object_get(o, "output")), "hello.wav");
    json_decref(o);
    answer_free(&a);
    assert_true(file_size("out/hello.wav") > 10000);
    a = serve_post(&shared, "/", "{\"text\": \"Hello.\", \"output\": \"hello.mp3\"}");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_true(file_size("out/hello.mp3") > 1000);
    run("mkdir -p away && ln -sfn ../away out/door && ln -sfn ../away/x.wav out/link.wav && touch out");
    static const char *const names[] = {
        "../evil.wav",      "/tmp/evil.wav", "door/evil.wav",       "link.wav", "sub/../../evil.wav",
        "nul.wav",          "CON",           "a\\\\..\\\\evil.wav", "",         ".",
        "missing/evil.wav", "hello.exe",     "line\\nbreak.wav"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char body[300];
        snprintf(body, sizeof body, "{\"text\": \"Hello.\", \"output\": \"%s\"}", names[i]);
        a = serve_post(&shared, "/", body);
        if (a.status != 400 || !strstr(a.body, "\"status\":\"error\""))
            fail_msg("%s: %d %s", names[i], a.status, a.body);
        answer_free(&a);
    }
    assert_outside_is_untouched();
    a = serve_post(&shared, "/", "{\"text\": \"Hello.\"}");
    assert_int_equal(a.status, 400);
    answer_free(&a);
    a = serve_post(&shared, "/", "{\"text\": \"Hello.\", \"output\": \"x.wav\", \"play\": true}");
    assert_int_equal(a.status, 400);
    assert_non_null(strstr(a.body, "--play"));
    answer_free(&a);
    const struct result *r = run("ls -A out | grep -c utter");
    assert_string_equal(r->out, "0\n");
}

// A card that is not there, or is busy, is not waited for: the answer is out at once, and the next request served.
static void test_playing_blocks_nobody(void **state) {
    (void)state;
    struct served s = serve_start("--play --output-folder out");
    for (int i = 0; i < 12; i++) {
        struct answer a = serve_post(&s, "/", "{\"text\": \"Hello.\"}");
        if (a.status != 200) fail_msg("%s", a.body);
        answer_free(&a);
    }
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format_is_spoken),
        cmocka_unit_test(test_voices_seeds_and_names_choose_the_sound),
        cmocka_unit_test(test_speed_changes_the_length),
        cmocka_unit_test(test_events_carry_the_same_sound_and_its_sentences),
        cmocka_unit_test(test_sound_begins_before_it_ends),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_state_and_ids),
        cmocka_unit_test(test_methods_and_paths),
        cmocka_unit_test(test_wrong_requests_are_told_what_is_wrong),
        cmocka_unit_test(test_files_are_written_in_the_folder_alone),
        cmocka_unit_test(test_playing_blocks_nobody),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
