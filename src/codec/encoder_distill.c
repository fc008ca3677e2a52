#include "codec/encoder_distill.h"

#include <stdlib.h>

#include "base/memory.h"
#include "codec/encoder_parts.h"

enum { MAX_WINDOW = 1500, MAX_POSITION_TAPS = 512 };

const int distill_pools[DISTILL_BRANCHES] = {1, 5, 11, 21, 45};
const int hubert_strides[HUBERT_CONVS] = {5, 2, 2, 2, 2, 2, 2};

status encoder_distill_config(struct codec_encoder *e) {
    e->distill = calloc(1, sizeof *e->distill);
    if (!e->distill) return fail_memory(sizeof *e->distill, "the encoder");
    struct encoder_distill *d = e->distill;
    const struct gguf *g = e->file;
    if (e->config.n_layers > HUBERT_MAX_LAYERS)
        return fail(UTTER_UNSUPPORTED, "%s: neucodec-encoder.block_count is %d, more than %d", e->label,
                    e->config.n_layers, HUBERT_MAX_LAYERS);
    TRY(encoder_need_int(g, "neucodec-encoder.local_window", 1, MAX_WINDOW, &d->coarse.window));
    if (!gguf_get_bool(g, "neucodec-encoder.normalize", &d->normalize))
        return fail(UTTER_FORMAT, "%s: neucodec-encoder.normalize is missing", e->label);
    TRY(encoder_outputs(g, "acoustic.out.weight", &e->config.n_acoustic));
    TRY(encoder_outputs(g, "acoustic.down.weight", &d->n_embd));
    TRY(encoder_outputs(g, "acoustic.fine.distance.4.weight", &d->n_heads));
    TRY(encoder_outputs(g, "acoustic.first.0.weight", &d->branch_channels));
    TRY(encoder_outputs(g, "semantic.convs.0.weight", &d->conv_channels));
    return encoder_outputs(g, "semantic.layers.0.feed_forward.intermediate_dense.weight", &d->n_ffn_semantic);
}

/* ---- acoustic ---- */

static status load_first(struct codec_encoder *e) {
    struct encoder_distill *d = e->distill;
    char name[ENCODER_NAME_SIZE];
    for (int i = 0; i < DISTILL_BRANCHES; i++) {
        const struct gguf_tensor *t = gguf_find_tensor(e->file, encoder_name(name, "acoustic.first.%d.weight", i));
        if (!t) return fail(UTTER_FORMAT, "%s: tensor %s is missing", e->label, name);
        int64_t taps = t->dims[0] * t->dims[1];
        if (taps > ENCODER_MAX_TAPS || taps % 2 == 0 || (i > 0 && taps != d->branch_taps))
            return fail(UTTER_FORMAT, "%s: tensor %s has %lld taps, where they are odd and alike", e->label, name,
                        (long long)taps);
        d->branch_taps = (int)taps;
        TRY(encoder_load_floats(e, name, d->branch_channels, taps, &d->branches[i].weight));
        TRY(encoder_load_vector(e, encoder_name(name, "acoustic.first.%d.bias", i), d->branch_channels,
                                &d->branches[i].bias));
    }
    int mid;
    TRY(encoder_outputs(e->file, "acoustic.first.conv_1.weight", &mid));
    TRY(encoder_outputs(e->file, "acoustic.first.conv_2.weight", &d->stages[0].channels));
    TRY(encoder_load_linear(e, "acoustic.first.conv_1", mid, DISTILL_BRANCHES * d->branch_channels, BIAS, &d->conv_1));
    return encoder_load_linear(e, "acoustic.first.conv_2", d->stages[0].channels, mid + 1, BIAS, &d->conv_2);
}

static status load_unit(struct codec_encoder *e, int stage, int i, struct distill_unit *u) {
    struct encoder_distill *d = e->distill;
    char name[ENCODER_NAME_SIZE];
    int64_t c = d->stages[stage].channels;
    int taps, wide;
#define NAME(rest) encoder_name(name, "acoustic.stages.%d.%d." rest, stage, i)
    TRY(encoder_load_depthwise(e, NAME("dw_conv.weight"), c, &taps, &u->depthwise));
    if (taps % 2 == 0 || (d->depthwise_taps && taps != d->depthwise_taps))
        return fail(UTTER_FORMAT, "%s: tensor %s has %d taps, where they are odd and alike", e->label, name, taps);
    d->depthwise_taps = taps;
    TRY(encoder_load_vector(e, NAME("dw_conv.bias"), c, &u->depthwise_bias));
    TRY(encoder_outputs(e->file, NAME("pw_conv1.weight"), &wide));
    TRY(encoder_load_linear(e, NAME("pw_conv1"), wide, c, BIAS, &u->in));
    TRY(encoder_load_linear(e, NAME("pw_conv2"), c, wide, BIAS, &u->out));
    TRY(encoder_load_vector(e, NAME("act.alpha"), wide, &u->frequency));
    TRY(encoder_load_vector(e, NAME("grn.gamma"), wide, &u->gain));
    TRY(encoder_load_vector(e, NAME("grn.beta"), wide, &u->shift));
#undef NAME
    TRY(alloc_for(&u->amplitude, (size_t)wide, sizeof *u->amplitude, "the encoder"));
    e->vectors[e->n_vectors++] = u->amplitude;
    for (int k = 0; k < wide; k++) {
        u->amplitude[k] = 1 / (u->frequency[k] + 1.1920929e-7f);
        /* The response is normalised by its length over all frames and channels, g / (g + 1.2e-7): 1, but for values
           that are below that themselves. */
        u->gain[k] += 1;
    }
    return UTTER_OK;
}

static status load_stages(struct codec_encoder *e) {
    struct encoder_distill *d = e->distill;
    char name[ENCODER_NAME_SIZE];
    int64_t hop = 1;
    for (int i = 0; i < DISTILL_STAGES; i++) {
        struct distill_stage *stage = &d->stages[i];
        while (
            stage->n_units < DISTILL_MAX_UNITS &&
            gguf_find_tensor(e->file, encoder_name(name, "acoustic.stages.%d.%d.dw_conv.weight", i, stage->n_units))) {
            TRY(load_unit(e, i, stage->n_units, &stage->units[stage->n_units]));
            stage->n_units++;
        }
        bool last = i == DISTILL_STAGES - 1;
        int rows;
        TRY(encoder_outputs(e->file, encoder_name(name, "acoustic.stages.%d.down.weight", i), &rows));
        if (last && rows != d->n_embd)
            return fail(UTTER_FORMAT, "%s: tensor %s has %d outputs; wanted %d", e->label, name, rows, d->n_embd);
        encoder_name(name, "acoustic.stages.%d.down", i);
        TRY(last ? encoder_load_conv(e, name, rows, stage->channels, BIAS, &stage->down)
                 : encoder_load_linear(e, name, rows, stage->channels, BIAS, &stage->down));
        if (last) break;
        d->stages[i + 1].channels = rows;
        hop *= stage->down.taps;
    }
    TRY(encoder_load_linear(e, "acoustic.down", d->n_embd, d->n_embd, BIAS, &d->down));
    hop *= d->down.taps;
    if (hop == e->config.hop) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s: the acoustic branch makes a frame of %lld samples, not of %d", e->label,
                (long long)hop, e->config.hop);
}

static status load_transformer(struct codec_encoder *e, const char *which, struct distill_transformer *t) {
    struct encoder_distill *d = e->distill;
    char name[ENCODER_NAME_SIZE];
    int64_t c = d->n_embd;
#define NAME(rest) encoder_name(name, "acoustic.%s.layers.%d." rest, which, t->n_layers)
    while (t->n_layers < DISTILL_MAX_LAYERS && gguf_find_tensor(e->file, NAME("qkv.weight"))) {
        struct distill_layer *l = &t->layers[t->n_layers];
        int qkv, ffn;
        TRY(encoder_outputs(e->file, NAME("qkv.weight"), &qkv));
        TRY(encoder_outputs(e->file, NAME("ffn_in.weight"), &ffn));
        if (!d->head_dim) d->head_dim = qkv / 3 / d->n_heads;
        if (!d->n_ffn) d->n_ffn = ffn / 2;
        if (qkv != 3 * d->n_heads * d->head_dim || d->head_dim < 1 || ffn != 2 * d->n_ffn)
            return fail(UTTER_FORMAT, "%s: layer %d of acoustic.%s is of another width than the first", e->label,
                        t->n_layers, which);
        TRY(encoder_load_norm(e, NAME("attention_norm"), c, &l->attention_norm));
        TRY(encoder_load_linear(e, NAME("qkv"), qkv, c, NO_BIAS, &l->qkv));
        TRY(encoder_load_linear(e, NAME("out"), c, qkv / 3, NO_BIAS, &l->out));
        TRY(encoder_load_norm(e, NAME("ffn_norm"), c, &l->ffn_norm));
        TRY(encoder_load_linear(e, NAME("ffn_in"), ffn, c, NO_BIAS, &l->ffn_in));
        TRY(encoder_load_linear(e, NAME("ffn_out"), c, ffn / 2, NO_BIAS, &l->ffn_out));
        t->n_layers++;
    }
#undef NAME
    int width;
    TRY(encoder_outputs(e->file, encoder_name(name, "acoustic.%s.distance.0.weight", which), &width));
    const int64_t rows[] = {width, width, d->n_heads}, cols[] = {1, width, width};
    for (int i = 0; i < 3; i++)
        TRY(encoder_load_linear(e, encoder_name(name, "acoustic.%s.distance.%d", which, 2 * i), rows[i], cols[i], BIAS,
                                &t->distance[i]));
    return UTTER_OK;
}

/* ---- semantic ---- */

static status load_hubert_convs(struct codec_encoder *e) {
    struct encoder_distill *d = e->distill;
    char name[ENCODER_NAME_SIZE];
    for (int i = 0; i < HUBERT_CONVS; i++) {
        TRY(encoder_load_linear(e, encoder_name(name, "semantic.convs.%d", i), d->conv_channels,
                                i ? d->conv_channels : 1, NO_BIAS, &d->convs[i]));
        static const int wanted[HUBERT_CONVS] = {10, 3, 3, 3, 3, 2, 2};
        if (d->convs[i].taps != wanted[i])
            return fail(UTTER_UNSUPPORTED, "%s: tensor %s.weight has %d taps; wanted %d", e->label, name,
                        d->convs[i].taps, wanted[i]);
    }
    TRY(encoder_load_norm(e, "semantic.convs.0.layer_norm", d->conv_channels, &d->conv_norm));
    const char *norm = "semantic.feature_projection.layer_norm";
    if (gguf_find_tensor(e->file, encoder_name(name, "%s.weight", norm)))
        TRY(encoder_load_norm(e, norm, d->conv_channels, &d->projection_norm));
    return encoder_load_linear(e, "semantic.feature_projection.projection", e->config.n_embd, d->conv_channels, BIAS,
                               &d->projection);
}

/* A product for each group of channels. */
static status load_position(struct codec_encoder *e) {
    struct encoder_distill *d = e->distill;
    int64_t c = e->config.n_embd;
    const char *name = "semantic.position.weight";
    const struct gguf_tensor *t = gguf_find_tensor(e->file, name);
    if (!t) return fail(UTTER_FORMAT, "%s: tensor %s is missing", e->label, name);
    int64_t width = t->dims[0], taps = t->dims[1];
    if (c % width || c / width > HUBERT_MAX_GROUPS || taps > MAX_POSITION_TAPS)
        return fail(UTTER_FORMAT,
                    "%s: tensor %s is [%lld, %lld, ...]; up to %d groups of channels and %d taps are known", e->label,
                    name, (long long)width, (long long)taps, HUBERT_MAX_GROUPS, MAX_POSITION_TAPS);
    struct matrix whole;
    TRY(gguf_matrix(e->file, name, c, width * taps, &whole));
    d->n_groups = (int)(c / width);
    d->position_taps = (int)taps;
    for (int i = 0; i < d->n_groups; i++) {
        d->position[i] = (struct encoder_linear){.w = whole, .taps = (int)taps, .index = e->n_linears};
        d->position[i].w.rows = width;
        d->position[i].w.data =
            (const uint8_t *)whole.data + (size_t)(i * width) * block_row_bytes(whole.type, whole.cols);
        e->linears[e->n_linears++] = &d->position[i];
    }
    TRY(encoder_load_vector(e, "semantic.position.bias", c, &d->position_bias));
    return encoder_load_norm(e, "semantic.layer_norm", c, &d->position_norm);
}

static status load_hubert_layer(struct codec_encoder *e, int i) {
    struct hubert_layer *l = &e->distill->layers[i];
    int64_t c = e->config.n_embd, ffn = e->distill->n_ffn_semantic;
    char name[ENCODER_NAME_SIZE];
#define NAME(rest) encoder_name(name, "semantic.layers.%d." rest, i)
    TRY(encoder_load_linear(e, NAME("attention.q_proj"), c, c, BIAS, &l->q));
    TRY(encoder_load_linear(e, NAME("attention.k_proj"), c, c, BIAS, &l->k));
    TRY(encoder_load_linear(e, NAME("attention.v_proj"), c, c, BIAS, &l->v));
    TRY(encoder_load_linear(e, NAME("attention.out_proj"), c, c, BIAS, &l->out));
    TRY(encoder_load_norm(e, NAME("layer_norm"), c, &l->attention_norm));
    TRY(encoder_load_linear(e, NAME("feed_forward.intermediate_dense"), ffn, c, BIAS, &l->ffn_in));
    TRY(encoder_load_linear(e, NAME("feed_forward.output_dense"), c, ffn, BIAS, &l->ffn_out));
    return encoder_load_norm(e, NAME("final_layer_norm"), c, &l->final_norm);
#undef NAME
}

status encoder_distill_load(struct codec_encoder *e) {
    struct encoder_distill *d = e->distill;
    TRY(load_first(e));
    TRY(load_stages(e));
    d->fine.window = d->coarse.window * d->down.taps;
    TRY(load_transformer(e, "fine", &d->fine));
    TRY(load_transformer(e, "coarse", &d->coarse));
    TRY(encoder_load_linear(e, "acoustic.out", e->config.n_acoustic, d->n_embd, BIAS, &d->out));
    TRY(load_hubert_convs(e));
    TRY(load_position(e));
    for (int i = 0; i < e->config.n_layers; i++) TRY(load_hubert_layer(e, i));
    return UTTER_OK;
}
