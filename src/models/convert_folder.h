/* GGUF metadata of a language model from the JSON files that lie beside its weights. */
#ifndef UTTER_MODELS_CONVERT_FOLDER_H
#define UTTER_MODELS_CONVERT_FOLDER_H

#include <jansson.h>

#include "models/checkpoint.h"

/* Geometry and vocabulary as an object of GGUF keys, from config.json, tokenizer.json, tokenizer_config.json and
   generation_config.json in the checkpoint's folder; the last two may be missing. NULL when there is no config.json.
   json_decref it. */
status folder_metadata(const struct checkpoint *c, json_t **out);

/* ---- between the two files that make it ---- */

/* A JSON object from FOLDER/name; NULL when there is no such file and `needed` is not set. */
status folder_object(const char *folder, const char *name, bool needed, json_t **out);

/* Adds the keys tokenizer.ggml.* for a vocabulary of n_vocab tokens. */
status folder_tokenizer(const char *folder, const json_t *config, int64_t n_vocab, json_t *said);

#endif
