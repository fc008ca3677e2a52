#include "text/numbers_en.h"

#include <stdio.h>
#include <string.h>

static const char *const small[] = {"zero",    "one",     "two",       "three",    "four",     "five",    "six",
                                    "seven",   "eight",   "nine",      "ten",      "eleven",   "twelve",  "thirteen",
                                    "fourteen", "fifteen", "sixteen",  "seventeen", "eighteen", "nineteen"};
static const char *const tens[] = {"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};
static const char *const scales[] = {"",            "thousand",   "million",    "billion",    "trillion",  "quadrillion",
                                     "quintillion", "sextillion", "septillion", "octillion", "nonillion", "decillion"};
enum { MAX_DIGITS = 36 };

static void say_below_100(struct str *out, int value) {
    if (value < 20) {
        str_puts(out, small[value]);
    } else {
        str_puts(out, tens[value / 10]);
        if (value % 10) str_printf(out, "-%s", small[value % 10]);
    }
}

static void say_below_1000(struct str *out, int value) {
    if (value >= 100) {
        str_printf(out, "%s hundred", small[value / 100]);
        if (value % 100) str_putc(out, ' ');
    }
    if (value % 100 || value == 0) say_below_100(out, value % 100);
}

void en_digits(struct str *out, const char *digits, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (i) str_putc(out, ' ');
        str_puts(out, small[digits[i] - '0']);
    }
}

void en_cardinal(struct str *out, const char *digits, size_t n) {
    if (n > MAX_DIGITS || (n > 1 && digits[0] == '0')) {
        en_digits(out, digits, n);
        return;
    }
    bool said = false;
    for (size_t at = 0; at < n;) { // groups of three, the first may be shorter
        size_t group = (n - at - 1) / 3, width = n - at - 3 * group;
        int value = 0;
        for (size_t end = at + width; at < end; at++) value = 10 * value + digits[at] - '0';
        if (!value && (said || group)) continue;
        if (said) str_putc(out, ' ');
        say_below_1000(out, value);
        if (group) str_printf(out, " %s", scales[group]);
        said = true;
    }
}

// Makes the number that was said last an ordinal.
static void make_ordinal(struct str *out, size_t begin) {
    static const char *const irregular[][2] = {{"one", "first"},    {"two", "second"}, {"three", "third"}, {"five", "fifth"},
                                               {"eight", "eighth"}, {"nine", "ninth"}, {"twelve", "twelfth"}};
    if (out->failed) return;
    size_t word = out->len;
    while (word > begin && out->data[word - 1] != ' ' && out->data[word - 1] != '-') word--;
    for (size_t i = 0; i < sizeof irregular / sizeof *irregular; i++)
        if (!strcmp(out->data + word, irregular[i][0])) {
            out->len = word;
            str_puts(out, irregular[i][1]);
            return;
        }
    if (out->data[out->len - 1] == 'y') {
        out->len--;
        str_puts(out, "ie");
    }
    str_puts(out, "th");
}

void en_ordinal(struct str *out, const char *digits, size_t n) {
    size_t begin = out->len;
    en_cardinal(out, digits, n);
    make_ordinal(out, begin);
}

void en_number(struct str *out, int value) {
    char digits[16];
    en_cardinal(out, digits, (size_t)snprintf(digits, sizeof digits, "%d", value));
}

void en_ordinal_number(struct str *out, int value) {
    char digits[16];
    en_ordinal(out, digits, (size_t)snprintf(digits, sizeof digits, "%d", value));
}

void en_pair(struct str *out, int value, bool oh) {
    if (oh && value < 10) str_puts(out, "oh ");
    say_below_100(out, value);
}

void en_year(struct str *out, int year) {
    int century = year / 100, rest = year % 100;
    if (century % 10 == 0 && rest < 10) { // 2005, 1000
        en_number(out, year);
        return;
    }
    say_below_100(out, century);
    if (rest) {
        str_putc(out, ' ');
        en_pair(out, rest, true);
    } else {
        str_puts(out, " hundred");
    }
}

void en_name_number(struct str *out, const char *digits, size_t n) {
    bool round = n >= 3 && digits[n - 1] == '0' && digits[n - 2] == '0';
    if (n <= 2 || (round && n <= 4 && digits[0] != '0')) {
        if (n == 4 && digits[1] != '0') en_year(out, (digits[0] - '0') * 1000 + (digits[1] - '0') * 100);
        else en_cardinal(out, digits, n);
    } else if (n <= 4 && digits[0] != '0') { // 747, 1408
        int head = 0;
        for (size_t i = 0; i + 2 < n; i++) head = 10 * head + digits[i] - '0';
        en_number(out, head);
        str_putc(out, ' ');
        en_pair(out, (digits[n - 2] - '0') * 10 + digits[n - 1] - '0', true);
    } else {
        en_digits(out, digits, n);
    }
}
