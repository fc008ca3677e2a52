#include "cli/options.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 64, MAX_NAME = 32, HELP_COLUMN = 26 };

// ---- values ----

static status take_number(const struct option *o, const char *shown, const char *text) {
    char *end;
    errno = 0;
    if (o->kind == OPTION_FLOAT) {
        float v = strtof(text, &end);
        if (end == text || *end) return fail(UTTER_INVALID, "%s: \"%s\" is not a number", shown, text);
        if (!((double)v >= o->min && (double)v <= o->max))  // not a number is refused here
            return fail(UTTER_INVALID, "%s: %s is out of range; give a number from %g to %g", shown, text, o->min,
                        o->max);
        *(float *)o->value = v;
        return UTTER_OK;
    }
    long long v = strtoll(text, &end, 10);
    if (end == text || *end) return fail(UTTER_INVALID, "%s: \"%s\" is not a whole number", shown, text);
    if (errno != 0 || (double)v < o->min || (double)v > o->max)
        return fail(UTTER_INVALID, "%s: %s is out of range; give a whole number from %.0f to %.0f", shown, text, o->min,
                    o->max);
    if (o->kind == OPTION_U32)
        *(uint32_t *)o->value = (uint32_t)v;
    else
        *(int *)o->value = (int)v;
    return UTTER_OK;
}

// `shown`: the option as it was given.
static status take_value(const struct option *o, const char *shown, const char *text) {
    if (o->kind != OPTION_TEXT) return take_number(o, shown, text);
    *(const char **)o->value = text;
    return UTTER_OK;
}

// ---- one argument ----

struct cursor {
    const struct option *options;  // [n]
    size_t n;
    char **argv;  // [argc]
    int argc;
    int at;  // the argument being read
};

// The option's value from the next argument.
static status take_next(struct cursor *c, const struct option *o, const char *shown) {
    if (c->at + 1 >= c->argc) return fail(UTTER_INVALID, "%s needs a value: %s %s", shown, shown, o->argument);
    return take_value(o, shown, c->argv[++c->at]);
}

static status unknown_long(const struct cursor *c, const char *given) {
    const char *names[MAX_NAMES];
    size_t n = c->n < MAX_NAMES ? c->n : MAX_NAMES;
    for (size_t i = 0; i < n; i++) names[i] = c->options[i].name;
    const char *near = nearest_name(given, names, n);
    if (near) return fail(UTTER_INVALID, "unknown option --%s; did you mean --%s?", given, near);
    return fail(UTTER_INVALID, "unknown option --%s", given);
}

static status parse_long(struct cursor *c) {
    char *text = c->argv[c->at] + 2;
    char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    char shown[MAX_NAME + 3] = "--";
    if (len <= MAX_NAME) strncat(shown, text, len);
    for (size_t i = 0; len <= MAX_NAME && i < c->n; i++) {
        const struct option *o = &c->options[i];
        if (strcmp(o->name, shown + 2) != 0) continue;
        if (o->kind != OPTION_FLAG) return equals ? take_value(o, shown, equals + 1) : take_next(c, o, shown);
        if (equals) return fail(UTTER_INVALID, "%s takes no value", shown);
        *(bool *)o->value = true;
        return UTTER_OK;
    }
    return unknown_long(c, len <= MAX_NAME ? shown + 2 : text);
}

// One letter or several: -v, -qv, -o FILE, -oFILE.
static status parse_short(struct cursor *c) {
    for (const char *p = c->argv[c->at] + 1; *p; p++) {
        const struct option *o = NULL;
        for (size_t i = 0; i < c->n && !o; i++)
            if (c->options[i].letter == *p) o = &c->options[i];
        if (!o)
            return fail(UTTER_INVALID, "unknown option -%c in \"%s\"; put -- before words that begin with a dash", *p,
                        c->argv[c->at]);
        if (o->kind != OPTION_FLAG) {
            const char shown[] = {'-', *p, 0};
            return p[1] ? take_value(o, shown, p + 1) : take_next(c, o, shown);
        }
        *(bool *)o->value = true;
    }
    return UTTER_OK;
}

status options_parse(const struct option *options, size_t n, int argc, char **argv, int *n_rest) {
    struct cursor c = {options, n, argv, argc, 1};
    *n_rest = 0;
    bool ended = false;
    for (; c.at < argc; c.at++) {
        char *word = argv[c.at];
        if (ended || word[0] != '-' || word[1] == 0)
            argv[1 + (*n_rest)++] = word;
        else if (strcmp(word, "--") == 0)
            ended = true;
        else
            TRY(word[1] == '-' ? parse_long(&c) : parse_short(&c));
    }
    return UTTER_OK;
}

// ---- help ----

void options_describe(const struct option *options, size_t n, struct str *out) {
    for (size_t i = 0; i < n; i++) {
        const struct option *o = &options[i];
        size_t start = out->len;
        if (o->letter)
            str_printf(out, "  -%c, --%s", o->letter, o->name);
        else
            str_printf(out, "      --%s", o->name);
        if (o->argument) str_printf(out, " %s", o->argument);
        if (out->len - start > HELP_COLUMN - 2) {
            str_putc(out, '\n');
            start = out->len;
        }
        for (const char *line = o->help; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
            str_printf(out, "%*s%.*s\n", (int)(HELP_COLUMN - (out->len - start)), "", (int)strcspn(line, "\n"), line);
            start = out->len;
        }
    }
}
