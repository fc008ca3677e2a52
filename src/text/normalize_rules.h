/* The rules of each language, in the order in which they apply (normalize_en.c and its siblings). */
#ifndef UTTER_TEXT_NORMALIZE_RULES_H
#define UTTER_TEXT_NORMALIZE_RULES_H

#include "text/rewrite.h"

extern const struct rule rules_english[], rules_german[], rules_french[], rules_spanish[];
extern const struct rule rules_any[];  // for all other languages
extern const size_t n_rules_english, n_rules_german, n_rules_french, n_rules_spanish, n_rules_any;

/* What the rules get as their context: rules_english this, the others the words of their language. */
struct english {
    bool day_first;  // 3/4/2024 is the third of April
};
struct words;  // normalize_parts.h
extern const struct words words_german, words_french, words_spanish, words_any;

#endif
