/* POST /v1/audio/voices: a recording that a client sends becomes a voice, or a sentence says why not. */
#include "test.h"

#include <signal.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/npy.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/folder.h"
#include "run.h"
#include "serve.h"

static struct served server;

// The small encoder, and a recording; the built-in model's codec is another, which is what the last step refuses.
static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    char path[512], stored[FIXTURE_PATH];
    snprintf(path, sizeof path, "%s/data", run_folder());
    setenv("XDG_DATA_HOME", path, 1);
    snprintf(path, sizeof path, "%s/encoder.gguf", run_folder());
    assert_ok(fixture_encoder(false, BLOCK_F32, path));
    struct npy pcm;
    assert_ok(fixture_stored("codec/encoder/A_21920/input_f32.npy", stored));
    assert_ok(npy_read(stored, &pcm));
    snprintf(path, sizeof path, "%s/me.wav", run_folder());
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    assert_non_null(f);
    sf_writef_float(f, pcm.data, pcm.n);
    sf_close(f);
    npy_free(&pcm);
    server = serve_start("--encoder encoder.gguf");
    return 0;
}

static int tear_down(void **state) {
    assert_int_equal(serve_end(&server, SIGTERM), 0);
    fixture_cleanup();
    return run_cleanup(state);
}

// A form of fields and the file me.wav (or other bytes) as `sample`.
static struct answer send_form(const char *fields[][2], int n, const char *sample, size_t n_sample) {
    size_t cap = 4096 + n_sample, len = 0;
    char *body = malloc(cap);
    assert_non_null(body);
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(body + len, cap - len,
                                "--xyz\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", fields[i][0],
                                fields[i][1]);
    if (sample) {
        len += (size_t)snprintf(
            body + len, cap - len,
            "--xyz\r\nContent-Disposition: form-data; name=\"audio_sample\"; filename=\"../me.wav\"\r\n"
            "Content-Type: audio/wav\r\n\r\n");
        memcpy(body + len, sample, n_sample);
        len += n_sample;
        len += (size_t)snprintf(body + len, cap - len, "\r\n");
    }
    len += (size_t)snprintf(body + len, cap - len, "--xyz--\r\n");
    struct answer a = serve_ask(&server, "POST", "/v1/audio/voices",
                                "Content-Type: multipart/form-data; boundary=xyz\r\n", body, len);
    free(body);
    return a;
}

static char *recording(size_t *n) {
    char path[512];
    snprintf(path, sizeof path, "%s/me.wav", run_folder());
    *n = (size_t)file_size("me.wav");
    char *bytes = malloc(*n);
    FILE *f = fopen(path, "rb");
    assert_true(bytes && f);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static void assert_refused(const char *fields[][2], int n, const char *sample, size_t n_sample, const char *words) {
    struct answer a = send_form(fields, n, sample, n_sample);
    if (a.status != 400 || !strstr(a.body, words)) fail_msg("wanted \"%s\": %d %s", words, a.status, a.body);
    answer_free(&a);
}

static void test_a_recording_is_encoded_and_checked(void **state) {
    (void)state;
    size_t n;
    char *wav = recording(&n);
    const char *fields[][2] = {{"name", "dawn"}, {"transcript", "What is said here."}, {"language", "en-us"}};
    // encoded and written; what its codes are for is found when it is loaded, and then it is gone again
    assert_refused(fields, 3, wav, n, "NeuCodec");
    assert_int_equal(file_size("data/utter/voices/dawn.json"), -1);
    free(wav);
}

static void test_wrong_forms_are_refused(void **state) {
    (void)state;
    size_t n;
    char *wav = recording(&n);
    const char *no_name[][2] = {{"text", "Hello."}}, *no_text[][2] = {{"name", "x"}};
    const char *fine[][2] = {{"name", "x"}, {"text", "Hello."}};
    const char *path[][2] = {{"name", "../../evil"}, {"text", "Hello."}};
    const char *hidden[][2] = {{"name", ".evil"}, {"text", "Hello."}};
    const char *language[][2] = {{"name", "x"}, {"text", "Hello."}, {"language", "xx-nowhere"}};
    const char *bytes[][2] = {{"name", "\xff\xfe"}, {"text", "Hello."}};
    assert_refused(no_name, 1, wav, n, "\\\"name\\\"");
    assert_refused(no_text, 1, wav, n, "\\\"text\\\"");
    assert_refused(fine, 2, NULL, 0, "audio_sample");
    assert_refused(fine, 2, "this is no sound at all", 23, "the recording");
    assert_refused(fine, 2, wav, 200, "recording");
    assert_refused(path, 2, wav, n, "cannot name a voice");
    assert_refused(hidden, 2, wav, n, "cannot name a voice");
    assert_refused(language, 3, wav, n, "xx-nowhere");
    assert_refused(bytes, 2, wav, n, "UTF-8");
    free(wav);
    struct answer a =
        serve_ask(&server, "POST", "/v1/audio/voices", "Content-Type: multipart/form-data\r\n", "hello", 5);
    assert_int_equal(a.status, 400);
    answer_free(&a);
    a = serve_ask(&server, "POST", "/v1/audio/voices", "Content-Type: application/json\r\n", "{}", 2);
    assert_int_equal(a.status, 400);
    answer_free(&a);
    a = serve_get(&server, "/v1/audio/voices");
    assert_int_equal(a.status, 200);
    answer_free(&a);
}

static void test_it_is_off_unless_enabled(void **state) {
    (void)state;
    struct served s = serve_start("");
    struct answer a = serve_ask(&s, "POST", "/v1/audio/voices", "Content-Type: multipart/form-data; boundary=xyz\r\n",
                                "--xyz--\r\n", 9);
    assert_int_equal(a.status, 403);
    assert_non_null(strstr(a.body, "--encoder"));
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_recording_is_encoded_and_checked),
        cmocka_unit_test(test_wrong_forms_are_refused),
        cmocka_unit_test(test_it_is_off_unless_enabled),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
