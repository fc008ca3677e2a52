#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/tokenizer_internal.h"

enum { MAX_VOCAB = 1 << 22 };

/* Tokens that end a generation whatever the file's ids say. Facts: llama.cpp 4227c9b, llama_vocab::impl::load. */
static const char *const eog_names[] = {"<|eot_id|>", "<|im_end|>",    "<|end|>",         "<|return|>",
                                        "<|call|>",   "<end_of_turn>", "<|endoftext|>",   "<|eom_id|>",
                                        "<EOT>",      "_<EOT>",        "<|end_of_text|>", "<end_of_utterance>"};

/* And of each of these the one that the key names, else the first that is there. */
static const struct {
    const char *key;
    const char *names[4];
} eog_kinds[] = {
    {TOKENIZER_KEY "eos_token_id", {NULL}},
    {TOKENIZER_KEY "eot_token_id", {NULL}},
    {TOKENIZER_KEY "eom_token_id", {NULL}},
    {TOKENIZER_KEY "fim_pad_token_id", {"<|fim_pad|>", "<fim-pad>", "<PAD>"}},
    {TOKENIZER_KEY "fim_rep_token_id", {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>"}},
    {TOKENIZER_KEY "fim_sep_token_id", {"<|file_sep|>"}},
};

static status load_kind(const struct gguf *g, struct tokenizer *t);
static status load_tokens(const struct gguf *g, struct tokenizer *t);
static status load_types(const struct gguf *g, struct tokenizer *t);
static status load_ids(const struct gguf *g, struct tokenizer *t);
static status note_special(const struct gguf *g, struct tokenizer *t);

status tokenizer_load(const struct gguf *g, struct tokenizer **out) {
    *out = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) return fail_memory(sizeof *t, "a tokenizer");
    status s = load_kind(g, t);
    if (s == UTTER_OK) s = load_tokens(g, t);
    if (s == UTTER_OK) s = load_types(g, t);
    if (s == UTTER_OK) s = tokenizer_load_merges(g, t);
    if (s == UTTER_OK) s = load_ids(g, t);
    if (s == UTTER_OK) s = note_special(g, t);
    if (s != UTTER_OK) {
        tokenizer_free(t);
        return s;
    }
    *out = t;
    return UTTER_OK;
}

void tokenizer_free(struct tokenizer *t) {
    if (!t) return;
    pretokenizer_free(t->pre);
    free_aligned(t->slots);
    free_aligned(t->merges);
    free(t->types);
    free(t);
}

void token_list_free(struct token_list *l) {
    free(l->ids);
    *l = (struct token_list){0};
}

status token_list_push(struct token_list *l, int32_t id) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        int32_t *ids = realloc(l->ids, cap * sizeof *ids);
        if (!ids) return fail_memory(cap * sizeof *ids, "a list of tokens");
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return UTTER_OK;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text) {
    size_t len = strlen(text);
    return tokenizer_lookup(t, hash_bytes(HASH_START, text, len), text, len);
}

int32_t tokenizer_n_vocab(const struct tokenizer *t) { return t->n_vocab; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }

const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len) {
    *len = 0;
    if (id < 0 || id >= t->n_vocab) return "";
    *len = t->tokens[id].len;
    return t->tokens[id].data;
}

enum token_type tokenizer_type(const struct tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n_vocab ? (enum token_type)t->types[id] : TOKEN_UNKNOWN;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id) {
    for (int i = 0; i < t->n_eog; i++)
        if (t->eog[i] == id) return true;
    return false;
}

/* ---- tokens to text ---- */

/* The byte that character c spells; -1 if it spells none. */
static int spelled_byte(uint32_t c) {
    if ((c > 32 && c < 127) || (c > 160 && c < 256 && c != 173)) return (int)c;
    if (c < 256 || c >= 256 + 68) return -1;
    c -= 256;  // the other 68 bytes in order: 0 to 32, 127 to 160, 173
    return c < 33 ? (int)c : c < 67 ? (int)(c - 33 + 127) : 173;
}

static uint32_t byte_character(int byte) {
    if ((byte > 32 && byte < 127) || (byte > 160 && byte != 173)) return (uint32_t)byte;
    return 256 + (uint32_t)(byte < 33 ? byte : byte < 161 ? byte - 127 + 33 : 67);
}

void tokenizer_decode(const struct tokenizer *t, int32_t id, bool special, struct str *out) {
    if (id < 0 || id >= t->n_vocab) return;
    const char *text = t->tokens[id].data;
    size_t len = t->tokens[id].len;
    enum token_type type = (enum token_type)t->types[id];
    if (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER_DEFINED) {
        if (special || type == TOKEN_USER_DEFINED) str_append(out, text, len);
        return;
    }
    if (type != TOKEN_NORMAL) return;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        bool two = (c & 0xe0) == 0xc0 && i + 1 < len;
        int byte = spelled_byte(two ? (uint32_t)(c & 0x1f) << 6 | ((unsigned char)text[i + 1] & 0x3f) : c);
        if (byte < 0 || (c >= 0x80 && !two)) {
            str_putc(out, text[i++]);  // spells no byte: as it stands
        } else {
            str_putc(out, (char)byte);
            i += two ? 2 : 1;
        }
    }
}

static size_t clean_spaces(char *s, size_t n);

void tokenizer_detokenize(const struct tokenizer *t, const int32_t *ids, size_t n, bool special, struct str *out) {
    size_t start = out->len;
    for (size_t i = 0; i < n; i++) tokenizer_decode(t, ids[i], special, out);
    if (!t->clean_spaces || out->failed || out->len == start) return;
    out->len = start + clean_spaces(out->data + start, out->len - start);
    out->data[out->len] = '\0';
}

static bool starts(const char *s, size_t n, const char *with) {
    size_t len = strlen(with);
    return n >= len && memcmp(s, with, len) == 0;
}

/* Returns the new length of s[n]. Three passes, each over the result of the one before. */
static size_t clean_spaces(char *s, size_t n) {
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {  // "a ." becomes "a."
        if (s[i] == ' ' && i + 1 < n && s[i + 1] && strchr("?!.,", s[i + 1])) continue;
        s[to++] = s[i];
    }
    n = to, to = 0;
    for (size_t i = 0; i < n; i++) {  // "a ' b" becomes "a'b"
        bool alone = starts(s + i, n - i, " ' ");
        s[to++] = alone ? '\'' : s[i];
        if (alone) i += 2;
    }
    n = to, to = 0;
    for (size_t i = 0; i < n; i++) {  // "it 's" becomes "it's"
        const char *rest = s + i;
        size_t left = n - i;
        if (starts(rest, left, " 's") || starts(rest, left, " 'm") || starts(rest, left, " 're") ||
            starts(rest, left, " 've"))
            continue;
        s[to++] = s[i];
    }
    return to;
}

/* ---- loading ---- */

static status load_kind(const struct gguf *g, struct tokenizer *t) {
    struct gguf_string name;
    if (!gguf_get_string(g, TOKENIZER_KEY "model", &name))
        return fail(UTTER_FORMAT,
                    "%s: there is no text under %s: this is no language model, or its tokenizer was left out",
                    gguf_label(g), TOKENIZER_KEY "model");
    if (name.len != 4 || memcmp(name.data, "gpt2", 4) != 0)
        return fail(UTTER_UNSUPPORTED, "%s: %s is \"%.*s\": only byte-level BPE (\"gpt2\") is known", gguf_label(g),
                    TOKENIZER_KEY "model", name.len > 64 ? 64 : (int)name.len, name.data);
    const struct pretokenizer_kind *kind = pretokenizer_find("default", 7);
    if (gguf_get_string(g, TOKENIZER_KEY "pre", &name) && name.len > 0) kind = pretokenizer_find(name.data, name.len);
    if (!kind)
        return fail(UTTER_UNSUPPORTED, "%s: %s is \"%.*s\", which is not known; known are %s", gguf_label(g),
                    TOKENIZER_KEY "pre", name.len > 64 ? 64 : (int)name.len, name.data, pretokenizer_names());
    t->add_bos = kind->add_bos;
    t->ignore_merges = kind->ignore_merges;
    t->clean_spaces = kind->clean_spaces;
    return pretokenizer_new(kind, &t->pre);
}

int32_t tokenizer_lookup(const struct tokenizer *t, uint32_t hash, const char *text, size_t len) {
    for (uint32_t i = slot_of_hash(hash);; i++) {
        const struct token_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id < 0) return -1;
        if (slot->hash != hash) continue;
        const struct gguf_string *token = &t->tokens[slot->id];
        if (token->len == len && memcmp(token->data, text, len) == 0) return slot->id;
    }
}

static status insert_token(const struct gguf *g, struct tokenizer *t, int32_t id) {
    const struct gguf_string *token = &t->tokens[id];
    uint32_t hash = hash_bytes(HASH_START, token->data, token->len), i = slot_of_hash(hash);
    for (int probes = 0; probes < TOKENIZER_MAX_PROBES; probes++, i++) {
        struct token_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id < 0) {
            *slot = (struct token_slot){hash, id};
            return UTTER_OK;
        }
        if (slot->hash != hash) continue;
        const struct gguf_string *other = &t->tokens[slot->id];
        if (other->len == token->len && memcmp(other->data, token->data, token->len) == 0)
            return fail(UTTER_FORMAT, "%s: %s: tokens %d and %d are both \"%.*s\"", gguf_label(g),
                        TOKENIZER_KEY "tokens", slot->id, id, token->len > 64 ? 64 : (int)token->len, token->data);
    }
    return fail(UTTER_FORMAT, "%s: %s: too many tokens collide around token %d: the vocabulary is no honest one",
                gguf_label(g), TOKENIZER_KEY "tokens", id);
}

static status load_tokens(const struct gguf *g, struct tokenizer *t) {
    struct gguf_array a;
    if (!gguf_get_array(g, TOKENIZER_KEY "tokens", &a) || a.type != GGUF_STRING)
        return fail(UTTER_FORMAT, "%s: there is no list of texts under %s", gguf_label(g), TOKENIZER_KEY "tokens");
    if (a.n == 0) return fail(UTTER_FORMAT, "%s: the list %s is empty", gguf_label(g), TOKENIZER_KEY "tokens");
    if (a.n > MAX_VOCAB)
        return fail(UTTER_UNSUPPORTED, "%s: %s has %zu tokens; more than %d are not supported", gguf_label(g),
                    TOKENIZER_KEY "tokens", a.n, MAX_VOCAB);
    t->tokens = a.strings;
    t->n_vocab = (int32_t)a.n;

    size_t size = tokenizer_table_size(a.n);
    t->slot_mask = (uint32_t)(size - 1);
    TRY(alloc_for(&t->slots, size, sizeof *t->slots, "the table of tokens"));
    memset(t->slots, 0xff, size * sizeof *t->slots);
    for (int32_t id = 0; id < t->n_vocab; id++) {
        if (t->tokens[id].len == 0)
            return fail(UTTER_FORMAT, "%s: %s: token %d is empty", gguf_label(g), TOKENIZER_KEY "tokens", id);
        TRY(insert_token(g, t, id));
    }
    for (int b = 0; b < 256; b++) {
        uint32_t c = byte_character(b);
        t->spelling_len[b] = c < 0x80 ? 1 : 2;
        t->spelling[b][0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
        t->spelling[b][1] = (char)(0x80 | (c & 0x3f));
        t->byte_token[b] = tokenizer_lookup(t, hash_bytes(HASH_START, t->spelling[b], t->spelling_len[b]),
                                            t->spelling[b], t->spelling_len[b]);
    }
    return UTTER_OK;
}

static status load_types(const struct gguf *g, struct tokenizer *t) {
    t->types = malloc((size_t)t->n_vocab);
    if (!t->types) return fail_memory((size_t)t->n_vocab, "the types of tokens");
    memset(t->types, TOKEN_NORMAL, (size_t)t->n_vocab);
    struct gguf_array a;
    if (!gguf_get_array(g, TOKENIZER_KEY "token_type", &a)) return UTTER_OK;
    if (a.n != (size_t)t->n_vocab)
        return fail(UTTER_FORMAT, "%s: %s has %zu entries for %d tokens", gguf_label(g), TOKENIZER_KEY "token_type",
                    a.n, t->n_vocab);
    for (int32_t id = 0; id < t->n_vocab; id++) {
        int64_t type;
        if (!gguf_array_i64(&a, (size_t)id, &type))
            return fail(UTTER_FORMAT, "%s: %s is no list of whole numbers", gguf_label(g), TOKENIZER_KEY "token_type");
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
            return fail(UTTER_FORMAT, "%s: %s: token %d has type %lld; types are 1 to 6", gguf_label(g),
                        TOKENIZER_KEY "token_type", id, (long long)type);
        t->types[id] = (uint8_t)type;
    }
    return UTTER_OK;
}

/* *out: the id under `key`, -1 when there is no such key. */
static status optional_id(const struct gguf *g, const struct tokenizer *t, const char *key, int32_t *out) {
    int64_t id;
    *out = -1;
    if (!gguf_get_i64(g, key, &id)) return UTTER_OK;
    if (id < 0 || id >= t->n_vocab)
        return fail(UTTER_FORMAT, "%s: %s is %lld, beyond the vocabulary of %d tokens", gguf_label(g), key,
                    (long long)id, t->n_vocab);
    *out = (int32_t)id;
    return UTTER_OK;
}

static void add_eog(struct tokenizer *t, int32_t id) {
    if (id >= 0 && !tokenizer_is_eog(t, id)) t->eog[t->n_eog++] = id;
}

static status load_ids(const struct gguf *g, struct tokenizer *t) {
    TRY(optional_id(g, t, TOKENIZER_KEY "bos_token_id", &t->bos));
    TRY(optional_id(g, t, TOKENIZER_KEY "eos_token_id", &t->eos));
    for (size_t i = 0; i < sizeof eog_kinds / sizeof *eog_kinds; i++) {
        int32_t id;
        TRY(optional_id(g, t, eog_kinds[i].key, &id));
        for (int n = 0; id < 0 && n < 4 && eog_kinds[i].names[n]; n++) {
            id = tokenizer_find(t, eog_kinds[i].names[n]);
            if (id >= 0) t->types[id] = TOKEN_CONTROL;  // whatever the file says, as llama.cpp does
        }
        add_eog(t, id);
    }
    for (size_t i = 0; i < sizeof eog_names / sizeof *eog_names; i++) {
        int32_t id = tokenizer_find(t, eog_names[i]);
        if (id >= 0) t->types[id] = TOKEN_CONTROL;
        add_eog(t, id);
    }
    gguf_get_bool(g, TOKENIZER_KEY "add_bos_token", &t->add_bos);
    gguf_get_bool(g, TOKENIZER_KEY "add_eos_token", &t->add_eos);
    if (t->add_bos && t->bos < 0)
        return fail(UTTER_FORMAT, "%s: prompts should begin with a BOS token, but %s is missing", gguf_label(g),
                    TOKENIZER_KEY "bos_token_id");
    if (t->add_eos && t->eos < 0)
        return fail(UTTER_FORMAT, "%s: prompts should end with an EOS token, but %s is missing", gguf_label(g),
                    TOKENIZER_KEY "eos_token_id");
    return UTTER_OK;
}

static status note_special(const struct gguf *g, struct tokenizer *t) {
    for (int32_t id = 0; id < t->n_vocab; id++) {
        enum token_type type = (enum token_type)t->types[id];
        if (type != TOKEN_CONTROL && type != TOKEN_USER_DEFINED && type != TOKEN_UNKNOWN) continue;
        size_t len = t->tokens[id].len;
        if (len > TOKENIZER_MAX_SPECIAL)
            return fail(UTTER_UNSUPPORTED, "%s: %s: token %d is a special one of %zu bytes; %d are supported",
                        gguf_label(g), TOKENIZER_KEY "tokens", id, len, TOKENIZER_MAX_SPECIAL);
        t->special_lengths[(unsigned char)t->tokens[id].data[0]][len / 64] |= (uint64_t)1 << len % 64;
    }
    return UTTER_OK;
}
