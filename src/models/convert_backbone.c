#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_folder.h"
#include "models/convert_parts.h"

// What the metadata says of a language model.
struct geometry {
    const char *source;  // of the metadata, for messages
    bool tied;           // an lm_head in the file does not count
    char arch[16];
    int64_t n_layers, n_embd, n_ffn, n_heads, n_kv_heads;
    int64_t head_dim;  // rows of q, by shape, over the heads
    int64_t n_vocab;   // rows of the embedding
};

static status read_arch(const struct plan *p, const json_t *said, struct geometry *g) {
    static const char *const known[] = {"qwen2", "llama", "qwen3"};
    const char *arch = json_string_value(json_object_get(said, "general.architecture"));
    for (size_t i = 0; arch && i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], arch) == 0) {
            snprintf(g->arch, sizeof g->arch, "%s", arch);
            return UTTER_OK;
        }
    return fail(UTTER_UNSUPPORTED, "%s: %s general.architecture is %.40s; wanted qwen2, llama or qwen3", p->path,
                g->source, arch ? arch : "not there");
}

// The whole number <arch>.<rest>, from 1 to `high`.
static status read_number(const struct plan *p, const json_t *said, const struct geometry *g, const char *rest,
                          int64_t high, int64_t *out) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", g->arch, rest);
    const json_t *v = json_object_get(said, key);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > high)
        return fail(UTTER_FORMAT, "%s: %s %s is not a whole number from 1 to %" PRId64, p->path, g->source, key, high);
    *out = json_integer_value(v);
    return UTTER_OK;
}

static status read_geometry(const struct plan *p, const json_t *said, struct geometry *g) {
    TRY(read_arch(p, said, g));
    TRY(read_number(p, said, g, "block_count", 65536, &g->n_layers));
    TRY(read_number(p, said, g, "embedding_length", 1 << 20, &g->n_embd));
    TRY(read_number(p, said, g, "feed_forward_length", 1 << 20, &g->n_ffn));
    TRY(read_number(p, said, g, "attention.head_count", 1 << 16, &g->n_heads));
    TRY(read_number(p, said, g, "attention.head_count_kv", g->n_heads, &g->n_kv_heads));
    const struct tensor *t;
    TRY(plan_need(p, "model.embed_tokens.weight", 2, &t));
    g->n_vocab = t->dims[0];
    TRY(plan_need(p, "model.layers.0.self_attn.q_proj.weight", 2, &t));
    g->head_dim = t->dims[0] / g->n_heads;
    if (g->head_dim < 2 || g->head_dim % 2 != 0 || t->dims[0] % g->n_heads != 0)
        return fail(UTTER_FORMAT,
                    "%s: tensor %s has %" PRId64 " rows, which are not %" PRId64 " heads of an even width", p->path,
                    t->name, t->dims[0], g->n_heads);
    int64_t n_layers;
    TRY(count_blocks(p, "model.layers.", &n_layers));
    if (n_layers != g->n_layers)
        return fail(UTTER_FORMAT, "%s: %s %s.block_count is %" PRId64 ", and the tensors make %" PRId64 " layers",
                    p->path, g->source, g->arch, g->n_layers, n_layers);
    return UTTER_OK;
}

// Hugging Face's Llama turns halves of a head, the GGUF form of it pairs; the rows are put in that order.
static status add_rotary(struct plan *p, const struct geometry *g, const char *source, const char *name,
                         int64_t n_heads) {
    TRY(plan_add(p, source, name, n_heads * g->head_dim, g->n_embd, 0));
    if (strcmp(g->arch, "llama") == 0) plan_pair_rows(p, n_heads);
    return UTTER_OK;
}

static status add_layer(struct plan *p, const struct geometry *g, int64_t i) {
    const int64_t e = g->n_embd, q = g->n_heads * g->head_dim, kv = g->n_kv_heads * g->head_dim;
    char source[96], name[96];
#define SOURCE(rest) (snprintf(source, sizeof source, "model.layers.%" PRId64 "." rest ".weight", i), source)
#define BIAS(rest) (snprintf(source, sizeof source, "model.layers.%" PRId64 "." rest ".bias", i), source)
#define NAME(rest) (snprintf(name, sizeof name, "blk.%" PRId64 "." rest, i), name)
    TRY(plan_add(p, SOURCE("input_layernorm"), NAME("attn_norm.weight"), e, 0, 0));
    TRY(add_rotary(p, g, SOURCE("self_attn.q_proj"), NAME("attn_q.weight"), g->n_heads));
    TRY(add_rotary(p, g, SOURCE("self_attn.k_proj"), NAME("attn_k.weight"), g->n_kv_heads));
    TRY(plan_add(p, SOURCE("self_attn.v_proj"), NAME("attn_v.weight"), kv, e, 0));
    if (strcmp(g->arch, "qwen2") == 0) {
        TRY(plan_add(p, BIAS("self_attn.q_proj"), NAME("attn_q.bias"), q, 0, 0));
        TRY(plan_add(p, BIAS("self_attn.k_proj"), NAME("attn_k.bias"), kv, 0, 0));
        TRY(plan_add(p, BIAS("self_attn.v_proj"), NAME("attn_v.bias"), kv, 0, 0));
    }
    if (strcmp(g->arch, "qwen3") == 0) {
        TRY(plan_add(p, SOURCE("self_attn.q_norm"), NAME("attn_q_norm.weight"), g->head_dim, 0, 0));
        TRY(plan_add(p, SOURCE("self_attn.k_norm"), NAME("attn_k_norm.weight"), g->head_dim, 0, 0));
    }
    TRY(plan_add(p, SOURCE("self_attn.o_proj"), NAME("attn_output.weight"), e, q, 0));
    TRY(plan_add(p, SOURCE("post_attention_layernorm"), NAME("ffn_norm.weight"), e, 0, 0));
    TRY(plan_add(p, SOURCE("mlp.gate_proj"), NAME("ffn_gate.weight"), g->n_ffn, e, 0));
    TRY(plan_add(p, SOURCE("mlp.up_proj"), NAME("ffn_up.weight"), g->n_ffn, e, 0));
    return plan_add(p, SOURCE("mlp.down_proj"), NAME("ffn_down.weight"), e, g->n_ffn, 0);
#undef SOURCE
#undef BIAS
#undef NAME
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

// A weight that is left behind (a bias of another architecture, say) would make another model of it.
static status refuse_leftovers(const struct plan *p, const struct geometry *g) {
    for (int64_t i = 0; i < checkpoint_n_tensors(p->file); i++) {
        const struct tensor *t = checkpoint_at(p->file, i);
        bool used = ends_with(t->name, ".rotary_emb.inv_freq") ||  // follows from rope.freq_base
                    (g->tied && strcmp(t->name, "lm_head.weight") == 0);
        for (int j = 0; j < p->n && !used; j++) used = p->items[j].tensor == t;
        if (!used)
            return fail(UTTER_UNSUPPORTED, "%s: tensor %.80s has no place in a %s model", p->path, t->name, g->arch);
    }
    return UTTER_OK;
}

static status add_tensors(struct plan *p, const struct geometry *g) {
    bool own_output = !g->tied && checkpoint_find(p->file, "lm_head.weight");
    TRY(plan_add(p, "model.embed_tokens.weight", "token_embd.weight", g->n_vocab, g->n_embd, 0));
    if (!own_output) plan_mark_output(p);
    for (int64_t i = 0; i < g->n_layers; i++) TRY(add_layer(p, g, i));
    TRY(plan_add(p, "model.norm.weight", "output_norm.weight", g->n_embd, 0, 0));
    if (own_output) {
        TRY(plan_add(p, "lm_head.weight", "output.weight", g->n_vocab, g->n_embd, 0));
        plan_mark_output(p);
    }
    return refuse_leftovers(p, g);
}

static status put_metadata(const struct plan *p, struct gguf_writer *w, json_t *said) {
    const char *key;
    json_t *value;
    json_object_foreach(said, key, value) {
        if (strcmp(key, "general.alignment") == 0)
            return fail(UTTER_FORMAT, "%s: utter.gguf general.alignment is the writer's to say; leave it out", p->path);
        TRY(metadata_put(p, w, key, value));
    }
    return UTTER_OK;
}

status convert_backbone(struct plan *p, struct gguf_writer *w) {
    json_t *said;
    struct geometry g = {.source = "utter.gguf"};
    TRY(metadata_object(p, "utter.gguf", &said));
    if (!said) {
        g.source = "config.json:";
        TRY(folder_metadata(p->file, &said));
    }
    if (!said)
        return fail(UTTER_FORMAT,
                    "%s: __metadata__ has no \"utter.gguf\", the JSON object that says architecture, geometry and "
                    "vocabulary, and there is no config.json beside it",
                    p->path);
    g.tied = json_is_true(json_object_get(said, "tie_word_embeddings"));
    json_object_del(said, "tie_word_embeddings");
    status s = read_geometry(p, said, &g);
    if (s == UTTER_OK) s = put_metadata(p, w, said);
    json_decref(said);
    TRY(s);
    return add_tensors(p, &g);
}
