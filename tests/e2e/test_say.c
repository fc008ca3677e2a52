/* utter say, from outside: what a person types, what comes out, what is said when it cannot work. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sndfile.h>

#include "run.h"

// Seconds of sound in a file, and its loudness.
static double sound(const char *name, double *rms) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    SF_INFO info = {0};
    SNDFILE *f = sf_open(path, SFM_READ, &info);
    if (!f) fail_msg("%s is no sound file: %s", name, sf_strerror(NULL));
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.samplerate, 24000);
    float *pcm = malloc((size_t)info.frames * sizeof *pcm + 1);
    assert_non_null(pcm);
    assert_int_equal(sf_readf_float(f, pcm, info.frames), info.frames);
    double sum = 0;
    for (sf_count_t i = 0; i < info.frames; i++) sum += (double)pcm[i] * pcm[i];
    *rms = sqrt(sum / (double)(info.frames + 1));
    free(pcm);
    sf_close(f);
    return (double)info.frames / info.samplerate;
}

static void assert_speech(const char *name, double at_least_s, double at_most_s) {
    double rms, seconds = sound(name, &rms);
    if (seconds < at_least_s || seconds > at_most_s) fail_msg("%s has %.2f s of sound", name, seconds);
    if (rms < 0.01 || rms > 0.5) fail_msg("%s has a loudness of %g", name, rms);
}

static void test_says_a_sentence(void **state) {
    (void)state;
    const struct result *r = run("utter say -o x.wav \"The old man walked slowly down the quiet street.\"");
    assert_int_equal(r->code, 0);
    assert_speech("x.wav", 1.5, 5);
}

static void test_both_voices_and_streaming(void **state) {
    (void)state;
    assert_int_equal(run("utter say --voice sam -o sam.wav We went to the beach.")->code, 0);
    assert_int_equal(run("utter say --voice slt --stream -o slt.wav We went to the beach.")->code, 0);
    assert_speech("sam.wav", 0.6, 4);
    assert_speech("slt.wav", 0.6, 4);
}

static void test_same_seed_same_sound(void **state) {
    (void)state;
    assert_int_equal(
        run("utter say --seed 7 -o a.wav Good morning to you all. && utter say --seed 7 --threads 1 -o b.wav "
            "Good morning to you all. && cmp a.wav b.wav")
            ->code,
        0);
    assert_int_not_equal(run("utter say --seed 8 -o c.wav Good morning to you all. && cmp -s a.wav c.wav")->code, 0);
}

static void test_pipes(void **state) {
    (void)state;
    const struct result *r = run("echo Good morning. | utter say -o - | tee p.wav | head -c 4");
    assert_memory_equal(r->out, "RIFF", 4);
    r = run("echo Good morning. | utter say -o - >q.wav");
    assert_int_equal(r->code, 0);
    assert_speech("q.wav", 0.4, 4);
}

static void test_a_closed_pipe_ends_it(void **state) {
    (void)state;
    const struct result *r =
        run("(for i in 1 2 3 4 5 6 7 8; do echo This is sentence number $i of the text.; done | "
            "utter say --stream -o -; echo $? >code) | head -c 100 >/dev/null; cat code");
    assert_string_equal(r->out, "1\n");
    assert_non_null(strstr(r->err, "closed by its reader"));
}

static void test_formats(void **state) {
    (void)state;
    assert_int_equal(run("utter say -o f.flac Good morning. && utter say -o f.npy Good morning.")->code, 0);
    assert_speech("f.flac", 0.4, 4);
    assert_true(file_size("f.npy") > 24000);
    assert_says(run("utter say -o f.xyz Good morning."), 2, ".wav");
    assert_int_equal(file_size("f.xyz"), -1);
}

static void test_formats_down_a_pipe(void **state) {
    (void)state;
    static const char *const formats[] = {"wav", "flac", "mp3", "opus", "ogg"};
    for (int i = 0; i < 5; i++) {
        const struct result *r =
            run("utter say -q -o - --format %s Good morning. | cat >pipe.%s", formats[i], formats[i]);
        assert_int_equal(r->code, 0);
        char name[32];
        snprintf(name, sizeof name, "pipe.%s", formats[i]);
        bool length_known = strcmp(formats[i], "flac") != 0 && strcmp(formats[i], "mp3") != 0;
        if (length_known) assert_speech(name, 0.4, 4);
        assert_true(file_size(name) > 1000);
    }
    assert_int_equal(run("utter say -q -o f.pcm Good morning. && utter say -q -o f.wav Good morning.")->code, 0);
    assert_int_equal(file_size("f.pcm"), file_size("f.wav") - 44);
    assert_says(run("utter say -o f.wav --format mp4 Good morning."), 2, "there are wav");
    assert_says(run("utter say --format mp3 Good morning."), 2, "needs -o");
}

static void test_speed(void **state) {
    (void)state;
    double rms, plain, fast, slow;
    assert_int_equal(
        run("utter say -o 1.wav We went to the beach. && utter say --speed 2 -o 2.wav We went to the beach. "
            "&& utter say --speed 0.5 --stream -o 05.wav We went to the beach.")
            ->code,
        0);
    plain = sound("1.wav", &rms);
    fast = sound("2.wav", &rms);
    slow = sound("05.wav", &rms);
    if (fabs(fast * 2 / plain - 1) > 0.1) fail_msg("%.2f s at twice the speed, %.2f s at once", fast, plain);
    if (fabs(slow / 2 / plain - 1) > 0.1) fail_msg("%.2f s at half the speed, %.2f s at once", slow, plain);
    assert_says(run("utter say --speed 5 -o 5.wav Hello."), 2, "--speed");
    assert_says(run("utter say --speed nan -o 5.wav Hello."), 2, "--speed");
}

static void test_json_report(void **state) {
    (void)state;
    const struct result *r = run("utter say --json -o j.wav Good morning. Good night.");
    assert_int_equal(r->code, 0);
    json_t *report = json_loads(r->out, 0, NULL);
    assert_non_null(report);
    assert_true(json_is_object(report));
    json_decref(report);
}

static void test_text_that_cannot_be_spoken(void **state) {
    (void)state;
    assert_says(run("utter say -o n.wav \"?!... \""), 1, "nothing to say");
    assert_says(run("printf '' | utter say -o n.wav -"), 1, "empty");
    assert_int_equal(file_size("n.wav"), -1);
    assert_int_equal(run("ls | grep -c part")->code, 1);  // nothing half-written either
}

static void test_odd_text_is_spoken_all_the_same(void **state) {
    (void)state;
    assert_int_equal(run("printf 'Good \\377\\376 morning\\001, all.' | utter say -o odd.wav -")->code, 0);
    assert_speech("odd.wav", 0.5, 5);
    assert_int_equal(run("head -c 3000 /bin/sh | utter say -o bin.wav -; test $? -le 1")->code, 0);
}

static void test_a_very_long_line_streams(void **state) {
    (void)state;
    if (getenv("UTTER_SANITIZED")) skip();
    // ten megabytes in one line: the first sound comes at once and memory stays small; then the reader goes away
    const struct result *r =
        run("(ulimit -v 1000000; yes 'and so on and on' | head -c 10000000 | tr '\\n' ' ' | utter say --stream -o - | "
            "head -c 200000 | wc -c)");
    assert_string_equal(r->out, "200000\n");
}

static void test_places_that_cannot_be_written(void **state) {
    (void)state;
    assert_says(run("utter say -o no/such/folder/x.wav Good morning."), 1, "no/such/folder");
    assert_says(run("utter say -o /dev/full Good morning."), 1, "/dev/full");
    assert_says(run("mkdir d; utter say -o d Good morning."), 2, "folder");
}

static void test_models_that_are_none(void **state) {
    (void)state;
    assert_says(run("utter say --model missing.gguf -o m.wav Hello."), 1, "missing.gguf");
    assert_says(run("echo this is no model >junk.gguf; utter say --model junk.gguf -o m.wav Hello."), 1, "junk.gguf");
    assert_says(run("printf 'GGUF\\003\\000\\000\\000' >cut.gguf; utter say --model cut.gguf -o m.wav Hello."), 1,
                "cut.gguf");
    assert_says(run("utter say --codec junk.gguf -o m.wav Hello."), 1, "junk.gguf");
    assert_int_equal(file_size("m.wav"), -1);
}

static void test_voices_that_are_none(void **state) {
    (void)state;
    assert_says(run("utter say --voice bob -o v.wav Hello."), 1, "slt");
    assert_says(run("utter say --voice-file none.json -o v.wav Hello."), 1, "none.json");
    run("echo '{\"format\":\"utter-voice\",\"version\":1,\"name\":\"x\",\"text\":\"Hi.\",\"codes\":[1,99999]}' "
        ">far.json");
    assert_says(run("utter say --voice-file far.json --voice x -o v.wav Hello."), 1, "another codec");
    run("echo '{\"format\":\"utter-voice\",\"version\":1,\"name\":\"x\"}' >bare.json");
    assert_says(run("utter say --voice-file bare.json --voice x -o v.wav Hello."), 1, "codes");
}

static void test_usage(void **state) {
    (void)state;
    assert_says(run("utter sya Hello."), 2, "say");
    assert_says(run("utter say --voise sam Hello."), 2, "--voice");
    assert_says(run("utter say --seed many Hello."), 2, "many");
    assert_says(run("utter say --kernels quantum -o u.wav Hello."), 1, "portable");
    const struct result *card = run("utter say --device gpu:9 -o u.wav Hello.");
    assert_int_equal(card->code, 1);  // no driver here, or no such card
    assert_true(strstr(card->err, "NVIDIA driver") || strstr(card->err, "GPU"));
    assert_says(run("utter say --device toaster -o u.wav Hello."), 1, "toaster");
    const struct result *r = run("utter say --help");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "--voice"));
    assert_int_equal(run("utter --version")->code, 0);
}

static void test_no_sound_device_is_said(void **state) {
    (void)state;
    // a test machine has none, or has one: both are right, silence is not
    const struct result *r = run("utter say Hello. </dev/null");
    if (r->code != 0) assert_says(r, 1, "-o");
}

static void test_kernel_sets_speak_alike(void **state) {
    (void)state;
    assert_int_equal(run("utter say --kernels portable --temperature 0 -o kp.wav Good morning to you all.")->code, 0);
    assert_int_equal(run("utter say --temperature 0 -o ka.wav Good morning to you all.")->code, 0);
    double a, b;
    assert_true(fabs(sound("kp.wav", &a) - sound("ka.wav", &b)) < 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_a_sentence),
        cmocka_unit_test(test_both_voices_and_streaming),
        cmocka_unit_test(test_same_seed_same_sound),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_a_closed_pipe_ends_it),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_formats_down_a_pipe),
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_json_report),
        cmocka_unit_test(test_text_that_cannot_be_spoken),
        cmocka_unit_test(test_odd_text_is_spoken_all_the_same),
        cmocka_unit_test(test_a_very_long_line_streams),
        cmocka_unit_test(test_places_that_cannot_be_written),
        cmocka_unit_test(test_models_that_are_none),
        cmocka_unit_test(test_voices_that_are_none),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_no_sound_device_is_said),
        cmocka_unit_test(test_kernel_sets_speak_alike),
    };
    return cmocka_run_group_tests_name("say", tests, run_setup, run_cleanup);
}
