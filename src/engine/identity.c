#include "engine/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "engine/engine.h"

enum { BYTES_OF_A_TENSOR = 4096 };

static uint64_t add_file(uint64_t h, const struct gguf *g) {
    struct gguf_string keys = gguf_key_bytes(g);
    h = hash_bytes(h, keys.data, keys.len);
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        h = hash_string(h, t->name);
        h = hash_bytes(h, &t->type, sizeof t->type);
        h = hash_bytes(h, t->dims, sizeof t->dims);
        h = hash_bytes(h, t->data, t->n_bytes < BYTES_OF_A_TENSOR ? t->n_bytes : BYTES_OF_A_TENSOR);
    }
    return h;
}

static uint64_t add_voice(uint64_t h, const struct voice *v) {
    h = hash_string(h, v->name);
    h = hash_string(h, v->language);
    h = hash_string(h, v->token);
    h = hash_string(h, v->ref);
    h = hash_bytes(h, v->codes, (size_t)v->n_codes * sizeof *v->codes);
    h = hash_bytes(h, &v->frames_per_symbol, sizeof v->frames_per_symbol);
    return h;
}

status engine_identity(utter *u, const char *voice, char out[IDENTITY_LENGTH + 1]) {
    uint64_t h = hash_string(HASH_START, utter_version());
    h = add_file(h, u->backbone->file);
    h = add_file(h, u->codec->file);
    const struct voice *v;
    TRY(engine_voices_find(u, voice, &v));
    h = add_voice(h, v);
    snprintf(out, IDENTITY_LENGTH + 1, "%016llx", (unsigned long long)h);
    return UTTER_OK;
}
