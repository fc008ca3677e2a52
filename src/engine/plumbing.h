/* Single stages of the pipe, for debugging and for tests from outside; the command line's lower half. */
#ifndef UTTER_ENGINE_PLUMBING_H
#define UTTER_ENGINE_PLUMBING_H

#include <stdint.h>

#include "base/str.h"
#include "utter.h"

/* Text stages. Appends to `out`. */
status plumb_phonemes(const char *language, bool raw, const char *text, size_t len, struct str *out);
status plumb_normalize(const char *language, const char *text, size_t len, struct str *out);
/* Calls back for each sentence of the text. */
typedef status plumb_sentence_fn(void *user, const char *sentence, size_t len, bool paragraph_end);
status plumb_sentences(const char *language, bool raw, const char *text, size_t len, plumb_sentence_fn *fn, void *user);
/* Bytes of text[len] that end at a sentence end, so that the rest can wait for more input; 0 if there is none. */
size_t plumb_whole_sentences(const char *language, const char *text, size_t len);

/* A backbone alone, on the CPU. `model` NULL: the built-in one. Speech-only heads are not used here: logits are over
   the whole vocabulary. */
struct plumb_model;
status plumb_model_open(const utter_options *options, struct plumb_model **out);
void plumb_model_close(struct plumb_model *m);
int plumb_n_vocab(const struct plumb_model *m);
/* Tokens of a text, special tokens parsed. *ids: new memory (free_aligned). */
status plumb_tokens(const struct plumb_model *m, const char *text, size_t len, int32_t **ids, size_t *n);
/* logits: float [n, n_vocab]. */
status plumb_logits(struct plumb_model *m, const int32_t *tokens, int n, float *logits);
/* Up to n_max tokens after the prompt tokens[n]; ends at end-of-generation tokens unless `through_end`.
   generated: int32_t [n_max]. */
status plumb_generate(struct plumb_model *m, const int32_t *tokens, int n, const utter_request *sampling,
                      bool through_end, int32_t *generated, int n_max, int *n_generated);

/* A codec alone: codes[n] to samples. *pcm: new memory (free_aligned), [*n_samples]. `streaming`: by windows, the
   first n_reference codes being the reference; otherwise all codes in one decode and n_reference must be 0. */
status plumb_codec_decode(const utter_options *options, const int32_t *codes, int n, bool streaming, int n_reference,
                          float **pcm, int64_t *n_samples, int *sample_rate);

/* What a model file is, as JSON text (jansson) for `models info`. `path` NULL: the built-in model and codec. */
status plumb_model_info(const char *path, struct str *json);

#endif
