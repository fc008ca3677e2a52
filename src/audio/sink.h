/* Sound on its way into a file or down a pipe, samples pushed as they come.

   A file gets the format its name ends in: .wav (16 bits), .flac (16 bits), .mp3, .opus, .ogg (Vorbis), .aac, .pcm (as
   audio/encode.h makes them), or .npy: the samples as float32, as they are. It is written beside its name and renamed
   when it is whole. A pipe, a device or standard output gets a WAV whose length is given as unknown. A format may also
   be named, whatever the name ends in. */
#ifndef UTTER_AUDIO_SINK_H
#define UTTER_AUDIO_SINK_H

#include <stddef.h>

#include "base/status.h"

struct sink;

/* Whether sink_open would know what to write. `format`: "wav", "npy" and those of audio_format_parse; NULL: by the
   name's ending. UTTER_INVALID for what is of no format that can be written; a pipe or device may have any name. */
status sink_check_name(const char *path, const char *format);

/* Opens `path`, "-" for standard output, for mono sound. */
status sink_open(const char *path, const char *format, int rate_hz, struct sink **out);

/* samples: float [n] */
status sink_write(struct sink *s, const float *samples, size_t n);

/* Completes the file and gives it its name. The sink is closed whatever the result. */
status sink_finish(struct sink *s);

/* Closes the sink and leaves no file behind. NULL is allowed. */
void sink_abandon(struct sink *s);

#endif
