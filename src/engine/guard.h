/* Robust generation: a speech model sometimes falls silent, babbles or never ends. The guard watches one utterance
   while it is made and says what is wrong with it. */
#ifndef UTTER_ENGINE_GUARD_H
#define UTTER_ENGINE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum verdict {
    SPEECH_FINE,
    SPEECH_REPEATS,     // one code or a short cycle again and again
    SPEECH_ENDLESS,     // no end within the budget
    SPEECH_SHORT,       // over long before the text can be
    SPEECH_SILENT,      // sound below hearing
    SPEECH_NOT_FINITE,  // the networks gave no numbers
};

/* "repeats itself", ...: fits behind "sentence 3 ". */
const char *verdict_text(enum verdict v);

enum { GUARD_MAX_PERIOD = 32 };

struct guard {
    int expected;                      // frames that the text should take
    int budget;                        // codes after which it will never end
    int n;                             // codes seen
    int32_t recent[GUARD_MAX_PERIOD];  // ring of the last codes
    int run[GUARD_MAX_PERIOD + 1];     // [period]: for how long each code equals the one `period` before
};

void guard_start(struct guard *g, int expected, int budget);

/* One more code. On SPEECH_REPEATS, *good is how many codes came before the repetition set in. */
enum verdict guard_code(struct guard *g, int32_t code, int *good);

/* The end came after the codes seen. */
enum verdict guard_end(const struct guard *g);

/* The whole utterance as sound. */
enum verdict guard_sound(const struct guard *g, const float *pcm, int64_t n);

#endif
