#include "codec/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "codec/encoder_parts.h"

enum { MAX_LAYERS = 512, MAX_STRIDE = 16, MAX_CONTEXT = 4096 };
enum { MAX_LINEARS = 256 + ENCODER_MAX_STAGES * 8, LINEARS_OF_LAYER = 10 };
enum { MAX_VECTORS = 256 + ENCODER_MAX_STAGES * 24, VECTORS_OF_LAYER = 32 };

static const char architecture[] = "neucodec-encoder";
static const int dilations[ENCODER_UNITS] = {1, 3, 9};

static status read_config(struct codec_encoder *e);
static status read_own_config(const struct gguf *g, struct encoder_config *config);
static status load_acoustic(struct codec_encoder *e);
static status load_semantic(struct codec_encoder *e);
static status load_layer(struct codec_encoder *e, int i);
static status load_convs(struct codec_encoder *e);
static status load_ends(struct codec_encoder *e);
static status make_lists(struct codec_encoder *e);
static status check_kind(const struct gguf *g);
static status load_name(struct codec_encoder *e);

status codec_encoder_load(struct gguf *g, struct codec_encoder **out) {
    *out = NULL;
    struct codec_encoder *e = calloc(1, sizeof *e);
    if (!e) {
        gguf_close(g);
        return fail_memory(sizeof *e, "the encoder");
    }
    e->file = g;
    e->label = gguf_label(g);
    status s = check_kind(g);
    if (s == UTTER_OK) s = read_config(e);
    if (s == UTTER_OK) s = load_name(e);
    if (s == UTTER_OK) s = make_lists(e);
    if (s == UTTER_OK && e->distill) s = encoder_distill_load(e);
    if (s == UTTER_OK && !e->distill) s = load_acoustic(e);
    if (s == UTTER_OK && !e->distill) s = load_semantic(e);
    if (s == UTTER_OK) s = load_convs(e);
    if (s == UTTER_OK) s = load_ends(e);
    if (s != UTTER_OK) {
        codec_encoder_free(e);
        return s;
    }
    *out = e;
    return UTTER_OK;
}

void codec_encoder_free(struct codec_encoder *e) {
    if (!e) return;
    for (int i = 0; i < e->n_vectors; i++) free_aligned(e->vectors[i]);
    free(e->vectors);
    free(e->linears);
    free(e->stages);
    free(e->layers);
    free(e->distill);
    free(e->name);
    gguf_close(e->file);
    free(e);
}

float codec_encoder_bound(float z, int levels) {
    const double half = (levels - 1) * (1 + 1e-3) / 2, offset = levels % 2 ? 0 : 0.5, shift = atanh(offset / half);
    return (float)(tanh(z + shift) * half - offset);
}

status codec_encoder_code(const struct codec_encoder *e, const float *z, int32_t *code) {
    int32_t unit = 1;
    *code = 0;
    for (int i = 0; i < e->config.n_fsq; i++) {
        int levels = e->config.fsq_levels[i];
        float bounded = codec_encoder_bound(codec_encoder_bound(z[i], levels), levels);
        if (!isfinite(bounded))
            return fail(UTTER_FORMAT, "%s: the encoder computes values that are not numbers; the file is damaged",
                        e->label);
        int digit = (int)rintf(bounded) + levels / 2;  // to even, as everywhere
        *code += unit * digit;
        unit *= levels;
    }
    return UTTER_OK;
}

/* Modified Bessel function of the first kind, order 0, by its series. */
static double bessel_i0(double x) {
    double sum = 1, term = 1;
    for (int k = 1; k < 50; k++) {
        term *= x / (2 * k) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

/* Cutoff a quarter of the rate, half width 0.3 of it: beta by Kaiser's formula. */
void codec_encoder_filter(float *filter) {
    const double pi = 3.14159265358979323846, middle = (ENCODER_FILTER_TAPS - 1) / 2.0;
    const double attenuation = 2.285 * (ENCODER_FILTER_TAPS / 2 - 1) * pi * 4 * 0.3 + 7.95;
    const double beta = 0.1102 * (attenuation - 8.7);
    double values[ENCODER_FILTER_TAPS], sum = 0;
    for (int n = 0; n < ENCODER_FILTER_TAPS; n++) {
        double t = n - middle, x = t / middle, angle = pi * 0.5 * t;
        values[n] = bessel_i0(beta * sqrt(1 - x * x)) / bessel_i0(beta) * sin(angle) / angle;
        sum += values[n];
    }
    for (int n = 0; n < ENCODER_FILTER_TAPS; n++) filter[n] = (float)(values[n] / sum);
}

/* ---- metadata ---- */

static status check_kind(const struct gguf *g) {
    struct gguf_string kind;
    if (!gguf_get_string(g, "general.architecture", &kind))
        return fail(UTTER_FORMAT, "%s does not say what it is (no general.architecture); give an encoder's GGUF file",
                    gguf_label(g));
    if (kind.len == strlen(architecture) && !memcmp(kind.data, architecture, kind.len)) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s is a model of architecture \"%.*s\", not an encoder; \"utter models convert NEUCODEC OUT "
                "--encoder\" makes one",
                gguf_label(g), kind.len > 64 ? 64 : (int)kind.len, kind.data);
}

static status load_name(struct codec_encoder *e) {
    struct gguf_string name = {"NeuCodec", strlen("NeuCodec")};
    gguf_get_string(e->file, "general.name", &name);
    e->name = strndup(name.data, name.len);
    return e->name ? UTTER_OK : fail_memory(name.len + 1, "the encoder's name");
}

/* Which of the two kinds it is, and what both have. */
static status read_config(struct codec_encoder *e) {
    const struct gguf *g = e->file;
    struct encoder_config *config = &e->config;
    const char *label = e->label;
    TRY(encoder_need_int(g, "neucodec-encoder.sample_rate", 1, 1 << 20, &config->sample_rate));
    TRY(encoder_need_int(g, "neucodec-encoder.hop_length", 1, 1 << 20, &config->hop));
    if (config->sample_rate != ENCODER_SAMPLE_RATE || config->hop != ENCODER_HOP)
        return fail(UTTER_UNSUPPORTED, "%s: %d Hz with %d samples a code; utter knows encoders of %d Hz and %d", label,
                    config->sample_rate, config->hop, ENCODER_SAMPLE_RATE, ENCODER_HOP);
    TRY(encoder_need_ints(g, "neucodec-encoder.fsq_levels", CODEC_MAX_FSQ, 2, 1 << 16, config->fsq_levels,
                          &config->n_fsq));
    int64_t n_codes = 1;
    for (int i = 0; i < config->n_fsq; i++) {
        n_codes *= config->fsq_levels[i];
        if (n_codes > INT32_MAX)
            return fail(UTTER_UNSUPPORTED, "%s: neucodec-encoder.fsq_levels makes more than 2^31 codes", label);
    }
    config->n_codes = (int)n_codes;
    TRY(encoder_need_int(g, "neucodec-encoder.block_count", 1, MAX_LAYERS, &config->n_layers));
    TRY(encoder_outputs(g, "semantic.feature_projection.projection.weight", &config->n_embd));
    TRY(encoder_outputs(g, "semantic_encoder.initial_conv.weight", &config->n_mid));
    TRY(encoder_outputs(g, "semantic_encoder.final_conv.weight", &config->n_semantic));
    TRY(encoder_outputs(g, "fc_prior.weight", &config->vq_dim));
    TRY(encoder_need_int(g, "neucodec-encoder.head_count", 1, config->n_embd, &config->n_heads));
    if (config->n_embd % config->n_heads)
        return fail(UTTER_FORMAT, "%s: neucodec-encoder.head_count %d does not divide the width %d", label,
                    config->n_heads, config->n_embd);
    struct gguf_string variant;
    if (!gguf_get_string(g, "neucodec-encoder.variant", &variant)) return read_own_config(g, config);
    if (variant.len == strlen("distill") && memcmp(variant.data, "distill", variant.len) == 0)
        return encoder_distill_config(e);
    return fail(UTTER_UNSUPPORTED, "%s: neucodec-encoder.variant is \"%.*s\"; this utter knows \"distill\"", label,
                variant.len > 64 ? 64 : (int)variant.len, variant.data);
}

static status read_own_config(const struct gguf *g, struct encoder_config *config) {
    const char *label = gguf_label(g);
    TRY(encoder_need_ints(g, "neucodec-encoder.strides", ENCODER_MAX_STAGES, 2, MAX_STRIDE, config->strides,
                          &config->n_stages));
    int64_t hop = 1;
    for (int i = 0; i < config->n_stages; i++) hop *= config->strides[i];
    if (hop != config->hop)
        return fail(UTTER_FORMAT, "%s: neucodec-encoder.strides make %lld samples a code, and hop_length says %d",
                    label, (long long)hop, config->hop);
    TRY(encoder_outputs(g, "acoustic.conv_blocks.0.weight", &config->n_first));
    if ((int64_t)config->n_first << config->n_stages > ENCODER_MAX_WIDTH)
        return fail(UTTER_FORMAT, "%s: %d channels doubled %d times are too many", label, config->n_first,
                    config->n_stages);
    TRY(encoder_outputs(g, "acoustic.conv_final_block.1.weight", &config->n_acoustic));
    TRY(encoder_outputs(g, "semantic.layers.0.ffn1.intermediate_dense.weight", &config->n_ffn));
    TRY(encoder_need_int(g, "neucodec-encoder.left_context", 0, MAX_CONTEXT, &config->left));
    int n_distances;
    TRY(encoder_outputs(g, "semantic.layers.0.self_attn.distance_embedding.weight", &n_distances));
    config->right = n_distances - 1 - config->left;
    if (config->right < 0 || config->right > MAX_CONTEXT)
        return fail(UTTER_FORMAT, "%s: %d distances do not go with a neucodec-encoder.left_context of %d", label,
                    n_distances, config->left);
    return UTTER_OK;
}

/* ---- weights ---- */

/* Room for all there can be. */
static status make_lists(struct codec_encoder *e) {
    const struct encoder_config *config = &e->config;
    size_t n_linears = MAX_LINEARS + (size_t)config->n_layers * LINEARS_OF_LAYER;
    size_t n_vectors = MAX_VECTORS + (size_t)config->n_layers * VECTORS_OF_LAYER;
    e->linears = calloc(n_linears, sizeof *e->linears);
    e->vectors = calloc(n_vectors, sizeof *e->vectors);
    e->stages = calloc((size_t)config->n_stages, sizeof *e->stages);
    e->layers = calloc((size_t)config->n_layers, sizeof *e->layers);
    if (!e->linears || !e->vectors || !e->stages || !e->layers)
        return fail_memory((size_t)config->n_layers * sizeof *e->layers, "the encoder's layers");
    return UTTER_OK;
}

static status load_stage(struct codec_encoder *e, int i) {
    struct encoder_stage *stage = &e->stages[i];
    int64_t channels = (int64_t)e->config.n_first << i;
    char name[ENCODER_NAME_SIZE];
#define NAME(...) encoder_name(name, "acoustic.conv_blocks." __VA_ARGS__)
    for (int u = 0; u < ENCODER_UNITS; u++) {
        struct encoder_unit *unit = &stage->units[u];
        unit->dilation = dilations[u];
        TRY(encoder_load_snake(e, NAME("%d.block.%d.block.0", i + 1, u), channels, &unit->act1));
        TRY(encoder_load_conv(e, NAME("%d.block.%d.block.1", i + 1, u), channels, channels, BIAS, &unit->conv1));
        TRY(encoder_load_snake(e, NAME("%d.block.%d.block.2", i + 1, u), channels, &unit->act2));
        TRY(encoder_load_conv(e, NAME("%d.block.%d.block.3", i + 1, u), channels, channels, BIAS, &unit->conv2));
        if (unit->conv2.taps != 1)
            return fail(UTTER_UNSUPPORTED, "%s: tensor %s.weight has %d taps, not 1", e->label, name, unit->conv2.taps);
    }
    TRY(encoder_load_snake(e, NAME("%d.block.3", i + 1), channels, &stage->act));
    TRY(encoder_load_linear(e, NAME("%d.block.4", i + 1), 2 * channels, channels, BIAS, &stage->down));
    if (stage->down.taps != 2 * e->config.strides[i])
        return fail(UTTER_FORMAT, "%s: tensor %s.weight has %d taps, not twice the stride of %d", e->label, name,
                    stage->down.taps, e->config.strides[i]);
#undef NAME
    return UTTER_OK;
}

static status load_acoustic(struct codec_encoder *e) {
    const struct encoder_config *config = &e->config;
    TRY(encoder_load_conv(e, "acoustic.conv_blocks.0", config->n_first, 1, BIAS, &e->first));
    for (int i = 0; i < config->n_stages; i++) TRY(load_stage(e, i));
    int64_t channels = (int64_t)config->n_first << config->n_stages;
    TRY(encoder_load_snake(e, "acoustic.conv_final_block.0", channels, &e->final_act));
    return encoder_load_conv(e, "acoustic.conv_final_block.1", config->n_acoustic, channels, BIAS, &e->final);
}

static status load_semantic(struct codec_encoder *e) {
    struct encoder_config *config = &e->config;
    TRY(encoder_load_norm(e, "semantic.feature_projection.layer_norm", ENCODER_FEATURES, &e->features_norm));
    TRY(encoder_load_linear(e, "semantic.feature_projection.projection", config->n_embd, ENCODER_FEATURES, BIAS,
                            &e->features));
    float *depthwise;
    TRY(encoder_load_depthwise(e, "semantic.layers.0.conv_module.depthwise_conv.weight", config->n_embd,
                               &config->depthwise_taps, &depthwise));
    for (int i = 0; i < config->n_layers; i++) TRY(load_layer(e, i));
    char name[ENCODER_NAME_SIZE];
    if (gguf_find_tensor(e->file, encoder_name(name, "semantic.layers.%d.final_layer_norm.weight", config->n_layers)))
        return fail(UTTER_FORMAT, "%s: neucodec-encoder.block_count is %d, but there is a tensor %s", e->label,
                    config->n_layers, name);
    return UTTER_OK;
}

static status load_convs(struct codec_encoder *e) {
    const struct encoder_config *config = &e->config;
    TRY(encoder_load_conv(e, "semantic_encoder.initial_conv", config->n_mid, config->n_embd, NO_BIAS,
                          &e->initial_conv));
    TRY(encoder_load_conv(e, "semantic_encoder.residual_blocks.1", config->n_mid, config->n_mid, BIAS, &e->residual1));
    TRY(encoder_load_conv(e, "semantic_encoder.residual_blocks.3", config->n_mid, config->n_mid, BIAS, &e->residual3));
    return encoder_load_conv(e, "semantic_encoder.final_conv", config->n_semantic, config->n_mid, NO_BIAS,
                             &e->final_conv);
}

static status load_layer(struct codec_encoder *e, int i) {
    const struct encoder_config *config = &e->config;
    struct encoder_layer *l = &e->layers[i];
    int64_t width = config->n_embd, ffn = config->n_ffn;
    char name[ENCODER_NAME_SIZE];
#define NAME(rest) encoder_name(name, "semantic.layers.%d." rest, i)
    TRY(encoder_load_norm(e, NAME("ffn1_layer_norm"), width, &l->ffn1_norm));
    TRY(encoder_load_linear(e, NAME("ffn1.intermediate_dense"), ffn, width, BIAS, &l->ffn1_in));
    TRY(encoder_load_linear(e, NAME("ffn1.output_dense"), width, ffn, BIAS, &l->ffn1_out));
    TRY(encoder_load_norm(e, NAME("self_attn_layer_norm"), width, &l->attention_norm));
    TRY(encoder_load_linear(e, NAME("self_attn.linear_q"), width, width, BIAS, &l->q));
    TRY(encoder_load_linear(e, NAME("self_attn.linear_k"), width, width, BIAS, &l->k));
    TRY(encoder_load_linear(e, NAME("self_attn.linear_v"), width, width, BIAS, &l->v));
    TRY(encoder_load_linear(e, NAME("self_attn.linear_out"), width, width, BIAS, &l->out));
    TRY(encoder_load_floats(e, NAME("self_attn.distance_embedding.weight"), config->left + 1 + config->right,
                            width / config->n_heads, &l->distances));
    TRY(encoder_load_norm(e, NAME("conv_module.layer_norm"), width, &l->conv_norm));
    TRY(encoder_load_linear(e, NAME("conv_module.pointwise_conv1"), 2 * width, width, NO_BIAS, &l->pointwise1));
    int taps;
    TRY(encoder_load_depthwise(e, NAME("conv_module.depthwise_conv.weight"), width, &taps, &l->depthwise));
    if (taps != config->depthwise_taps)
        return fail(UTTER_FORMAT, "%s: tensor %s has %d taps where the first layer has %d", e->label, name, taps,
                    config->depthwise_taps);
    TRY(encoder_load_norm(e, NAME("conv_module.depthwise_layer_norm"), width, &l->depthwise_norm));
    TRY(encoder_load_linear(e, NAME("conv_module.pointwise_conv2"), width, width, NO_BIAS, &l->pointwise2));
    TRY(encoder_load_norm(e, NAME("ffn2_layer_norm"), width, &l->ffn2_norm));
    TRY(encoder_load_linear(e, NAME("ffn2.intermediate_dense"), ffn, width, BIAS, &l->ffn2_in));
    TRY(encoder_load_linear(e, NAME("ffn2.output_dense"), width, ffn, BIAS, &l->ffn2_out));
    return encoder_load_norm(e, NAME("final_layer_norm"), width, &l->final_norm);
#undef NAME
}

static status load_ends(struct codec_encoder *e) {
    const struct encoder_config *config = &e->config;
    TRY(encoder_load_linear(e, "fc_prior", config->vq_dim, config->n_semantic + config->n_acoustic, BIAS,
                            &e->fc_prior));
    return encoder_load_linear(e, "project_in", config->n_fsq, config->vq_dim, BIAS, &e->project_in);
}
