/* Samples on their way from the thread that makes them to the thread that plays them: one writer, one reader, no lock,
   so that the sound card's callback never waits. */
#ifndef UTTER_AUDIO_RING_H
#define UTTER_AUDIO_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct ring {
    float *data;              // [capacity]
    size_t capacity;          // samples
    _Atomic uint64_t pushed;  // samples ever pushed; changed by the writer only
    _Atomic uint64_t popped;  // samples ever popped; changed by the reader only
};

status ring_init(struct ring *r, size_t capacity);
void ring_free(struct ring *r);

/* Samples that wait to be popped. */
size_t ring_length(struct ring *r);

/* Pushes as many of samples[n] as there is room for; returns how many. */
size_t ring_push(struct ring *r, const float *samples, size_t n);

/* Pops up to n samples; returns how many. */
size_t ring_pop(struct ring *r, float *samples, size_t n);

/* Pushes all of samples[n], waiting for room; false when the reader took nothing for `stall_ns`, or *stop became true
   (stop may be NULL). *n_pushed: how many went in. */
bool ring_push_all(struct ring *r, const float *samples, size_t n, int64_t stall_ns, const atomic_bool *stop,
                   size_t *n_pushed);

#endif
