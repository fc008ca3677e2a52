/* English numbers in words. Digits come as text, so that numbers of any length can be said. */
#ifndef UTTER_TEXT_NUMBERS_EN_H
#define UTTER_TEXT_NUMBERS_EN_H

#include "base/str.h"

/* "twelve thousand five"; more than 36 digits, and those that begin with a needless 0, are said one by one. */
void en_cardinal(struct str *out, const char *digits, size_t n);
/* "twelve thousand fifth" */
void en_ordinal(struct str *out, const char *digits, size_t n);
/* "one two three" */
void en_digits(struct str *out, const char *digits, size_t n);
/* As years are said, 1000 to 9999: "nineteen oh five", "two thousand five", "twenty twenty-four" */
void en_year(struct str *out, int year);
/* A short number that is a name, as of rooms and aircraft: "seven forty-seven", "eleven" */
void en_name_number(struct str *out, const char *digits, size_t n);
/* 0 to 99; below ten with `oh` for the zero: "oh five" */
void en_pair(struct str *out, int value, bool oh);
/* The same for values at hand. */
void en_number(struct str *out, int value);
void en_ordinal_number(struct str *out, int value);

#endif
