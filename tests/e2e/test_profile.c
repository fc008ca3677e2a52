/* utter profile: its stages add up, what it prints can be read. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static json_t *json_of(const char *text) {
    json_error_t error;
    json_t *o = json_loads(text, 0, &error);
    if (!o) fail_msg("%s in %s", error.text, text);
    return o;
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("there is no number %s", key);
    return json_number_value(v);
}

static const json_t *stage(const json_t *profile, const char *name) {
    const json_t *stages = json_object_get(profile, "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *s = json_array_get(stages, i);
        if (strcmp(json_string_value(json_object_get(s, "stage")), name) == 0) return s;
    }
    return NULL;
}

static void test_stages_add_up(void **state) {
    (void)state;
    const struct result *r = run("utter profile --model built-in --device cpu --json -o out.flac One, two, three.");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *profile = json_of(r->out);
    double total = number(profile, "total_s"), sum = 0;
    const json_t *stages = json_object_get(profile, "stages");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *s = json_array_get(stages, i);
        double seconds = number(s, "seconds");
        if (seconds < -1e-9 || seconds > total) fail_msg("a stage of %g s of %g", seconds, total);
        sum += seconds;
    }
    if (fabs(sum - total) > 1e-3 * total) fail_msg("the stages are %g s, all is %g s", sum, total);
    static const char *const wanted[] = {"text", "phonemes", "prefill", "decode", "codec", "encode", "write", "other"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!stage(profile, wanted[i])) fail_msg("there is no stage %s in %s", wanted[i], r->out);
    static const char *const networks[] = {"prefill", "decode", "codec"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(number(stage(profile, networks[i]), "count") > 0);
        assert_true(number(stage(profile, networks[i]), "bytes") > 0);
        assert_true(number(stage(profile, networks[i]), "operations") > 0);
        static const char *const shares[] = {"memory_share", "arithmetic_share"};
        for (size_t k = 0; k < 2; k++) {
            const double share = number(stage(profile, networks[i]), shares[k]);
            if (share <= 0 || share > 1) fail_msg("%s of %s is %g", shares[k], networks[i], share);
        }
    }
    // codes written and frames decoded are what was spoken
    assert_true(number(stage(profile, "decode"), "count") >= number(profile, "codes"));
    assert_true(number(profile, "first_audio_s") <= total);
    const json_t *machine = json_object_get(profile, "machine");
    static const char *const measured[] = {"bytes_s", "backbone_bytes_s", "codec_bytes_s", "float_operations_s"};
    for (size_t i = 0; i < 4; i++) {
        const double rate = number(machine, measured[i]);
        if (!(rate > 0 && rate < 1e16)) fail_msg("%s is %g", measured[i], rate);
    }
    assert_int_equal((long)number(profile, "bytes_written"), file_size("out.flac"));
    json_decref(profile);
}

static void test_trace_is_one(void **state) {
    (void)state;
    const struct result *r =
        run("utter profile --model built-in --device cpu --cold --stream --trace t.json One, two. && cat t.json >&2");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *trace = json_of(r->err);
    const json_t *events = json_object_get(trace, "traceEvents");
    size_t n_spans = 0, n_names = 0, n_codec = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        const char *phase = json_string_value(json_object_get(e, "ph"));
        number(e, "pid");
        number(e, "tid");
        if (strcmp(phase, "M") == 0) n_names++;
        if (strcmp(phase, "X") != 0) continue;
        n_spans++;
        n_codec += strcmp(json_string_value(json_object_get(e, "name")), "codec") == 0;
        assert_true(number(e, "ts") >= 0 && number(e, "dur") >= 0);
    }
    assert_true(n_names >= 6 && n_spans > n_names);
    assert_true(n_codec >= 1);
    json_decref(trace);
    assert_non_null(strstr(r->out, "\nprefill "));
    assert_non_null(strstr(r->out, "\nall "));
}

/* What the trace's spans add up to is what the stages are said to be. */
static void test_trace_and_stages_agree(void **state) {
    (void)state;
    const struct result *r =
        run("utter profile --model built-in --device cpu --stream --json --trace t2.json One, two, "
            "three, four. && cat t2.json >&2");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *profile = json_of(r->out), *trace = json_of(r->err);
    const json_t *stages = json_object_get(profile, "stages"), *events = json_object_get(trace, "traceEvents");
    for (size_t i = 0; i < json_array_size(stages); i++) {
        const json_t *s = json_array_get(stages, i);
        const char *name = json_string_value(json_object_get(s, "stage"));
        double seconds = 0, count = 0, calls = 0;
        for (size_t k = 0; k < json_array_size(events); k++) {
            const json_t *e = json_array_get(events, k);
            if (strcmp(json_string_value(json_object_get(e, "ph")), "X") != 0) continue;
            if (strcmp(json_string_value(json_object_get(e, "name")), name) != 0) continue;
            seconds += number(e, "dur") * 1e-6;
            count += number(json_object_get(e, "args"), "count");
            calls++;
        }
        if (strcmp(name, "other") == 0) continue;  // what no span covers
        if (calls != number(s, "calls") || count != number(s, "count") || fabs(seconds - number(s, "busy_s")) > 1e-6)
            fail_msg("%s: %g s, %g, %g calls in the trace; %g s, %g, %g calls told", name, seconds, count, calls,
                     number(s, "busy_s"), number(s, "count"), number(s, "calls"));
    }
    json_decref(profile);
    json_decref(trace);
}

static void test_what_makes_no_sense(void **state) {
    (void)state;
    assert_int_equal(run("utter profile")->code, 2);
    const struct result *r = run("utter profile --model built-in -o x.xyz Hello.");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "xyz"));
    r = run("utter profile --model built-in '***'");
    assert_int_equal(r->code, 1);
    assert_int_equal(file_size("x.xyz"), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_add_up),
        cmocka_unit_test(test_trace_is_one),
        cmocka_unit_test(test_trace_and_stages_agree),
        cmocka_unit_test(test_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, run_setup, run_cleanup);
}
