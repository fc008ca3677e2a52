/* Markdown, HTML tags, emoji and control characters out of a text. */
#ifndef UTTER_TEXT_MARKUP_H
#define UTTER_TEXT_MARKUP_H

#include "base/str.h"

/* Appends text[len] as valid UTF-8 without control characters, invisible characters and emoji. Bytes that are no UTF-8
   become a space. Tabs and other line ends become spaces and newlines. */
status markup_clean(const char *text, size_t len, struct str *out);

/* Appends text[len], valid UTF-8, without Markdown and HTML marks; what they mark stays. */
status markup_strip(const char *text, size_t len, struct str *out);

#endif
