/* utter doctor: on this machine's CPU, and with a stand-in for the NVIDIA driver. */
#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

enum { STANDIN_INIT = 1, STANDIN_MODULE = 3 };  // of enum standin_call, tests/gpu/standin.h

// What it found for a check, of which there may be several; NULL beyond the last.
static const json_t *finding(const json_t *report, const char *check, int nth) {
    const json_t *checks = json_object_get(report, "checks");
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *f = json_array_get(checks, i);
        if (strcmp(json_string_value(json_object_get(f, "check")), check) == 0 && nth-- == 0) return f;
    }
    return NULL;
}

static void expect(const json_t *report, const char *check, int nth, const char *state, const char *part) {
    const json_t *f = finding(report, check, nth);
    if (!f) fail_msg("nothing is said of %s", check);
    const char *sentence = json_string_value(json_object_get(f, "sentence"));
    if (strcmp(json_string_value(json_object_get(f, "state")), state) != 0 || !strstr(sentence, part))
        fail_msg("%s is not %s with \"%s\": %s, %s", check, state, part, json_string_value(json_object_get(f, "state")),
                 sentence);
}

static json_t *report_of(const struct result *r) {
    json_error_t error;
    json_t *report = json_loads(r->out, 0, &error);
    if (!report) fail_msg("%s: %s%s", error.text, r->out, r->err);
    assert_int_equal(json_is_true(json_object_get(report, "works")), r->code == 0);
    return report;
}

#define NO_DRIVER "UTTER_CUDA_LIBRARY=/nowhere/libcuda.so "

static void test_without_a_gpu_it_is_well(void **state) {
    (void)state;
    const struct result *r = run(NO_DRIVER "utter doctor");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    static const char *const lines[] = {"ok      processor ", "ok      espeak-ng ", "ok      model ",
                                        "ok      codec ",     "none    driver ",    "ok      self-test ",
                                        "ok      speed ",     "ok      speech "};
    const char *at = r->out;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {  // in this order
        const char *line = strstr(at, lines[i]);
        if (!line || (line != r->out && line[-1] != '\n')) fail_msg("no line \"%s\" in %s", lines[i], r->out);
        at = line;
    }
    assert_non_null(strstr(r->out, "/nowhere/libcuda.so could not be opened"));
    assert_non_null(strstr(at, "first sound "));
}

static void test_json_says_the_same(void **state) {
    (void)state;
    json_t *report = report_of(run(NO_DRIVER "utter doctor --json"));
    assert_true(json_is_true(json_object_get(report, "works")));
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(finding(report, "processor", 0), "facts"), "sets")) > 0, 1);
    const json_t *speed = json_object_get(finding(report, "speed", 0), "facts");
    assert_true(json_real_value(json_object_get(speed, "tokens_s")) > 0);
    assert_true(json_real_value(json_object_get(speed, "audio_s")) > 0);
    assert_true(
        json_real_value(json_object_get(json_object_get(finding(report, "speech", 0), "facts"), "first_audio_s")) > 0);
    assert_null(finding(report, "GPU 0", 0));
    json_decref(report);
}

static void test_quick_measures_nothing(void **state) {
    (void)state;
    json_t *report = report_of(run(NO_DRIVER "utter doctor --quick --json"));
    assert_true(json_is_true(json_object_get(report, "works")));
    assert_null(finding(report, "self-test", 0));
    assert_null(finding(report, "speed", 0));
    expect(report, "speech", 0, "ok", "say would use");
    json_decref(report);
}

static void test_a_gpu_that_is_asked_for_must_be_there(void **state) {
    (void)state;
    json_t *report = report_of(run(NO_DRIVER "utter doctor --quick --json --device gpu"));
    assert_false(json_is_true(json_object_get(report, "works")));
    expect(report, "driver", 0, "none", "no NVIDIA driver");
    expect(report, "speech", 0, "failed", "--device gpu was asked for: no NVIDIA driver");
    json_decref(report);
}

static void test_bad_models_and_arguments(void **state) {
    (void)state;
    json_t *report = report_of(run("head -c 100000 /dev/zero >zero.gguf; utter doctor --quick --json -m zero.gguf"));
    expect(report, "model", 0, "failed", "zero.gguf");
    expect(report, "speech", 0, "failed", "see above");
    json_decref(report);
    report = report_of(run("utter doctor --quick --json --model no-such-model"));
    expect(report, "model", 0, "failed", "no-such-model");
    json_decref(report);
    report = report_of(run("utter doctor --quick --json --codec gone.gguf"));
    expect(report, "model", 0, "ok", "built in");
    expect(report, "codec", 0, "failed", "gone.gguf");
    json_decref(report);
    report = report_of(run("utter doctor --quick --json --kernels sse1"));
    expect(report, "processor", 0, "failed", "sse1");
    json_decref(report);
    assert_int_equal(run("utter doctor now")->code, 2);
    assert_int_equal(run("utter doctor --quik")->code, 2);
    report = report_of(run("mkdir -p d/espeak-ng-data; ESPEAK_DATA_PATH=d utter doctor --quick --json"));
    expect(report, "espeak-ng", 0, "failed", "ESPEAK_DATA_PATH");
    json_decref(report);
}

// A model that was pulled, and then one byte of it changed.
static void test_checksums_of_pulled_models(void **state) {
    (void)state;
    const struct result *r =
        run("mkdir -p h/models/c && cd h/models/c && cp \"$UTTER_FIXTURES\"/../../assets/codec.gguf c.gguf && "
            "sum=$(sha256sum c.gguf | cut -c-64) && printf '{\"format\": 1, \"name\": \"c\", \"kind\": \"codec\", "
            "\"model\": \"c.gguf\", \"files\": [{\"path\": \"c.gguf\", \"bytes\": %%s, \"sha256\": \"%%s\"}]}' "
            "$(stat -c %%s c.gguf) $sum >manifest.json");
    assert_int_equal(r->code, 0);
    json_t *report = report_of(run("UTTER_HOME=h utter doctor --quick --json --codec h/models/c/c.gguf"));
    expect(report, "codec", 0, "ok", "that of what was fetched as c");
    json_decref(report);
    report =
        report_of(run("printf x | dd of=h/models/c/c.gguf bs=1 seek=9000000 conv=notrunc 2>/dev/null; "
                      "UTTER_HOME=h utter doctor --quick --json --codec h/models/c/c.gguf"));
    expect(report, "codec", 0, "failed", "utter models remove c");
    json_decref(report);
    report =
        report_of(run("cp h/models/c/c.gguf other.gguf; UTTER_HOME=h utter doctor --quick --json --codec other.gguf"));
    expect(report, "codec", 0, "ok", "none to compare with");
    json_decref(report);
}

// Without --model it is about the model that say takes: the best that is installed.
static void test_the_model_that_say_would_take(void **state) {
    (void)state;
    const struct result *r =
        run("mkdir -p i/models/c i/models/m && for k in codec:c:codec voice:m:backbone; do n=${k#*:}; n=${n%%:*}; "
            "f=i/models/$n/$n.gguf; "
            "cp \"$UTTER_FIXTURES\"/../../assets/${k%%%%:*}.gguf $f && printf '{\"format\": 1, \"name\": \"%%s\", "
            "\"kind\": \"%%s\", \"model\": \"%%s.gguf\", \"codec\": \"c\", \"files\": [{\"path\": \"%%s.gguf\", "
            "\"bytes\": %%s, \"sha256\": \"%%s\"}]}' $n ${k##*:} $n $n $(stat -c %%s $f) $(sha256sum $f | cut -c-64) "
            ">i/models/$n/manifest.json || exit 1; done");
    if (r->code != 0) fail_msg("%s", r->err);
    json_t *report = report_of(run(NO_DRIVER "UTTER_HOME=i utter doctor --quick --json"));
    assert_true(json_is_true(json_object_get(report, "works")));
    assert_null(finding(report, "models", 0));
    expect(report, "model", 0, "ok", "that of what was fetched as m");
    expect(report, "codec", 0, "ok", "that of what was fetched as c");
    expect(report, "speech", 0, "ok", "say would use m: utter ");
    json_decref(report);
    report = report_of(run(NO_DRIVER "UTTER_HOME=i utter doctor --quick --json --model built-in"));
    expect(report, "model", 0, "ok", "built in");
    expect(report, "speech", 0, "ok", "say would use utter ");
    json_decref(report);
    report = report_of(run("printf x >>i/models/m/m.gguf; " NO_DRIVER "UTTER_HOME=i utter doctor --quick --json"));
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "models", 0, "none", "m is damaged");
    expect(report, "model", 0, "ok", "built in");
    json_decref(report);
}

static void test_leftovers_are_named_and_ignored(void **state) {
    (void)state;
    json_t *report =
        report_of(run("mkdir -p old/bin libs v/lib/python3.11/site-packages/llama_cpp; printf '' >old/bin/nvcc; "
                      "chmod +x old/bin/nvcc; printf '' >libs/libcublas.so.12; printf '' >libs/libother.so; " NO_DRIVER
                      "PATH=\"$PATH:$PWD/old/bin\" CUDA_PATH=/opt/cuda-11 LD_LIBRARY_PATH=libs VIRTUAL_ENV=v "
                      "utter doctor --quick --json"));
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "not needed", 0, "ok", "ignored");
    expect(report, "not needed", 0, "ok", "CUDA_PATH=/opt/cuda-11");
    expect(report, "not needed", 0, "ok", "old/bin/nvcc (CUDA compiler)");
    expect(report, "not needed", 0, "ok", "libs/libcublas.so.12 (CUDA library)");
    expect(report, "not needed", 0, "ok", "v/lib/python3.11/site-packages/llama_cpp (Python package)");
    assert_null(strstr(json_string_value(json_object_get(finding(report, "not needed", 0), "sentence")), "libother"));
    json_decref(report);
}

/* ---- with the stand-in ---- */

static json_t *with_standin(const char *settings, const char *arguments) {
    return report_of(
        run("STANDIN_SETTINGS='%s' UTTER_CUDA_LIBRARY=\"$UTTER_STANDIN\" utter doctor --json %s", settings, arguments));
}

// There is no emulator without the kernels.
static bool no_standin(void) { return !getenv("UTTER_STANDIN"); }

static void test_cards_are_listed(void **state) {
    (void)state;
    if (no_standin()) skip();
    json_t *report = with_standin("n_devices=2", "--quick");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "driver", 0, "ok", "CUDA 12.4 and has 2 cards");
    expect(report, "GPU 0", 0, "ok", "Stand-in 0, compute capability 9.0, 1.1 GB, 1.1 GB free");
    expect(report, "GPU 1", 0, "ok", "Stand-in 1");
    expect(report, "kernels", 0, "ok", "GPU 0: the driver took the kernels");
    expect(report, "kernels", 1, "ok", "GPU 1: the driver took the kernels");
    expect(report, "speech", 0, "ok", "the GPU works too");  // the built-in model is small
    json_decref(report);
    report = with_standin("n_devices=2", "--quick --device gpu:1");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "speech", 0, "ok", " on GPU 1: Stand-in 1");
    json_decref(report);
    report = with_standin("n_devices=2", "--quick --device gpu:2");
    assert_false(json_is_true(json_object_get(report, "works")));
    expect(report, "speech", 0, "failed", "there is no GPU 2, this machine has 2");
    json_decref(report);
}

static void test_faults_have_their_sentences(void **state) {
    (void)state;
    if (no_standin()) skip();
    json_t *report = with_standin("n_devices=0", "--quick");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "driver", 0, "none", "finds no NVIDIA device");
    json_decref(report);

    char settings[64];
    snprintf(settings, sizeof settings, "call=%d result=803", STANDIN_INIT);
    report = with_standin(settings, "--quick");
    assert_true(json_is_true(json_object_get(report, "works")));  // on the CPU
    expect(report, "driver", 0, "failed", "restart the machine");
    json_decref(report);

    report = with_standin("driver_version=10020", "--quick --device gpu");
    assert_false(json_is_true(json_object_get(report, "works")));
    expect(report, "driver", 0, "failed", "470 or later");
    expect(report, "speech", 0, "failed", "470 or later");
    json_decref(report);

    report = with_standin("capability=61", "--quick --device gpu:0");
    assert_false(json_is_true(json_object_get(report, "works")));
    expect(report, "GPU 0", 0, "ok", "compute capability 6.1");
    expect(report, "kernels", 0, "failed", "too old");
    expect(report, "speech", 0, "failed", "too old");
    json_decref(report);

    snprintf(settings, sizeof settings, "call=%d result=218", STANDIN_MODULE);
    report = with_standin(settings, "--quick");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "kernels", 0, "failed", "update the NVIDIA driver");
    json_decref(report);
}

static void test_a_card_computes_what_the_cpu_computes(void **state) {
    (void)state;
    if (no_standin() || getenv("UTTER_SANITIZED")) skip();  // an emulated model, half a minute without sanitizers
    json_t *report = with_standin("n_devices=1", "--device cpu");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "self-test", 1, "ok", "GPU 0: 20 codes and 40 frames as the CPU makes them");
    expect(report, "speed", 1, "ok", "GPU 0: ");
    json_decref(report);

    report = with_standin("wrong_results=1", "--device cpu");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "self-test", 0, "ok", "CPU: ");
    expect(report, "self-test", 1, "failed", "GPU 0: ");
    assert_null(finding(report, "speed", 1));
    json_decref(report);
}

// A minute of patience for the driver, and then all the rest.
static void test_a_driver_that_hangs_is_left_behind(void **state) {
    (void)state;
    if (no_standin() || getenv("UTTER_SANITIZED")) skip();  // what the stuck thread holds cannot be freed
    char settings[64];
    snprintf(settings, sizeof settings, "blocked=%d", STANDIN_INIT);
    json_t *report = with_standin(settings, "--quick --device cpu");
    assert_true(json_is_true(json_object_get(report, "works")));
    expect(report, "driver", 0, "failed", "did not answer");
    expect(report, "speech", 0, "ok", "say would use");
    json_decref(report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_gpu_it_is_well),
        cmocka_unit_test(test_json_says_the_same),
        cmocka_unit_test(test_quick_measures_nothing),
        cmocka_unit_test(test_a_gpu_that_is_asked_for_must_be_there),
        cmocka_unit_test(test_bad_models_and_arguments),
        cmocka_unit_test(test_checksums_of_pulled_models),
        cmocka_unit_test(test_the_model_that_say_would_take),
        cmocka_unit_test(test_leftovers_are_named_and_ignored),
        cmocka_unit_test(test_cards_are_listed),
        cmocka_unit_test(test_faults_have_their_sentences),
        cmocka_unit_test(test_a_card_computes_what_the_cpu_computes),
        cmocka_unit_test(test_a_driver_that_hangs_is_left_behind),
    };
    return cmocka_run_group_tests_name("doctor", tests, run_setup, run_cleanup);
}
