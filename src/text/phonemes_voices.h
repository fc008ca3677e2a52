/* The voices of espeak-ng by the language they speak. */
#ifndef UTTER_TEXT_PHONEMES_VOICES_H
#define UTTER_TEXT_PHONEMES_VOICES_H

#include "base/status.h"

struct voice {
    char *language;    // "en-us"; owned
    char *identifier;  // "gmw/en-US"; owned
    char *name;        // "English (America)"; owned
    int priority;      // 0 for a voice's own language; else how far from it this one is, as espeak-ng says
};

struct voices {
    struct voice *all;  // [n]; in espeak-ng's order, one entry for each language of each voice
    int n;
};

/* Reads the list. espeak-ng is initialised and locked. */
status voices_list(struct voices *out);

/* The voice for a language: one whose own language it is, else the nearest that also speaks it ("fr" is "fr-fr").
   When there is none, the sentence names languages that may have been meant. */
status voices_find(const struct voices *v, const char *language, const struct voice **out);

#endif
