/* Text to IPA phonemes with stress and punctuation, through libespeak-ng, equal to the Python package phonemizer 3.3.0
   as NeuTTS calls it (preserve_punctuation, with_stress, language switches removed), whitespace collapsed. */
#ifndef UTTER_TEXT_PHONEMES_H
#define UTTER_TEXT_PHONEMES_H

#include "base/str.h"

/* Appends the phonemes of text[len] (UTF-8) to `out`. `language` as espeak-ng names it: "en-us", "de", "fr-fr" ...
   A language that is not installed is refused, with the near ones named. Thread-safe: espeak-ng is global state, calls
   wait for one another. */
status phonemize(const char *language, const char *text, size_t len, struct str *out);

/* Whether espeak-ng has a voice for `language`. */
status phonemes_check_language(const char *language);

#endif
