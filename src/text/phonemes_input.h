/* What can be given to espeak-ng: it is written for text that people write, and keeps words in buffers of fixed size.
 */
#ifndef UTTER_TEXT_PHONEMES_INPUT_H
#define UTTER_TEXT_PHONEMES_INPUT_H

#include "base/str.h"

/* Appends text[len] as espeak-ng can take it. What no text has becomes white space (bytes that are no UTF-8, NULs,
   espeak-ng's own command character), and a word in several scripts is cut where they change. Words in one script,
   marks and white space stay as they are. */
status phonemes_input(const char *text, size_t len, struct str *out);

/* Bytes of text[len], len > 0, that go into one call: all, or as much as ends at white space. */
size_t phonemes_input_piece(const char *text, size_t len);

#endif
