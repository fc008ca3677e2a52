#include "engine/identity.h"

#include <stdio.h>
#include <string.h>

#include "engine/engine.h"

enum { BYTES_OF_A_TENSOR = 4096 };

// FNV-1a, 64 bits: it tells files apart, it does not protect.
struct hash {
    uint64_t value;
};

static void add(struct hash *h, const void *data, size_t n) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++) h->value = (h->value ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void add_text(struct hash *h, const char *text) { add(h, text, strlen(text) + 1); }

static void add_file(struct hash *h, const struct gguf *g) {
    struct gguf_string keys = gguf_key_bytes(g);
    add(h, keys.data, keys.len);
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        add_text(h, t->name);
        add(h, &t->type, sizeof t->type);
        add(h, t->dims, sizeof t->dims);
        add(h, t->data, t->n_bytes < BYTES_OF_A_TENSOR ? t->n_bytes : BYTES_OF_A_TENSOR);
    }
}

static void add_voice(struct hash *h, const struct voice *v) {
    add_text(h, v->name);
    add_text(h, v->language);
    add_text(h, v->token);
    add_text(h, v->ref);
    add(h, v->codes, (size_t)v->n_codes * sizeof *v->codes);
    add(h, &v->frames_per_symbol, sizeof v->frames_per_symbol);
}

status engine_identity(utter *u, const char *voice, char out[IDENTITY_LENGTH + 1]) {
    struct hash h = {UINT64_C(0xcbf29ce484222325)};
    add_text(&h, utter_version());
    add_file(&h, u->backbone->file);
    add_file(&h, u->codec->file);
    const struct voice *v;
    TRY(engine_voices_find(u, voice, &v));
    add_voice(&h, v);
    snprintf(out, IDENTITY_LENGTH + 1, "%016llx", (unsigned long long)h.value);
    return UTTER_OK;
}
