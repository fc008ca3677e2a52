/* The plumbing commands: single stages of the pipe, checked against the fixtures from outside. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/npy.h"
#include "fixtures/folder.h"
#include "run.h"
#include "fixtures/tiny.h"

enum { N_GREEDY = 32 };

static void in_folder(char *path, size_t n, const char *name) { snprintf(path, n, "%s/%s", run_folder(), name); }

// The expectation NAME.json of a tiny model.
static json_t *expectation(const char *name) {
    char stored[64], path[FIXTURE_PATH];
    snprintf(stored, sizeof stored, "tiny/%s.json", name);
    assert_ok(fixture_stored(stored, path));
    json_t *object = json_load_file(path, 0, NULL);
    assert_non_null(object);
    return object;
}

static void write_ids(const char *file, const json_t *ids) {
    int64_t n = (int64_t)json_array_size(ids);
    int32_t *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++) values[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    char path[512];
    in_folder(path, sizeof path, file);
    assert_ok(npy_write(path, NPY_I32, values, 1, &n));
    free(values);
}

static void make_model(const char *name) {
    char path[512], file[64];
    snprintf(file, sizeof file, "%s.gguf", name);
    in_folder(path, sizeof path, file);
    assert_ok(fixture_tiny(name, path));
}

static void test_generate_takes_the_reference_path(void **state) {
    (void)state;
    static const char *const names[] = {"qwen2-q4_0", "llama-f16", "qwen3-q4_0"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        make_model(names[k]);
        json_t *e = expectation(names[k]);
        write_ids("ids.npy", json_object_get(e, "tokens"));
        const struct result *r =
            run("utter generate --model %s.gguf --tokens ids.npy --greedy -n %d -o out.npy", names[k], N_GREEDY);
        if (r->code != 0) fail_msg("%s: %s", names[k], r->err);
        char path[512];
        in_folder(path, sizeof path, "out.npy");
        struct npy out;
        assert_ok(npy_read(path, &out));
        assert_int_equal(out.n, N_GREEDY);
        const json_t *wanted = json_object_get(e, "greedy_ref");
        for (int i = 0; i < N_GREEDY; i++)
            assert_int_equal(((int32_t *)out.data)[i], json_integer_value(json_array_get(wanted, (size_t)i)));
        npy_free(&out);
        json_decref(e);
    }
}

static void test_logits_are_near_the_reference(void **state) {
    (void)state;
    make_model("qwen2-f32");
    json_t *e = expectation("qwen2-f32");
    write_ids("ids.npy", json_object_get(e, "tokens"));
    assert_int_equal(run("utter logits --model qwen2-f32.gguf --tokens ids.npy -o logits.npy")->code, 0);
    char path[512], stored[FIXTURE_PATH];
    in_folder(path, sizeof path, "logits.npy");
    struct npy logits;
    assert_ok(npy_read(path, &logits));
    assert_int_equal(logits.n_dims, 2);
    assert_int_equal(logits.dims[0], 40);
    assert_int_equal(logits.dims[1], json_integer_value(json_object_get(e, "n_vocab")));
    assert_ok(fixture_stored("tiny/qwen2-f32.ref.f32", stored));
    FILE *f = fopen(stored, "rb");
    assert_non_null(f);
    float *wanted = malloc((size_t)logits.n * sizeof *wanted);
    assert_int_equal(fread(wanted, sizeof *wanted, (size_t)logits.n, f), logits.n);
    fclose(f);
    double max = 0;
    for (int64_t i = 0; i < logits.n; i++) {
        const double off = fabs((double)wanted[i] - ((float *)logits.data)[i]);
        assert_true(isfinite(off));
        if (off > max) max = off;
    }
    assert_true(max < 0.03);  // the cache is f16: llama.cpp is 0.015 away
    free(wanted);
    npy_free(&logits);
    json_decref(e);
}

static void test_tokens_line_by_line(void **state) {
    (void)state;
    make_model("qwen2-q4_0");
    json_t *e = expectation("qwen2-q4_0");
    const struct result *r =
        run("printf 'Hello world\\n\\nspeech <|speech_0|>\\n' | utter tokens --model qwen2-q4_0.gguf | wc -l");
    assert_int_equal(atoi(r->out), 3);
    r = run("printf 'Hello\\n' | utter tokens --model qwen2-q4_0.gguf");
    assert_true(r->out[0] >= '0' && r->out[0] <= '9');
    json_decref(e);
}

static void test_text_stages(void **state) {
    (void)state;
    const struct result *r = run("echo 'Dr. Smith paid $5.99 on 2 May. He left.' | utter sentences");
    assert_string_equal(r->out, "Dr. Smith paid $5.99 on 2 May.\nHe left.\n");
    r = run("utter phonemes --raw \"Hello world.\"");
    assert_string_equal(r->out, "həlˈoʊ wˈɜːld.\n");
    r = run("echo '$5.99' | utter normalize");
    assert_non_null(strstr(r->out, "five dollars"));
    r = run("utter phonemes --lang klingon-x Hello");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "klingon-x"));
}

static void test_codec_decode(void **state) {
    (void)state;
    int32_t codes[40];
    for (int i = 0; i < 40; i++) codes[i] = i * 97 % 4096;
    int64_t n = 40;
    char path[512];
    in_folder(path, sizeof path, "codes.npy");
    assert_ok(npy_write(path, NPY_I32, codes, 1, &n));
    assert_int_equal(run("utter codec decode codes.npy -o c.npy && utter codec decode codes.npy -o c.wav")->code, 0);
    in_folder(path, sizeof path, "c.npy");
    struct npy pcm;
    assert_ok(npy_read(path, &pcm));
    assert_int_equal(pcm.n, 40 * 480);
    npy_free(&pcm);
    codes[7] = 70000;
    in_folder(path, sizeof path, "codes.npy");
    assert_ok(npy_write(path, NPY_I32, codes, 1, &n));
    const struct result *r = run("utter codec decode codes.npy -o bad.npy");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "70000"));
    assert_int_equal(file_size("bad.npy"), -1);
}

static void test_models_and_voices(void **state) {
    (void)state;
    const struct result *r = run("utter voices list");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "slt"));
    assert_non_null(strstr(r->out, "sam"));
    r = run("utter voices list --json");
    json_t *list = json_loads(r->out, 0, NULL);
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);
    r = run("utter models info --json");
    json_t *info = json_loads(r->out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(info, "speech_codes")), 4096);
    json_decref(info);
    make_model("qwen2-mix");
    r = run("utter models info qwen2-mix.gguf");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "qwen2"));
}

static void test_a_model_without_speech_is_refused(void **state) {
    (void)state;
    make_model("vocab-llama-bpe");
    const struct result *r = run("utter say --model vocab-llama-bpe.gguf -o x.wav Hello.");
    assert_int_equal(r->code, 1);
    assert_true(strlen(r->err) > 20);
    assert_int_equal(file_size("x.wav"), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate_takes_the_reference_path),
        cmocka_unit_test(test_logits_are_near_the_reference),
        cmocka_unit_test(test_tokens_line_by_line),
        cmocka_unit_test(test_text_stages),
        cmocka_unit_test(test_codec_decode),
        cmocka_unit_test(test_models_and_voices),
        cmocka_unit_test(test_a_model_without_speech_is_refused),
    };
    return cmocka_run_group_tests_name("plumbing", tests, run_setup, run_cleanup);
}
