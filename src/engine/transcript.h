/* What language a transcript is written in, guessed from its commonest words. */
#ifndef UTTER_ENGINE_TRANSCRIPT_H
#define UTTER_ENGINE_TRANSCRIPT_H

#include "engine/clone.h"

/* "en", "de", "fr" or "es"; NULL where the words do not tell. */
const char *transcript_language(const char *text);

/* Warns when the transcript is plainly in another of these languages than `language` (NULL: it was not said, and
   English is what most models speak). */
void transcript_judge(const char *text, const char *language, clip_warn_fn *warn, void *user);

#endif
