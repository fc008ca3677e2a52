/* UTF-8, a code point at a time. Text here comes from strangers: every byte that is no UTF-8 is seen and stepped over.
 */
#ifndef UTTER_TEXT_UTF8_H
#define UTTER_TEXT_UTF8_H

#include <utf8proc.h>

#include "base/str.h"

enum { UTF8_INVALID = -1 };

/* The code point at text[0..len), len > 0, into *c; returns its bytes. A byte that begins no valid sequence counts as
   one, with *c = UTF8_INVALID. */
static inline size_t utf8_next(const char *text, size_t len, int32_t *c) {
    unsigned char first = (unsigned char)*text;
    if (first < 0x80) {
        *c = first;
        return 1;
    }
    utf8proc_int32_t found;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, len < 4 ? (utf8proc_ssize_t)len : 4, &found);
    if (n <= 0) {
        *c = UTF8_INVALID;
        return 1;
    }
    *c = found;
    return (size_t)n;
}

/* The code point that ends at text[at], at > 0, into *c; returns its bytes. */
static inline size_t utf8_previous(const char *text, size_t at, int32_t *c) {
    size_t n = 1;
    while (n < 4 && n < at && ((unsigned char)text[at - n] & 0xc0) == 0x80) n++;
    if (utf8_next(text + at - n, n, c) == n) return n;
    *c = UTF8_INVALID;
    return 1;
}

static inline void utf8_append(struct str *s, int32_t c) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(c, bytes);
    str_append(s, (const char *)bytes, (size_t)n);
}

/* White space as Python's str.isspace has it. U+200B and U+00AD are none. */
static inline bool utf8_is_space(int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static inline bool utf8_is_letter(int32_t c) {
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

static inline bool utf8_is_upper(int32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z';
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
}

static inline bool utf8_is_lower(int32_t c) {
    return c < 0x80 ? c >= 'a' && c <= 'z' : utf8proc_category(c) == UTF8PROC_CATEGORY_LL;
}

static inline bool utf8_is_digit(int32_t c) { return c >= '0' && c <= '9'; }

#endif
