/* NeuCodec's encoder to GGUF; codec/encoder.h says what the file holds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_encoder_parts.h"

enum { MAX_STAGES = 8, UNITS = 3, FEATURES = 160, LEFT_CONTEXT = 64 };
enum { LAYERS = 16 };  // NeuCodec's own, where the file says nothing

struct geometry {
    int64_t n_first, n_stages, strides[MAX_STAGES], n_acoustic;
    int64_t n_embd, n_ffn, n_heads, n_layers, n_distances;
    struct encoder_ends ends;
};

/* ---- acoustic ---- */

static status read_acoustic(const struct plan *p, struct geometry *g) {
    const struct tensor *t;
    TRY(plan_need_weight(p, "CodecEnc.conv_blocks.0", 3, &t));
    g->n_first = t->dims[0];
    int64_t hop = 1;
    for (g->n_stages = 0; g->n_stages < MAX_STAGES; g->n_stages++) {
        char name[PLAN_NAME];
        snprintf(name, sizeof name, "CodecEnc.conv_blocks.%" PRId64 ".block.4", g->n_stages + 1);
        if (!plan_has(p, name, ".bias")) break;
        TRY(plan_need_weight(p, name, 3, &t));
        g->strides[g->n_stages] = t->dims[2] / 2;
        hop *= t->dims[2] / 2;
        if (hop < 1 || hop > ENCODER_HOP) break;
    }
    if (hop != ENCODER_HOP)
        return fail(UTTER_FORMAT,
                    "%s: the strides of CodecEnc.conv_blocks do not make the %d samples a code of NeuCodec's encoder",
                    p->path, ENCODER_HOP);
    TRY(plan_need_weight(p, "CodecEnc.conv_final_block.1", 3, &t));
    g->n_acoustic = t->dims[0];
    return UTTER_OK;
}

static status add_snake(struct plan *p, const char *from, const char *to, int64_t n) {
    TRY(plan_add_from(p, from, to, ".act.alpha", n, 0, 0));
    return plan_add_from(p, from, to, ".act.beta", n, 0, 0);
}

static status add_acoustic(struct plan *p, const struct geometry *g) {
    char from[PLAN_NAME], to[PLAN_NAME];
    const struct tensor *t;
    TRY(plan_need_weight(p, "CodecEnc.conv_blocks.0", 3, &t));
    TRY(plan_add_normed(p, "CodecEnc.conv_blocks.0", "acoustic.conv_blocks.0", g->n_first, 1, t->dims[2]));
    int64_t c = g->n_first;
#define NAMES(...) \
    (snprintf(from, sizeof from, "CodecEnc.conv_" __VA_ARGS__), snprintf(to, sizeof to, "acoustic.conv_" __VA_ARGS__))
    for (int i = 1; i <= g->n_stages; i++, c *= 2) {
        for (int u = 0; u < UNITS; u++)
            for (int part = 0; part < 4; part += 2) {
                NAMES("blocks.%d.block.%d.block.%d", i, u, part);
                TRY(add_snake(p, from, to, c));
                NAMES("blocks.%d.block.%d.block.%d", i, u, part + 1);
                TRY(plan_need_weight(p, from, 3, &t));
                TRY(plan_add_normed(p, from, to, c, c, t->dims[2]));
            }
        NAMES("blocks.%d.block.3", i);
        TRY(add_snake(p, from, to, c));
        NAMES("blocks.%d.block.4", i);
        TRY(plan_add_normed(p, from, to, 2 * c, c, 2 * g->strides[i - 1]));
    }
    NAMES("final_block.0");
    TRY(add_snake(p, from, to, c));
    NAMES("final_block.1");
    TRY(plan_need_weight(p, from, 3, &t));
    return plan_add_normed(p, from, to, g->n_acoustic, c, t->dims[2]);
#undef NAMES
}

/* ---- semantic ---- */

static status read_semantic(const struct encoder_source *s, void *geometry) {
    const struct plan *p = s->plan;
    struct geometry *g = geometry;
    char name[PLAN_NAME];
    const struct tensor *t;
    snprintf(name, sizeof name, "%sfeature_projection.projection.weight", s->semantic_prefix);
    TRY(plan_need(p, name, 2, &t));
    g->n_embd = t->dims[0];
    snprintf(name, sizeof name, "%sencoder.layers.0.ffn1.intermediate_dense.weight", s->semantic_prefix);
    TRY(plan_need(p, name, 2, &t));
    g->n_ffn = t->dims[0];
    snprintf(name, sizeof name, "%sencoder.layers.0.self_attn.distance_embedding.weight", s->semantic_prefix);
    TRY(plan_need(p, name, 2, &t));
    g->n_distances = t->dims[0];
    if (g->n_distances > LEFT_CONTEXT) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s: tensor %s has %" PRId64 " rows; wanted more than %d", p->path, name,
                g->n_distances, LEFT_CONTEXT);
}

static status add_layer(const struct encoder_source *s, struct plan *p, int64_t i, const struct geometry *g) {
    const int64_t c = g->n_embd, f = g->n_ffn;
    char from[PLAN_NAME], to[PLAN_NAME], taps_of[2 * PLAN_NAME];
    snprintf(from, sizeof from, "%sencoder.layers.%" PRId64 ".", s->semantic_prefix, i);
    snprintf(to, sizeof to, "semantic.layers.%" PRId64 ".", i);
    snprintf(taps_of, sizeof taps_of, "%sconv_module.depthwise_conv.weight", from);
    const struct tensor *depthwise;
    TRY(plan_need(p, taps_of, 3, &depthwise));
    const struct {
        const char *leaf;
        int64_t rows, cols, taps;
    } tensors[] = {
        {"ffn1_layer_norm.weight", c, 0, 0},
        {"ffn1_layer_norm.bias", c, 0, 0},
        {"ffn1.intermediate_dense.weight", f, c, 0},
        {"ffn1.intermediate_dense.bias", f, 0, 0},
        {"ffn1.output_dense.weight", c, f, 0},
        {"ffn1.output_dense.bias", c, 0, 0},
        {"self_attn_layer_norm.weight", c, 0, 0},
        {"self_attn_layer_norm.bias", c, 0, 0},
        {"self_attn.linear_q.weight", c, c, 0},
        {"self_attn.linear_q.bias", c, 0, 0},
        {"self_attn.linear_k.weight", c, c, 0},
        {"self_attn.linear_k.bias", c, 0, 0},
        {"self_attn.linear_v.weight", c, c, 0},
        {"self_attn.linear_v.bias", c, 0, 0},
        {"self_attn.linear_out.weight", c, c, 0},
        {"self_attn.linear_out.bias", c, 0, 0},
        {"self_attn.distance_embedding.weight", g->n_distances, c / g->n_heads, 0},
        {"conv_module.layer_norm.weight", c, 0, 0},
        {"conv_module.layer_norm.bias", c, 0, 0},
        {"conv_module.pointwise_conv1.weight", 2 * c, c, 1},
        {"conv_module.depthwise_conv.weight", c, 1, depthwise->dims[2]},
        {"conv_module.depthwise_layer_norm.weight", c, 0, 0},
        {"conv_module.depthwise_layer_norm.bias", c, 0, 0},
        {"conv_module.pointwise_conv2.weight", c, c, 1},
        {"ffn2_layer_norm.weight", c, 0, 0},
        {"ffn2_layer_norm.bias", c, 0, 0},
        {"ffn2.intermediate_dense.weight", f, c, 0},
        {"ffn2.intermediate_dense.bias", f, 0, 0},
        {"ffn2.output_dense.weight", c, f, 0},
        {"ffn2.output_dense.bias", c, 0, 0},
        {"final_layer_norm.weight", c, 0, 0},
        {"final_layer_norm.bias", c, 0, 0},
    };
    for (size_t k = 0; k < sizeof tensors / sizeof *tensors; k++)
        TRY(plan_add_from(p, from, to, tensors[k].leaf, tensors[k].rows, tensors[k].cols, tensors[k].taps));
    return UTTER_OK;
}

static status add_semantic(const struct encoder_source *s, void *geometry) {
    struct plan *p = s->plan;
    const struct geometry *g = geometry;
    char from[PLAN_NAME];
    const char *to = "semantic.feature_projection";
    snprintf(from, sizeof from, "%sfeature_projection", s->semantic_prefix);
    TRY(plan_add_from(p, from, to, ".layer_norm.weight", FEATURES, 0, 0));
    TRY(plan_add_from(p, from, to, ".layer_norm.bias", FEATURES, 0, 0));
    TRY(plan_add_from(p, from, to, ".projection.weight", g->n_embd, FEATURES, 0));
    TRY(plan_add_from(p, from, to, ".projection.bias", g->n_embd, 0, 0));
    for (int64_t i = 0; i < g->n_layers; i++) TRY(add_layer(s, p, i, g));
    return UTTER_OK;
}

/* ---- metadata ---- */

static void put_geometry(struct gguf_writer *w, const struct geometry *g) {
    int32_t strides[MAX_STAGES];
    for (int64_t i = 0; i < g->n_stages; i++) strides[i] = (int32_t)g->strides[i];
    encoder_put_ends(w, &g->ends);
    gguf_put_u32(w, "neucodec-encoder.block_count", (uint32_t)g->n_layers);
    gguf_put_u32(w, "neucodec-encoder.head_count", (uint32_t)g->n_heads);
    gguf_put_u32(w, "neucodec-encoder.left_context", LEFT_CONTEXT);
    gguf_put_i32_array(w, "neucodec-encoder.strides", strides, (size_t)g->n_stages);
}

status convert_encoder_plan(struct plan *p, const struct checkpoint *semantic, struct gguf_writer *w) {
    if (plan_has(p, "codec_encoder.encoder.blocks.0.conv_1", ".bias")) return convert_distill_plan(p, semantic, w);
    struct geometry g = {.n_layers = LAYERS};
    struct encoder_source source = {.plan = p, .semantic = semantic};
    if (!plan_has(p, "CodecEnc.conv_blocks.0", ".bias"))
        return fail(UTTER_FORMAT, "%s holds no encoder of a NeuCodec (CodecEnc.conv_blocks.0.bias)", p->path);
    TRY(encoder_find_semantic(&source, "semantic_model.", "facebook/w2v-bert-2.0"));
    TRY(read_acoustic(p, &g));
    TRY(encoder_in_semantic(&source, read_semantic, &g));
    TRY(encoder_read_ends(p, &g.ends));
    g.n_heads = g.n_embd / ENCODER_HEAD_DIM;
    const struct encoder_field fields[] = {{"layer_count", &g.n_layers}, {"head_count", &g.n_heads}};
    TRY(encoder_read_said(p, fields, 2));
    TRY(encoder_check_heads(p, g.n_embd, g.n_heads));
    put_geometry(w, &g);
    TRY(add_acoustic(p, &g));
    TRY(encoder_in_semantic(&source, add_semantic, &g));
    return encoder_add_ends(p, &g.ends, g.n_embd, g.n_acoustic);
}
