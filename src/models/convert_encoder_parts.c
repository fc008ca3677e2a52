/* What the converters of both kinds of encoder share. */
#include "models/convert_encoder_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- where tensors are ---- */

bool plan_has(const struct plan *p, const char *prefix, const char *leaf) {
    char name[2 * PLAN_NAME];
    snprintf(name, sizeof name, "%s%s", prefix, leaf);
    return checkpoint_find(p->file, name) != NULL;
}

status plan_add_from(struct plan *p, const char *from, const char *to, const char *leaf, int64_t rows, int64_t cols,
                     int64_t taps) {
    char source[2 * PLAN_NAME], name[2 * PLAN_NAME];
    snprintf(source, sizeof source, "%s%s", from, leaf);
    snprintf(name, sizeof name, "%s%s", to, leaf);
    return plan_add(p, source, name, rows, cols, taps);
}

/* How a convolution with weight norm keeps its two parts; none when they have been made one. */
bool plan_weight_parts(const struct plan *p, const char *prefix, const char **direction, const char **gain) {
    static const char *const spellings[][2] = {
        {".weight_v", ".weight_g"},
        {".parametrizations.weight.original1", ".parametrizations.weight.original0"},
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        *direction = spellings[i][0];
        *gain = spellings[i][1];
        if (plan_has(p, prefix, *direction)) return true;
    }
    *direction = ".weight";
    return false;
}

status plan_need_weight(const struct plan *p, const char *prefix, int n_dims, const struct tensor **out) {
    char name[PLAN_NAME];
    const char *direction, *gain;
    plan_weight_parts(p, prefix, &direction, &gain);
    snprintf(name, sizeof name, "%s%s", prefix, direction);
    return plan_need(p, name, n_dims, out);
}

status plan_add_normed(struct plan *p, const char *from, const char *to, int64_t rows, int64_t cols, int64_t taps) {
    char source[PLAN_NAME], name[PLAN_NAME];
    const char *direction, *gain;
    bool parted = plan_weight_parts(p, from, &direction, &gain);
    snprintf(source, sizeof source, "%s%s", from, direction);
    snprintf(name, sizeof name, "%s.weight", to);
    TRY(plan_add(p, source, name, rows, cols, taps));
    if (parted) {
        snprintf(source, sizeof source, "%s%s", from, gain);
        TRY(plan_gain(p, source));
    }
    return plan_add_from(p, from, to, ".bias", rows, 0, 0);
}

/* ---- metadata ---- */

status encoder_read_said(const struct plan *p, const struct encoder_field *fields, size_t n) {
    json_t *said, *value;
    const char *key;
    TRY(metadata_object(p, "utter.encoder", &said));
    status s = UTTER_OK;
    json_object_foreach(said, key, value) {
        size_t i = 0;
        while (i < n && strcmp(fields[i].key, key) != 0) i++;
        if (i < n && json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= 1024) {
            *fields[i].value = json_integer_value(value);
            continue;
        }
        s = fail(UTTER_FORMAT, "%s: utter.encoder %.80s cannot be; wanted %s, %s or the like, from 1 to 1024", p->path,
                 key, fields[0].key, fields[1].key);
        break;
    }
    json_decref(said);
    return s;
}

status encoder_check_heads(const struct plan *p, int64_t width, int64_t n_heads) {
    if (n_heads >= 1 && width % n_heads == 0) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s: %" PRId64 " heads do not divide the width %" PRId64 "; say head_count in utter.encoder", p->path,
                n_heads, width);
}

/* ---- the semantic model ---- */

status encoder_find_semantic(struct encoder_source *s, const char *prefix, const char *repository) {
    const char *leaf = "feature_projection.projection.weight";
    const struct plan *p = s->plan;
    s->semantic_prefix = prefix;
    if (s->semantic) {
        struct plan other = {.file = s->semantic};
        if (!plan_has(&other, prefix, leaf)) s->semantic_prefix = "";
        return UTTER_OK;
    }
    if (plan_has(p, prefix, leaf)) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s holds no semantic model (%s%s), which the encoder needs; give the weights of %s with --semantic",
                p->path, prefix, leaf, repository);
}

status encoder_in_semantic(const struct encoder_source *s, encoder_part_fn *fn, void *geometry) {
    struct plan *p = s->plan;
    const struct plan main = *p;
    if (s->semantic) {
        p->file = s->semantic;
        p->path = checkpoint_path(s->semantic);
    }
    status result = fn(s, geometry);
    p->file = main.file;
    p->path = main.path;
    return result;
}

/* ---- ends ---- */

status encoder_read_ends(const struct plan *p, struct encoder_ends *e) {
    const struct tensor *t;
    TRY(plan_need(p, "SemanticEncoder_module.initial_conv.weight", 3, &t));
    e->n_mid = t->dims[0];
    TRY(plan_need(p, "SemanticEncoder_module.final_conv.weight", 3, &t));
    e->n_semantic = t->dims[0];
    TRY(plan_need(p, "fc_prior.weight", 2, &t));
    e->vq_dim = t->dims[0];
    TRY(plan_need(p, "generator.quantizer.project_in.weight", 2, &t));
    e->n_fsq = t->dims[0];
    if (e->n_fsq <= ENCODER_MAX_FSQ) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s: tensor %s has %" PRId64 " rows; utter's codes have at most %d digits", p->path,
                t->name, e->n_fsq, ENCODER_MAX_FSQ);
}

status encoder_add_ends(struct plan *p, const struct encoder_ends *e, int64_t n_embd, int64_t n_acoustic) {
    const char *from = "SemanticEncoder_module.", *to = "semantic_encoder.";
    TRY(plan_add_from(p, from, to, "initial_conv.weight", e->n_mid, n_embd, 3));
    TRY(plan_add_from(p, from, to, "residual_blocks.1.weight", e->n_mid, e->n_mid, 3));
    TRY(plan_add_from(p, from, to, "residual_blocks.1.bias", e->n_mid, 0, 0));
    TRY(plan_add_from(p, from, to, "residual_blocks.3.weight", e->n_mid, e->n_mid, 3));
    TRY(plan_add_from(p, from, to, "residual_blocks.3.bias", e->n_mid, 0, 0));
    TRY(plan_add_from(p, from, to, "final_conv.weight", e->n_semantic, e->n_mid, 3));
    TRY(plan_add_from(p, "fc_prior", "fc_prior", ".weight", e->vq_dim, e->n_semantic + n_acoustic, 0));
    TRY(plan_add_from(p, "fc_prior", "fc_prior", ".bias", e->vq_dim, 0, 0));
    TRY(plan_add_from(p, "generator.quantizer.project_in", "project_in", ".weight", e->n_fsq, e->vq_dim, 0));
    return plan_add_from(p, "generator.quantizer.project_in", "project_in", ".bias", e->n_fsq, 0, 0);
}

void encoder_put_ends(struct gguf_writer *w, const struct encoder_ends *e) {
    int32_t levels[ENCODER_MAX_FSQ];
    for (int64_t i = 0; i < e->n_fsq; i++) levels[i] = ENCODER_LEVELS;
    gguf_put_string(w, "general.architecture", "neucodec-encoder");
    gguf_put_string(w, "general.name", "NeuCodec");  // DistillNeuCodec's codes are NeuCodec's, too
    gguf_put_u32(w, "neucodec-encoder.sample_rate", 16000);
    gguf_put_u32(w, "neucodec-encoder.hop_length", ENCODER_HOP);
    gguf_put_i32_array(w, "neucodec-encoder.fsq_levels", levels, (size_t)e->n_fsq);
}
