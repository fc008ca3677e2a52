/* What the files of the tokenizer share. */
#ifndef UTTER_TEXT_TOKENIZER_INTERNAL_H
#define UTTER_TEXT_TOKENIZER_INTERNAL_H

#include "text/pretokenize.h"
#include "text/tokenizer.h"

#define TOKENIZER_KEY "tokenizer.ggml."

enum {
    TOKENIZER_MAX_SPECIAL = 255,  // bytes of a special token
    TOKENIZER_MAX_PROBES = 1000,  // a hash table of honest tokens needs some dozens at most
    TOKENIZER_MAX_EOG = 32,
};

/* Open addressing with room for twice the entries: empty slots have id (left) -1. */
struct token_slot {
    uint32_t hash;
    int32_t id;
};

struct merge_slot {
    int32_t left, right;  // token ids
    int32_t rank;         // the lowest is merged first
    int32_t result;       // token id
};

struct tokenizer {
    const struct gguf_string *tokens;  // [n_vocab] texts, in the file
    int32_t n_vocab;
    uint8_t *types;  // [n_vocab] enum token_type
    struct token_slot *slots;
    uint32_t slot_mask;
    struct merge_slot *merges;
    uint32_t merge_mask;

    /* In token texts each byte is spelled as one character: printable ones as themselves, the others from U+0100 on. */
    char spelling[256][2];
    uint8_t spelling_len[256];
    int32_t byte_token[256];  // token of a single byte, -1 without

    /* special_lengths[b]: bit n is set when a special token of n bytes starts with byte b. */
    uint64_t special_lengths[256][(TOKENIZER_MAX_SPECIAL + 1) / 64];

    int32_t bos, eos;
    int32_t eog[TOKENIZER_MAX_EOG];
    int n_eog;
    bool add_bos, add_eos, ignore_merges, clean_spaces;
    struct pretokenizer *pre;
};

/* FNV-1a, so that the hash of a text can be continued. */
#define HASH_START 2166136261u
static inline uint32_t hash_byte(uint32_t hash, char c) { return (hash ^ (unsigned char)c) * 16777619u; }
static inline uint32_t hash_bytes(uint32_t hash, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) hash = hash_byte(hash, text[i]);
    return hash;
}

/* The token that is text[len] with that hash; -1 if there is none. */
int32_t tokenizer_lookup(const struct tokenizer *t, uint32_t hash, const char *text, size_t len);

/* Slots of a table of n entries: a power of two, at least twice n. */
static inline size_t tokenizer_table_size(size_t n) {
    size_t size = 16;
    while (size < 2 * n) size *= 2;
    return size;
}

/* Fills t->merges; the tokens must be there. */
status tokenizer_load_merges(const struct gguf *g, struct tokenizer *t);

/* The slot where a search for that hash (pair) begins. */
static inline uint32_t slot_of_hash(uint32_t hash) { return hash ^ (hash >> 15) ^ (hash >> 24); }
static inline uint32_t slot_of_pair(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 47);
}

/* The merge of two tokens; NULL if there is none. */
static inline const struct merge_slot *tokenizer_merge(const struct tokenizer *t, int32_t left, int32_t right) {
    for (uint32_t i = slot_of_pair(left, right);; i++) {
        const struct merge_slot *m = &t->merges[i & t->merge_mask];
        if (m->left < 0) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}

#endif
