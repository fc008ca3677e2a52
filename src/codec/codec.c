#include "codec/codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Bounds that no real codec comes near; they keep every product of sizes far from overflow. */
enum { MAX_WIDTH = 1 << 16, MAX_BLOCKS = 512, MAX_TAPS = 63, MAX_FFT = 1 << 16, MAX_LEVELS = 1 << 16 };

static const char *const resnet_names[CODEC_RESNETS] = {"prior_net.0", "prior_net.1", "post_net.0", "post_net.1"};

static status check_kind(const struct gguf *g);
static status read_config(const struct gguf *g, struct codec_config *config);
static status read_levels(const struct gguf *g, struct codec_config *config);
static status load_weights(struct codec *c);
static status load_resnet(struct codec *c, const char *name, struct codec_resnet *r);
static status load_block(struct codec *c, int i);
static status load_name(struct codec *c);

status codec_load(struct gguf *g, struct codec **out) {
    *out = NULL;
    struct codec *c = calloc(1, sizeof *c);
    if (!c) {
        gguf_close(g);
        return fail_memory(sizeof *c, "the codec");
    }
    c->file = g;
    c->label = gguf_label(g);
    status s = check_kind(g);
    if (s == UTTER_OK) s = read_config(g, &c->config);
    if (s == UTTER_OK) s = load_name(c);
    if (s == UTTER_OK) s = load_weights(c);
    if (s != UTTER_OK) {
        codec_free(c);
        return s;
    }
    *out = c;
    return UTTER_OK;
}

void codec_free(struct codec *c) {
    if (!c) return;
    free_aligned(c->project_out_bias);
    free_aligned(c->fc_post_a_bias);
    free_aligned(c->embed_bias);
    for (int i = 0; i < CODEC_RESNETS; i++) {
        struct codec_resnet *r = &c->resnets[i];
        free_aligned(r->norm1);
        free_aligned(r->norm1_bias);
        free_aligned(r->conv1_bias);
        free_aligned(r->norm2);
        free_aligned(r->norm2_bias);
        free_aligned(r->conv2_bias);
    }
    for (int i = 0; c->blocks && i < c->config.n_blocks; i++) {
        free_aligned(c->blocks[i].att_norm);
        free_aligned(c->blocks[i].ffn_norm);
    }
    free(c->blocks);
    free_aligned(c->final_norm);
    free_aligned(c->final_norm_bias);
    free_aligned(c->head_bias);
    free((char *)c->name);
    gguf_close(c->file);
    free(c);
}

status codec_fsq_values(const struct codec_config *config, int32_t code, float *values) {
    if (code < 0 || code >= config->n_codes)
        return fail(UTTER_INVALID, "the code %d is outside 0..%d, the codes of this codec", (int)code,
                    config->n_codes - 1);
    for (int i = 0; i < config->n_fsq; i++) {
        int levels = config->fsq_levels[i], half = levels / 2;
        values[i] = (float)(code % levels - half) / (float)half;
        code /= levels;
    }
    return UTTER_OK;
}

void codec_istft_window(const struct codec_config *config, float *window) {
    double step = 2 * 3.14159265358979323846 / config->n_fft;
    for (int i = 0; i < config->n_fft; i++) window[i] = (float)(0.5 - 0.5 * cos(step * i));
}

/* ---- metadata ---- */

static status check_kind(const struct gguf *g) {
    struct gguf_string kind;
    if (!gguf_get_string(g, "general.architecture", &kind))
        return fail(UTTER_FORMAT, "%s does not say what it is (no general.architecture); give a codec's GGUF file",
                    gguf_label(g));
    if (kind.len == strlen("neucodec") && !memcmp(kind.data, "neucodec", kind.len)) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s is a model of architecture \"%.*s\", not a codec; give a GGUF file of architecture \"neucodec\"",
                gguf_label(g), kind.len > 64 ? 64 : (int)kind.len, kind.data);
}

static status need_int(const struct gguf *g, const char *key, int low, int high, int *out) {
    int64_t value;
    TRY(gguf_need_i64(g, key, low, high, &value));
    *out = (int)value;
    return UTTER_OK;
}

/* Taps of the convolution `name`, a tensor [C, taps, C]. */
static status conv_taps(const struct gguf *g, const char *name, int64_t channels, int *out) {
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    if (!t) return fail(UTTER_FORMAT, "%s: the tensor %s is missing", gguf_label(g), name);
    if (t->n_dims != 3 || t->dims[0] != channels || t->dims[2] != channels)
        return fail(UTTER_FORMAT, "%s: %s is [%lld, %lld, %lld], not [%lld, taps, %lld]; convert the file anew",
                    gguf_label(g), name, (long long)t->dims[0], (long long)t->dims[1], (long long)t->dims[2],
                    (long long)channels, (long long)channels);
    if (t->dims[1] < 1 || t->dims[1] > MAX_TAPS || t->dims[1] % 2 == 0)
        return fail(UTTER_UNSUPPORTED, "%s: %s has %lld taps, not an odd number up to %d", gguf_label(g), name,
                    (long long)t->dims[1], MAX_TAPS);
    *out = (int)t->dims[1];
    return UTTER_OK;
}

static status read_config(const struct gguf *g, struct codec_config *config) {
    TRY(need_int(g, "neucodec.sample_rate", 1000, 384000, &config->sample_rate));
    TRY(need_int(g, "neucodec.fft_length", 4, MAX_FFT, &config->n_fft));
    TRY(need_int(g, "neucodec.hop_length", 1, config->n_fft / 2, &config->hop));
    TRY(need_int(g, "neucodec.embedding_length", 1, MAX_WIDTH, &config->n_embd));
    TRY(need_int(g, "neucodec.block_count", 1, MAX_BLOCKS, &config->n_blocks));
    TRY(need_int(g, "neucodec.head_count", 1, config->n_embd, &config->n_heads));
    TRY(need_int(g, "neucodec.group_count", 1, config->n_embd, &config->n_groups));
    TRY(need_int(g, "neucodec.vq_length", 1, MAX_WIDTH, &config->vq_dim));
    TRY(read_levels(g, config));

    const char *label = gguf_label(g);
    if (config->n_fft % config->hop)
        return fail(UTTER_FORMAT, "%s: neucodec.fft_length %d is no multiple of neucodec.hop_length %d", label,
                    config->n_fft, config->hop);
    if (config->n_fft % 2 || config->hop % 2)
        return fail(UTTER_UNSUPPORTED, "%s: neucodec.fft_length %d and neucodec.hop_length %d have to be even", label,
                    config->n_fft, config->hop);
    if (config->n_embd % config->n_heads)
        return fail(UTTER_FORMAT, "%s: neucodec.head_count %d does not divide neucodec.embedding_length %d", label,
                    config->n_heads, config->n_embd);
    if (config->n_embd % config->n_groups)
        return fail(UTTER_FORMAT, "%s: neucodec.group_count %d does not divide neucodec.embedding_length %d", label,
                    config->n_groups, config->n_embd);

    TRY(conv_taps(g, "generator.backbone.embed.weight", config->n_embd, &config->embed_kernel));
    TRY(conv_taps(g, "generator.backbone.prior_net.0.conv1.weight", config->n_embd, &config->resnet_kernel));
    const struct gguf_tensor *fc1 = gguf_find_tensor(g, "generator.backbone.transformers.0.mlp.fc1.weight");
    if (!fc1) return fail(UTTER_FORMAT, "%s: generator.backbone.transformers.0.mlp.fc1.weight is missing", label);
    if (fc1->n_dims != 2 || fc1->dims[1] < 1 || fc1->dims[1] > 16 * MAX_WIDTH)
        return fail(UTTER_FORMAT, "%s: generator.backbone.transformers.0.mlp.fc1.weight has an unusable shape", label);
    config->n_ffn = (int)fc1->dims[1];
    return UTTER_OK;
}

static status read_levels(const struct gguf *g, struct codec_config *config) {
    const char *key = "neucodec.fsq_levels", *label = gguf_label(g);
    struct gguf_array levels;
    if (!gguf_get_array(g, key, &levels)) return fail(UTTER_FORMAT, "%s: the array %s is missing", label, key);
    if (levels.n < 1 || levels.n > CODEC_MAX_FSQ)
        return fail(UTTER_UNSUPPORTED, "%s: %s has %zu elements, not 1..%d", label, key, levels.n, CODEC_MAX_FSQ);
    int64_t n_codes = 1;
    for (size_t i = 0; i < levels.n; i++) {
        int64_t level;
        if (!gguf_array_i64(&levels, i, &level))
            return fail(UTTER_FORMAT, "%s: element %zu of %s is not a whole number", label, i, key);
        if (level < 2 || level > MAX_LEVELS)
            return fail(UTTER_FORMAT, "%s: element %zu of %s is %lld, not 2..%d", label, i, key, (long long)level,
                        MAX_LEVELS);
        config->fsq_levels[i] = (int)level;
        n_codes *= level;  // at most INT32_MAX * MAX_LEVELS: no overflow
        if (n_codes > INT32_MAX) return fail(UTTER_UNSUPPORTED, "%s: %s makes more than 2^31 codes", label, key);
    }
    config->n_fsq = (int)levels.n;
    config->n_codes = (int)n_codes;
    return UTTER_OK;
}

static status load_name(struct codec *c) {
    struct gguf_string name = {"NeuCodec", strlen("NeuCodec")};
    gguf_get_string(c->file, "general.name", &name);
    char *copy = malloc(name.len + 1);
    if (!copy) return fail_memory(name.len + 1, "the codec's name");
    memcpy(copy, name.data, name.len);
    copy[name.len] = 0;
    c->name = copy;
    return UTTER_OK;
}

/* ---- weights ---- */

/* Room for the longest name there is: block numbers are at most MAX_BLOCKS. */
enum { NAME_SIZE = 96 };

static status load_weights(struct codec *c) {
    struct gguf *g = c->file;
    const struct codec_config *config = &c->config;
    int64_t width = config->n_embd;
    TRY(gguf_matrix(g, "generator.quantizer.project_out.weight", config->vq_dim, config->n_fsq, &c->project_out));
    TRY(gguf_vector(g, "generator.quantizer.project_out.bias", config->vq_dim, &c->project_out_bias));
    TRY(gguf_matrix(g, "fc_post_a.weight", width, config->vq_dim, &c->fc_post_a));
    TRY(gguf_vector(g, "fc_post_a.bias", width, &c->fc_post_a_bias));
    TRY(gguf_matrix(g, "generator.backbone.embed.weight", width, config->embed_kernel * width, &c->embed));
    TRY(gguf_vector(g, "generator.backbone.embed.bias", width, &c->embed_bias));
    for (int i = 0; i < CODEC_RESNETS; i++) TRY(load_resnet(c, resnet_names[i], &c->resnets[i]));

    c->blocks = calloc((size_t)config->n_blocks, sizeof *c->blocks);
    if (!c->blocks) return fail_memory((size_t)config->n_blocks * sizeof *c->blocks, "the codec's blocks");
    for (int i = 0; i < config->n_blocks; i++) TRY(load_block(c, i));
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.att_norm.weight", config->n_blocks);
    if (gguf_find_tensor(g, name))
        return fail(UTTER_FORMAT, "%s: neucodec.block_count is %d, but there is a tensor %s", c->label,
                    config->n_blocks, name);

    TRY(gguf_vector(g, "generator.backbone.final_layer_norm.weight", width, &c->final_norm));
    TRY(gguf_vector(g, "generator.backbone.final_layer_norm.bias", width, &c->final_norm_bias));
    TRY(gguf_matrix(g, "generator.head.out.weight", config->n_fft + 2, width, &c->head));
    return gguf_vector(g, "generator.head.out.bias", config->n_fft + 2, &c->head_bias);
}

static status load_resnet(struct codec *c, const char *resnet, struct codec_resnet *r) {
    struct gguf *g = c->file;
    int64_t width = c->config.n_embd;
    struct {
        const char *norm, *conv;
        float **weight, **bias, **conv_bias;
        struct matrix *matrix;
    } halves[2] = {
        {"norm1", "conv1", &r->norm1, &r->norm1_bias, &r->conv1_bias, &r->conv1},
        {"norm2", "conv2", &r->norm2, &r->norm2_bias, &r->conv2_bias, &r->conv2},
    };
    char name[NAME_SIZE];
    for (int i = 0; i < 2; i++) {
        int taps;
        snprintf(name, sizeof name, "generator.backbone.%s.%s.weight", resnet, halves[i].norm);
        TRY(gguf_vector(g, name, width, halves[i].weight));
        snprintf(name, sizeof name, "generator.backbone.%s.%s.bias", resnet, halves[i].norm);
        TRY(gguf_vector(g, name, width, halves[i].bias));
        snprintf(name, sizeof name, "generator.backbone.%s.%s.bias", resnet, halves[i].conv);
        TRY(gguf_vector(g, name, width, halves[i].conv_bias));
        snprintf(name, sizeof name, "generator.backbone.%s.%s.weight", resnet, halves[i].conv);
        TRY(conv_taps(g, name, width, &taps));
        if (taps != c->config.resnet_kernel)
            return fail(UTTER_UNSUPPORTED, "%s: %s has %d taps, where the first convolution of this kind has %d",
                        c->label, name, taps, c->config.resnet_kernel);
        TRY(gguf_matrix(g, name, width, taps * width, halves[i].matrix));
    }
    return UTTER_OK;
}

static status load_block(struct codec *c, int i) {
    struct gguf *g = c->file;
    struct codec_block *b = &c->blocks[i];
    int64_t width = c->config.n_embd, ffn = c->config.n_ffn;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.att_norm.weight", i);
    TRY(gguf_vector(g, name, width, &b->att_norm));
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.att.c_attn.weight", i);
    TRY(gguf_matrix(g, name, 3 * width, width, &b->c_attn));
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.att.c_proj.weight", i);
    TRY(gguf_matrix(g, name, width, width, &b->c_proj));
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.ffn_norm.weight", i);
    TRY(gguf_vector(g, name, width, &b->ffn_norm));
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.mlp.fc1.weight", i);
    TRY(gguf_matrix(g, name, ffn, width, &b->fc1));
    snprintf(name, sizeof name, "generator.backbone.transformers.%d.mlp.fc2.weight", i);
    return gguf_matrix(g, name, width, ffn, &b->fc2);
}
