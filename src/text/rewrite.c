#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/rewrite.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_LIMIT = 100000, DEPTH_LIMIT = 2000 };  // per match; ours need a few hundred at most

struct byte_set {
    uint64_t words[4];
};

/* What a text must have for a rule to match, one byte at least of each set: looked at first, as most rules have nothing
   to do in most texts. */
struct needs {
    struct byte_set first;    // a match begins with one
    struct byte_set further;  // and has one
    struct byte_set digit;    // there is one in it, before it or behind it
};

struct rewriter {
    const struct rule *rules;  // [n]
    pcre2_code **codes;        // [n]
    struct needs *needs;       // [n]
    size_t n;
};

static const struct byte_set any_byte = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static void add_byte(struct byte_set *s, unsigned char b) { s->words[b / 64] |= (uint64_t)1 << b % 64; }

static bool has_one_of(const struct byte_set *a, const struct byte_set *b) {
    uint64_t both = 0;
    for (int i = 0; i < 4; i++) both |= a->words[i] & b->words[i];
    return both != 0;
}

static struct byte_set bytes_of(const char *text, size_t len) {
    struct byte_set s = {0};
    for (size_t i = 0; i < len; i++) add_byte(&s, (unsigned char)text[i]);
    return s;
}

// A letter's other case is as good, as the rule may not mind cases; of characters beyond ASCII any byte is.
static struct byte_set like(uint32_t unit) {
    struct byte_set s = {0};
    if (unit >= 0x80) return (struct byte_set){{0, 0, UINT64_MAX, UINT64_MAX}};
    add_byte(&s, (unsigned char)unit);
    if (isalpha((int)unit)) add_byte(&s, (unsigned char)(unit ^ 0x20));
    return s;
}

static const char *skip_past(const char *p, char end) {
    while (*p && *p != end) p += *p == '\\' && p[1] ? 2 : 1;
    return *p ? p + 1 : p;
}

// Whether what begins at *p, up to a ')' or the end, matches only where there is a digit. No when in doubt.
static bool needs_digit(const char **p) {
    bool always = true, here = false;  // in all alternatives before; in this one
    while (**p && **p != ')') {
        bool digit = **p >= '0' && **p <= '9';
        if (**p == '|') {
            always &= here;
            here = false;
            ++*p;
            continue;
        }
        if (**p == '\\') {
            char kind = (*p)[1];
            digit = kind == 'd';
            *p += kind ? 2 : 1;
            if (**p == '{' && strchr("pPx", kind)) *p = skip_past(*p, '}');
        } else if (**p == '[') {
            *p += (*p)[1] == '^' ? 2 : 1;
            *p = skip_past(**p == ']' ? *p + 1 : *p, ']');
        } else if (**p == '(') {
            ++*p;
            bool negated = strncmp(*p, "?!", 2) == 0 || strncmp(*p, "?<!", 3) == 0;
            if (**p == '?') *p += strspn(*p, "?:=!<i");
            digit = needs_digit(p) && !negated;
            if (**p == ')') ++*p;
        } else
            ++*p;
        if (**p == '?' || **p == '*' || strncmp(*p, "{0", 2) == 0) digit = false;
        if (**p == '{') *p = skip_past(*p, '}');
        *p += strspn(*p, "?*+");
        here |= digit;
    }
    return always && here;
}

// ASCII's, and the first bytes of all others that Unicode has.
static struct byte_set digits(void) {
    struct byte_set s = {0};
    for (int b = '0'; b <= '9'; b++) add_byte(&s, (unsigned char)b);
    for (int b = 0xd9; b <= 0xff; b++) add_byte(&s, (unsigned char)b);
    return s;
}

static struct needs needs_of(const pcre2_code *code, const char *pattern) {
    struct needs n = {any_byte, any_byte, needs_digit(&pattern) ? digits() : any_byte};
    uint32_t kind = 0, unit = 0, least = 0;
    const uint8_t *bitmap = NULL;
    pcre2_pattern_info(code, PCRE2_INFO_MINLENGTH, &least);
    if (least == 0) return n;
    pcre2_pattern_info(code, PCRE2_INFO_FIRSTBITMAP, &bitmap);
    if (bitmap) {
        n.first = (struct byte_set){0};
        for (unsigned b = 0; b < 256; b++)
            if (bitmap[b / 8] >> b % 8 & 1) add_byte(&n.first, (unsigned char)b);
    }
    pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODETYPE, &kind);
    pcre2_pattern_info(code, PCRE2_INFO_FIRSTCODEUNIT, &unit);
    if (kind == 1) n.first = like(unit);
    pcre2_pattern_info(code, PCRE2_INFO_LASTCODETYPE, &kind);
    pcre2_pattern_info(code, PCRE2_INFO_LASTCODEUNIT, &unit);
    if (kind == 1) n.further = like(unit);
    return n;
}

static bool has_what_it_needs(const struct byte_set *has, const struct needs *n) {
    return has_one_of(has, &n->first) && has_one_of(has, &n->further) && has_one_of(has, &n->digit);
}

status rewriter_new(const struct rule *rules, size_t n, struct rewriter **out) {
    *out = NULL;
    struct rewriter *r = calloc(1, sizeof *r);
    if (r) r->codes = calloc(n, sizeof *r->codes);
    if (r) r->needs = calloc(n, sizeof *r->needs);
    if (!r || !r->codes || !r->needs) {
        rewriter_free(r);
        return fail_memory(n * sizeof *r->needs, "text rules");
    }
    r->rules = rules;
    r->n = n;
    for (size_t i = 0; i < n; i++) {
        int error;
        size_t at;
        r->codes[i] = pcre2_compile((PCRE2_SPTR)rules[i].pattern, PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &at, NULL);
        if (!r->codes[i]) {
            rewriter_free(r);
            return fail(UTTER_INTERNAL, "text rule %zu does not compile at character %zu: %s", i, at, rules[i].pattern);
        }
        pcre2_jit_compile(r->codes[i], PCRE2_JIT_COMPLETE);  // where there is no JIT, matching works without
        r->needs[i] = needs_of(r->codes[i], rules[i].pattern);
    }
    *out = r;
    return UTTER_OK;
}

void rewriter_free(struct rewriter *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n; i++) pcre2_code_free(r->codes[i]);
    free(r->codes);
    free(r->needs);
    free(r);
}

static void write_replacement(const struct match *m, const char *replacement, struct str *out) {
    for (const char *p = replacement; *p; p++) {
        if (p[0] != '$' || p[1] < '0' || p[1] > '9') {
            str_putc(out, *p);
            continue;
        }
        struct span s = m->group[*++p - '0'];
        if (s.p) str_append(out, s.p, s.n);
    }
}

static void fill_match(struct match *m, const size_t *bounds, int n_groups) {
    m->begin = bounds[0];
    m->end = bounds[1];
    for (int i = 0; i < REWRITE_GROUPS; i++) {
        bool there = i < n_groups && bounds[2 * i] != PCRE2_UNSET;
        m->group[i] =
            there ? (struct span){m->text + bounds[2 * i], bounds[2 * i + 1] - bounds[2 * i]} : (struct span){0};
    }
}

// False: nothing matched, and nothing was written.
static bool apply(const pcre2_code *code, const struct rule *rule, const void *context, const char *text, size_t len,
                  pcre2_match_data *data, pcre2_match_context *limits, struct str *out) {
    struct match m = {.text = text, .len = len, .context = context};
    size_t at = 0, copied = 0;
    bool any = false;
    while (at <= len) {
        int found = pcre2_match(code, (PCRE2_SPTR)text, len, at, 0, data, limits);
        if (found < 0) break;  // none, or none within the limits
        any = true;
        fill_match(&m, pcre2_get_ovector_pointer(data), found);
        str_append(out, text + copied, m.begin - copied);
        if (!rule->write)
            write_replacement(&m, rule->replacement, out);
        else if (!rule->write(&m, out))
            str_append(out, text + m.begin, m.end - m.begin);
        copied = m.end;
        at = m.end > m.begin ? m.end : m.end + 1;  // an empty match is stepped over
    }
    if (any) str_append(out, text + copied, len - copied);
    return any;
}

status rewrite(const struct rewriter *r, const void *context, const char *text, size_t len, struct str *out) {
    pcre2_match_data *data = pcre2_match_data_create(REWRITE_GROUPS, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    struct str now = {0}, next = {0};
    struct byte_set has = bytes_of(text, len);
    status s = data && limits ? UTTER_OK : fail_memory(1024, "a text rule");
    if (s == UTTER_OK) {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        pcre2_set_depth_limit(limits, DEPTH_LIMIT);
        str_append(&now, text, len);
    }
    for (size_t i = 0; s == UTTER_OK && i < r->n; i++) {
        if (!has_what_it_needs(&has, &r->needs[i])) continue;
        str_clear(&next);
        if (!apply(r->codes[i], &r->rules[i], context, str_text(&now), now.len, data, limits, &next)) continue;
        s = str_status(&next);
        struct str swap = now;
        now = next;
        next = swap;
        has = bytes_of(str_text(&now), now.len);
    }
    if (s == UTTER_OK) str_append(out, str_text(&now), now.len);
    str_free(&now);
    str_free(&next);
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    return s == UTTER_OK ? str_status(out) : s;
}

long long span_number(struct span s) {
    long long n = 0;
    int digits = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') continue;
        if (++digits > 18) return -1;
        n = n * 10 + (s.p[i] - '0');
    }
    return n;
}
