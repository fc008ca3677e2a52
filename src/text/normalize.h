/* From written to spoken text. NeuTTS was trained on text with no digits, acronyms or currency, so these are written
   out: currency, dates, times, units, ordinals, decimals, phone numbers, URLs, e-mail addresses, Roman numerals after
   names, fractions, acronyms, symbols. */
#ifndef UTTER_TEXT_NORMALIZE_H
#define UTTER_TEXT_NORMALIZE_H

#include "base/str.h"

/* A whole document, before it is cut into sentences: appends text[len] with invalid UTF-8 replaced, control characters,
   Markdown marks and emoji removed, blank lines kept. */
status normalize_document(const char *text, size_t len, struct str *out);

/* One sentence: appends it as it is spoken. English ("en…") is written out in words; German, French and Spanish leave
   whole numbers to espeak-ng and write out what it does not know; other languages get the language-free part. */
status normalize_sentence(const char *language, const char *text, size_t len, struct str *out);

/* True when text[len] has a letter or a digit of any script: something that can be spoken. */
bool text_is_speakable(const char *text, size_t len);

#endif
