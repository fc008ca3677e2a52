/* What the rules of German, French and Spanish share: they differ in words more than in shape. Each function here
   writes one match of a rule with the words of a language. */
#ifndef UTTER_TEXT_NORMALIZE_PARTS_H
#define UTTER_TEXT_NORMALIZE_PARTS_H

#include "text/rewrite.h"

/* Pieces of patterns. Everything is bounded: rules see any text. */
#define NOT_AFTER_WORD "(?<![\\p{L}\\p{N}])"
#define NOT_AFTER_NUMBER "(?<![\\p{L}\\p{N}])(?<!\\d[.,:/])"
#define NOT_BEFORE_WORD "(?![\\p{L}\\p{N}])"
#define GAP "[ \\x{a0}\\x{2009}\\x{202f}]"  // spaces as they stand within numbers and before units
#define NUMBER "\\d{1,15}(?:[.,]\\d{1,15}){0,6}"
#define END "[\"'»“”’)\\]\\s]{0,6}\\z"
/* The dot of an abbreviation; it stays when it is the mark of the sentence, too. */
#define DOT "(?!\\p{L})(?:\\.(?!\\.|" END "))?"
#define URL "(?i)" NOT_AFTER_WORD "(?:(?:https?|ftp)://|(?=www\\.))[^\\s<>\"»“”]{1,1000}(?<![.,;:!?)\\]'’/])/?"
#define HOST                                                                                              \
    "(?<![\\p{L}\\p{N}@./-])(?:[a-z0-9][a-z0-9-]{0,60}\\.){1,4}"                                          \
    "(?:com|org|net|edu|gov|info|io|dev|app|eu|de|at|ch|fr|be|es|it|uk|mx|ar|co|cat)(?![\\p{L}\\p{N}@-])" \
    "(?:/(?:[^\\s<>\"»“”]{0,1000}(?<![.,;:!?)\\]'’/])/?)?)?"
#define EMAIL                                                                                                          \
    "(?<![\\p{L}\\p{N}._%+-])[\\p{L}\\p{N}][\\p{L}\\p{N}._%+-]{0,63}@[\\p{L}\\p{N}-]{1,60}(?:\\.[\\p{L}\\p{N}-]{1,60}" \
    "){1,4}"
#define CURRENCY "US-?\\$|[€$£¥]|(?:EUR|USD|GBP|JPY|CHF)" NOT_BEFORE_WORD
/* +49 30 123456, 030 123456, 0171/1234567, 01 23 45 67 89 */
#define PHONE                                                                                         \
    "(?<![\\p{L}\\p{N}.,+-])(?:\\+\\d{1,3}(?:[ \\x{a0}./-]{1,2}\\(?\\d{1,12}\\)?){1,7}|\\+\\d{7,15}|" \
    "\\(?0\\d{1,5}\\)?(?:[ \\x{a0}./-]{1,3}\\d{2,12}){1,6})(?![\\p{L}\\p{N}]|[.,/-]\\d)"
/* 978-3-16-148410-0 */
#define HYPHENATED_DIGITS NOT_AFTER_NUMBER "(?<!-)\\d{1,7}(?:-\\d{1,9}){2,5}(?:-X)?(?![\\p{L}\\p{N}]|-\\d)"
#define LONG_DIGITS NOT_AFTER_NUMBER "\\d{10,64}(?![\\p{L}\\p{N}]|[.,]\\d)"
#define MINUS "(?<![\\p{L}\\p{N}.,)/–-])[-−](?=\\d)|(?<=\\s)–(?=\\d)|^–(?=\\d)"

struct measure {
    const char *symbol, *one, *many;  // "km", "ein Kilometer", "Kilometer"
};

struct money {
    const char *symbols;  // "|€|EUR|"
    const char *one, *many, *of_millions;
    const char *cent, *cents;  // NULL without
};

struct abbreviation {
    const char *key, *word;  // without the dot
};

struct words {
    const char *point, *comma;  // within numbers
    bool digit_by_digit;        // decimals, always; else only long ones and those that begin with 0
    const char *plus;           // before a phone number
    const char *and_cents;      // between money and its cents
    const char *dot, *at, *slash, *hyphen, *underscore, *question, *equals, *ampersand, *percent, *colon, *tilde;
    const struct measure *measures;
    size_t n_measures;
    const struct money *monies;
    size_t n_monies;
    const struct abbreviation *abbreviations;
    size_t n_abbreviations;
};

/* Functions of rules; their context is the language's struct words. */

/* Whole match: an address of the web or of mail, mark by mark. The scheme is not said. */
rewrite_fn write_address;
/* Whole match: digits one by one, groups parted by ", ". A phone number has at least seven. */
rewrite_fn write_digits, write_phone;
/* Whole match without what is no digit. */
rewrite_fn write_joined;
/* Groups: 1 whole part, 2 '.' or ',', 3 decimals. */
rewrite_fn write_decimal;
/* Groups: 1 number, 3 a word such as "Millionen", with its space, or nothing, 4 symbol of a currency. */
rewrite_fn write_money_after;
/* Groups: 1 symbol of a currency, 2 number, 3 a word such as "Millionen", with its space, or nothing. */
rewrite_fn write_money_before;
/* Groups: 1 number, 2 symbol of a unit. */
rewrite_fn write_measure;
/* Groups: 1 the abbreviation, its dot follows. */
rewrite_fn write_abbreviation;

/* Groups of a date: day, month and year. False when there is no such day or month. Where the month can be none and the
   day can, they have changed places. */
bool read_date(struct span day, struct span month, int *d, int *m);
/* I to XXXIX; 0 for anything else. */
int roman(struct span s);
/* Only white space and closing marks follow the match. */
bool at_end(const struct match *m);
/* The word before text[at] and the spaces there; empty when there is none. */
struct span word_before(const struct match *m, size_t at);
/* Whether " word " is in `list`, a text of words between single spaces; ASCII capitals count as small letters. */
bool span_listed(struct span s, const char *list);
void str_span(struct str *out, struct span s);

#endif
