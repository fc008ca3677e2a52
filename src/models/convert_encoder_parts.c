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

void encoder_turn_to_semantic(const struct encoder_source *s) {
    if (!s->semantic) return;
    s->plan->file = s->semantic;
    s->plan->path = checkpoint_path(s->semantic);
}
