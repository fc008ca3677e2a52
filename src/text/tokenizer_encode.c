/* Text to tokens: special tokens are cut out first, the rest is cut into words, each word is merged from its bytes. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_internal.h"

enum { MAX_TEXT = 1 << 26 };  // bytes; a text without spaces takes 50 times as much memory

/* A part of a word; parts are a linked list in text order. */
struct symbol {
    int32_t id;          // -1: a byte without a token, or a part that went into the one before
    int32_t prev, next;  // -1 at the ends
};

/* Two neighbours that can merge, while their ids are still these. */
struct pair {
    int32_t rank;
    int32_t left;  // index of the first
    int32_t left_id, right_id, result;
};

struct encoder {
    const struct tokenizer *t;
    struct token_list *out;
    struct word_list words;
    struct symbol *symbols;  // [cap_symbols]
    size_t cap_symbols;
    struct pair *heap;  // [n_heap] smallest rank first, then leftmost
    size_t n_heap, cap_heap;
};

static status encode_text(struct encoder *e, const char *text, size_t len);

static status encode_parts(struct encoder *e, const char *text, size_t len, bool parse_special) {
    int32_t *special;
    TRY(tokenizer_find_special(e->t, text, len, parse_special, &special));
    status s = UTTER_OK;
    size_t start = 0;  // of the text since the last special token
    for (size_t i = 0; special && i < len && s == UTTER_OK; i++) {
        if (special[i] == SPECIAL_NONE) continue;
        if (i > start) s = encode_text(e, text + start, i - start);
        if (s == UTTER_OK && special[i] >= 0) s = token_list_push(e->out, special[i]);
        start = i + 1;
    }
    free(special);
    if (s == UTTER_OK && start < len) s = encode_text(e, text + start, len - start);
    return s;
}

status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special, bool parse_special,
                        struct token_list *out) {
    if (len > MAX_TEXT) return fail(UTTER_LIMIT, "a text of %zu bytes is too long to be taken at once: cut it", len);
    struct encoder e = {.t = t, .out = out};
    status s = add_special && t->add_bos ? token_list_push(out, t->bos) : UTTER_OK;
    if (s == UTTER_OK) s = encode_parts(&e, text, len, parse_special);
    if (s == UTTER_OK && add_special && t->add_eos) s = token_list_push(out, t->eos);
    word_list_free(&e.words);
    free(e.symbols);
    free(e.heap);
    return s;
}

/* ---- special tokens ---- */

struct occurrence {
    int32_t at, len, id;
};

/* Longer tokens first; of one length the lower id first, and each from the left. */
static int by_precedence(const void *a, const void *b) {
    const struct occurrence *p = a, *q = b;
    if (p->len != q->len) return p->len > q->len ? -1 : 1;
    if (p->id != q->id) return p->id < q->id ? -1 : 1;
    return p->at < q->at ? -1 : 1;
}

static bool is_special(const struct tokenizer *t, int32_t id, bool parse_special) {
    enum token_type type = (enum token_type)t->types[id];
    return type == TOKEN_USER_DEFINED || (parse_special && (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN));
}

/* Every place where a special token could be, overlapping or not. */
static status find_occurrences(const struct tokenizer *t, const char *text, size_t len, bool parse_special,
                               struct occurrence **out, size_t *n_out) {
    struct occurrence *list = NULL;
    size_t n = 0, cap = 0;
    for (size_t at = 0; at < len; at++) {
        const uint64_t *lengths = t->special_lengths[(unsigned char)text[at]];
        if (!(lengths[0] | lengths[1] | lengths[2] | lengths[3])) continue;
        uint32_t hash = HASH_START;
        for (size_t k = 1; k <= TOKENIZER_MAX_SPECIAL && at + k <= len; k++) {
            hash = hash_byte(hash, text[at + k - 1]);
            if (!(lengths[k / 64] >> k % 64)) {  // no longer ones in this word of the set
                bool more = false;
                for (size_t w = k / 64 + 1; w < 4; w++) more |= lengths[w] != 0;
                if (!more) break;
            }
            if (!(lengths[k / 64] >> k % 64 & 1)) continue;
            int32_t id = tokenizer_lookup(t, hash, text + at, k);
            if (id < 0 || !is_special(t, id, parse_special)) continue;
            if (n == cap) {
                cap = cap ? 2 * cap : 64;
                struct occurrence *grown = realloc(list, cap * sizeof *list);
                if (!grown) {
                    free(list);
                    return fail_memory(cap * sizeof *list, "the special tokens of a text");
                }
                list = grown;
            }
            list[n++] = (struct occurrence){(int32_t)at, (int32_t)k, id};
        }
    }
    *out = list;
    *n_out = n;
    return UTTER_OK;
}

status tokenizer_find_special(const struct tokenizer *t, const char *text, size_t len, bool parse_special,
                              int32_t **at) {
    *at = NULL;
    struct occurrence *list = NULL;
    size_t n = 0;
    TRY(find_occurrences(t, text, len, parse_special, &list, &n));
    if (n == 0) return UTTER_OK;
    int32_t *marks = malloc(len * sizeof *marks);
    if (!marks) {
        free(list);
        return fail_memory(len * sizeof *marks, "the special tokens of a text");
    }
    for (size_t i = 0; i < len; i++) marks[i] = SPECIAL_NONE;
    qsort(list, n, sizeof *list, by_precedence);
    for (size_t i = 0; i < n; i++) {
        // what stands there already is at least as long, so it would cover an end of this one
        int32_t first = list[i].at, last = first + list[i].len - 1;
        if (marks[first] != SPECIAL_NONE || marks[last] != SPECIAL_NONE) continue;
        for (int32_t k = first; k <= last; k++) marks[k] = SPECIAL_INSIDE;
        marks[first] = list[i].id;
    }
    free(list);
    *at = marks;
    return UTTER_OK;
}

/* ---- words ---- */

static status encode_word(struct encoder *e, const char *word, size_t len);

static status encode_text(struct encoder *e, const char *text, size_t len) {
    e->words.n = 0;
    TRY(pretokenizer_split(e->t->pre, text, len, &e->words));
    size_t start = 0;
    for (size_t i = 0; i < e->words.n; i++) {
        TRY(encode_word(e, text + start, e->words.ends[i] - start));
        start = e->words.ends[i];
    }
    return UTTER_OK;
}

/* The token that spells word[len]; -1 if there is none. */
static int32_t whole_word(const struct tokenizer *t, const char *word, size_t len) {
    uint32_t hash = HASH_START;
    size_t spelled_len = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char b = (unsigned char)word[i];
        hash = hash_bytes(hash, t->spelling[b], t->spelling_len[b]);
        spelled_len += t->spelling_len[b];
    }
    for (uint32_t i = slot_of_hash(hash);; i++) {
        const struct token_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id < 0) return -1;
        if (slot->hash != hash || t->tokens[slot->id].len != spelled_len) continue;
        const char *text = t->tokens[slot->id].data;
        size_t k = 0;
        for (; k < len; k++) {
            unsigned char b = (unsigned char)word[k];
            if (memcmp(text, t->spelling[b], t->spelling_len[b]) != 0) break;
            text += t->spelling_len[b];
        }
        if (k == len) return slot->id;
    }
}

static bool pair_before(const struct pair *a, const struct pair *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static status push_pair(struct encoder *e, int32_t left) {
    if (left < 0 || e->symbols[left].next < 0) return UTTER_OK;
    int32_t left_id = e->symbols[left].id, right_id = e->symbols[e->symbols[left].next].id;
    if (left_id < 0 || right_id < 0) return UTTER_OK;
    const struct merge_slot *m = tokenizer_merge(e->t, left_id, right_id);
    if (!m) return UTTER_OK;
    if (e->n_heap == e->cap_heap) {
        size_t cap = e->cap_heap ? 2 * e->cap_heap : 256;
        struct pair *heap = realloc(e->heap, cap * sizeof *heap);
        if (!heap) return fail_memory(cap * sizeof *heap, "the merges of a word");
        e->heap = heap;
        e->cap_heap = cap;
    }
    struct pair p = {m->rank, left, left_id, right_id, m->result};
    size_t i = e->n_heap++;
    while (i > 0 && pair_before(&p, &e->heap[(i - 1) / 2])) {
        e->heap[i] = e->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    e->heap[i] = p;
    return UTTER_OK;
}

static struct pair pop_pair(struct encoder *e) {
    struct pair top = e->heap[0], last = e->heap[--e->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= e->n_heap) break;
        if (child + 1 < e->n_heap && pair_before(&e->heap[child + 1], &e->heap[child])) child++;
        if (!pair_before(&e->heap[child], &last)) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

static status encode_word(struct encoder *e, const char *word, size_t len) {
    const struct tokenizer *t = e->t;
    if (t->ignore_merges) {
        int32_t id = whole_word(t, word, len);
        if (id >= 0) return token_list_push(e->out, id);
    }
    if (len > e->cap_symbols) {
        free(e->symbols);
        e->cap_symbols = 0;
        size_t cap = len < 256 ? 256 : len;
        e->symbols = malloc(cap * sizeof *e->symbols);
        if (!e->symbols) return fail_memory(cap * sizeof *e->symbols, "the parts of a word");
        e->cap_symbols = cap;
    }
    struct symbol *s = e->symbols;
    for (size_t i = 0; i < len; i++)
        s[i] =
            (struct symbol){t->byte_token[(unsigned char)word[i]], (int32_t)i - 1, i + 1 < len ? (int32_t)i + 1 : -1};
    e->n_heap = 0;
    for (size_t i = 0; i + 1 < len; i++) TRY(push_pair(e, (int32_t)i));
    while (e->n_heap > 0) {
        struct pair p = pop_pair(e);
        struct symbol *left = &s[p.left];
        if (left->id != p.left_id || left->next < 0 || s[left->next].id != p.right_id) continue;  // outdated
        struct symbol *right = &s[left->next];
        left->id = p.result;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0) s[left->next].prev = p.left;
        TRY(push_pair(e, left->prev));
        TRY(push_pair(e, p.left));
    }
    for (int32_t i = 0; i >= 0; i = s[i].next)
        if (s[i].id >= 0) TRY(token_list_push(e->out, s[i].id));
    return UTTER_OK;
}
