/* A growing string of bytes, always NUL-terminated once anything was appended.
   Out of memory is remembered in the string, so that appends need no check each: look once, with str_status. */
#ifndef UTTER_BASE_STR_H
#define UTTER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct str {
    char *data;  // [len + 1], NULL while empty
    size_t len;
    size_t cap;
    bool failed;
};

void str_append(struct str *s, const char *text, size_t len);
void str_puts(struct str *s, const char *text);
void str_putc(struct str *s, char c);
void str_printf(struct str *s, const char *format, ...) PRINTF_LIKE(2, 3);
/* Empties it and keeps the memory. */
void str_clear(struct str *s);
void str_free(struct str *s);
/* The text, "" while empty. */
const char *str_text(const struct str *s);
/* UTTER_MEMORY when an append could not be done. */
status str_status(const struct str *s);

#endif
