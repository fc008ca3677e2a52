#include "text/normalize_parts.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

void str_span(struct str *out, struct span s) {
    if (s.n) str_append(out, s.p, s.n);
}

static void spell(struct span s, struct str *out) {
    for (size_t i = 0; i < s.n; i++) {
        if (i) str_putc(out, ' ');
        str_putc(out, s.p[i]);
    }
}

static const char *mark_word(const struct words *w, char c) {
    switch (c) {
        case '.':
            return w->dot;
        case '@':
            return w->at;
        case '/':
            return w->slash;
        case '-':
            return w->hyphen;
        case '_':
            return w->underscore;
        case '?':
            return w->question;
        case '=':
            return w->equals;
        case '&':
            return w->ampersand;
        case '%':
            return w->percent;
        case ':':
            return w->colon;
        case '~':
            return w->tilde;
        case '+':
            return w->plus;
        case '#':
            return "#";
        default:
            return strchr(",;!()[]{}'*|\\^`$", c) ? "" : NULL;
    }
}

bool write_address(const struct match *m, struct str *out) {
    const struct words *w = m->context;
    const char *p = m->group[0].p, *end = p + m->group[0].n;
    for (const char *q = p; q + 2 < end && q < p + 6; q++)
        if (memcmp(q, "://", 3) == 0) p = q + 3;
    if (end > p && end[-1] == '/') end--;
    bool space = false;
    for (const char *start = p; p < end; p++) {
        const char *word = *p ? mark_word(w, *p) : "";
        if (!word) {
            if (space) str_putc(out, ' ');
            str_putc(out, *p);
            space = false;
            continue;
        }
        if (p > start) space = true;
        if (!*word) continue;
        if (space) str_putc(out, ' ');
        str_puts(out, word);
        space = true;
    }
    return true;
}

// False with fewer than `least` digits.
static bool write_groups(const struct match *m, size_t least, struct str *out) {
    const struct words *w = m->context;
    struct span s = m->group[0];
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += is_digit(s.p[i]);
    if (n < least) return false;
    bool first = true;
    for (size_t i = 0; i < s.n;) {
        size_t begin = i;
        while (i < s.n && (is_digit(s.p[i]) || s.p[i] == 'X')) i++;
        if (i > begin) {
            if (!first) str_puts(out, ", ");
            first = false;
            spell((struct span){s.p + begin, i - begin}, out);
        } else {
            if (s.p[i] == '+') {
                str_puts(out, w->plus);
                str_putc(out, ' ');
            }
            i++;
        }
    }
    return true;
}

bool write_phone(const struct match *m, struct str *out) { return write_groups(m, 7, out); }
bool write_digits(const struct match *m, struct str *out) { return write_groups(m, 1, out); }

bool write_joined(const struct match *m, struct str *out) {
    for (size_t i = 0; i < m->group[0].n; i++)
        if (is_digit(m->group[0].p[i])) str_putc(out, m->group[0].p[i]);
    return true;
}

enum { LONGEST_DECIMALS = 3 };  // that are read as a number

bool write_decimal(const struct match *m, struct str *out) {
    const struct words *w = m->context;
    struct span decimals = m->group[3];
    str_span(out, m->group[1]);
    str_putc(out, ' ');
    str_puts(out, *m->group[2].p == '.' ? w->point : w->comma);
    str_putc(out, ' ');
    if (w->digit_by_digit || *decimals.p == '0' || decimals.n > LONGEST_DECIMALS)
        spell(decimals, out);
    else
        str_span(out, decimals);
    return true;
}

static const struct money *find_money(const struct words *w, struct span symbol) {
    // US$ and US-$ are $
    if (symbol.n > 2 && symbol.p[symbol.n - 1] == '$') symbol = (struct span){symbol.p + symbol.n - 1, 1};
    for (size_t i = 0; i < w->n_monies; i++)
        for (const char *p = w->monies[i].symbols; *p; p++)
            if (*p == '|' && strncmp(p + 1, symbol.p, symbol.n) == 0 && p[1 + symbol.n] == '|') return &w->monies[i];
    return NULL;
}

static bool is_zero(struct span s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0') return false;
    return true;
}

static void write_cents(const struct money *money, const char *between, bool alone, struct span cents,
                        struct str *out) {
    while (cents.n > 1 && *cents.p == '0') cents.p++, cents.n--;
    if (!alone) {
        str_puts(out, between);
        str_span(out, cents);
    } else if (span_is(cents, "1")) {
        str_puts(out, money->cent);
    } else {
        str_span(out, cents);
        str_putc(out, ' ');
        str_puts(out, money->cents);
    }
}

static bool write_money(const struct match *m, struct span number, struct span symbol, struct str *out) {
    const struct words *w = m->context;
    const struct money *money = find_money(w, symbol);
    if (!money || !number.n) return false;
    struct span scale = m->group[3], whole = number, cents = {0};
    if (scale.n) {
        str_span(out, number);
        str_span(out, scale);
        str_putc(out, ' ');
        str_puts(out, money->of_millions);
        return true;
    }
    // two digits behind the last mark are cents, when there are cents
    if (number.n > 3 && (number.p[number.n - 3] == ',' || number.p[number.n - 3] == '.')) {
        cents = (struct span){number.p + number.n - 2, 2};
        whole.n = number.n - 3;
        if (is_zero(cents))
            cents.n = 0;
        else if (!money->cents)
            whole = number, cents.n = 0;
    }
    bool alone = cents.n && span_is(whole, "0");
    if (!alone) {
        if (span_is(whole, "1")) {
            str_puts(out, money->one);
        } else {
            str_span(out, whole);
            str_putc(out, ' ');
            str_puts(out, money->many);
        }
    }
    if (cents.n) write_cents(money, w->and_cents, alone, cents, out);
    return true;
}

bool write_money_after(const struct match *m, struct str *out) { return write_money(m, m->group[1], m->group[4], out); }

bool write_money_before(const struct match *m, struct str *out) {
    return write_money(m, m->group[2], m->group[1], out);
}

bool write_measure(const struct match *m, struct str *out) {
    const struct words *w = m->context;
    for (size_t i = 0; i < w->n_measures; i++) {
        const struct measure *u = &w->measures[i];
        if (!span_is(m->group[2], u->symbol)) continue;
        if (span_is(m->group[1], "1")) {
            str_puts(out, u->one);
            return true;
        }
        str_span(out, m->group[1]);
        str_putc(out, ' ');
        str_puts(out, u->many);
        return true;
    }
    return false;
}

bool write_abbreviation(const struct match *m, struct str *out) {
    const struct words *w = m->context;
    for (size_t i = 0; i < w->n_abbreviations; i++) {
        if (!span_is(m->group[1], w->abbreviations[i].key)) continue;
        str_puts(out, w->abbreviations[i].word);
        if (at_end(m) || (m->end < m->len && m->text[m->end] == '.')) str_putc(out, '.');
        return true;
    }
    return false;
}

bool read_date(struct span day, struct span month, int *d, int *m) {
    long long a = span_number(day), b = span_number(month);
    bool swapped = b > 12 && a <= 12;
    *d = (int)(swapped ? b : a);
    *m = (int)(swapped ? a : b);
    return *d >= 1 && *d <= 31 && *m >= 1 && *m <= 12;
}

int roman(struct span s) {
    static const char *const ones[] = {"", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"};
    size_t tens = 0;
    while (tens < s.n && tens < 3 && s.p[tens] == 'X') tens++;
    for (int i = 0; i < 10; i++)
        if (span_is((struct span){s.p + tens, s.n - tens}, ones[i])) return (int)tens * 10 + i;
    return 0;
}

bool at_end(const struct match *m) {
    static const char *const closing[] = {" ", "\n", "\t", "\r", "\"", "'", ")", "]", "»", "“", "”", "’"};
    for (size_t at = m->end; at < m->len;) {
        size_t n = 0;
        for (size_t i = 0; i < sizeof closing / sizeof *closing && !n; i++) {
            size_t bytes = strlen(closing[i]);
            if (bytes <= m->len - at && memcmp(m->text + at, closing[i], bytes) == 0) n = bytes;
        }
        if (!n) return false;
        at += n;
    }
    return true;
}

enum { LONGEST_WORD = 40 };  // bytes; what is longer is in no list

struct span word_before(const struct match *m, size_t at) {
    size_t end = at;
    while (end > 0 && m->text[end - 1] == ' ') end--;
    size_t begin = end;
    while (begin > 0 && end - begin <= LONGEST_WORD && !strchr(" \n\t,;:.!?()\"'", m->text[begin - 1])) begin--;
    return (struct span){m->text + begin, end - begin};
}

bool span_listed(struct span s, const char *list) {
    char key[LONGEST_WORD + 3];
    if (!s.p || !s.n || s.n > LONGEST_WORD || memchr(s.p, ' ', s.n)) return false;
    key[0] = ' ';
    for (size_t i = 0; i < s.n; i++) key[i + 1] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 'a' - 'A' : s.p[i]);
    key[s.n + 1] = ' ';
    key[s.n + 2] = '\0';
    return strstr(list, key);
}
