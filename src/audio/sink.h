/* Sound on its way into a file or down a pipe, samples pushed as they come.

   A file gets the format its name ends in: .wav (16 bits), .flac (16 bits), .ogg (Vorbis), .opus, .mp3, or .npy: the
   samples as float32, as they are. It is written beside its name and renamed when it is whole. A pipe, a device or
   standard output gets a WAV whose length is given as unknown. All but .npy keep to [-1, 1]: what is beyond is clipped,
   and what is not a number is silence. */
#ifndef UTTER_AUDIO_SINK_H
#define UTTER_AUDIO_SINK_H

#include <stddef.h>

#include "base/status.h"

struct sink;

/* UTTER_INVALID for a name whose ending is of no format that can be written; a pipe or device may have any name. */
status sink_check_name(const char *path);

/* Opens `path`, "-" for standard output, for mono sound. */
status sink_open(const char *path, int rate_hz, struct sink **out);

/* samples: float [n] */
status sink_write(struct sink *s, const float *samples, size_t n);

/* Completes the file and gives it its name. The sink is closed whatever the result. */
status sink_finish(struct sink *s);

/* Closes the sink and leaves no file behind. NULL is allowed. */
void sink_abandon(struct sink *s);

#endif
