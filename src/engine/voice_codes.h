/* Speech codes from files that other programs write: PyTorch tensors (.pt), NumPy arrays (.npy). */
#ifndef UTTER_ENGINE_VOICE_CODES_H
#define UTTER_ENGINE_VOICE_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Whether a file is one of these, by its beginning data[size] and its name, and not JSON. */
bool voice_codes_look_like(const char *path, const void *data, size_t size);

/* The whole numbers of a tensor with one dimension longer than 1, from the file that lies at data[size]. *codes is new
   memory (free_aligned), int64_t [*n], *n from 1; what they may be is the codec's to say. `path` is for messages, and
   is read again when it is an .npy file. */
status voice_codes_read(const char *path, const void *data, size_t size, int64_t **codes, int64_t *n);

/* The transcript that lies beside a file: NAME.txt for NAME.pt, without the white space around it. *text is new memory
   (free). */
status voice_codes_transcript(const char *path, char **text);

/* What a voice from such a file is called: the file's name without its folder and its ending. New memory (free). */
status voice_codes_name(const char *path, char **name);

#endif
