/* What the files of English rules share: numbers read out of a text, and the functions that write what they stand for.
 */
#ifndef UTTER_TEXT_NORMALIZE_EN_H
#define UTTER_TEXT_NORMALIZE_EN_H

#include <string.h>
#include <strings.h>

#include "text/normalize_rules.h"
#include "text/numbers_en.h"

static inline bool word_is(struct span s, const char *word) {
    return s.p && s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static inline struct span whole_match(const struct match *m) { return m->group[0]; }

enum { MAX_DIGITS = 64 };

/* The digits of a span without commas and spaces, at most MAX_DIGITS. */
static inline size_t digits_of(struct span s, char digits[MAX_DIGITS]) {
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < MAX_DIGITS; i++)
        if (s.p[i] >= '0' && s.p[i] <= '9') digits[n++] = s.p[i];
    return n;
}

static inline void say_cardinal(struct span s, struct str *out) {
    char digits[MAX_DIGITS];
    en_cardinal(out, digits, digits_of(s, digits));
}

static inline void say_digits(struct span s, struct str *out) {
    char digits[MAX_DIGITS];
    en_digits(out, digits, digits_of(s, digits));
}

/* "three point one four" */
static inline void say_number(struct span whole, struct span fraction, struct str *out) {
    say_cardinal(whole, out);
    if (fraction.n == 0) return;
    str_puts(out, " point ");
    say_digits(fraction, out);
}

/* A mark that ended the sentence as well as an abbreviation is put back. */
static inline void keep_final_dot(const struct match *m, struct str *out) {
    if (m->end > 0 && m->text[m->end - 1] == '.' && m->end == m->len) str_putc(out, '.');
}

/* normalize_en_dates.c: dates and times. Groups as the patterns in normalize_en.c have them. */
rewrite_fn english_iso_date, english_slash_date, english_dot_date, english_month_day, english_day_month,
    english_month_year, english_plain_year, english_decade, english_time, english_hour;

/* normalize_en_quantities.c: money, measures, percent, fractions, plain numbers. */
rewrite_fn english_money_before, english_money_after, english_cents, english_unit, english_feet_inches, english_percent,
    english_scaled, english_ordinal, english_number, english_fraction, english_vulgar_fraction;

#endif
