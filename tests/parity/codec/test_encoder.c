/* The encoder on the CPU against the official classes, at a small geometry: every stage, every kernel set. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/folder.h"
#include "models/convert.h"
#include "models/requantize.h"
#include "encoder_rig.h"
#include "rig.h"

/* Measured against float64: up to 5e-6 for the official single precision. */
static const double stage_tolerance = 2e-5, fbank_tolerance = 1e-5;

enum { MAX_CODES = 68 };

static char small_f32[FIXTURE_PATH], small_f16[FIXTURE_PATH], small_q8_0[FIXTURE_PATH];

static int make_encoders(void **state) {
    (void)state;
    assert_ok(fixture_path("encoder-f32.gguf", small_f32));
    assert_ok(fixture_path("encoder-f16.gguf", small_f16));
    assert_ok(fixture_path("encoder-q8_0.gguf", small_q8_0));
    assert_ok(fixture_encoder(false, BLOCK_F32, small_f32));
    assert_ok(fixture_encoder(false, BLOCK_F16, small_f16));
    assert_ok(fixture_encoder(false, BLOCK_Q8_0, small_q8_0));
    return 0;
}

static int remove_encoders(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static const struct kernels *best(void) {
    const struct kernels *kernels;
    assert_ok(kernels_find(NULL, &kernels));
    return kernels;
}

/* ---- numbers ---- */

static const struct {
    const char *stage;
    int index;
    const char *file;
} stages[] = {
    {"fbank", 0, "11_fbank_raw"},
    {"features", 0, "10_input_features"},
    {"acoustic_first", 0, "20_acoustic.conv0"},
    {"acoustic_act", 0, "21_acoustic.b1.r0.act0"},
    {"acoustic_conv", 0, "21_acoustic.b1.r0.conv1"},
    {"acoustic_unit", 0, "22_acoustic.b1.r0"},
    {"acoustic_unit", 1, "22_acoustic.b1.r1"},
    {"acoustic_unit", 2, "22_acoustic.b1.r2"},
    {"acoustic_stage", 0, "23_acoustic.b1"},
    {"acoustic_stage", 1, "23_acoustic.b2"},
    {"acoustic_stage", 2, "23_acoustic.b3"},
    {"acoustic_stage", 3, "23_acoustic.b4"},
    {"acoustic_stage", 4, "23_acoustic.b5"},
    {"acoustic_final_act", 0, "24_acoustic.final_act"},
    {"acoustic", 0, "25_acoustic_out"},
    {"feature_projection", 0, "30_sem.feature_projection"},
    {"ffn1", 0, "31_sem.l0.ffn1"},
    {"attention", 0, "31_sem.l0.self_attn"},
    {"convolution", 0, "31_sem.l0.conv_module"},
    {"ffn2", 0, "31_sem.l0.ffn2"},
    {"layer", 0, "32_sem.layer00"},
    {"layer", 1, "32_sem.layer01"},
    {"initial_conv", 0, "33_semenc.initial_conv"},
    {"semantic", 0, "34_semenc_out"},
    {"fc_prior", 0, "40_fc_prior"},
    {"project_in", 0, "41_project_in"},
    {"bound1", 0, "42_bound1"},
    {"bound2", 0, "43_bound2"},
};
enum { N_STAGES = sizeof stages / sizeof *stages };

struct comparison {
    const char *recording;
    double worst;
    const char *worst_stage;
    int n_seen;
};

/* The first rows are stored where there are many; stages that are stored for other recordings only are passed over. */
static void compare(void *user, const char *stage, int index, const float *rows, int64_t n_rows, int64_t n_cols) {
    struct comparison *c = user;
    for (int i = 0; i < N_STAGES; i++) {
        if (strcmp(stages[i].stage, stage) || stages[i].index != index) continue;
        char name[96], path[FIXTURE_PATH];
        snprintf(name, sizeof name, "codec/encoder/%s/%s.npy", c->recording, stages[i].file);
        assert_ok(fixture_stored(name, path));
        FILE *f = fopen(path, "rb");
        if (!f) return;
        fclose(f);
        struct npy want = fixture_npy(name);
        assert_true(want.n == n_rows * n_cols || (want.n == 1000 * n_cols && n_rows > 1000));
        double difference = largest_difference(want.data, rows, want.n);
        npy_free(&want);
        if (!(difference < (i == 0 ? fbank_tolerance : stage_tolerance)))
            fail_msg("%s: %s differs by %g", c->recording, stages[i].file, difference);
        if (difference > c->worst) {
            c->worst = difference;
            c->worst_stage = stages[i].file;
        }
        c->n_seen++;
        return;
    }
}

static const struct {
    const char *name;
    int n_codes, n_stages;
} recordings[] = {{"A_21920", 68, 7}, {"B_6400", 20, N_STAGES}, {"C_700", 2, N_STAGES}};
enum { N_RECORDINGS = sizeof recordings / sizeof *recordings };

static struct npy of(int recording, const char *what) {
    char name[96];
    snprintf(name, sizeof name, "codec/encoder/%s/%s.npy", recordings[recording].name, what);
    return fixture_npy(name);
}

/* How many codes differ from the official ones. */
static int n_different(struct encoder_rig *rig, int recording, int32_t *codes) {
    struct npy pcm = of(recording, "input_f32"), want = of(recording, "45_codes");
    int n, n_wrong = 0;
    assert_ok(cpu_encoder_encode(rig->cpu, pcm.data, pcm.n, codes, &n, NO_DEADLINE));
    assert_int_equal(n, recordings[recording].n_codes);
    assert_int_equal(n, want.n);
    for (int i = 0; i < n; i++) n_wrong += codes[i] != ((int32_t *)want.data)[i];
    npy_free(&pcm);
    npy_free(&want);
    return n_wrong;
}

static void equals_the_official_encoder_with_every_kernel_set(void **state) {
    (void)state;
    const char *missing;
    const struct kernels *kernels;
    int32_t codes[MAX_CODES];
    for (int i = 0; (kernels = kernels_at(i, &missing)); i++) {
        if (missing) {
            printf("%-12s not run: %s\n", kernels->name, missing);
            continue;
        }
        struct encoder_rig rig;
        encoder_rig_open(&rig, small_f32, kernels, 2);
        for (int r = 0; r < N_RECORDINGS; r++) {
            struct comparison c = {.recording = recordings[r].name};
            cpu_encoder_observe(rig.cpu, compare, &c);
            assert_int_equal(n_different(&rig, r, codes), 0);
            printf("%-12s %-8s all codes equal, worst stage %.1e (%s)\n", kernels->name, c.recording, c.worst,
                   c.worst_stage);
            assert_int_equal(c.n_seen, recordings[r].n_stages);
        }
        encoder_rig_close(&rig);
    }
}

/* Smaller weights move values across the edges of rounding; how many digits, hence codes, differ is measured. */
static void smaller_weights_stay_near(void **state) {
    (void)state;
    const struct {
        const char *path, *name;
        int most;
    } files[] = {{small_f16, "F16", 3}, {small_q8_0, "Q8_0", 40}};
    for (int i = 0; i < 2; i++) {
        struct encoder_rig rig;
        int32_t codes[MAX_CODES];
        encoder_rig_open(&rig, files[i].path, best(), 2);
        int n = n_different(&rig, 0, codes);
        printf("%s: %d of 68 codes differ\n", files[i].name, n);
        assert_true(n <= files[i].most);
        encoder_rig_close(&rig);
    }
}

static void assert_same_files(const char *a, const char *b) {
    struct file_map x, y;
    assert_ok(file_map_open(a, &x));
    assert_ok(file_map_open(b, &y));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    file_map_close(&x);
    file_map_close(&y);
}

/* "utter models quantize" makes of an encoder or a codec what converting it to the type would have made. */
static void quantized_is_as_converted(void **state) {
    (void)state;
    char from[FIXTURE_PATH], made[FIXTURE_PATH], wanted[FIXTURE_PATH];
    assert_ok(fixture_path("from.gguf", from));
    assert_ok(fixture_path("made.gguf", made));
    assert_ok(fixture_path("wanted.gguf", wanted));
    assert_ok(requantize(small_f32, made, BLOCK_Q8_0, NULL, NULL));
    assert_same_files(made, small_q8_0);
    assert_ok(requantize(small_f32, made, BLOCK_F16, NULL, NULL));
    assert_same_files(made, small_f16);
    assert_ok(fixture_distill(false, BLOCK_F32, from));
    assert_ok(fixture_distill(false, BLOCK_F16, wanted));
    assert_ok(requantize(from, made, BLOCK_F16, NULL, NULL));
    assert_same_files(made, wanted);
    assert_ok(fixture_codec(false, BLOCK_F32, from));
    assert_ok(fixture_codec(false, BLOCK_Q4_0, wanted));
    assert_ok(requantize(from, made, BLOCK_Q4_0, NULL, NULL));
    assert_same_files(made, wanted);
}

/* ---- behaviour ---- */

static void results_do_not_depend_on_threads(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= 5; n_threads++) {
        struct encoder_rig rig;
        int32_t codes[MAX_CODES];
        encoder_rig_open(&rig, small_f32, best(), n_threads);
        for (int r = 0; r < N_RECORDINGS; r++) assert_int_equal(n_different(&rig, r, codes), 0);
        encoder_rig_close(&rig);
    }
}

static void refuses_what_cannot_be_encoded(void **state) {
    (void)state;
    struct encoder_rig rig;
    int32_t codes[4];
    int n;
    float pcm[700] = {0};
    encoder_rig_open(&rig, small_f32, best(), 2);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 0, codes, &n, NO_DEADLINE), UTTER_INVALID);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 319, codes, &n, NO_DEADLINE), UTTER_INVALID);
    assert_ok(cpu_encoder_encode(rig.cpu, pcm, 320, codes, &n, NO_DEADLINE));
    assert_int_equal(n, 1);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, (CPU_ENCODER_MAX_FRAMES + 1) * 320, codes, &n, NO_DEADLINE),
                     UTTER_LIMIT);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 700, codes, &n, clock_ns() - 1), UTTER_DEADLINE);
    assert_ok(cpu_encoder_encode(rig.cpu, pcm, 700, codes, &n, clock_ns() + INT64_C(60000000000)));
    assert_int_equal(n, 2);
    pcm[33] = NAN;
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 700, codes, &n, NO_DEADLINE), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "33"));
    pcm[33] = 0;
    rig.encoder->project_in.bias[1] = NAN;
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 700, codes, &n, NO_DEADLINE), UTTER_FORMAT);
    encoder_rig_close(&rig);
}

static void refuses_other_files(void **state) {
    (void)state;
    char path[FIXTURE_PATH], out[FIXTURE_PATH];
    struct gguf *g;
    struct codec_encoder *encoder;
    struct codec *codec;
    assert_ok(fixture_path("decoder.gguf", path));
    assert_ok(fixture_codec(false, BLOCK_F32, path));
    assert_ok(gguf_open(path, &g));
    assert_int_equal(codec_encoder_load(g, &encoder), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "--encoder"));
    assert_ok(gguf_open(small_f32, &g));
    assert_int_equal(codec_load(g, &codec), UTTER_FORMAT);

    assert_ok(fixture_path("decoder.safetensors", path));
    assert_ok(fixture_path("none.gguf", out));
    assert_ok(fixture_codec_safetensors(false, path));
    assert_int_equal(convert_encoder(path, NULL, out, BLOCK_F16), UTTER_FORMAT);
    assert_null(fopen(out, "rb"));
}

/* Bytes of the header changed at random: refused with a sentence, or still an encoder, never a crash. */
static void survives_damaged_files(void **state) {
    (void)state;
    enum { N_DAMAGED = 400, HEADER = 16384 };  // the header is longer than this
    struct file_map m;
    int n_refused = 0;
    uint32_t random = 1;
    assert_ok(file_map_open(small_f16, &m));
    uint8_t *data = aligned_alloc(64, (m.size + 63) / 64 * 64);
    memcpy(data, m.data, m.size);
    for (int i = 0; i < N_DAMAGED; i++) {
        struct gguf *g;
        struct codec_encoder *encoder;
        random = random * 1664525 + 1013904223;
        size_t at = 24 + (random >> 8) % (i % 2 ? HEADER : 700);  // metadata comes first
        data[at] ^= (uint8_t)(1 << (random >> 5) % 8);
        status s = gguf_open_memory(data, m.size, "damaged", &g);
        if (s == UTTER_OK) s = codec_encoder_load(g, &encoder);
        if (s == UTTER_OK) codec_encoder_free(encoder);
        n_refused += s != UTTER_OK;
        data[at] = ((const uint8_t *)m.data)[at];
    }
    assert_true(n_refused > N_DAMAGED / 2);
    free(data);
    file_map_close(&m);
}

/* Each tensor of the checkpoint left out in turn: the converter says which one is missing. */
static void names_a_tensor_that_is_missing(void **state) {
    (void)state;
    static struct codec_rule_tensor tensors[ENCODER_RULE_MAX_TENSORS];
    char path[FIXTURE_PATH], out[FIXTURE_PATH];
    assert_ok(fixture_path("holes.safetensors", path));
    assert_ok(fixture_path("none.gguf", out));
    const char *metadata = ",\"utter.encoder\":\"{\\\"head_count\\\":4,\\\"layer_count\\\":2}\"";
    int n = encoder_rule_tensors(false, tensors), n_refused = 0;
    for (int i = 0; i < n; i += 7) {
        struct codec_rule_tensor left_out = tensors[i];
        tensors[i] = tensors[n - 1];
        assert_ok(codec_rule_write(tensors, n - 1, metadata, path));
        status s = convert_encoder(path, NULL, out, BLOCK_F32);
        if (s == UTTER_OK) assert_non_null(strstr(left_out.name, "layers.2."));
        n_refused += s == UTTER_FORMAT;
        tensors[i] = left_out;
    }
    assert_true(n_refused > n / 7 * 2 / 3);
}

/* A NeuCodec without its semantic model, which is in a file of its own, without the prefix of its names. */
static void takes_the_semantic_model_from_another_file(void **state) {
    (void)state;
    static struct codec_rule_tensor all[ENCODER_RULE_MAX_TENSORS], rest[ENCODER_RULE_MAX_TENSORS];
    char path[FIXTURE_PATH], out[FIXTURE_PATH], other[FIXTURE_PATH];
    assert_ok(fixture_path("rest.safetensors", path));
    assert_ok(fixture_path("w2v-bert.safetensors", other));
    assert_ok(fixture_path("joined.gguf", out));
    int n = encoder_rule_tensors(false, all), n_rest = 0;
    for (int i = 0; i < n; i++)
        if (strncmp(all[i].name, "semantic_model.", 15) != 0) rest[n_rest++] = all[i];
    assert_ok(
        codec_rule_write(rest, n_rest, ",\"utter.encoder\":\"{\\\"head_count\\\":4,\\\"layer_count\\\":2}\"", path));
    assert_ok(codec_rule_write(all, n, "", other));
    assert_int_equal(convert_encoder(path, NULL, out, BLOCK_F32), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "--semantic"));
    assert_ok(convert_encoder(path, other, out, BLOCK_F32));
    struct encoder_rig rig;
    int32_t codes[MAX_CODES];
    encoder_rig_open(&rig, out, best(), 2);
    for (int r = 0; r < N_RECORDINGS; r++) assert_int_equal(n_different(&rig, r, codes), 0);
    encoder_rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_official_encoder_with_every_kernel_set),
        cmocka_unit_test(smaller_weights_stay_near),
        cmocka_unit_test(quantized_is_as_converted),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(refuses_what_cannot_be_encoded),
        cmocka_unit_test(refuses_other_files),
        cmocka_unit_test(survives_damaged_files),
        cmocka_unit_test(names_a_tensor_that_is_missing),
        cmocka_unit_test(takes_the_semantic_model_from_another_file),
    };
    return cmocka_run_group_tests(tests, make_encoders, remove_encoders);
}
