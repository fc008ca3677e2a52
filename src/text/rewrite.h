/* Rewriting text by a list of rules: a pattern (PCRE2) and a function that writes what stands in its place. Rules are
   applied one after another, each over the whole text from left to right. */
#ifndef UTTER_TEXT_REWRITE_H
#define UTTER_TEXT_REWRITE_H

#include <stdbool.h>

#include "base/str.h"

enum { REWRITE_GROUPS = 12 };

/* A part of the text; p is NULL for a group that took no part in the match. */
struct span {
    const char *p;
    size_t n;
};

struct match {
    const char *text;  // [len] all of it
    size_t len;
    size_t begin, end;                  // bytes of the match
    struct span group[REWRITE_GROUPS];  // [0] is the whole match
    const void *context;                // as given to rewrite
};

/* Appends what the match becomes. False: the match stays as it is. */
typedef bool rewrite_fn(const struct match *m, struct str *out);

/* `write` NULL: the match becomes `replacement`, in which $1..$9 stand for groups. */
struct rule {
    const char *pattern;  // Unicode classes are on; (?i) and the like as usual
    rewrite_fn *write;
    const char *replacement;
};

struct rewriter;

/* Compiles rules[n]. Patterns are part of the program: one that does not compile is UTTER_INTERNAL. */
status rewriter_new(const struct rule *rules, size_t n, struct rewriter **out);
void rewriter_free(struct rewriter *r);

/* Appends text[len], rewritten. From any number of threads at once. Matching is bounded: a rule that would need too
   long for a text leaves the rest of it alone. */
status rewrite(const struct rewriter *r, const void *context, const char *text, size_t len, struct str *out);

/* For the functions of rules. */
static inline bool span_is(struct span s, const char *text) {
    size_t i = 0;
    while (i < s.n && text[i] && s.p[i] == text[i]) i++;
    return s.p && i == s.n && !text[i];
}
/* The digits of a span as a number, other characters passed over; at most 18 digits, -1 beyond. */
long long span_number(struct span s);

#endif
