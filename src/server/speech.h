/* One order being spoken: the engine's stream, through tempo and encoder, to bytes as the reader wants them. */
#ifndef UTTER_SERVER_SPEECH_H
#define UTTER_SERVER_SPEECH_H

#include "base/str.h"
#include "server/order.h"
#include "utter.h"

struct tempo;

struct speech {
    const struct order *order;
    int rate_hz;
    utter_stream *stream;
    struct audio_encoder *encoder;
    struct tempo *tempo;  // NULL: as fast as it is spoken
    struct str encoded;   // of the step that runs, for an event
    struct str out;       // for the reader, who clears it
    int n_sentences;      // told in events
    int64_t n_samples;    // played, at the order's speed
    float *kept;          // [n_kept] where the order says so
    size_t n_kept, kept_cap;
};

/* Starts. speech_close also after a failure. first_frames: as of utter_request. */
status speech_open(utter *u, const struct order *o, int first_frames, struct speech *s);
/* Speaks a piece: what it gave is in s->out. *ended: that was all. */
status speech_step(struct speech *s, bool *ended);
/* After the end: gives the order's file, if it has one, its name. */
status speech_commit(struct speech *s, struct order *o);
void speech_close(struct speech *s);

#endif
