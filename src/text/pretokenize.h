/* How text is cut into words before byte-pair merges: each pre-tokenizer ("tokenizer.ggml.pre") is one or more regular
   expressions. The first cuts the text, the next cuts each piece of that, and so on; what no match covers is a piece
   too. Facts: llama.cpp, llm_tokenizer_bpe. */
#ifndef UTTER_TEXT_PRETOKENIZE_H
#define UTTER_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { PRETOKENIZER_MAX_PATTERNS = 4 };

struct pretokenizer_kind {
    const char *name;
    const char *patterns[PRETOKENIZER_MAX_PATTERNS];  // NULL after the last
    bool add_bos;                                     // unless the file says otherwise
    bool ignore_merges;                               // a word that is a token is that token, whatever its merges
    bool clean_spaces;  // detokenising takes the space before . , ! ? and some contractions away
};

/* NULL when there is none of that name. */
const struct pretokenizer_kind *pretokenizer_find(const char *name, size_t len);
/* "qwen2, smollm, ..." for messages. */
const char *pretokenizer_names(void);

struct pretokenizer;

status pretokenizer_new(const struct pretokenizer_kind *kind, struct pretokenizer **out);
void pretokenizer_free(struct pretokenizer *p);

/* Ends of words: word i is text[ends[i - 1] .. ends[i]), the first starts at 0. */
struct word_list {
    size_t *ends;  // [n]; owned
    size_t n, cap;
};
void word_list_free(struct word_list *w);

/* Appends the words of text[len] to the empty list `out`. A byte that is no valid UTF-8 is a word. Thread-safe. */
status pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, struct word_list *out);

#endif
