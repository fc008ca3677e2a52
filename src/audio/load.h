/* Sound from files, for recordings: whatever libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, AIFF ...), of any rate and
   number of channels, as mono at the rate that is asked for. */
#ifndef UTTER_AUDIO_LOAD_H
#define UTTER_AUDIO_LOAD_H

#include <stdint.h>

#include "base/status.h"

struct sound {
    float *samples;  // [n] mean of the channels; free with sound_free
    int64_t n;
    int rate_hz;
    int file_rate_hz, n_channels;  // as recorded
    int64_t n_clipped;             // recorded samples that stand at full scale, with a neighbour that does too
};

/* A file that is no sound, is empty or damaged, or is longer than max_seconds, is refused. */
status sound_load(const char *path, int rate_hz, double max_seconds, struct sound *out);
void sound_free(struct sound *s);

#endif
