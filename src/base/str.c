#include "base/str.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Room for `extra` more bytes and the NUL; false when it cannot be had.
static bool reserve(struct str *s, size_t extra) {
    if (s->failed) return false;
    if (extra >= SIZE_MAX / 4 - s->len) {
        s->failed = true;
        return false;
    }
    size_t need = s->len + extra + 1;
    if (need <= s->cap) return true;
    size_t cap = s->cap ? s->cap * 2 : 64;
    if (cap < need) cap = need;
    char *data = realloc(s->data, cap);
    if (!data) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->cap = cap;
    return true;
}

void str_append(struct str *s, const char *text, size_t len) {
    if (!reserve(s, len)) return;
    if (len) memcpy(s->data + s->len, text, len);
    s->len += len;
    s->data[s->len] = 0;
}

void str_puts(struct str *s, const char *text) { str_append(s, text, strlen(text)); }

void str_putc(struct str *s, char c) { str_append(s, &c, 1); }

void str_printf(struct str *s, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (n < 0 || !reserve(s, (size_t)n)) {
        s->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(s->data + s->len, (size_t)n + 1, format, arguments);
    va_end(arguments);
    s->len += (size_t)n;
}

void str_clear(struct str *s) {
    s->len = 0;
    if (s->data) s->data[0] = 0;
}

void str_free(struct str *s) {
    free(s->data);
    *s = (struct str){0};
}

const char *str_text(const struct str *s) { return s->data ? s->data : ""; }

status str_status(const struct str *s) { return s->failed ? fail_memory(s->len, "a text") : UTTER_OK; }
