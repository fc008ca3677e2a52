/* Sentences of a text: where a listener expects a breath. Knows abbreviations, initials, decimals, quotes and brackets
   after the mark, ellipses, CJK, Arabic and Indic marks, blank lines. */
#ifndef UTTER_TEXT_SENTENCES_H
#define UTTER_TEXT_SENTENCES_H

#include <stdbool.h>
#include <stddef.h>

struct sentence {
    size_t begin, end;  // bytes [begin, end) of the text, without surrounding white space
    bool paragraph_end; // a blank line or the end of the text follows
};

/* Finds the first sentence at or after *pos and moves *pos behind it; false when only white space is left.
   `language` ("en-us", "de" ...) picks the abbreviations. Linear in the text whatever it holds. */
bool sentence_next(const char *text, size_t len, const char *language, size_t *pos, struct sentence *out);

/* Where to cut text[len] so that the first part has at most max_bytes (> 0): behind the last clause mark, else the
   last white space, else the last whole character. 0 < result <= min(len, max_bytes), never inside a UTF-8 sequence
   (unless one is longer than max_bytes). */
size_t sentence_cut(const char *text, size_t len, size_t max_bytes);

#endif
