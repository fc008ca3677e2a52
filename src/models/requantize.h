/* GGUF files with their matrices in another type. */
#ifndef UTTER_MODELS_REQUANTIZE_H
#define UTTER_MODELS_REQUANTIZE_H

#include "gguf/blocks.h"

/* Told before each tensor: how many bytes of the input's weights are done, of how many. */
typedef void requantize_progress(void *user, const char *tensor, uint64_t done, uint64_t total);

/* Writes the model of the GGUF file `in` to `out` with its matrices in `type`, or what block_type_for puts in its place;
   the matrix that decides over tokens (output.weight, or token_embd.weight where there is none) at least Q8_0. Vectors,
   and matrices that are of the type already, stay as they are. Metadata is copied byte for byte, but for
   general.file_type and general.alignment where they are. progress may be NULL. */
status requantize(const char *in, const char *out, block_type type, requantize_progress *progress, void *user);

#endif
