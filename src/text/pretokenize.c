#include "text/pretokenize.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* \s of llama.cpp (PCRE2's own \s has U+180E besides). Repetitions are possessive where the next item cannot take
   anything back, so that a long run is read once. */
#define SPACE "\\p{White_Space}"
#define OTHER "[^" SPACE "\\p{L}\\p{N}]"
/* All of a run of white space, or all but its last character when a word follows. */
#define SPACES SPACE "+(?=" SPACE "|\\z)|" SPACE "++"
/* A run of white space up to its last line break. */
#define LINES "(?:(?:(?![\\r\\n])" SPACE ")*+[\\r\\n]++)++"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?" OTHER "++|" SPACES
#define LLAMA3(NUMBER)                                                                                       \
    "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|" NUMBER "| ?" OTHER \
    "++[\\r\\n]*+|" LINES "|" SPACES

static const struct pretokenizer_kind kinds[] = {
    {.name = "qwen2", .patterns = {LLAMA3("\\p{N}")}},
    {.name = "smollm", .patterns = {"\\p{N}", GPT2}},
    {.name = "llama-bpe",
     .patterns = {LLAMA3("\\p{N}{1,3}+")},
     .add_bos = true,
     .ignore_merges = true,
     .clean_spaces = true},
    {.name = "gpt-2", .patterns = {GPT2}, .clean_spaces = true},
    {.name = "default", .patterns = {"[\\p{P}$+<=>^~|]++", GPT2, "\\p{N}++", "[0-9][0-9][0-9]"}, .clean_spaces = true},
};

const struct pretokenizer_kind *pretokenizer_find(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, name, len) == 0) return &kinds[i];
    return NULL;
}

const char *pretokenizer_names(void) { return "qwen2, smollm, llama-bpe, gpt-2, default"; }

struct pretokenizer {
    int n_patterns;
    pcre2_code *patterns[PRETOKENIZER_MAX_PATTERNS];
};

status pretokenizer_new(const struct pretokenizer_kind *kind, struct pretokenizer **out) {
    *out = NULL;
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (!p) return fail_memory(sizeof *p, "a pre-tokenizer");
    while (p->n_patterns < PRETOKENIZER_MAX_PATTERNS && kind->patterns[p->n_patterns]) {
        int error;
        PCRE2_SIZE at;
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)kind->patterns[p->n_patterns], PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
        if (!code) {
            char why[128] = "";
            pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
            pretokenizer_free(p);
            return fail(UTTER_INTERNAL, "the PCRE2 library refused the pattern of pre-tokenizer %s: %s", kind->name,
                        why);
        }
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where that cannot be, patterns are interpreted
        p->patterns[p->n_patterns++] = code;
    }
    *out = p;
    return UTTER_OK;
}

void pretokenizer_free(struct pretokenizer *p) {
    if (!p) return;
    for (int i = 0; i < p->n_patterns; i++) pcre2_code_free(p->patterns[i]);
    free(p);
}

void word_list_free(struct word_list *w) {
    free(w->ends);
    *w = (struct word_list){0};
}

static status push_end(struct word_list *w, size_t end) {
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 256;
        size_t *ends = realloc(w->ends, cap * sizeof *ends);
        if (!ends) return fail_memory(cap * sizeof *ends, "the words of a text");
        w->ends = ends;
        w->cap = cap;
    }
    w->ends[w->n++] = end;
    return UTTER_OK;
}

/* Length of the valid UTF-8 at the start of text[len]. */
static size_t valid_prefix(const char *text, size_t len) {
    size_t i = 0;
    while (i < len) {
        if ((unsigned char)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n < 1) break;
        i += (size_t)n;
    }
    return i;
}

/* Appends the ends of the pieces that `code` cuts text[start..end) into. */
static status cut(const pcre2_code *code, pcre2_match_data *match, const char *text, size_t start, size_t end,
                  struct word_list *out) {
    PCRE2_SPTR piece = (PCRE2_SPTR)text + start;  // a subject of its own: nothing beyond its ends is looked at
    size_t len = end - start, at = 0;
    while (at < len) {
        int n = pcre2_match(code, piece, len, at, PCRE2_NO_UTF_CHECK, match, NULL);
        if (n == PCRE2_ERROR_NOMATCH) break;
        if (n == PCRE2_ERROR_NOMEMORY) return fail_memory(len, "cutting a text into words");
        if (n < 0) return fail(UTTER_INTERNAL, "the PCRE2 library failed (%d) on a text of %zu bytes", n, len);
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);  // never empty: no pattern matches nothing
        if (found[0] > at) TRY(push_end(out, start + found[0]));
        TRY(push_end(out, start + found[1]));
        at = found[1];
    }
    return at < len ? push_end(out, end) : UTTER_OK;
}

static status split(const struct pretokenizer *p, pcre2_match_data *match, const char *text, size_t len,
                    struct word_list *now, struct word_list *next) {
    for (size_t start = 0; start < len;) {
        size_t valid = valid_prefix(text + start, len - start);
        size_t first = now->n;  // words of this stretch
        if (valid > 0) TRY(push_end(now, start + valid));
        for (int i = 0; valid > 0 && i < p->n_patterns; i++) {
            next->n = 0;
            size_t from = start;
            for (size_t w = first; w < now->n; w++) {
                TRY(cut(p->patterns[i], match, text, from, now->ends[w], next));
                from = now->ends[w];
            }
            now->n = first;
            for (size_t w = 0; w < next->n; w++) TRY(push_end(now, next->ends[w]));
        }
        start += valid;
        if (start < len) TRY(push_end(now, ++start));  // a byte that is no UTF-8
    }
    return UTTER_OK;
}

status pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, struct word_list *out) {
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (!match) return fail_memory(256, "cutting a text into words");
    struct word_list next = {0};
    status result = split(p, match, text, len, out, &next);
    word_list_free(&next);
    pcre2_match_data_free(match);
    return result;
}
