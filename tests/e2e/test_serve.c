/* utter serve as clients ask it: speech in every form, lists, errors, keys, files, stopping. */
#include "test.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"
#include "serve.h"

#define SENTENCE "This is a sentence that takes a while to say."
#define SPEECH "/v1/audio/speech"

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

// ---- who may ask ----

static void test_keys_let_in_and_keep_out(void **state) {
    (void)state;
    const struct result *r =
        run("utter serve --new-key anna >keys && utter serve --new-key shop >line && sed \"s/\\$/ rate=60 at-once=1/\" "
            "line >>keys");
    assert_int_equal(r->code, 0);
    char *anna = strstr(r->err, "sk-utter-");
    assert_non_null(anna);
    char *shop = strstr(anna + 10, "sk-utter-");
    assert_non_null(shop);
    char as_anna[200], as_shop[200];
    snprintf(as_anna, sizeof as_anna, "Authorization: Bearer %.73s\r\n", anna);
    snprintf(as_shop, sizeof as_shop, "Authorization: bearer %.73s\r\n", shop);
    struct served s = serve_start("--keys keys --host 127.0.0.1");
    static const char *const wrong[] = {"", "Authorization: Bearer sk-utter-00\r\n", "Authorization: Bearer \r\n",
                                        "Authorization: Basic YTpi\r\n", "Authorization: Bearer\r\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct answer a = serve_ask(&s, "POST", SPEECH, wrong[i], "{\"input\": \"Hello.\"}", 19);
        assert_int_equal(a.status, 401);
        assert_non_null(strstr(a.body, "invalid_api_key"));
        assert_non_null(answer_header(&a, "WWW-Authenticate"));
        answer_free(&a);
        a = serve_ask(&s, "GET", "/metrics", wrong[i], NULL, 0);
        assert_int_equal(a.status, 401);
        answer_free(&a);
    }
    struct answer a = serve_ask(&s, "POST", SPEECH, as_anna, "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = serve_get(&s, "/health");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    int n_refused = 0;  // a minute has 60, of which 10 may come at once
    for (int i = 0; i < 40; i++) {
        a = serve_ask(&s, "GET", "/v1/models", as_shop, NULL, 0);
        if (a.status == 429) {
            n_refused++;
            assert_non_null(answer_header(&a, "Retry-After"));
            assert_non_null(strstr(a.body, "rate_limit"));
        } else
            assert_int_equal(a.status, 200);
        answer_free(&a);
    }
    assert_true(n_refused >= 5);
    a = serve_ask(&s, "GET", "/v1/models", as_anna, NULL, 0);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    // read anew: who is no longer in the file is kept out
    run("grep -v anna keys >fewer && mv fewer keys");
    kill(s.pid, SIGHUP);
    for (double until = seconds_now() + 30; !serve_said(&s, "keys were read anew") && seconds_now() < until;)
        usleep(10000);
    a = serve_ask(&s, "GET", "/v1/models", as_anna, NULL, 0);
    assert_int_equal(a.status, 401);
    answer_free(&a);
    for (double until = seconds_now() + 30; !serve_said(&s, "voices were read anew") && seconds_now() < until;)
        usleep(10000);
    assert_true(serve_said(&s, "voices were read anew"));
    // a damaged file leaves all as it was
    run("echo nonsense >keys");
    kill(s.pid, SIGHUP);
    for (double until = seconds_now() + 30; !serve_said(&s, "stay as they were") && seconds_now() < until;)
        usleep(10000);
    usleep(1200000);  // so that the rate allows one more
    a = serve_ask(&s, "GET", "/v1/models", as_shop, NULL, 0);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void test_other_machines_need_keys(void **state) {
    (void)state;
    struct served s = serve_launch("--host 0.0.0.0");
    assert_int_equal(serve_end(&s, 0), 1);
    assert_true(serve_said(&s, "--allow-anyone"));
    s = serve_start("--host 0.0.0.0 --allow-anyone");
    struct answer a = serve_get(&s, "/v1/models");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGINT), 0);
}

static void test_pages_of_others_may_not_ask(void **state) {
    (void)state;
    char own[100];
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", shared.port);
    struct answer a =
        serve_ask(&shared, "POST", SPEECH, "Origin: https://evil.example\r\n", "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 403);
    assert_null(answer_header(&a, "Access-Control-Allow-Origin"));
    answer_free(&a);
    a = serve_ask(&shared, "POST", "/", "Origin: null\r\n", "{\"text\": \"Hello.\", \"output\": \"x.wav\"}", 38);
    assert_int_equal(a.status, 403);
    answer_free(&a);
    a = serve_ask(&shared, "POST", SPEECH, own, "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    // a name that somebody made point here
    int fd = serve_connect(&shared);
    static const char rebound[] = "POST " SPEECH
                                  " HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: "
                                  "close\r\nContent-Length: 19\r\n\r\n{\"input\": \"Hello.\"}";
    serve_send(fd, rebound, sizeof rebound - 1);
    a = serve_receive(fd);
    close(fd);
    assert_int_equal(a.status, 403);
    answer_free(&a);
    struct served s = serve_start("--cors https://app.example");
    a = serve_ask(&s, "POST", SPEECH, "Origin: https://app.example\r\n", "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Access-Control-Allow-Origin"), "https://app.example");
    answer_free(&a);
    a = serve_ask(&s, "OPTIONS", SPEECH, "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", NULL,
                  0);
    assert_int_equal(a.status, 204);
    assert_non_null(answer_header(&a, "Access-Control-Allow-Headers"));
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void assert_status(const struct served *s, const char *body, int wanted) {
    struct answer a = serve_post(s, SPEECH, body);
    if (a.status != wanted) fail_msg("%s: %d %s", body, a.status, a.status == 200 ? "" : a.body);
    answer_free(&a);
}

static void test_names_and_limits_of_a_file(void **state) {
    (void)state;
    run("echo \"{ \\\"models\\\": [\\\"mine\\\"], \\\"voices\\\": {\\\"crier\\\": \\\"sam\\\", \\\"broken\\\": "
        "\\\"nobody\\\"}, "
        "\\\"limits\\\": {\\\"characters\\\": 20}}\" >config.json");
    struct served s = serve_start("--config config.json");
    assert_status(&s, "{\"input\": \"Hello.\", \"model\": \"mine\", \"voice\": \"crier\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"model\": \"tts-1\", \"voice\": \"alloy\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"broken\"}", 400);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"herald\"}", 400);
    assert_status(&s, "{\"input\": \"This has more than twenty.\"}", 400);
    run("sed -i s/crier/herald/ config.json");
    kill(s.pid, SIGHUP);
    for (double until = seconds_now() + 30; !serve_said(&s, "voices were read anew") && seconds_now() < until;)
        usleep(10000);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"herald\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"crier\"}", 400);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

// ---- where it listens ----

static void test_unix_socket_by_curl(void **state) {
    (void)state;
    if (run("command -v curl")->code != 0) {
        print_message("skipped: curl is not there\n");
        skip();
    }
    struct served s = serve_start("--unix utter.sock --no-tcp");
    const struct result *r = run(
        "curl -s --unix-socket utter.sock http://utter" SPEECH
        " -d '{\"input\": \"Hello.\", \"response_format\": \"wav\"}' -o c.wav -w \"%%{http_code}\" && head -c 4 c.wav");
    assert_string_equal(r->out, "200RIFF");
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    assert_int_equal(file_size("utter.sock"), -1);
}

static void test_tls_by_curl(void **state) {
    (void)state;
    if (run("command -v curl && command -v openssl")->code != 0) {
        print_message("skipped: curl or openssl is not there\n");
        skip();
    }
    const struct result *r =
        run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
            "-addext subjectAltName=IP:127.0.0.1");
    assert_int_equal(r->code, 0);
    struct served s = serve_start("--tls-cert cert.pem --tls-key key.pem");
    r = run(
        "curl -s --cacert cert.pem https://127.0.0.1:%d" SPEECH
        " -d '{\"input\": \"Hello.\", \"response_format\": \"wav\"}' -o t.wav -w \"%%{http_code}\" && head -c 4 t.wav",
        s.port);
    assert_string_equal(r->out, "200RIFF");
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    s = serve_launch("--tls-cert cert.pem");
    assert_int_equal(serve_end(&s, 0), 1);
    s = serve_launch("--tls-cert key.pem --tls-key cert.pem");
    assert_int_equal(serve_end(&s, 0), 1);
    assert_true(serve_said(&s, "PEM"));
}

// As systemd does it: the socket is file descriptor 3, and it is told when the server is ready.
static void test_socket_activation(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), told = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    socklen_t len = sizeof a;
    snprintf(u.sun_path, sizeof u.sun_path, "%s/notify", run_folder());
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(bind(told, (struct sockaddr *)&u, sizeof u), 0);
    struct timeval patience = {.tv_sec = 60};
    setsockopt(told, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct served s = {.port = ntohs(a.sin_port)};
    snprintf(s.log, sizeof s.log, "%s/activated.log", run_folder());
    s.pid = fork();
    if (s.pid == 0) {
        char pid[32], path[300];
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("NOTIFY_SOCKET", u.sun_path, 1);
        snprintf(path, sizeof path, "%s/.bin/utter", run_folder());
        if (!freopen(s.log, "w", stderr) || dup2(listener, 3) != 3 || fcntl(3, F_SETFD, 0) != 0) _exit(126);
        execl(path, "utter", "serve", "--host", "192.0.2.1", (char *)NULL);
        _exit(127);
    }
    close(listener);
    char message[64] = "";
    assert_true(recv(told, message, sizeof message - 1, 0) > 0);
    assert_string_equal(message, "READY=1");
    struct answer answer = serve_post(&s, SPEECH, "{\"input\": \"Hello.\"}");
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    memset(message, 0, sizeof message);
    assert_true(recv(told, message, sizeof message - 1, 0) > 0);
    assert_string_equal(message, "STOPPING=1");
    close(told);
}

// ---- stopping ----

static int ask_for_much(const struct served *s, const char *format) {
    char body[4300] = "{\"input\": \"", head[200], tail[100];
    for (int i = 0; i < 40; i++) strcat(body, SENTENCE " ");
    snprintf(tail, sizeof tail, "\", \"response_format\": \"%s\"}", format);
    strcat(body, tail);
    int fd = serve_connect(s);
    assert_true(fd >= 0);
    int n =
        snprintf(head, sizeof head, "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    serve_send(fd, head, (size_t)n);
    serve_send(fd, body, strlen(body));
    return fd;
}

static void test_what_is_spoken_may_end(void **state) {
    (void)state;
    struct served s = serve_start("--drain 600");
    int fd = ask_for_much(&s, "mp3");
    char first;
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    kill(s.pid, SIGTERM);
    while (!serve_said(&s, "stopping")) usleep(1000);
    assert_int_equal(serve_connect(&s), -1);
    struct answer a = serve_receive(fd);
    assert_int_equal(a.status, 200);
    assert_true(a.whole);
    assert_true(a.n > 100000);
    close(fd);
    answer_free(&a);
    assert_int_equal(serve_end(&s, 0), 0);
}

static void test_stopping_has_an_end(void **state) {
    (void)state;
    struct served s = serve_start("--drain 0");
    int fd = ask_for_much(&s, "wav");
    char first;
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    struct answer a = serve_receive(fd);
    assert_false(a.whole);
    close(fd);
    answer_free(&a);
    s = serve_start("--drain 3600");  // a second signal does the same
    fd = ask_for_much(&s, "wav");
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    kill(s.pid, SIGINT);
    while (!serve_said(&s, "stopping")) usleep(1000);
    assert_int_equal(serve_end(&s, SIGINT), 0);
    close(fd);
}

static void test_wrong_options_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *options;
        int code;
        const char *words;
    } tries[] = {{"--no-tcp", 2, "--unix"},
                 {"--log loud", 2, "json"},
                 {"extra", 2, "one too many"},
                 {"--places 0", 2, "--places"},
                 {"--config nowhere.json", 1, "nowhere.json"},
                 {"--keys nowhere", 1, "nowhere"},
                 {"--output-folder nowhere", 1, "nowhere"},
                 {"--encoder nowhere", 1, "nowhere"},
                 {"--model nowhere.gguf", 1, "nowhere.gguf"}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct served s = serve_launch(tries[i].options);
        int code = serve_end(&s, 0);
        if (code != tries[i].code || !serve_said(&s, tries[i].words))
            fail_msg("%s: exit code %d", tries[i].options, code);
    }
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
        cmocka_unit_test(test_keys_let_in_and_keep_out),
        cmocka_unit_test(test_other_machines_need_keys),
        cmocka_unit_test(test_pages_of_others_may_not_ask),
        cmocka_unit_test(test_names_and_limits_of_a_file),
        cmocka_unit_test(test_unix_socket_by_curl),
        cmocka_unit_test(test_tls_by_curl),
        cmocka_unit_test(test_socket_activation),
        cmocka_unit_test(test_what_is_spoken_may_end),
        cmocka_unit_test(test_stopping_has_an_end),
        cmocka_unit_test(test_wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
