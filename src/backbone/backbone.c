#include "backbone/backbone.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/prompt.h"
#include "backbone/speech.h"
#include "base/memory.h"

/* Beyond these a file is not believed, so that no product of two sizes overflows. */
enum {
    MAX_LAYERS = 1024,
    MAX_EMBD = 1 << 16,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 12,
    MAX_FFN = 1 << 20,
    MAX_CTX = 1 << 24,
    MAX_NAME = 256,
};

/* What the architectures differ in. */
static const struct architecture {
    const char *name;
    bool rope_interleaved;
    bool qkv_bias;  // must be there; elsewhere it may be
    bool qk_norm;
} architectures[] = {
    {.name = "qwen2", .qkv_bias = true},
    {.name = "llama", .rope_interleaved = true},
    {.name = "qwen3", .qk_norm = true},
};

static status load_architecture(struct backbone *b, const struct architecture **out);
static status load_name(struct backbone *b);
static status load_config(struct backbone *b);
static status load_weights(struct backbone *b, const struct architecture *a);

static status load(struct backbone *b) {
    const struct architecture *a = NULL;
    TRY(load_architecture(b, &a));
    TRY(load_name(b));
    TRY(tokenizer_load(b->file, &b->tokenizer));
    TRY(load_config(b));
    TRY(load_weights(b, a));
    return speech_load(b);
}

status backbone_load(struct gguf *g, struct backbone **out) {
    *out = NULL;
    struct backbone *b = calloc(1, sizeof *b);
    if (!b) {
        gguf_close(g);
        return fail_memory(sizeof *b, "a backbone");
    }
    b->file = g;
    b->label = gguf_label(g);
    status s = load(b);
    if (s != UTTER_OK) {
        backbone_free(b);
        return s;
    }
    *out = b;
    return UTTER_OK;
}

void backbone_free(struct backbone *b) {
    if (!b) return;
    speech_free(b);
    for (int i = 0; b->weights.layers && i < b->config.n_layers; i++) {
        struct backbone_layer *l = &b->weights.layers[i];
        free_aligned(l->attn_norm);
        free_aligned(l->q_bias);
        free_aligned(l->k_bias);
        free_aligned(l->v_bias);
        free_aligned(l->q_norm);
        free_aligned(l->k_norm);
        free_aligned(l->ffn_norm);
    }
    free(b->weights.layers);
    free_aligned(b->weights.output_norm);
    tokenizer_free(b->tokenizer);
    free((char *)b->name);
    gguf_close(b->file);
    free(b);
}

status backbone_check_speech(const struct backbone *b) {
    if (b->n_codes == 0)
        return fail(UTTER_FORMAT,
                    "%s has no speech tokens (<|speech_0|> ...): it is a language model that cannot speak; give the "
                    "backbone of a NeuTTS model",
                    b->label);
    if (b->end_token < 0)
        return fail(UTTER_FORMAT, "%s has speech tokens, but no <|SPEECH_GENERATION_END|>: it could not stop speaking",
                    b->label);
    return prompt_check_tokens(b);
}

status backbone_head_rows(const struct backbone *b, bool speech_only, int32_t **rows, int *n) {
    *rows = NULL;
    *n = 0;
    if (speech_only) TRY(backbone_check_speech(b));
    int count = speech_only ? b->n_codes + 1 : b->config.n_vocab;
    TRY(alloc_for(rows, (size_t)count, sizeof **rows, "the rows of the output matrix"));
    for (int i = 0; i < count; i++) (*rows)[i] = !speech_only ? i : i < b->n_codes ? b->code_token[i] : b->end_token;
    *n = count;
    return UTTER_OK;
}

/* ---- metadata ---- */

static status load_architecture(struct backbone *b, const struct architecture **out) {
    struct gguf_string s;
    if (!gguf_get_string(b->file, "general.architecture", &s))
        return fail(UTTER_FORMAT, "%s: there is no text under general.architecture: this is no language model",
                    b->label);
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (s.len != strlen(architectures[i].name) || memcmp(s.data, architectures[i].name, s.len) != 0) continue;
        *out = &architectures[i];
        snprintf(b->config.arch, sizeof b->config.arch, "%s", architectures[i].name);
        b->config.rope_interleaved = architectures[i].rope_interleaved;
        return UTTER_OK;
    }
    return fail(UTTER_UNSUPPORTED,
                "%s: its architecture is \"%.*s\", which is not known; known are qwen2, llama and qwen3", b->label,
                s.len > 64 ? 64 : (int)s.len, s.data);
}

static status load_name(struct backbone *b) {
    struct gguf_string s;
    if (!gguf_get_string(b->file, "general.name", &s) || s.len == 0 || s.len > MAX_NAME || memchr(s.data, '\0', s.len))
        s = (struct gguf_string){b->label, strlen(b->label)};
    b->name = strndup(s.data, s.len);
    return b->name ? UTTER_OK : fail_memory(s.len, "a name");
}

/* "qwen2.block_count" */
static const char *key_of(const struct backbone *b, const char *what, char key[64]) {
    snprintf(key, 64, "%s.%s", b->config.arch, what);
    return key;
}

static status need(const struct backbone *b, const char *what, int high, int *out) {
    char key[64];
    int64_t value;
    TRY(gguf_need_i64(b->file, key_of(b, what, key), 1, high, &value));
    *out = (int)value;
    return UTTER_OK;
}

static bool has_key(const struct backbone *b, const char *what) {
    char key[64];
    return metadata_has(b->file, key_of(b, what, key));
}

static status need_or(const struct backbone *b, const char *what, int high, int otherwise, int *out) {
    if (has_key(b, what)) return need(b, what, high, out);
    *out = otherwise;
    return UTTER_OK;
}

static status refuse_rope_scaling(const struct backbone *b) {
    char key[64];
    struct gguf_string type;
    double factor;
    if (gguf_get_string(b->file, key_of(b, "rope.scaling.type", key), &type)) {
        if (type.len != 4 || memcmp(type.data, "none", 4) != 0)
            return fail(UTTER_UNSUPPORTED, "%s: %s is \"%.*s\"; scaled rotary positions are not supported", b->label,
                        key, type.len > 64 ? 64 : (int)type.len, type.data);
    } else if ((gguf_get_f64(b->file, key_of(b, "rope.scaling.factor", key), &factor) ||
                gguf_get_f64(b->file, key_of(b, "rope.scale_linear", key), &factor)) &&
               factor != 0 && factor != 1) {
        return fail(UTTER_UNSUPPORTED, "%s: %s is %g; scaled rotary positions are not supported", b->label, key,
                    factor);
    }
    if (gguf_find_tensor(b->file, "rope_freqs.weight"))
        return fail(UTTER_UNSUPPORTED, "%s: tensor rope_freqs.weight: scaled rotary positions are not supported",
                    b->label);
    return UTTER_OK;
}

static status load_config(struct backbone *b) {
    struct backbone_config *c = &b->config;
    char key[64];
    double value;
    TRY(need(b, "block_count", MAX_LAYERS, &c->n_layers));
    TRY(need(b, "embedding_length", MAX_EMBD, &c->n_embd));
    TRY(need(b, "attention.head_count", MAX_HEADS, &c->n_heads));
    TRY(need_or(b, "attention.head_count_kv", MAX_HEADS, c->n_heads, &c->n_kv_heads));
    if (c->n_heads % c->n_kv_heads != 0)
        return fail(UTTER_FORMAT, "%s: %d heads cannot share %d key and value heads evenly", b->label, c->n_heads,
                    c->n_kv_heads);
    if (!has_key(b, "attention.key_length") && c->n_embd % c->n_heads != 0)
        return fail(UTTER_FORMAT, "%s: %d heads do not divide the width of %d, and %s is missing", b->label, c->n_heads,
                    c->n_embd, key_of(b, "attention.key_length", key));
    TRY(need_or(b, "attention.key_length", MAX_HEAD_DIM, c->n_embd / c->n_heads, &c->head_dim));
    int other;
    TRY(need_or(b, "attention.value_length", MAX_HEAD_DIM, c->head_dim, &other));
    if (other != c->head_dim)
        return fail(UTTER_UNSUPPORTED, "%s: keys of %d and values of %d: only equal lengths are supported", b->label,
                    c->head_dim, other);
    if (c->head_dim % 2 != 0)
        return fail(UTTER_FORMAT, "%s: a head of %d cannot be rotated in pairs: the number must be even", b->label,
                    c->head_dim);
    TRY(need_or(b, "rope.dimension_count", MAX_HEAD_DIM, c->head_dim, &other));
    if (other != c->head_dim)
        return fail(UTTER_UNSUPPORTED, "%s: %s is %d of a head of %d: only whole heads can be rotated", b->label,
                    key_of(b, "rope.dimension_count", key), other, c->head_dim);
    TRY(need(b, "feed_forward_length", MAX_FFN, &c->n_ffn));
    TRY(need(b, "context_length", MAX_CTX, &c->n_ctx));
    int64_t n_experts;
    if (gguf_get_i64(b->file, key_of(b, "expert_count", key), &n_experts) && n_experts != 0)
        return fail(UTTER_UNSUPPORTED, "%s: a mixture of %" PRId64 " experts is not supported", b->label, n_experts);

    c->rope_base = 10000;
    if (has_key(b, "rope.freq_base")) {
        TRY(gguf_need_f64(b->file, key_of(b, "rope.freq_base", key), 1, 1e12, &value));
        c->rope_base = (float)value;
    }
    TRY(refuse_rope_scaling(b));
    TRY(gguf_need_f64(b->file, key_of(b, "attention.layer_norm_rms_epsilon", key), 0, 1, &value));
    c->norm_eps = (float)value;
    c->n_vocab = tokenizer_n_vocab(b->tokenizer);
    return UTTER_OK;
}

/* ---- weights ---- */

struct loading {
    struct backbone *b;
    int layer;        // -1 outside of layers
    int64_t n_taken;  // tensors that found their place
};

/* "blk.0.attn_q.weight" */
static const char *tensor_name(const struct loading *l, const char *what, char name[64]) {
    if (l->layer >= 0) {
        snprintf(name, 64, "blk.%d.%s", l->layer, what);
    } else {
        snprintf(name, 64, "%s", what);
    }
    return name;
}

static status take_matrix(struct loading *l, const char *what, int64_t rows, int64_t cols, struct matrix *out) {
    char name[64];
    TRY(gguf_matrix(l->b->file, tensor_name(l, what, name), rows, cols, out));
    l->n_taken++;
    return UTTER_OK;
}

static status take_vector(struct loading *l, const char *what, int64_t n, float **out) {
    char name[64];
    TRY(gguf_vector(l->b->file, tensor_name(l, what, name), n, out));
    l->n_taken++;
    return UTTER_OK;
}

static bool has_tensor(const struct loading *l, const char *what) {
    char name[64];
    return gguf_find_tensor(l->b->file, tensor_name(l, what, name)) != NULL;
}

static status load_layer(struct loading *l, const struct architecture *a, struct backbone_layer *layer) {
    const struct backbone_config *c = &l->b->config;
    int64_t e = c->n_embd, f = c->n_ffn, q = (int64_t)c->n_heads * c->head_dim,
            kv = (int64_t)c->n_kv_heads * c->head_dim;
    TRY(take_vector(l, "attn_norm.weight", e, &layer->attn_norm));
    TRY(take_matrix(l, "attn_q.weight", q, e, &layer->q));
    TRY(take_matrix(l, "attn_k.weight", kv, e, &layer->k));
    TRY(take_matrix(l, "attn_v.weight", kv, e, &layer->v));
    if (a->qkv_bias || has_tensor(l, "attn_q.bias") || has_tensor(l, "attn_k.bias") || has_tensor(l, "attn_v.bias")) {
        TRY(take_vector(l, "attn_q.bias", q, &layer->q_bias));
        TRY(take_vector(l, "attn_k.bias", kv, &layer->k_bias));
        TRY(take_vector(l, "attn_v.bias", kv, &layer->v_bias));
    }
    if (a->qk_norm) {
        TRY(take_vector(l, "attn_q_norm.weight", c->head_dim, &layer->q_norm));
        TRY(take_vector(l, "attn_k_norm.weight", c->head_dim, &layer->k_norm));
    }
    TRY(take_matrix(l, "attn_output.weight", e, q, &layer->attn_out));
    TRY(take_vector(l, "ffn_norm.weight", e, &layer->ffn_norm));
    TRY(take_matrix(l, "ffn_gate.weight", f, e, &layer->gate));
    TRY(take_matrix(l, "ffn_up.weight", f, e, &layer->up));
    return take_matrix(l, "ffn_down.weight", e, f, &layer->down);
}

static status load_weights(struct backbone *b, const struct architecture *a) {
    const struct backbone_config *c = &b->config;
    struct backbone_weights *w = &b->weights;
    struct loading l = {.b = b, .layer = -1};
    TRY(take_matrix(&l, "token_embd.weight", c->n_vocab, c->n_embd, &w->token_embd));
    TRY(take_vector(&l, "output_norm.weight", c->n_embd, &w->output_norm));
    w->output = w->token_embd;
    if (has_tensor(&l, "output.weight")) TRY(take_matrix(&l, "output.weight", c->n_vocab, c->n_embd, &w->output));
    w->layers = calloc((size_t)c->n_layers, sizeof *w->layers);
    if (!w->layers) return fail_memory((size_t)c->n_layers * sizeof *w->layers, "the layers of the backbone");
    for (l.layer = 0; l.layer < c->n_layers; l.layer++) TRY(load_layer(&l, a, &w->layers[l.layer]));
    // a tensor that found no place would have changed what the model says
    if (l.n_taken != gguf_n_tensors(b->file))
        return fail(UTTER_UNSUPPORTED,
                    "%s has %" PRId64 " tensors, and a %s model of %d layers is made of %" PRId64
                    ": the others (biases, adapters, more layers?) are not supported",
                    b->label, gguf_n_tensors(b->file), c->arch, c->n_layers, l.n_taken);
    return UTTER_OK;
}
