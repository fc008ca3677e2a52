/* DistillNeuCodec's encoder to GGUF; codec/encoder_distill.h says what the file holds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_encoder_parts.h"
#include "models/convert_folder.h"

enum { STAGES = 4, BRANCHES = 5, CONVS = 7, LOCAL_WINDOW = 300, MAX_UNITS = 4 };

struct geometry {
    int64_t n_embd, n_ffn, n_heads, n_layers, conv_channels;  // of HuBERT
    int64_t n_trans, local_window, normalize;
    int64_t n_acoustic;
    struct encoder_ends ends;
};

static const char acoustic[] = "codec_encoder.encoder.blocks";

/* Weight and bias, of whatever shape the weight has, with `dims` dimensions. */
static status add_as_is(struct plan *p, const char *from, const char *to, int n_dims) {
    const struct tensor *t;
    TRY(plan_need_weight(p, from, n_dims, &t));
    return plan_add_normed(p, from, to, t->dims[0], t->dims[1], n_dims == 3 ? t->dims[2] : 0);
}

/* A matrix of its own shape, alone. */
static status add_matrix(struct plan *p, const char *from, const char *to) {
    const struct tensor *t;
    TRY(plan_need(p, from, 2, &t));
    return plan_add(p, from, to, t->dims[0], t->dims[1], 0);
}

/* ---- acoustic ---- */

static status add_unit(struct plan *p, const char *from, const char *to) {
    char source[2 * PLAN_NAME], name[2 * PLAN_NAME];
    const struct tensor *t;
#define NAMES(leaf) (snprintf(source, sizeof source, "%s." leaf, from), snprintf(name, sizeof name, "%s." leaf, to))
    NAMES("dw_conv");
    TRY(add_as_is(p, source, name, 3));
    NAMES("pw_conv1");
    TRY(plan_need_weight(p, source, 2, &t));
    TRY(add_as_is(p, source, name, 2));
    NAMES("pw_conv2");
    TRY(add_as_is(p, source, name, 2));
#undef NAMES
    TRY(plan_add_from(p, from, to, ".act.alpha", t->dims[0], 0, 0));
    TRY(plan_add_from(p, from, to, ".grn.gamma", t->dims[0], 0, 0));
    return plan_add_from(p, from, to, ".grn.beta", t->dims[0], 0, 0);
}

static status add_stages(struct plan *p) {
    char from[PLAN_NAME], to[PLAN_NAME];
    for (int i = 0; i < BRANCHES; i++) {
        snprintf(from, sizeof from, "%s.0.blocks.%d.1", acoustic, i);
        snprintf(to, sizeof to, "acoustic.first.%d", i);
        TRY(add_as_is(p, from, to, 3));
    }
    for (int i = 1; i <= 2; i++) {
        snprintf(from, sizeof from, "%s.0.conv_%d", acoustic, i);
        snprintf(to, sizeof to, "acoustic.first.conv_%d", i);
        TRY(add_as_is(p, from, to, 3));
    }
    for (int i = 0; i < STAGES; i++) {
        for (int u = 0; u < MAX_UNITS; u++) {
            snprintf(from, sizeof from, "%s.%d.%d.module", acoustic, 2 * i + 1, u);
            if (!plan_has(p, from, ".dw_conv.bias")) break;
            snprintf(to, sizeof to, "acoustic.stages.%d.%d", i, u);
            TRY(add_unit(p, from, to));
        }
        // the last one is no sequence with something behind it
        snprintf(from, sizeof from, i == STAGES - 1 ? "%s.%d" : "%s.%d.0", acoustic, 2 * i + 2);
        snprintf(to, sizeof to, "acoustic.stages.%d.down", i);
        TRY(add_as_is(p, from, to, 3));
    }
    return UTTER_OK;
}

static status add_transformer(struct plan *p, const char *from, const char *to, int64_t width) {
    static const struct {
        const char *from, *to;
        bool vector;
    } parts[] = {
        {"0.norm.weight", "attention_norm.weight", true}, {"0.norm.bias", "attention_norm.bias", true},
        {"0.to_qkv.weight", "qkv.weight", false},         {"0.to_out.weight", "out.weight", false},
        {"1.0.weight", "ffn_norm.weight", true},          {"1.0.bias", "ffn_norm.bias", true},
        {"1.1.weight", "ffn_in.weight", false},           {"1.4.weight", "ffn_out.weight", false},
    };
    char source[2 * PLAN_NAME], name[2 * PLAN_NAME], layers[PLAN_NAME];
    int64_t n_layers;
    snprintf(layers, sizeof layers, "%s.layers.", from);
    TRY(count_blocks(p, layers, &n_layers));
    for (int64_t i = 0; i < n_layers; i++)
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            snprintf(source, sizeof source, "%s%" PRId64 ".%s", layers, i, parts[k].from);
            snprintf(name, sizeof name, "%s.layers.%" PRId64 ".%s", to, i, parts[k].to);
            TRY(parts[k].vector ? plan_add(p, source, name, width, 0, 0) : add_matrix(p, source, name));
        }
    for (int i = 0; i <= 4; i += 2) {
        const struct tensor *t;
        snprintf(source, sizeof source, "%s.dynamic_pos_bias.mlp.%d.weight", from, i);
        snprintf(name, sizeof name, "%s.distance.%d.weight", to, i);
        TRY(plan_need(p, source, 2, &t));
        TRY(add_matrix(p, source, name));
        snprintf(source, sizeof source, "%s.dynamic_pos_bias.mlp.%d.bias", from, i);
        snprintf(name, sizeof name, "%s.distance.%d.bias", to, i);
        TRY(plan_add(p, source, name, t->dims[0], 0, 0));
    }
    return UTTER_OK;
}

static status add_acoustic(struct plan *p, const struct geometry *g) {
    TRY(add_stages(p));
    TRY(add_transformer(p, "codec_encoder.en_encoder.down_trans.trans", "acoustic.fine", g->n_trans));
    TRY(add_as_is(p, "codec_encoder.en_encoder.down_trans.down_layer", "acoustic.down", 3));
    TRY(add_transformer(p, "codec_encoder.en_encoder.local_trans", "acoustic.coarse", g->n_trans));
    TRY(plan_add_from(p, "fc_sq_prior", "acoustic.out", ".weight", g->n_acoustic, g->n_trans, 0));
    return plan_add_from(p, "fc_sq_prior", "acoustic.out", ".bias", g->n_acoustic, 0, 0);
}

/* ---- semantic ---- */

static status read_semantic(const struct encoder_source *s, void *geometry) {
    struct geometry *g = geometry;
    char name[PLAN_NAME];
    const struct tensor *t;
    snprintf(name, sizeof name, "%sfeature_projection.projection.weight", s->semantic_prefix);
    TRY(plan_need(s->plan, name, 2, &t));
    g->n_embd = t->dims[0];
    g->conv_channels = t->dims[1];
    g->n_heads = g->n_embd / ENCODER_HEAD_DIM;
    snprintf(name, sizeof name, "%sencoder.layers.0.feed_forward.intermediate_dense.weight", s->semantic_prefix);
    TRY(plan_need(s->plan, name, 2, &t));
    g->n_ffn = t->dims[0];
    snprintf(name, sizeof name, "%sencoder.layers.", s->semantic_prefix);
    return count_blocks(s->plan, name, &g->n_layers);
}

static status add_hubert_convs(const struct encoder_source *s, const struct geometry *g) {
    struct plan *p = s->plan;
    const int64_t c = g->conv_channels;
    char from[PLAN_NAME], to[PLAN_NAME];
    const struct tensor *t;
    for (int i = 0; i < CONVS; i++) {
        char source[2 * PLAN_NAME];
        snprintf(from, sizeof from, "%sfeature_extractor.conv_layers.%d", s->semantic_prefix, i);
        snprintf(to, sizeof to, "semantic.convs.%d.weight", i);
        snprintf(source, sizeof source, "%s.conv.weight", from);
        TRY(plan_need(p, source, 3, &t));
        TRY(plan_add(p, source, to, c, i ? c : 1, t->dims[2]));
        if (i > 0) continue;
        TRY(plan_add_from(p, from, "semantic.convs.0", ".layer_norm.weight", c, 0, 0));
        TRY(plan_add_from(p, from, "semantic.convs.0", ".layer_norm.bias", c, 0, 0));
    }
    const char *projection = "semantic.feature_projection";
    snprintf(from, sizeof from, "%sfeature_projection", s->semantic_prefix);
    if (plan_has(p, from, ".layer_norm.weight")) {
        TRY(plan_add_from(p, from, projection, ".layer_norm.weight", c, 0, 0));
        TRY(plan_add_from(p, from, projection, ".layer_norm.bias", c, 0, 0));
    }
    TRY(plan_add_from(p, from, projection, ".projection.weight", g->n_embd, c, 0));
    return plan_add_from(p, from, projection, ".projection.bias", g->n_embd, 0, 0);
}

/* Its weight norm is over all but the taps. */
static status add_position(const struct encoder_source *s, const struct geometry *g) {
    struct plan *p = s->plan;
    char from[PLAN_NAME], source[2 * PLAN_NAME];
    const char *direction, *gain;
    const struct tensor *t;
    snprintf(from, sizeof from, "%sencoder.pos_conv_embed.conv", s->semantic_prefix);
    bool parted = plan_weight_parts(p, from, &direction, &gain);
    TRY(plan_need_weight(p, from, 3, &t));
    snprintf(source, sizeof source, "%s%s", from, direction);
    TRY(plan_add(p, source, "semantic.position.weight", g->n_embd, t->dims[1], t->dims[2]));
    if (parted) {
        snprintf(source, sizeof source, "%s%s", from, gain);
        TRY(plan_tap_gain(p, source));
    }
    TRY(plan_add_from(p, from, "semantic.position", ".bias", g->n_embd, 0, 0));
    snprintf(from, sizeof from, "%sencoder", s->semantic_prefix);
    TRY(plan_add_from(p, from, "semantic", ".layer_norm.weight", g->n_embd, 0, 0));
    return plan_add_from(p, from, "semantic", ".layer_norm.bias", g->n_embd, 0, 0);
}

static status add_semantic(const struct encoder_source *s, void *geometry) {
    const struct geometry *g = geometry;
    const int64_t c = g->n_embd, f = g->n_ffn;
    const struct {
        const char *leaf;
        int64_t rows, cols;
    } tensors[] = {
        {".attention.q_proj.weight", c, c},
        {".attention.q_proj.bias", c, 0},
        {".attention.k_proj.weight", c, c},
        {".attention.k_proj.bias", c, 0},
        {".attention.v_proj.weight", c, c},
        {".attention.v_proj.bias", c, 0},
        {".attention.out_proj.weight", c, c},
        {".attention.out_proj.bias", c, 0},
        {".layer_norm.weight", c, 0},
        {".layer_norm.bias", c, 0},
        {".feed_forward.intermediate_dense.weight", f, c},
        {".feed_forward.intermediate_dense.bias", f, 0},
        {".feed_forward.output_dense.weight", c, f},
        {".feed_forward.output_dense.bias", c, 0},
        {".final_layer_norm.weight", c, 0},
        {".final_layer_norm.bias", c, 0},
    };
    TRY(add_hubert_convs(s, g));
    TRY(add_position(s, g));
    for (int64_t i = 0; i < g->n_layers; i++) {
        char from[PLAN_NAME], to[PLAN_NAME];
        snprintf(from, sizeof from, "%sencoder.layers.%" PRId64, s->semantic_prefix, i);
        snprintf(to, sizeof to, "semantic.layers.%" PRId64, i);
        for (size_t k = 0; k < sizeof tensors / sizeof *tensors; k++)
            TRY(plan_add_from(s->plan, from, to, tensors[k].leaf, tensors[k].rows, tensors[k].cols, 0));
    }
    return UTTER_OK;
}

/* Whether HuBERT wants the recording normalised stands beside its weights; DistilHuBERT's own says no. */
static status read_normalize(const struct plan *p, const struct checkpoint *semantic, struct geometry *g) {
    json_t *o;
    TRY(folder_object(checkpoint_folder(semantic ? semantic : p->file), "preprocessor_config.json", false, &o));
    const char *kind = json_string_value(json_object_get(o, "feature_extractor_type"));
    if (kind && strcmp(kind, "Wav2Vec2FeatureExtractor") == 0)
        g->normalize = json_is_true(json_object_get(o, "do_normalize"));
    json_decref(o);
    return UTTER_OK;
}

/* ---- all of it ---- */

static status read_acoustic(const struct plan *p, struct geometry *g) {
    const struct tensor *t;
    TRY(plan_need(p, "fc_sq_prior.weight", 2, &t));
    g->n_acoustic = t->dims[0];
    g->n_trans = t->dims[1];
    return UTTER_OK;
}

static void put_geometry(struct gguf_writer *w, const struct geometry *g) {
    encoder_put_ends(w, &g->ends);
    gguf_put_string(w, "neucodec-encoder.variant", "distill");
    gguf_put_u32(w, "neucodec-encoder.block_count", (uint32_t)g->n_layers);
    gguf_put_u32(w, "neucodec-encoder.head_count", (uint32_t)g->n_heads);
    gguf_put_u32(w, "neucodec-encoder.local_window", (uint32_t)g->local_window);
    gguf_put_bool(w, "neucodec-encoder.normalize", g->normalize != 0);
}

status convert_distill_plan(struct plan *p, const struct checkpoint *semantic, struct gguf_writer *w) {
    struct geometry g = {.local_window = LOCAL_WINDOW};
    struct encoder_source source = {.plan = p, .semantic = semantic};
    TRY(encoder_find_semantic(&source, "semantic_model.", "ntu-spml/distilhubert"));
    TRY(encoder_in_semantic(&source, read_semantic, &g));
    TRY(read_acoustic(p, &g));
    TRY(encoder_read_ends(p, &g.ends));
    TRY(read_normalize(p, semantic, &g));
    const struct encoder_field fields[] = {
        {"head_count", &g.n_heads}, {"local_window", &g.local_window}, {"normalize", &g.normalize}};
    TRY(encoder_read_said(p, fields, sizeof fields / sizeof *fields));
    TRY(encoder_check_heads(p, g.n_embd, g.n_heads));
    put_geometry(w, &g);
    TRY(add_acoustic(p, &g));
    TRY(encoder_in_semantic(&source, add_semantic, &g));
    return encoder_add_ends(p, &g.ends, g.n_embd, g.n_acoustic);
}
