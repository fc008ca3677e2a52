/* What makes a language model speak: its speech tokens, and how it wants to be prompted and sampled. */
#ifndef UTTER_BACKBONE_SPEECH_H
#define UTTER_BACKBONE_SPEECH_H

#include "backbone/backbone.h"

/* Fills the fields of `b` from n_codes on; the tokenizer must be there. */
status speech_load(struct backbone *b);
void speech_free(struct backbone *b);

/* Whether the file has the key, of whatever kind. */
bool metadata_has(const struct gguf *g, const char *key);

#endif
