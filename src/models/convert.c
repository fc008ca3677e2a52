#include "models/convert.h"

#include <stdlib.h>
#include <string.h>

#include "models/convert_parts.h"

enum { MAX_BLOCKS = 1024 };

status count_blocks(const struct plan *p, const char *prefix, int64_t *out) {
    size_t len = strlen(prefix);
    long n = 0;
    for (int64_t i = 0; i < checkpoint_n_tensors(p->file); i++) {
        const char *name = checkpoint_at(p->file, i)->name;
        if (strncmp(name, prefix, len) != 0 || name[len] < '0' || name[len] > '9') continue;
        long block = strtol(name + len, NULL, 10);
        if (block >= MAX_BLOCKS)
            return fail(UTTER_UNSUPPORTED, "%s: tensor %.80s: utter reads at most %d layers", p->path, name,
                        MAX_BLOCKS);
        if (block >= n) n = block + 1;
    }
    *out = n;
    return UTTER_OK;
}

// Names that an exporter has made up: nothing tells which weight is which.
static bool is_anonymous(const struct checkpoint *c) {
    for (int64_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const char *name = checkpoint_at(c, i)->name;
        if (strncmp(name, "onnx::", 6) == 0 || strncmp(name, "val_", 4) == 0) return true;
    }
    return false;
}

// Weights that an exporter has made whole numbers of, a matrix with a scale: onnxruntime's quantiser calls them so.
static bool is_quantized(const struct checkpoint *c) {
    for (int64_t i = 0; i < checkpoint_n_tensors(c); i++) {
        const struct tensor *t = checkpoint_at(c, i);
        size_t len = strlen(t->name);
        if ((t->type == TENSOR_I8 || t->type == TENSOR_U8) && len > 10 && strcmp(t->name + len - 10, "_quantized") == 0)
            return true;
    }
    return false;
}

// Writes what has been planned, unless planning has failed with `s`.
static status write_planned(const struct plan *p, struct gguf_writer *w, block_type type, status s) {
    if (s == UTTER_OK) {
        plan_announce(p, w, type);
        s = plan_write(p, w, type);
    }
    if (s == UTTER_OK) return gguf_writer_finish(w);
    gguf_writer_abandon(w);
    return s;
}

static status convert(struct plan *p, const char *out, block_type type) {
    struct gguf_writer *w;
    TRY(gguf_writer_open(out, &w));
    status s;
    if (checkpoint_find(p->file, "generator.backbone.embed.weight"))
        s = convert_codec(p, w);
    else if (checkpoint_find(p->file, "model.embed_tokens.weight"))
        s = convert_backbone(p, w);
    else
        s = fail(UTTER_FORMAT,
                 "%s holds neither a NeuCodec (generator.backbone.embed.weight) nor a language model "
                 "(model.embed_tokens.weight)",
                 p->path);
    if (s != UTTER_OK && is_quantized(p->file))
        s = fail(UTTER_UNSUPPORTED,
                 "%s is an ONNX model whose weights are quantised to 8 bits, which loses what a conversion needs; take "
                 "the full one (utter models pull neucodec-onnx-decoder, or neucodec) and --type q8_0",
                 p->path);
    else if (s != UTTER_OK && is_anonymous(p->file))
        s = fail(UTTER_UNSUPPORTED,
                 "%s is an ONNX model whose exporter has left weights without their names, so that they cannot be told "
                 "apart; convert the PyTorch or safetensors file of the same model",
                 p->path);
    return write_planned(p, w, type, s);
}

status convert_model(const char *in, const char *out, block_type type) {
    struct checkpoint *file;
    TRY(checkpoint_open(in, &file));
    struct plan p = {.path = in, .file = file};
    status s = convert(&p, out, type);
    plan_free(&p);
    checkpoint_close(file);
    return s;
}

status convert_encoder(const char *in, const char *semantic_model, const char *out, block_type type) {
    struct checkpoint *file, *semantic = NULL;
    struct gguf_writer *w;
    TRY(checkpoint_open(in, &file));
    struct plan p = {.path = in, .file = file};
    status s = semantic_model ? checkpoint_open(semantic_model, &semantic) : UTTER_OK;
    if (s == UTTER_OK) s = gguf_writer_open(out, &w);
    if (s == UTTER_OK) s = write_planned(&p, w, type, convert_encoder_plan(&p, semantic, w));
    plan_free(&p);
    if (semantic) checkpoint_close(semantic);
    checkpoint_close(file);
    return s;
}

status encoder_needs_semantic(const char *in, bool *out) {
    struct checkpoint *file;
    TRY(checkpoint_open(in, &file));
    *out = !checkpoint_find(file, "semantic_model.feature_projection.projection.weight");
    checkpoint_close(file);
    return UTTER_OK;
}
