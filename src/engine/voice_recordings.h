/* A folder of recordings as voices: NAME.wav (.flac, .ogg, .opus, .mp3) with its transcript NAME.txt beside it. Each is
   encoded once; the voice is kept as a file whose name follows from all that it was made of.

   $XDG_CACHE_HOME/utter/voices/CONTENT-ENCODER.json, else ~/.cache/utter/voices/... */
#ifndef UTTER_ENGINE_VOICE_RECORDINGS_H
#define UTTER_ENGINE_VOICE_RECORDINGS_H

#include "base/log.h"
#include "engine/voice.h"

/* Adds the voices of the folder's recordings. One that cannot be taken is left out with a sentence for the log, as a
   warning; so is what is encoded, since that takes its time. A voice file of the same name goes before a recording. */
status voice_list_add_recordings(struct voice_list *list, const char *folder, const utter_options *options,
                                 const struct log *log, const struct backbone *b, const struct codec *c);

#endif
