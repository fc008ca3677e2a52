/* The merges of the vocabulary, by the ids of the two tokens that merge. */
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"

#define KEY TOKENIZER_KEY "merges"
enum { MAX_MERGES = 1 << 23 };

/* A merge as it was read: two tokens with a space between (the first may begin with one). */
struct merge_text {
    struct gguf_string left, right;
    uint32_t left_hash, right_hash, result_hash;
};

static int shown(size_t len) { return len > 64 ? 64 : (int)len; }

static status parse(const struct gguf *g, size_t rank, const struct gguf_string *text, struct merge_text *out) {
    const char *space = text->len > 2 ? memchr(text->data + 1, ' ', text->len - 2) : NULL;
    if (!space)
        return fail(UTTER_FORMAT, "%s: %s: merge %zu, \"%.*s\", is not two tokens with a space between", gguf_label(g),
                    KEY, rank, shown(text->len), text->data);
    size_t left_len = (size_t)(space - text->data);
    out->left = (struct gguf_string){text->data, left_len};
    out->right = (struct gguf_string){space + 1, text->len - left_len - 1};
    out->left_hash = hash_bytes(HASH_START, out->left.data, out->left.len);
    out->right_hash = hash_bytes(HASH_START, out->right.data, out->right.len);
    out->result_hash = hash_bytes(out->left_hash, out->right.data, out->right.len);
    return UTTER_OK;
}

/* The token left + right; -1 if there is none. */
static int32_t lookup_joined(const struct tokenizer *t, const struct merge_text *m) {
    for (uint32_t i = slot_of_hash(m->result_hash);; i++) {
        const struct token_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id < 0) return -1;
        if (slot->hash != m->result_hash) continue;
        const struct gguf_string *token = &t->tokens[slot->id];
        if (token->len == m->left.len + m->right.len && memcmp(token->data, m->left.data, m->left.len) == 0 &&
            memcmp(token->data + m->left.len, m->right.data, m->right.len) == 0)
            return slot->id;
    }
}

static status insert(const struct gguf *g, struct tokenizer *t, size_t rank, const struct merge_text *m) {
    int32_t left = tokenizer_lookup(t, m->left_hash, m->left.data, m->left.len);
    int32_t right = tokenizer_lookup(t, m->right_hash, m->right.data, m->right.len);
    int32_t result = lookup_joined(t, m);
    if (left < 0 || right < 0 || result < 0)
        return fail(UTTER_FORMAT, "%s: %s: merge %zu, \"%.*s %.*s\": %s is no token of the vocabulary", gguf_label(g),
                    KEY, rank, shown(m->left.len), m->left.data, shown(m->right.len), m->right.data,
                    left < 0 ? "the first" : (right < 0 ? "the second" : "the result"));
    uint32_t i = slot_of_pair(left, right);
    for (int probes = 0; probes < TOKENIZER_MAX_PROBES; probes++, i++) {
        struct merge_slot *slot = &t->merges[i & t->merge_mask];
        if (slot->left == left && slot->right == right) return UTTER_OK;  // the first of equals counts
        if (slot->left < 0) {
            *slot = (struct merge_slot){left, right, (int32_t)rank, result};
            return UTTER_OK;
        }
    }
    return fail(UTTER_FORMAT, "%s: %s: too many merges collide around merge %zu: the list is no honest one",
                gguf_label(g), KEY, rank);
}

static void fetch_slot(const struct tokenizer *t, uint32_t hash) {
    __builtin_prefetch(&t->slots[slot_of_hash(hash) & t->slot_mask]);
}

/* The token that a lookup of `hash` will look at first; 0 when there is none. */
static int32_t likely_token(const struct tokenizer *t, uint32_t hash) {
    for (uint32_t i = slot_of_hash(hash);; i++) {
        const struct token_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id < 0) return 0;
        if (slot->hash == hash) return slot->id;
    }
}

status tokenizer_load_merges(const struct gguf *g, struct tokenizer *t) {
    struct gguf_array a;
    if (!gguf_get_array(g, KEY, &a) || (a.type != GGUF_STRING && a.n > 0))
        return fail(UTTER_FORMAT, "%s: there is no list of texts under %s", gguf_label(g), KEY);
    if (a.n > MAX_MERGES)
        return fail(UTTER_UNSUPPORTED, "%s: %s has %zu merges; more than %d are not supported", gguf_label(g), KEY, a.n,
                    MAX_MERGES);
    size_t size = tokenizer_table_size(a.n);
    t->merge_mask = (uint32_t)(size - 1);
    TRY(alloc_for(&t->merges, size, sizeof *t->merges, "the table of merges"));
    memset(t->merges, 0xff, size * sizeof *t->merges);

    // Each lookup would wait for memory three times in turn (slot, token, text). A block of them waits together.
    enum { BLOCK = 32 };
    struct merge_text block[BLOCK];
    int32_t likely[BLOCK][3];
    for (size_t start = 0; start < a.n; start += BLOCK) {
        size_t n = a.n - start < BLOCK ? a.n - start : BLOCK;
        for (size_t i = 0; i < n; i++) {
            TRY(parse(g, start + i, &a.strings[start + i], &block[i]));
            fetch_slot(t, block[i].left_hash);
            fetch_slot(t, block[i].right_hash);
            fetch_slot(t, block[i].result_hash);
        }
        for (size_t i = 0; i < n; i++) {
            likely[i][0] = likely_token(t, block[i].left_hash);
            likely[i][1] = likely_token(t, block[i].right_hash);
            likely[i][2] = likely_token(t, block[i].result_hash);
            for (int k = 0; k < 3; k++) __builtin_prefetch(&t->tokens[likely[i][k]]);
            __builtin_prefetch(&t->merges[slot_of_pair(likely[i][0], likely[i][1]) & t->merge_mask], 1);
        }
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < 3; k++) __builtin_prefetch(t->tokens[likely[i][k]].data);
        for (size_t i = 0; i < n; i++) TRY(insert(g, t, start + i, &block[i]));
    }
    return UTTER_OK;
}
