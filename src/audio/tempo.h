/* Faster and slower speech at the same pitch, by libsonic: samples are pushed in and pulled out as they come, with a
   delay of some tens of milliseconds. What comes out is within [-1, 1], in steps of 16 bits. */
#ifndef UTTER_AUDIO_TEMPO_H
#define UTTER_AUDIO_TEMPO_H

#include <stddef.h>

#include "base/status.h"

#define TEMPO_MIN 0.25
#define TEMPO_MAX 4.0

struct tempo;

/* speed: TEMPO_MIN..TEMPO_MAX, 2 takes half the time; else, and for what is not a number, UTTER_INVALID. */
status tempo_new(int rate_hz, double speed, struct tempo **out);
/* samples: float [n] */
status tempo_push(struct tempo *t, const float *samples, size_t n);
/* Nothing more comes: what was held back can be pulled. */
status tempo_end(struct tempo *t);
/* Some of the samples that are ready, up to `capacity`; *n is 0 when there are none until more is pushed. */
status tempo_pull(struct tempo *t, float *samples, size_t capacity, size_t *n);
/* NULL is allowed. */
void tempo_free(struct tempo *t);

#endif
