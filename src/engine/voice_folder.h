/* The user's own voices: a folder of voice files, each called as its voice is.

   $XDG_DATA_HOME/utter/voices/NAME.json, else ~/.local/share/utter/voices/NAME.json */
#ifndef UTTER_ENGINE_VOICE_FOLDER_H
#define UTTER_ENGINE_VOICE_FOLDER_H

#include <jansson.h>

#include "base/str.h"

/* The folder's path; it need not be there. UTTER_INVALID when the environment does not say where. */
status voices_folder(struct str *out);

/* Where the voice `name` is, or would be. UTTER_INVALID for a name that cannot be a file's. */
status voice_path(const char *name, struct str *out);

/* The folder, made with those above it if it is not there. */
status voices_folder_make(struct str *out);

/* Removes a voice of the folder. */
status voice_remove(const char *name);

/* The object of a voice file, by the voice's name in the folder, or else by path. json_decref it. */
status voice_read(const char *name_or_path, json_t **out);

#endif
