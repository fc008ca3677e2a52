/* The distilled encoder on the CPU against the official classes, at a small geometry: stages and codes, every kernel
   set. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "encoder_rig.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/folder.h"
#include "models/convert.h"
#include "rig.h"

/* Values are up to 8; the reference is float64. */
static const double stage_tolerance = 2e-5;

enum { MAX_CODES = 80 };

static char path[FIXTURE_PATH], normalised[FIXTURE_PATH];

static int make_encoders(void **state) {
    (void)state;
    assert_ok(fixture_path("distill.gguf", path));
    assert_ok(fixture_path("distill-normalised.gguf", normalised));
    assert_ok(fixture_distill(false, BLOCK_F32, path));
    assert_ok(fixture_distill(true, BLOCK_F32, normalised));
    return 0;
}

static int remove_encoders(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static const struct {
    const char *stage;
    int index;
    const char *file;
} stages[] = {
    {"distill_block", 0, "block0"},    {"distill_block", 1, "block1"},  {"distill_block", 2, "block2"},
    {"distill_block", 8, "block8"},    {"distill_down", 0, "down"},     {"distill_local", 0, "local"},
    {"hubert_conv", 0, "hubert_conv"}, {"hubert", 0, "hubert"},         {"semantic", 0, "semantic"},
    {"fc_prior", 0, "fc_prior"},       {"project_in", 0, "project_in"},
};
enum { N_STAGES = sizeof stages / sizeof *stages };

struct comparison {
    const char *recording;
    int n_seen;
    double worst;
};

static void compare(void *user, const char *stage, int index, const float *rows, int64_t n_rows, int64_t n_cols) {
    struct comparison *c = user;
    for (int i = 0; i < N_STAGES; i++) {
        if (strcmp(stages[i].stage, stage) || stages[i].index != index) continue;
        char name[96], stored[FIXTURE_PATH];
        snprintf(name, sizeof name, "codec/distill/%s/%s.npy", c->recording, stages[i].file);
        assert_ok(fixture_stored(name, stored));
        if (access(stored, F_OK) != 0) return;
        struct npy want = fixture_npy(name);
        assert_int_equal(want.dims[1], n_cols);
        assert_true(want.dims[0] == n_rows || want.dims[0] == 120);
        double difference = largest_difference(want.data, rows, want.n);
        npy_free(&want);
        if (!(difference < stage_tolerance)) fail_msg("%s: %s differs by %g", c->recording, stages[i].file, difference);
        if (difference > c->worst) c->worst = difference;
        c->n_seen++;
    }
}

static void encode(struct encoder_rig *rig, const char *recording, const char *expected, int n_wanted) {
    char name[96];
    int32_t codes[MAX_CODES];
    int n;
    snprintf(name, sizeof name, "codec/encoder/%s/input_f32.npy", recording);
    struct npy pcm = fixture_npy(name);
    snprintf(name, sizeof name, "codec/distill/%s/%s.npy", recording, expected);
    struct npy want = fixture_npy(name);
    assert_ok(cpu_encoder_encode(rig->cpu, pcm.data, pcm.n, codes, &n, NO_DEADLINE));
    assert_int_equal(n, n_wanted);
    assert_int_equal(want.n, n);
    for (int i = 0; i < n; i++) assert_int_equal(codes[i], ((int32_t *)want.data)[i]);
    npy_free(&pcm);
    npy_free(&want);
}

static void equals_the_official_classes_with_every_kernel_set(void **state) {
    (void)state;
    const char *missing;
    const struct kernels *kernels;
    for (int i = 0; (kernels = kernels_at(i, &missing)); i++) {
        if (missing) {
            printf("%-12s not run: %s\n", kernels->name, missing);
            continue;
        }
        struct encoder_rig rig;
        encoder_rig_open(&rig, path, kernels, 2);
        struct comparison b = {.recording = "B_6400"}, a = {.recording = "A_21920"};
        cpu_encoder_observe(rig.cpu, compare, &b);
        encode(&rig, "B_6400", "codes", 21);
        assert_int_equal(b.n_seen, N_STAGES);
        cpu_encoder_observe(rig.cpu, compare, &a);
        encode(&rig, "A_21920", "codes", 69);
        assert_int_equal(a.n_seen, 1);
        printf("%-12s all codes equal, worst stage %.1e\n", kernels->name, b.worst > a.worst ? b.worst : a.worst);
        encoder_rig_close(&rig);
    }
}

static void results_do_not_depend_on_threads(void **state) {
    (void)state;
    const struct kernels *kernels;
    assert_ok(kernels_find(NULL, &kernels));
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        struct encoder_rig rig;
        encoder_rig_open(&rig, path, kernels, n_threads);
        encode(&rig, "A_21920", "codes", 69);
        encoder_rig_close(&rig);
    }
}

static void normalises_the_recording_when_told(void **state) {
    (void)state;
    const struct kernels *kernels;
    struct encoder_rig rig;
    assert_ok(kernels_find(NULL, &kernels));
    encoder_rig_open(&rig, normalised, kernels, 2);
    encode(&rig, "B_6400", "codes_normalised", 21);
    encoder_rig_close(&rig);
}

static void encodes_what_is_short_and_keeps_the_deadline(void **state) {
    (void)state;
    const struct kernels *kernels;
    struct encoder_rig rig;
    float pcm[640] = {0};
    int32_t codes[4];
    int n;
    assert_ok(kernels_find("portable", &kernels));
    encoder_rig_open(&rig, path, kernels, 2);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 319, codes, &n, NO_DEADLINE), UTTER_INVALID);
    assert_ok(cpu_encoder_encode(rig.cpu, pcm, 320, codes, &n, NO_DEADLINE));
    assert_int_equal(n, 2);
    assert_int_equal(cpu_encoder_encode(rig.cpu, pcm, 640, codes, &n, clock_ns() - 1), UTTER_DEADLINE);
    encoder_rig_close(&rig);
}

/* The semantic model in a file of its own; what HuBERT wants of the recording stands beside it. */
static void takes_the_semantic_model_from_its_folder(void **state) {
    (void)state;
    char rest[FIXTURE_PATH], whole[FIXTURE_PATH], out[FIXTURE_PATH], settings[FIXTURE_PATH];
    const char *metadata = ",\"utter.encoder\":\"{\\\"head_count\\\":4,\\\"local_window\\\":4}\"";
    assert_ok(fixture_path("distill-rest.safetensors", rest));
    assert_ok(fixture_path("distill-whole.safetensors", whole));
    assert_ok(fixture_path("distill-joined.gguf", out));
    assert_ok(fixture_path("preprocessor_config.json", settings));
    assert_ok(fixture_distill_safetensors(metadata, "semantic_model.", rest));
    assert_ok(fixture_distill_safetensors("", "codec_encoder.", whole));
    assert_int_equal(convert_encoder(rest, NULL, out, BLOCK_F32), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "ntu-spml/distilhubert"));
    static const char text[] = "{\"do_normalize\": true, \"feature_extractor_type\": \"Wav2Vec2FeatureExtractor\"}";
    struct file_writer w;
    assert_ok(file_create(settings, &w));
    assert_ok(file_write(&w, text, sizeof text - 1));
    assert_ok(file_commit(&w));
    assert_ok(convert_encoder(rest, whole, out, BLOCK_F32));
    remove(settings);
    struct encoder_rig rig;
    const struct kernels *kernels;
    assert_ok(kernels_find(NULL, &kernels));
    encoder_rig_open(&rig, out, kernels, 2);
    encode(&rig, "B_6400", "codes_normalised", 21);
    encoder_rig_close(&rig);
}

/* One kind of tensor left out at a time. */
static void names_a_tensor_that_is_missing(void **state) {
    (void)state;
    static const char *const names[] = {"codec_encoder.encoder.blocks.0.conv_2",
                                        "codec_encoder.encoder.blocks.3.0.module.grn.gamma",
                                        "codec_encoder.en_encoder.down_trans.trans.layers.0.1.4.weight",
                                        "codec_encoder.en_encoder.local_trans.dynamic_pos_bias.mlp.2.bias",
                                        "fc_sq_prior.weight",
                                        "semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
                                        "semantic_model.encoder.layers.1.attention.k_proj.bias",
                                        "SemanticEncoder_module.final_conv"};
    char holes[FIXTURE_PATH], out[FIXTURE_PATH];
    assert_ok(fixture_path("distill-holes.safetensors", holes));
    assert_ok(fixture_path("distill-none.gguf", out));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_ok(fixture_distill_safetensors(",\"utter.encoder\":\"{\\\"head_count\\\":4}\"", names[i], holes));
        assert_int_equal(convert_encoder(holes, NULL, out, BLOCK_F16), UTTER_FORMAT);
        if (!strstr(fail_message(), names[i])) fail_msg("%s: %s", names[i], fail_message());
    }
}

/* Bytes of the header changed at random: refused with a sentence, or still an encoder, never a crash. */
static void survives_damaged_files(void **state) {
    (void)state;
    struct file_map m;
    int n_refused = 0;
    uint32_t random = 1;
    assert_ok(file_map_open(path, &m));
    uint8_t *data = aligned_alloc(64, (m.size + 63) / 64 * 64);
    memcpy(data, m.data, m.size);
    for (int i = 0; i < 400; i++) {
        struct gguf *g;
        struct codec_encoder *encoder;
        random = random * 1664525 + 1013904223;
        size_t at = 24 + (random >> 8) % (i % 2 ? 12000 : 700);
        data[at] ^= (uint8_t)(1 << (random >> 5) % 8);
        status s = gguf_open_memory(data, m.size, "damaged", &g);
        if (s == UTTER_OK) s = codec_encoder_load(g, &encoder);
        if (s == UTTER_OK) codec_encoder_free(encoder);
        n_refused += s != UTTER_OK;
        data[at] = ((const uint8_t *)m.data)[at];
    }
    assert_true(n_refused > 200);
    free(data);
    file_map_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_official_classes_with_every_kernel_set),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(normalises_the_recording_when_told),
        cmocka_unit_test(encodes_what_is_short_and_keeps_the_deadline),
        cmocka_unit_test(takes_the_semantic_model_from_its_folder),
        cmocka_unit_test(names_a_tensor_that_is_missing),
        cmocka_unit_test(survives_damaged_files),
    };
    return cmocka_run_group_tests(tests, make_encoders, remove_encoders);
}
