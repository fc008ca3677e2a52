/* Vocabularies and texts from anywhere. An input is lines; what a line begins with says what it is:

     n, u, c  a normal, user-defined or control token      m  a merge
     t        a text to tokenise (anything else too)       p  the pre-tokenizer, by a digit

   The vocabulary holds every byte besides, so a text must come back whole. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_LINES = 512 };

struct line {
    const char *text;
    size_t len;
};

struct lines {
    struct line line[MAX_LINES];
    int32_t type[MAX_LINES];
    size_t n;
};

static void put_u32(struct str *s, uint32_t v) { str_append(s, (const char *)&v, 4); }
static void put_u64(struct str *s, uint64_t v) { str_append(s, (const char *)&v, 8); }
static void put_text(struct str *s, const char *text, size_t len) {
    put_u64(s, len);
    str_append(s, text, len);
}
static void put_key(struct str *s, const char *key, gguf_value_type type) {
    put_text(s, key, strlen(key));
    put_u32(s, type);
}

static void put_texts(struct str *s, const char *key, const struct lines *l) {
    put_key(s, key, GGUF_ARRAY);
    put_u32(s, GGUF_STRING);
    put_u64(s, l->n);
    for (size_t i = 0; i < l->n; i++) put_text(s, l->line[i].text, l->line[i].len);
}

static void add(struct lines *l, const char *text, size_t len, int32_t type) {
    if (l->n == MAX_LINES) return;
    for (size_t i = 0; i < l->n && type; i++)
        if (l->line[i].len == len && memcmp(l->line[i].text, text, len) == 0) return;
    l->line[l->n] = (struct line){text, len};
    l->type[l->n++] = type;
}

/* A vocabulary as a GGUF file. */
static void write_file(struct str *s, const char *pre, const struct lines *tokens, const struct lines *merges) {
    str_puts(s, "GGUF");
    put_u32(s, 3);
    put_u64(s, 0);  // tensors
    put_u64(s, 5);  // keys
    put_key(s, "tokenizer.ggml.model", GGUF_STRING);
    put_text(s, "gpt2", 4);
    put_key(s, "tokenizer.ggml.pre", GGUF_STRING);
    put_text(s, pre, strlen(pre));
    put_texts(s, "tokenizer.ggml.tokens", tokens);
    put_texts(s, "tokenizer.ggml.merges", merges);
    put_key(s, "tokenizer.ggml.token_type", GGUF_ARRAY);
    put_u32(s, GGUF_I32);
    put_u64(s, tokens->n);
    for (size_t i = 0; i < tokens->n; i++) put_u32(s, (uint32_t)tokens->type[i]);
    for (int i = 0; i < 64; i++) str_putc(s, 0);
}

static void check_text(const struct tokenizer *t, const char *text, size_t len, bool parse_special) {
    struct token_list ids = {0};
    struct str back = {0};
    if (tokenizer_encode(t, text, len, false, parse_special, &ids) != UTTER_OK) abort();
    for (size_t i = 0; i < ids.n; i++) {
        if (ids.ids[i] < 0 || ids.ids[i] >= tokenizer_n_vocab(t)) abort();
        tokenizer_decode(t, ids.ids[i], true, &back);
    }
    if (back.len != len || (len > 0 && memcmp(back.data, text, len) != 0)) abort();
    str_clear(&back);
    tokenizer_detokenize(t, ids.ids, ids.n, false, &back);
    str_free(&back);
    token_list_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const pres[] = {"qwen2", "smollm", "gpt-2", "default", "none"};
    static char spelling[256][3];
    static struct lines tokens, merges, texts;
    const char *pre = pres[0];
    tokens.n = merges.n = texts.n = 0;
    int next = 256;
    for (int b = 0; b < 256; b++) {
        int c = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae ? b : next++;
        spelling[b][0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
        spelling[b][1] = (char)(c < 0x80 ? 0 : 0x80 | (c & 0x3f));
        add(&tokens, spelling[b], strlen(spelling[b]), TOKEN_NORMAL);
    }
    for (const char *at = (const char *)data, *end = at + size; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        if (len > 0 && at[0] == 'n') {
            add(&tokens, at + 1, len - 1, TOKEN_NORMAL);
        } else if (len > 0 && at[0] == 'u') {
            add(&tokens, at + 1, len - 1, TOKEN_USER_DEFINED);
        } else if (len > 0 && at[0] == 'c') {
            add(&tokens, at + 1, len - 1, TOKEN_CONTROL);
        } else if (len > 0 && at[0] == 'm') {
            add(&merges, at + 1, len - 1, 0);
        } else if (len > 1 && at[0] == 'p') {
            pre = pres[(unsigned char)at[1] % 5];
        } else {
            add(&texts, at, len, 0);
        }
        at += len + 1;
    }
    struct str bytes = {0};
    struct gguf *g;
    struct tokenizer *t;
    write_file(&bytes, pre, &tokens, &merges);
    if (gguf_open_memory(bytes.data, bytes.len, "made", &g) != UTTER_OK) abort();
    if (tokenizer_load(g, &t) == UTTER_OK) {
        for (size_t i = 0; i < texts.n; i++) {
            check_text(t, texts.line[i].text, texts.line[i].len, true);
            check_text(t, texts.line[i].text, texts.line[i].len, false);
        }
        check_text(t, (const char *)data, size, true);
        tokenizer_free(t);
    }
    gguf_close(g);
    str_free(&bytes);
    return 0;
}
