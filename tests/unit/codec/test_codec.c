/* The codec's description: FSQ values, and files that must be refused. The files are written here, with one thing
   changed in each. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "fixtures/folder.h"
#include "gguf/write.h"

/* ---- a codec file with one thing changed ---- */

enum { C = 8, Q = 6, N_FSQ = 3, FFN = 10, N_FFT = 12, HOP = 4, BLOCKS = 2 };

struct change {
    const char *name;  // of the key or tensor
    bool missing;      // it is left out
    int64_t value;     // of a key; of dimension `dim` of a tensor
    int dim;
    const char *text;  // of a key: a string in place of the number
    const char *said;  // part of the sentence
};

static const struct change none = {.name = ""};

static struct {
    struct gguf_writer *w;
    const struct change *change;
    int64_t sizes[128];  // elements of the tensors announced
    int n_tensors;
} file;

static bool changed(const char *name) { return !strcmp(file.change->name, name); }

static void put_number(const char *key, uint32_t value) {
    if (!changed(key))
        gguf_put_u32(file.w, key, value);
    else if (file.change->text)
        gguf_put_string(file.w, key, file.change->text);
    else if (!file.change->missing)
        gguf_put_u32(file.w, key, (uint32_t)file.change->value);
}

static void put_tensor(const char *name, int n_dims, int64_t d0, int64_t d1, int64_t d2) {
    int64_t dims[3] = {d0, d1, d2};
    if (changed(name)) {
        if (file.change->missing) return;
        dims[file.change->dim] = file.change->value;
    }
    gguf_put_tensor(file.w, name, BLOCK_F32, n_dims, dims);
    int64_t n = 1;
    for (int i = 0; i < n_dims; i++) n *= dims[i];
    file.sizes[file.n_tensors++] = n;
}

#define NAMED(...) (snprintf(name, sizeof name, __VA_ARGS__), name)

static void put_resnet(const char *resnet, int64_t taps) {
    char name[128];
    for (int i = 1; i <= 2; i++) {
        put_tensor(NAMED("generator.backbone.%s.norm%d.weight", resnet, i), 1, C, 0, 0);
        put_tensor(NAMED("generator.backbone.%s.norm%d.bias", resnet, i), 1, C, 0, 0);
        put_tensor(NAMED("generator.backbone.%s.conv%d.weight", resnet, i), 3, C, taps, C);
        put_tensor(NAMED("generator.backbone.%s.conv%d.bias", resnet, i), 1, C, 0, 0);
    }
}

static void put_block(int i) {
    char name[128];
    put_tensor(NAMED("generator.backbone.transformers.%d.att_norm.weight", i), 1, C, 0, 0);
    put_tensor(NAMED("generator.backbone.transformers.%d.att.c_attn.weight", i), 2, C, 3 * C, 0);
    put_tensor(NAMED("generator.backbone.transformers.%d.att.c_proj.weight", i), 2, C, C, 0);
    put_tensor(NAMED("generator.backbone.transformers.%d.ffn_norm.weight", i), 1, C, 0, 0);
    put_tensor(NAMED("generator.backbone.transformers.%d.mlp.fc1.weight", i), 2, C, FFN, 0);
    put_tensor(NAMED("generator.backbone.transformers.%d.mlp.fc2.weight", i), 2, FFN, C, 0);
}

/* levels: NULL for 4, 3, 2. */
static status load_changed(const struct change *change, const int32_t *levels, size_t n_levels, struct codec **out) {
    static const int32_t usual_levels[N_FSQ] = {4, 3, 2};
    char path[FIXTURE_PATH];
    struct gguf *g;
    assert_ok(fixture_path("codec.gguf", path));
    assert_ok(gguf_writer_open(path, &file.w));
    file.change = change;
    file.n_tensors = 0;
    if (changed("general.architecture")) {
        if (!change->missing) gguf_put_string(file.w, "general.architecture", change->text);
    } else {
        gguf_put_string(file.w, "general.architecture", "neucodec");
    }
    put_number("neucodec.sample_rate", 24000);
    put_number("neucodec.hop_length", HOP);
    put_number("neucodec.fft_length", N_FFT);
    put_number("neucodec.embedding_length", C);
    put_number("neucodec.block_count", BLOCKS);
    put_number("neucodec.head_count", 2);
    put_number("neucodec.group_count", 4);
    put_number("neucodec.vq_length", Q);
    if (levels)
        gguf_put_i32_array(file.w, "neucodec.fsq_levels", levels, n_levels);
    else if (changed("neucodec.fsq_levels") && !change->missing)
        put_number("neucodec.fsq_levels", 0);
    else if (!changed("neucodec.fsq_levels"))
        gguf_put_i32_array(file.w, "neucodec.fsq_levels", usual_levels, N_FSQ);
    put_tensor("generator.quantizer.project_out.weight", 2, N_FSQ, Q, 0);
    put_tensor("generator.quantizer.project_out.bias", 1, Q, 0, 0);
    put_tensor("fc_post_a.weight", 2, Q, C, 0);
    put_tensor("fc_post_a.bias", 1, C, 0, 0);
    put_tensor("generator.backbone.embed.weight", 3, C, 5, C);
    put_tensor("generator.backbone.embed.bias", 1, C, 0, 0);
    put_resnet("prior_net.0", 3);
    put_resnet("prior_net.1", 3);
    for (int i = 0; i < BLOCKS; i++) put_block(i);
    put_resnet("post_net.0", 3);
    put_resnet("post_net.1", 3);
    put_tensor("generator.backbone.final_layer_norm.weight", 1, C, 0, 0);
    put_tensor("generator.backbone.final_layer_norm.bias", 1, C, 0, 0);
    put_tensor("generator.head.out.weight", 2, C, N_FFT + 2, 0);
    put_tensor("generator.head.out.bias", 1, N_FFT + 2, 0, 0);
    for (int i = 0; i < file.n_tensors; i++) {
        float *values = calloc((size_t)file.sizes[i], sizeof *values);
        assert_ok(gguf_write_data(file.w, values, (size_t)file.sizes[i] * sizeof *values));
        free(values);
    }
    assert_ok(gguf_writer_finish(file.w));
    assert_ok(gguf_open(path, &g));
    return codec_load(g, out);
}

static int remove_files(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

/* ---- tests ---- */

static void loads_any_geometry(void **state) {
    (void)state;
    struct codec *c;
    assert_ok(load_changed(&none, NULL, 0, &c));
    const struct codec_config *config = &c->config;
    assert_int_equal(config->sample_rate, 24000);
    assert_int_equal(config->hop, HOP);
    assert_int_equal(config->n_fft, N_FFT);
    assert_int_equal(config->n_embd, C);
    assert_int_equal(config->n_blocks, BLOCKS);
    assert_int_equal(config->n_heads, 2);
    assert_int_equal(config->n_groups, 4);
    assert_int_equal(config->vq_dim, Q);
    assert_int_equal(config->n_fsq, 3);
    assert_int_equal(config->n_codes, 24);
    assert_int_equal(config->embed_kernel, 5);
    assert_int_equal(config->resnet_kernel, 3);
    assert_int_equal(config->n_ffn, FFN);
    assert_string_equal(c->name, "NeuCodec");
    assert_int_equal(c->embed.rows, C);
    assert_int_equal(c->embed.cols, 5 * C);
    assert_int_equal(c->blocks[1].c_attn.rows, 3 * C);
    assert_int_equal(c->head.rows, N_FFT + 2);
    codec_free(c);
    codec_free(NULL);
}

static void refuses_each_damaged_field_by_name(void **state) {
    (void)state;
    static const struct change changes[] = {
        {.name = "general.architecture", .missing = true, .said = "general.architecture"},
        {.name = "general.architecture", .text = "qwen2", .said = "\"qwen2\", not a codec"},
        {.name = "general.architecture", .text = "neucodec2", .said = "not a codec"},
        {.name = "neucodec.sample_rate", .missing = true, .said = "neucodec.sample_rate"},
        {.name = "neucodec.sample_rate", .value = 0, .said = "neucodec.sample_rate"},
        {.name = "neucodec.sample_rate", .value = 4000000000, .said = "neucodec.sample_rate"},
        {.name = "neucodec.sample_rate", .text = "24000", .said = "neucodec.sample_rate"},
        {.name = "neucodec.hop_length", .missing = true, .said = "neucodec.hop_length"},
        {.name = "neucodec.hop_length", .value = 0, .said = "neucodec.hop_length"},
        {.name = "neucodec.hop_length", .value = 5, .said = "neucodec.hop_length 5"},
        {.name = "neucodec.hop_length", .value = 3, .said = "even"},
        {.name = "neucodec.hop_length", .value = N_FFT, .said = "neucodec.hop_length"},
        {.name = "neucodec.fft_length", .value = 0, .said = "neucodec.fft_length"},
        {.name = "neucodec.fft_length", .value = 13, .said = "neucodec.fft_length 13"},
        {.name = "neucodec.fft_length", .value = 16, .said = "generator.head.out.weight"},
        {.name = "neucodec.fft_length", .value = 4294967295, .said = "neucodec.fft_length"},
        {.name = "neucodec.embedding_length", .value = 0, .said = "neucodec.embedding_length"},
        {.name = "neucodec.embedding_length", .value = 16, .said = "embed.weight"},
        {.name = "neucodec.embedding_length", .value = 2147483648, .said = "neucodec.embedding_length"},
        {.name = "neucodec.block_count", .value = 0, .said = "neucodec.block_count"},
        {.name = "neucodec.block_count", .value = 1, .said = "transformers.1.att_norm.weight"},
        {.name = "neucodec.block_count", .value = 3, .said = "transformers.2.att_norm.weight"},
        {.name = "neucodec.block_count", .value = 4294967295, .said = "neucodec.block_count"},
        {.name = "neucodec.head_count", .value = 0, .said = "neucodec.head_count"},
        {.name = "neucodec.head_count", .value = 3, .said = "neucodec.head_count 3"},
        {.name = "neucodec.head_count", .value = 16, .said = "neucodec.head_count"},
        {.name = "neucodec.group_count", .value = 0, .said = "neucodec.group_count"},
        {.name = "neucodec.group_count", .value = 5, .said = "neucodec.group_count 5"},
        {.name = "neucodec.vq_length", .value = 0, .said = "neucodec.vq_length"},
        {.name = "neucodec.vq_length", .value = 7, .said = "project_out.weight"},
        {.name = "neucodec.fsq_levels", .missing = true, .said = "neucodec.fsq_levels"},
        {.name = "neucodec.fsq_levels", .text = "4, 3, 2", .said = "neucodec.fsq_levels"},
        {.name = "generator.quantizer.project_out.weight", .missing = true, .said = "project_out.weight"},
        {.name = "generator.quantizer.project_out.weight", .dim = 0, .value = 4, .said = "project_out.weight"},
        {.name = "fc_post_a.weight", .dim = 1, .value = 7, .said = "fc_post_a.weight"},
        {.name = "fc_post_a.bias", .dim = 0, .value = 7, .said = "fc_post_a.bias"},
        {.name = "generator.backbone.embed.weight", .missing = true, .said = "embed.weight"},
        {.name = "generator.backbone.embed.weight", .dim = 1, .value = 4, .said = "4 taps"},
        {.name = "generator.backbone.embed.weight", .dim = 1, .value = 65, .said = "65 taps"},
        {.name = "generator.backbone.embed.weight", .dim = 2, .value = 9, .said = "embed.weight"},
        {.name = "generator.backbone.prior_net.0.conv1.weight", .missing = true, .said = "prior_net.0.conv1.weight"},
        {.name = "generator.backbone.prior_net.1.conv2.weight", .dim = 1, .value = 5, .said = "5 taps"},
        {.name = "generator.backbone.post_net.0.norm2.weight", .dim = 0, .value = 9, .said = "post_net.0.norm2.weight"},
        {.name = "generator.backbone.post_net.1.conv2.bias", .missing = true, .said = "post_net.1.conv2.bias"},
        {.name = "generator.backbone.transformers.0.mlp.fc1.weight", .missing = true, .said = "0.mlp.fc1.weight"},
        {.name = "generator.backbone.transformers.0.mlp.fc1.weight", .dim = 1, .value = 11, .said = "0.mlp.fc2.weight"},
        {.name = "generator.backbone.transformers.1.att.c_attn.weight", .dim = 1, .value = C, .said = "1.att.c_attn"},
        {.name = "generator.backbone.transformers.1.mlp.fc2.weight", .missing = true, .said = "1.mlp.fc2.weight"},
        {.name = "generator.backbone.final_layer_norm.bias", .missing = true, .said = "final_layer_norm.bias"},
        {.name = "generator.head.out.weight", .dim = 1, .value = N_FFT, .said = "head.out.weight"},
        {.name = "generator.head.out.bias", .dim = 0, .value = N_FFT, .said = "head.out.bias"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct codec *c;
        status s = load_changed(&changes[i], NULL, 0, &c);
        if (s == UTTER_OK) fail_msg("%s: loaded", changes[i].name);
        assert_null(c);
        assert_true(s == UTTER_FORMAT || s == UTTER_UNSUPPORTED);
        if (!strstr(fail_message(), changes[i].said)) fail_msg("%s: said \"%s\"", changes[i].name, fail_message());
        assert_non_null(strstr(fail_message(), "codec.gguf"));
    }
}

static void refuses_levels_that_cannot_be(void **state) {
    (void)state;
    static const struct {
        int32_t levels[20];
        size_t n;
    } bad[] = {
        {{4, 1, 2}, 3},
        {{4, 0, 2}, 3},
        {{4, -4, 2}, 3},
        {{4, 3}, 2},        // the projection has three columns
        {{4, 3, 2, 2}, 4},  //
        {{65536, 65536, 65536}, 3},
        {{46341, 46341, 2}, 3},  // 2^32 and a little
        {{2000000000, 2, 2}, 3},
        {{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, 17},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct codec *c;
        status s = load_changed(&none, bad[i].levels, bad[i].n, &c);
        assert_null(c);
        assert_true(s == UTTER_FORMAT || s == UTTER_UNSUPPORTED);
    }
    struct codec *c;
    static const int32_t most[] = {32768, 32767, 2};  // just below 2^31
    assert_ok(load_changed(&none, most, 3, &c));
    assert_int_equal(c->config.n_codes, 2147418112);
    float values[3];
    assert_ok(codec_fsq_values(&c->config, 2147418111, values));
    codec_free(c);
}

static void fsq_values_are_the_official_ones(void **state) {
    (void)state;
    struct codec_config config = {.n_fsq = 8, .fsq_levels = {4, 4, 4, 4, 4, 4, 4, 4}, .n_codes = 65536};
    for (int32_t code = 0; code < 65536; code++) {
        float values[8];
        assert_ok(codec_fsq_values(&config, code, values));
        for (int i = 0; i < 8; i++) assert_true(values[i] == (float)(((code >> (2 * i)) & 3) - 2) / 2);
    }
    float values[8];
    static const int32_t outside[] = {-1, 65536, -65536, 2147483647, -2147483647 - 1};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_int_equal(codec_fsq_values(&config, outside[i], values), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "0..65535"));
}

/* Digit 0 first; an odd number of levels reaches 1, an even one does not. */
static void fsq_levels_may_differ(void **state) {
    (void)state;
    struct codec_config config = {.n_fsq = 3, .fsq_levels = {8, 5, 2}, .n_codes = 80};
    float values[3];
    assert_ok(codec_fsq_values(&config, 0, values));
    assert_true(values[0] == -1 && values[1] == -1 && values[2] == -1);
    assert_ok(codec_fsq_values(&config, 79, values));
    assert_true(values[0] == 0.75f && values[1] == 1 && values[2] == 0);
    assert_ok(codec_fsq_values(&config, 6 + 8 * 2 + 40 * 1, values));
    assert_true(values[0] == 0.5f && values[1] == 0 && values[2] == 0);
    assert_int_equal(codec_fsq_values(&config, 80, values), UTTER_INVALID);
}

static void window_is_a_periodic_hann_window(void **state) {
    (void)state;
    static float window[1920];
    struct codec_config config = {.n_fft = 1920, .hop = 480};
    codec_istft_window(&config, window);
    assert_true(window[0] == 0 && window[960] == 1);
    for (int i = 1; i < 1920; i++) assert_true(fabsf(window[i] - window[1920 - i]) < 1e-7f);
    for (int i = 0; i < 480; i++) {  // the sum of squares over all four frames is 1.5 everywhere
        double sum = 0;
        for (int j = 0; j < 4; j++) sum += (double)window[i + 480 * j] * window[i + 480 * j];
        assert_true(fabs(sum - 1.5) < 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_any_geometry),
        cmocka_unit_test(refuses_each_damaged_field_by_name),
        cmocka_unit_test(refuses_levels_that_cannot_be),
        cmocka_unit_test(fsq_values_are_the_official_ones),
        cmocka_unit_test(fsq_levels_may_differ),
        cmocka_unit_test(window_is_a_periodic_hann_window),
    };
    return cmocka_run_group_tests(tests, NULL, remove_files);
}
