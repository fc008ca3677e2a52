/* NeuCodec's encoder to GGUF; codec/encoder.h says what the file holds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_parts.h"

enum { MAX_FSQ = 16, MAX_STAGES = 8, UNITS = 3, HOP = 320, FEATURES = 160, LEFT_CONTEXT = 64, NAME_SIZE = 160 };
enum { LEVELS = 4, HEAD_DIM = 64, LAYERS = 16 };  // NeuCodec's own, where the file says nothing

struct geometry {
    int64_t n_first, n_stages, strides[MAX_STAGES], n_acoustic;
    int64_t n_embd, n_ffn, n_heads, n_layers, n_distances;
    int64_t n_mid, n_semantic, vq_dim, n_fsq;
};

/* A checkpoint of NeuCodec may have the semantic model or leave it to the file it was published in, where its names
   have no prefix. */
struct source {
    struct plan *plan;
    const struct checkpoint *semantic;  // NULL: in the same file
    const char *semantic_prefix;
};

/* ---- where tensors are ---- */

static bool has(const struct plan *p, const char *prefix, const char *leaf) {
    char name[2 * NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, leaf);
    return checkpoint_find(p->file, name) != NULL;
}

static status add(struct plan *p, const char *from, const char *to, const char *leaf, int64_t rows, int64_t cols,
                  int64_t taps) {
    char source[2 * NAME_SIZE], name[2 * NAME_SIZE];
    snprintf(source, sizeof source, "%s%s", from, leaf);
    snprintf(name, sizeof name, "%s%s", to, leaf);
    return plan_add(p, source, name, rows, cols, taps);
}

/* How a convolution with weight norm keeps its two parts; none when they have been made one. */
static bool weight_parts(const struct plan *p, const char *prefix, const char **direction, const char **gain) {
    static const char *const spellings[][2] = {
        {".weight_v", ".weight_g"},
        {".parametrizations.weight.original1", ".parametrizations.weight.original0"},
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        *direction = spellings[i][0];
        *gain = spellings[i][1];
        if (has(p, prefix, *direction)) return true;
    }
    *direction = ".weight";
    return false;
}

static status need_weight(const struct plan *p, const char *prefix, const struct tensor **out) {
    char name[NAME_SIZE];
    const char *direction, *gain;
    weight_parts(p, prefix, &direction, &gain);
    snprintf(name, sizeof name, "%s%s", prefix, direction);
    return plan_need(p, name, 3, out);
}

static status add_normed(struct plan *p, const char *from, const char *to, int64_t rows, int64_t cols, int64_t taps) {
    char source[NAME_SIZE], name[NAME_SIZE];
    const char *direction, *gain;
    bool parted = weight_parts(p, from, &direction, &gain);
    snprintf(source, sizeof source, "%s%s", from, direction);
    snprintf(name, sizeof name, "%s.weight", to);
    TRY(plan_add(p, source, name, rows, cols, taps));
    if (parted) {
        snprintf(source, sizeof source, "%s%s", from, gain);
        TRY(plan_gain(p, source));
    }
    return add(p, from, to, ".bias", rows, 0, 0);
}

/* ---- acoustic ---- */

static status read_acoustic(const struct plan *p, struct geometry *g) {
    const struct tensor *t;
    TRY(need_weight(p, "CodecEnc.conv_blocks.0", &t));
    g->n_first = t->dims[0];
    int64_t hop = 1;
    for (g->n_stages = 0; g->n_stages < MAX_STAGES; g->n_stages++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "CodecEnc.conv_blocks.%" PRId64 ".block.4", g->n_stages + 1);
        if (!has(p, name, ".bias")) break;
        TRY(need_weight(p, name, &t));
        g->strides[g->n_stages] = t->dims[2] / 2;
        hop *= t->dims[2] / 2;
        if (hop < 1 || hop > HOP) break;
    }
    if (hop != HOP)
        return fail(UTTER_FORMAT,
                    "%s: the strides of CodecEnc.conv_blocks do not make the %d samples a code of NeuCodec's encoder",
                    p->path, HOP);
    TRY(need_weight(p, "CodecEnc.conv_final_block.1", &t));
    g->n_acoustic = t->dims[0];
    return UTTER_OK;
}

static status add_snake(struct plan *p, const char *from, const char *to, int64_t n) {
    TRY(add(p, from, to, ".act.alpha", n, 0, 0));
    return add(p, from, to, ".act.beta", n, 0, 0);
}

static status add_acoustic(struct plan *p, const struct geometry *g) {
    char from[NAME_SIZE], to[NAME_SIZE];
    const struct tensor *t;
    TRY(need_weight(p, "CodecEnc.conv_blocks.0", &t));
    TRY(add_normed(p, "CodecEnc.conv_blocks.0", "acoustic.conv_blocks.0", g->n_first, 1, t->dims[2]));
    int64_t c = g->n_first;
#define NAMES(...) \
    (snprintf(from, sizeof from, "CodecEnc.conv_" __VA_ARGS__), snprintf(to, sizeof to, "acoustic.conv_" __VA_ARGS__))
    for (int i = 1; i <= g->n_stages; i++, c *= 2) {
        for (int u = 0; u < UNITS; u++)
            for (int part = 0; part < 4; part += 2) {
                NAMES("blocks.%d.block.%d.block.%d", i, u, part);
                TRY(add_snake(p, from, to, c));
                NAMES("blocks.%d.block.%d.block.%d", i, u, part + 1);
                TRY(need_weight(p, from, &t));
                TRY(add_normed(p, from, to, c, c, t->dims[2]));
            }
        NAMES("blocks.%d.block.3", i);
        TRY(add_snake(p, from, to, c));
        NAMES("blocks.%d.block.4", i);
        TRY(add_normed(p, from, to, 2 * c, c, 2 * g->strides[i - 1]));
    }
    NAMES("final_block.0");
    TRY(add_snake(p, from, to, c));
    NAMES("final_block.1");
    TRY(need_weight(p, from, &t));
    return add_normed(p, from, to, g->n_acoustic, c, t->dims[2]);
#undef NAMES
}

/* ---- semantic ---- */

static status read_semantic(const struct source *s, const struct plan *p, struct geometry *g) {
    char name[NAME_SIZE];
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

static status add_layer(const struct source *s, struct plan *p, int64_t i, const struct geometry *g) {
    const int64_t c = g->n_embd, f = g->n_ffn;
    char from[NAME_SIZE], to[NAME_SIZE], taps_of[2 * NAME_SIZE];
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
        TRY(add(p, from, to, tensors[k].leaf, tensors[k].rows, tensors[k].cols, tensors[k].taps));
    return UTTER_OK;
}

static status add_semantic(const struct source *s, struct plan *p, const struct geometry *g) {
    char from[NAME_SIZE];
    const char *to = "semantic.feature_projection";
    snprintf(from, sizeof from, "%sfeature_projection", s->semantic_prefix);
    TRY(add(p, from, to, ".layer_norm.weight", FEATURES, 0, 0));
    TRY(add(p, from, to, ".layer_norm.bias", FEATURES, 0, 0));
    TRY(add(p, from, to, ".projection.weight", g->n_embd, FEATURES, 0));
    TRY(add(p, from, to, ".projection.bias", g->n_embd, 0, 0));
    for (int64_t i = 0; i < g->n_layers; i++) TRY(add_layer(s, p, i, g));
    return UTTER_OK;
}

/* Calls fn on the file that the semantic model is in. */
static status in_semantic(const struct source *s, struct geometry *g, bool read) {
    struct plan *p = s->plan, main = *p;
    if (s->semantic) {
        p->file = s->semantic;
        p->path = checkpoint_path(s->semantic);
    }
    status result = read ? read_semantic(s, p, g) : add_semantic(s, p, g);
    p->file = main.file;
    p->path = main.path;
    return result;
}

/* ---- ends ---- */

static status read_ends(const struct plan *p, struct geometry *g) {
    const struct tensor *t;
    TRY(plan_need(p, "SemanticEncoder_module.initial_conv.weight", 3, &t));
    g->n_mid = t->dims[0];
    TRY(plan_need(p, "SemanticEncoder_module.final_conv.weight", 3, &t));
    g->n_semantic = t->dims[0];
    TRY(plan_need(p, "fc_prior.weight", 2, &t));
    g->vq_dim = t->dims[0];
    TRY(plan_need(p, "generator.quantizer.project_in.weight", 2, &t));
    g->n_fsq = t->dims[0];
    if (g->n_fsq <= MAX_FSQ) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s: tensor %s has %" PRId64 " rows; utter's codes have at most %d digits", p->path,
                t->name, g->n_fsq, MAX_FSQ);
}

static status add_ends(struct plan *p, const struct geometry *g) {
    const char *from = "SemanticEncoder_module.", *to = "semantic_encoder.";
    TRY(add(p, from, to, "initial_conv.weight", g->n_mid, g->n_embd, 3));
    TRY(add(p, from, to, "residual_blocks.1.weight", g->n_mid, g->n_mid, 3));
    TRY(add(p, from, to, "residual_blocks.1.bias", g->n_mid, 0, 0));
    TRY(add(p, from, to, "residual_blocks.3.weight", g->n_mid, g->n_mid, 3));
    TRY(add(p, from, to, "residual_blocks.3.bias", g->n_mid, 0, 0));
    TRY(add(p, from, to, "final_conv.weight", g->n_semantic, g->n_mid, 3));
    TRY(add(p, "fc_prior", "fc_prior", ".weight", g->vq_dim, g->n_semantic + g->n_acoustic, 0));
    TRY(add(p, "fc_prior", "fc_prior", ".bias", g->vq_dim, 0, 0));
    TRY(add(p, "generator.quantizer.project_in", "project_in", ".weight", g->n_fsq, g->vq_dim, 0));
    return add(p, "generator.quantizer.project_in", "project_in", ".bias", g->n_fsq, 0, 0);
}

/* ---- metadata ---- */

static status read_said(const struct plan *p, const json_t *said, struct geometry *g) {
    const struct {
        const char *key;
        int64_t *value;
    } fields[] = {{"layer_count", &g->n_layers}, {"head_count", &g->n_heads}};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)said, key, value) {
        size_t i = 0, n = sizeof fields / sizeof *fields;
        while (i < n && strcmp(fields[i].key, key) != 0) i++;
        if (i == n || !json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 1024)
            return fail(UTTER_FORMAT,
                        "%s: utter.encoder %.80s cannot be; wanted layer_count or head_count from 1 to 1024", p->path,
                        key);
        *fields[i].value = json_integer_value(value);
    }
    return UTTER_OK;
}

static void put_geometry(struct gguf_writer *w, const struct geometry *g) {
    int32_t levels[MAX_FSQ], strides[MAX_STAGES];
    for (int64_t i = 0; i < g->n_fsq; i++) levels[i] = LEVELS;
    for (int64_t i = 0; i < g->n_stages; i++) strides[i] = (int32_t)g->strides[i];
    gguf_put_string(w, "general.architecture", "neucodec-encoder");
    gguf_put_string(w, "general.name", "NeuCodec");
    gguf_put_u32(w, "neucodec-encoder.sample_rate", 16000);
    gguf_put_u32(w, "neucodec-encoder.hop_length", HOP);
    gguf_put_u32(w, "neucodec-encoder.block_count", (uint32_t)g->n_layers);
    gguf_put_u32(w, "neucodec-encoder.head_count", (uint32_t)g->n_heads);
    gguf_put_u32(w, "neucodec-encoder.left_context", LEFT_CONTEXT);
    gguf_put_i32_array(w, "neucodec-encoder.strides", strides, (size_t)g->n_stages);
    gguf_put_i32_array(w, "neucodec-encoder.fsq_levels", levels, (size_t)g->n_fsq);
}

static status find_semantic(struct source *s) {
    const char *leaf = "feature_projection.projection.weight", *prefix = "semantic_model.";
    const struct plan *p = s->plan;
    s->semantic_prefix = prefix;
    if (s->semantic) {
        struct plan other = {.file = s->semantic};
        if (!has(&other, prefix, leaf)) s->semantic_prefix = "";
        return UTTER_OK;
    }
    if (has(p, prefix, leaf)) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s holds no semantic model (%s%s), which the encoder needs; give the weights of "
                "facebook/w2v-bert-2.0 with --semantic",
                p->path, prefix, leaf);
}

status convert_encoder_plan(struct plan *p, const struct checkpoint *semantic, struct gguf_writer *w) {
    struct geometry g = {.n_layers = LAYERS};
    struct source source = {.plan = p, .semantic = semantic};
    if (!has(p, "CodecEnc.conv_blocks.0", ".bias"))
        return fail(UTTER_FORMAT, "%s holds no encoder of a NeuCodec (CodecEnc.conv_blocks.0.bias)", p->path);
    TRY(find_semantic(&source));
    TRY(read_acoustic(p, &g));
    TRY(in_semantic(&source, &g, true));
    TRY(read_ends(p, &g));
    g.n_heads = g.n_embd / HEAD_DIM;
    json_t *said;
    TRY(metadata_object(p, "utter.encoder", &said));
    status s = said ? read_said(p, said, &g) : UTTER_OK;
    json_decref(said);
    TRY(s);
    if (g.n_heads < 1 || g.n_embd % g.n_heads != 0)
        return fail(UTTER_FORMAT,
                    "%s: %" PRId64 " heads do not divide the width %" PRId64 "; say head_count in utter.encoder",
                    p->path, g.n_heads, g.n_embd);
    put_geometry(w, &g);
    TRY(add_acoustic(p, &g));
    TRY(in_semantic(&source, &g, false));
    return add_ends(p, &g);
}
