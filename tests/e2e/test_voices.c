/* utter voices add, show and remove: a recording becomes a voice file, or a sentence says why not. */
#include "test.h"

#include <jansson.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/npy.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/folder.h"
#include "run.h"

/* In the folder of the commands: the small encoder, and the recording whose official codes are stored. */
static struct npy pcm, codes;

static void write_wav(const char *name, int rate, int n_channels, const float *samples, int64_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    SF_INFO info = {.samplerate = rate, .channels = n_channels, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    assert_non_null(f);
    assert_int_equal(sf_writef_float(f, samples, n), n);
    sf_close(f);
}

static struct npy stored(const char *name) {
    char path[FIXTURE_PATH];
    struct npy a;
    assert_ok(fixture_stored(name, path));
    assert_ok(npy_read(path, &a));
    return a;
}

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    char path[512];
    setenv("XDG_DATA_HOME", (snprintf(path, sizeof path, "%s/data", run_folder()), path), 1);
    setenv("XDG_CACHE_HOME", (snprintf(path, sizeof path, "%s/cache", run_folder()), path), 1);
    snprintf(path, sizeof path, "%s/neucodec.safetensors", run_folder());
    assert_ok(fixture_encoder_safetensors(false, path));
    const struct result *r = run("utter models convert neucodec.safetensors encoder.gguf --encoder --type f32");
    if (r->code != 0) fail_msg("%s", r->err);
    pcm = stored("codec/encoder/A_21920/input_f32.npy");
    codes = stored("codec/encoder/A_21920/45_codes.npy");
    write_wav("me.wav", 16000, 1, pcm.data, pcm.n);
    return 0;
}

static int tear_down(void **state) {
    npy_free(&pcm);
    npy_free(&codes);
    return run_cleanup(state);
}

static json_t *read_voice(const char *name) {
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    json_t *voice = json_load_file(path, 0, &error);
    if (!voice) fail_msg("%s: %s", path, error.text);
    return voice;
}

static void assert_text(const json_t *voice, const char *key, const char *want) {
    assert_string_equal(json_string_value(json_object_get(voice, key)), want);
}

static void assert_refused(const struct result *r, int code, const char *words) {
    if (r->code != code || !strstr(r->err, words)) fail_msg("exit code %d: %s", r->code, r->err);
}

static void a_recording_becomes_a_voice(void **state) {
    (void)state;
    const struct result *r =
        run("utter voices add me.wav --transcript \" What  is\nsaid here. \" --name dawn --lang en-us --note \"in her "
            "kitchen\" "
            "--encoder encoder.gguf -o dawn.json");
    if (r->code != 0) fail_msg("%s", r->err);
    assert_non_null(strstr(r->err, "1.4 s of speech are little"));
    json_t *voice = read_voice("dawn.json");
    assert_text(voice, "format", "utter-voice");
    assert_text(voice, "name", "dawn");
    assert_text(voice, "language", "en-us");
    assert_text(voice, "note", "in her kitchen");
    assert_text(voice, "text", "What is said here.");
    assert_text(voice, "codec", "NeuCodec");
    const json_t *got = json_object_get(voice, "codes");
    assert_int_equal(json_array_size(got), codes.n);
    for (int64_t i = 0; i < codes.n; i++)
        assert_int_equal(json_integer_value(json_array_get(got, (size_t)i)), ((int32_t *)codes.data)[i]);
    json_decref(voice);

    r = run("utter voices show dawn.json");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "What is said here."));
    assert_non_null(strstr(r->out, "68, 1.4 s"));
    assert_refused(run("utter voices add me.wav --transcript x --encoder encoder.gguf -o dawn.json"), 1,
                   "there already");
}

/* The same recording in another rate, in stereo: nearly the same codes. The transcript lies beside it, the encoder
   above the folder of voices. */
static void finds_what_is_not_said(void **state) {
    (void)state;
    float *twice = calloc((size_t)(6 * pcm.n), sizeof *twice);  // three times the rate, two channels
    for (int64_t i = 0; i < 3 * pcm.n; i++)
        for (int c = 0; c < 2; c++) twice[2 * i + c] = ((float *)pcm.data)[i / 3];
    write_wav("clerk.wav", 48000, 2, twice, 3 * pcm.n);
    free(twice);
    assert_int_equal(run("echo What is said here. > clerk.txt; mkdir -p data/utter; cp encoder.gguf data/utter")->code,
                     0);
    const struct result *r = run("utter voices add clerk.wav");
    if (r->code != 0) fail_msg("%s", r->err);
    json_t *voice = read_voice("data/utter/voices/clerk.json");
    assert_text(voice, "name", "clerk");
    assert_text(voice, "text", "What is said here.");
    assert_null(json_object_get(voice, "language"));
    assert_int_equal(json_array_size(json_object_get(voice, "codes")), codes.n);
    json_decref(voice);
    assert_refused(run("utter voices add clerk.wav"), 1, "--replace");
    assert_int_equal(run("utter voices add clerk.wav --replace")->code, 0);
    r = run("utter voices show clerk --json");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "\"codes\""));
    assert_int_equal(run("utter voices remove clerk")->code, 0);
    assert_int_equal(file_size("data/utter/voices/clerk.json"), -1);
    assert_refused(run("utter voices remove clerk"), 1, "no voice clerk");
    assert_refused(run("utter voices show clerk"), 1, "no voice clerk");
    assert_int_equal(run("rm data/utter/encoder.gguf")->code, 0);
}

static void an_encoder_goes_with_its_codec(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/decoder.safetensors", run_folder());
    assert_ok(fixture_codec_safetensors(false, path));
    assert_int_equal(run("utter models convert decoder.safetensors decoder.gguf")->code, 0);
    const char *add = "utter voices add me.wav --transcript Hello. --encoder encoder.gguf -o fits.json";
    const struct result *r = run("%s --codec decoder.gguf", add);
    if (r->code != 0) fail_msg("%s", r->err);
    assert_int_equal(run("rm fits.json")->code, 0);
    assert_refused(run("%s --codec encoder.gguf", add), 1, "not a codec");
    assert_int_equal(file_size("fits.json"), -1);
}

static void says_what_is_missing(void **state) {
    (void)state;
    assert_refused(run("utter voices add me.wav --encoder encoder.gguf -o no.json < /dev/null"), 1, "me.txt");
    assert_refused(run("cd /tmp && utter voices add %s/me.wav --transcript Hello. -o no.json", run_folder()), 1,
                   "there is no encoder");
    assert_refused(run("utter voices add"), 2, "one recording");
    assert_refused(run("utter voices add me.wav --text a --transcript b"), 2, "together");
    assert_refused(run("utter voices add me.wav --transcript \" \" --encoder encoder.gguf -o no.json"), 1, "empty");
    assert_refused(run("utter voices add none.wav --transcript Hello. --encoder encoder.gguf -o no.json"), 1,
                   "none.wav");
    assert_refused(run("utter voices add me.wav --transcript Hello. --name ../x --encoder encoder.gguf"), 1, "../x");
    assert_refused(run("utter voices add me.wav --transcript Hello. --lang xx-no --encoder encoder.gguf -o no.json"), 1,
                   "xx-no");
    assert_refused(run("utter voices add me.wav --transcript Hello. --encoder neucodec.safetensors -o no.json"), 1,
                   "GGUF");
    assert_refused(
        run("printf \"\\377\" > bad.txt; utter voices add me.wav --text bad.txt --encoder encoder.gguf -o no.json"), 1,
        "UTF-8");
    assert_refused(run("utter voices add me.wav --transcript Hello. --encoder encoder.gguf -o none/no.json"), 1,
                   "none");
    assert_refused(run("utter voices show me.wav"), 1, "no voice file");
    assert_refused(run("utter voices add me.txt.json --transcript x"), 1, "me.txt.json");
    float *silence = calloc(16000, sizeof *silence);
    write_wav("silence.wav", 16000, 1, silence, 16000);
    free(silence);
    assert_refused(run("utter voices add silence.wav --transcript Hello. --encoder encoder.gguf -o no.json"), 1,
                   "silence");
    write_wav("nothing.wav", 16000, 1, NULL, 0);
    assert_refused(run("utter voices add nothing.wav --transcript Hello. --encoder encoder.gguf -o no.json"), 1,
                   "nothing.wav holds no sound: it is 0 s long");
    assert_refused(
        run(": >empty.wav; utter voices add empty.wav --transcript Hello. --encoder encoder.gguf -o no.json"), 1,
        "empty.wav");
    assert_int_equal(file_size("no.json"), -1);
}

/* The built-in codec has 4096 of them. */
static void codes_out_of_range_are_refused(void **state) {
    (void)state;
    static const char *const codes_of[] = {"1, 2, -1", "1, 2, 70000", "1, 2, 9223372036854775807"};
    for (size_t i = 0; i < sizeof codes_of / sizeof *codes_of; i++) {
        const struct result *r =
            run("printf '{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"off\", \"text\": \"Hello.\", "
                "\"codes\": [%s]}' >off.json && utter say --model built-in --voice-file off.json --voice off -o "
                "off.wav Hello.",
                codes_of[i]);
        assert_refused(r, 1, "off.json: code 2 is ");
        assert_refused(r, 1, "has codes 0..");
    }
    const int64_t n = 3;
    char path[512];
    snprintf(path, sizeof path, "%s/off.npy", run_folder());
    assert_ok(npy_write(path, NPY_I32, (const int32_t[]){1, 2, 70000}, 1, &n));
    assert_refused(
        run("echo Hello. >off.txt; utter say --model built-in --voice-file off.npy --voice off -o off.wav Hello."), 1,
        "code 2 is 70000");
    assert_int_equal(file_size("off.wav"), -1);
}

/* A codec that takes NeuCodec's codes, and a backbone that goes with it: a voice can be listed, if not spoken with. The
   built-in model has a codec of its own. */
static void a_folder_of_recordings_is_voices(void **state) {
    (void)state;
    assert_int_equal(
        run("mkdir -p people && cp me.wav people/dawn.wav && cp me.wav people/silent.wav && "
            "cp silence.wav people/quiet.wav && echo What is said here. | tee people/quiet.txt >people/dawn.txt")
            ->code,
        0);
    const struct result *r = run("utter voices list --voices people 2>&1");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "silent.wav has no transcript"));
    assert_non_null(strstr(r->out, "2 recordings in people are left out"));
    assert_non_null(strstr(r->out, "utter models pull neucodec-encoder"));
    assert_int_equal(run("mkdir -p data/utter && cp encoder.gguf data/utter")->code, 0);
    r = run("utter voices list --voices people 2>&1");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "encoding people/dawn.wav, 1.4 s of speech"));
    assert_non_null(strstr(r->out, "quiet.wav holds nothing but silence"));
    // The built-in codec is another than the one whose codes these are.
    assert_non_null(strstr(r->out, "was made for the codec NeuCodec"));
    r = run("utter voices list --voices people 2>&1");
    assert_null(strstr(r->out, "encoding"));
    assert_int_equal(run("ls cache/utter/voices | wc -l | grep -qx 1")->code, 0);
    // Another transcript is another voice; without the encoder the one that is there is still taken.
    assert_int_equal(run("echo Something else. >people/dawn.txt")->code, 0);
    r = run("utter voices list --voices people 2>&1");
    assert_non_null(strstr(r->out, "encoding people/dawn.wav"));
    assert_int_equal(run("rm data/utter/encoder.gguf")->code, 0);
    r = run("utter voices list --voices people 2>&1");
    assert_non_null(strstr(r->out, "was made for the codec NeuCodec"));
    assert_non_null(strstr(r->out, "1 recordings in people"));
    assert_refused(run("utter voices list --voices nowhere"), 1, "nowhere");
    // The codes are the encoder's.
    assert_int_equal(run("cp cache/utter/voices/*.json . && ls *-*.json | head -1 | xargs -I{} cp {} one.json")->code,
                     0);
    json_t *voice = read_voice("one.json");
    assert_text(voice, "name", "dawn");
    assert_int_equal(json_array_size(json_object_get(voice, "codes")), codes.n);
    json_decref(voice);
}

static void a_voice_is_heard(void **state) {
    (void)state;
    const struct result *r = run("utter voices preview sam -o sam.wav");
    if (r->code != 0) fail_msg("%s", r->err);
    assert_true(file_size("sam.wav") > 40000);
    assert_refused(run("utter voices preview nobody -o no.wav"), 1,
                   "there is no voice named nobody; there is: slt, sam");
    assert_int_equal(file_size("no.wav"), -1);
    assert_refused(run("utter voices preview sam -o no.xyz"), 2, "xyz");
    assert_refused(run("utter voices preview"), 2, "one voice is wanted");
}

static void a_transcript_in_another_language_is_warned_of(void **state) {
    (void)state;
    const struct result *r =
        run("utter voices add me.wav --encoder encoder.gguf -o german.json --transcript "
            "\"Das ist nicht der Satz, den ich auf der Straße gehört habe.\"");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->err, "looks German: say --lang de"));
    r =
        run("utter voices add me.wav --encoder encoder.gguf -o german2.json --lang de --transcript "
            "\"Das ist nicht der Satz, den ich auf der Straße gehört habe.\"");
    assert_null(strstr(r->err, "looks"));
    r =
        run("utter voices add me.wav --encoder encoder.gguf -o german3.json --lang de --transcript "
            "\"This is not what they said to me when I was there.\"");
    assert_non_null(strstr(r->err, "looks English"));
}

/* Three hours are refused before they are read into memory. */
static void hours_are_refused(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/hours.wav", run_folder());
    SF_INFO info = {.samplerate = 8000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_U8};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    assert_non_null(f);
    static float second[8000];
    for (int i = 0; i < 3 * 3600; i++) assert_int_equal(sf_writef_float(f, second, 8000), 8000);
    sf_close(f);
    assert_refused(
        run("ulimit -v 4000000; utter voices add hours.wav --transcript Hello. --encoder encoder.gguf -o no.json"), 1,
        "hours.wav");
    assert_int_equal(file_size("no.json"), -1);
    assert_int_equal(run("rm hours.wav")->code, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recording_becomes_a_voice),
        cmocka_unit_test(finds_what_is_not_said),
        cmocka_unit_test(an_encoder_goes_with_its_codec),
        cmocka_unit_test(says_what_is_missing),
        cmocka_unit_test(codes_out_of_range_are_refused),
        cmocka_unit_test(a_folder_of_recordings_is_voices),
        cmocka_unit_test(a_voice_is_heard),
        cmocka_unit_test(a_transcript_in_another_language_is_warned_of),
        cmocka_unit_test(hours_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
