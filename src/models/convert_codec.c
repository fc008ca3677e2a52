#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_parts.h"

enum { MAX_FSQ = 16 };

// What shapes and metadata say of a NeuCodec decoder.
struct geometry {
    int64_t n_embd, vq_dim, n_fsq, n_blocks, n_ffn, n_out, embed_taps, resnet_taps;  // from shapes
    int64_t sample_rate, hop, n_fft, n_heads, n_groups;
    int64_t levels[MAX_FSQ];  // [n_fsq]
};

static const char PROJECT[] = "generator.quantizer.project_out.weight";
static const char PROJECT_OLD[] = "generator.quantizer.fsqs.0.project_out.weight";  // an older spelling

static const char *project_name(const struct plan *p) {
    return !checkpoint_find(p->file, PROJECT) && checkpoint_find(p->file, PROJECT_OLD) ? PROJECT_OLD : PROJECT;
}

static status read_shapes(const struct plan *p, struct geometry *g) {
    const struct tensor *t;
    TRY(plan_need(p, "generator.backbone.embed.weight", 3, &t));
    g->n_embd = t->dims[0];
    g->embed_taps = t->dims[2];
    TRY(plan_need(p, project_name(p), 2, &t));
    g->vq_dim = t->dims[0];
    g->n_fsq = t->dims[1];
    if (g->n_fsq > MAX_FSQ)
        return fail(UTTER_UNSUPPORTED, "%s: tensor %s has %" PRId64 " columns; utter's codes have at most %d digits",
                    p->path, t->name, g->n_fsq, MAX_FSQ);
    TRY(plan_need(p, "generator.head.out.weight", 2, &t));
    g->n_out = t->dims[0];
    TRY(plan_need(p, "generator.backbone.prior_net.0.conv1.weight", 3, &t));
    g->resnet_taps = t->dims[2];
    TRY(plan_need(p, "generator.backbone.transformers.0.mlp.fc1.weight", 2, &t));
    g->n_ffn = t->dims[0];
    return count_blocks(p, "generator.backbone.transformers.", &g->n_blocks);
}

static status read_levels(const struct plan *p, const json_t *value, struct geometry *g) {
    if (!json_is_array(value) || (int64_t)json_array_size(value) != g->n_fsq)
        return fail(UTTER_FORMAT,
                    "%s: utter.codec fsq_levels is not a list of %" PRId64 " numbers, one for each column of %s",
                    p->path, g->n_fsq, project_name(p));
    for (int64_t i = 0; i < g->n_fsq; i++) {
        const json_t *level = json_array_get(value, (size_t)i);
        if (!json_is_integer(level) || json_integer_value(level) < 2 || json_integer_value(level) > 65536)
            return fail(UTTER_FORMAT,
                        "%s: utter.codec fsq_levels: element %" PRId64 " is not a whole number from 2 to 65536",
                        p->path, i);
        g->levels[i] = json_integer_value(level);
    }
    return UTTER_OK;
}

// Takes what `said` holds of the geometry, and passes general.* on to the GGUF file.
static status read_said(const struct plan *p, json_t *said, struct geometry *g, struct gguf_writer *w) {
    const struct {
        const char *key;
        int64_t *value;
    } fields[] = {{"sample_rate", &g->sample_rate},
                  {"hop_length", &g->hop},
                  {"fft_length", &g->n_fft},
                  {"head_count", &g->n_heads},
                  {"group_count", &g->n_groups}};
    const char *key;
    json_t *value;
    json_object_foreach(said, key, value) {
        if (strcmp(key, "fsq_levels") == 0) {
            TRY(read_levels(p, value, g));
            continue;
        }
        if (strncmp(key, "general.", 8) == 0 && strcmp(key, "general.architecture") != 0 && json_is_string(value)) {
            TRY(metadata_put(p, w, key, value));
            continue;
        }
        size_t i = 0, n = sizeof fields / sizeof *fields;
        while (i < n && strcmp(fields[i].key, key) != 0) i++;
        if (i == n || !json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 1 << 20)
            return fail(UTTER_FORMAT,
                        "%s: utter.codec %.80s cannot be; wanted sample_rate, hop_length, fft_length, head_count or "
                        "group_count from 1 to %d, fsq_levels, or a text under general.*",
                        p->path, key, 1 << 20);
        *fields[i].value = json_integer_value(value);
    }
    return UTTER_OK;
}

static status check_geometry(const struct plan *p, const struct geometry *g) {
    if (g->n_heads < 1 || g->n_embd % g->n_heads != 0)
        return fail(UTTER_FORMAT,
                    "%s: %" PRId64 " heads do not divide the width %" PRId64 "; say head_count in utter.codec", p->path,
                    g->n_heads, g->n_embd);
    if (g->n_embd % g->n_groups != 0)
        return fail(UTTER_FORMAT,
                    "%s: %" PRId64 " groups do not divide the width %" PRId64 "; say group_count in utter.codec",
                    p->path, g->n_groups, g->n_embd);
    if (g->n_fft + 2 != g->n_out || g->n_fft % g->hop != 0)
        return fail(UTTER_FORMAT,
                    "%s: generator.head.out.weight has %" PRId64 " rows, which do not go with an fft_length of %" PRId64
                    " and a hop_length of %" PRId64 " (rows are fft_length + 2, and hop_length divides fft_length)",
                    p->path, g->n_out, g->n_fft, g->hop);
    return UTTER_OK;
}

static void put_geometry(struct gguf_writer *w, const struct geometry *g) {
    int32_t levels[MAX_FSQ];
    for (int64_t i = 0; i < g->n_fsq; i++) levels[i] = (int32_t)g->levels[i];
    gguf_put_string(w, "general.architecture", "neucodec");
    gguf_put_u32(w, "neucodec.sample_rate", (uint32_t)g->sample_rate);
    gguf_put_u32(w, "neucodec.hop_length", (uint32_t)g->hop);
    gguf_put_u32(w, "neucodec.fft_length", (uint32_t)g->n_fft);
    gguf_put_u32(w, "neucodec.embedding_length", (uint32_t)g->n_embd);
    gguf_put_u32(w, "neucodec.block_count", (uint32_t)g->n_blocks);
    gguf_put_u32(w, "neucodec.head_count", (uint32_t)g->n_heads);
    gguf_put_u32(w, "neucodec.group_count", (uint32_t)g->n_groups);
    gguf_put_u32(w, "neucodec.vq_length", (uint32_t)g->vq_dim);
    gguf_put_i32_array(w, "neucodec.fsq_levels", levels, (size_t)g->n_fsq);
}

static status add(struct plan *p, const char *name, int64_t rows, int64_t cols, int64_t taps) {
    return plan_add(p, name, name, rows, cols, taps);
}

static status add_resnets(struct plan *p, const char *net, const struct geometry *g) {
    for (int i = 0; i < 2; i++)
        for (int part = 1; part <= 2; part++) {
            char name[96];
#define NAME(rest) (snprintf(name, sizeof name, "generator.backbone.%s.%d." rest, net, i, part), name)
            TRY(add(p, NAME("norm%d.weight"), g->n_embd, 0, 0));
            TRY(add(p, NAME("norm%d.bias"), g->n_embd, 0, 0));
            TRY(add(p, NAME("conv%d.weight"), g->n_embd, g->n_embd, g->resnet_taps));
            TRY(add(p, NAME("conv%d.bias"), g->n_embd, 0, 0));
#undef NAME
        }
    return UTTER_OK;
}

static status add_block(struct plan *p, int64_t i, const struct geometry *g) {
    const int64_t c = g->n_embd;
    char name[96];
#define NAME(rest) (snprintf(name, sizeof name, "generator.backbone.transformers.%" PRId64 "." rest, i), name)
    TRY(add(p, NAME("att_norm.weight"), c, 0, 0));
    TRY(add(p, NAME("att.c_attn.weight"), 3 * c, c, 0));
    TRY(add(p, NAME("att.c_proj.weight"), c, c, 0));
    TRY(add(p, NAME("ffn_norm.weight"), c, 0, 0));
    TRY(add(p, NAME("mlp.fc1.weight"), g->n_ffn, c, 0));
    TRY(add(p, NAME("mlp.fc2.weight"), c, g->n_ffn, 0));
#undef NAME
    return UTTER_OK;
}

static status add_tensors(struct plan *p, const struct geometry *g) {
    const int64_t c = g->n_embd;
    bool old = project_name(p) == PROJECT_OLD;
    TRY(plan_add(p, project_name(p), PROJECT, g->vq_dim, g->n_fsq, 0));
    TRY(plan_add(p, old ? "generator.quantizer.fsqs.0.project_out.bias" : "generator.quantizer.project_out.bias",
                 "generator.quantizer.project_out.bias", g->vq_dim, 0, 0));
    TRY(add(p, "fc_post_a.weight", c, g->vq_dim, 0));
    TRY(add(p, "fc_post_a.bias", c, 0, 0));
    TRY(add(p, "generator.backbone.embed.weight", c, c, g->embed_taps));
    TRY(add(p, "generator.backbone.embed.bias", c, 0, 0));
    TRY(add_resnets(p, "prior_net", g));
    for (int64_t i = 0; i < g->n_blocks; i++) TRY(add_block(p, i, g));
    TRY(add_resnets(p, "post_net", g));
    TRY(add(p, "generator.backbone.final_layer_norm.weight", c, 0, 0));
    TRY(add(p, "generator.backbone.final_layer_norm.bias", c, 0, 0));
    TRY(add(p, "generator.head.out.weight", g->n_out, c, 0));
    return add(p, "generator.head.out.bias", g->n_out, 0, 0);
}

status convert_codec(struct plan *p, struct gguf_writer *w) {
    struct geometry g = {0};
    TRY(read_shapes(p, &g));
    // NeuCodec's own, where the file says nothing.
    g.sample_rate = 24000;
    g.hop = 480;
    g.n_fft = g.n_out - 2;
    g.n_heads = g.n_embd / 64;
    g.n_groups = 32;
    for (int64_t i = 0; i < g.n_fsq; i++) g.levels[i] = 4;
    json_t *said;
    TRY(metadata_object(p, "utter.codec", &said));
    status s = said ? read_said(p, said, &g, w) : UTTER_OK;
    json_decref(said);
    TRY(s);
    TRY(check_geometry(p, &g));
    put_geometry(w, &g);
    return add_tensors(p, &g);
}
