/* Sound through the loudspeaker, by PortAudio. Samples are pushed from one thread; the sound card takes them from a
   ring of a few seconds. Nothing waits for ever: a card that takes nothing for some seconds is given up. */
#ifndef UTTER_AUDIO_PLAY_H
#define UTTER_AUDIO_PLAY_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/status.h"

struct player;

/* Opens the default output for mono sound. *stop, set from any thread, ends every wait with UTTER_CANCELLED; it may be
   NULL. What the sound system's libraries print while they look for a card is kept from standard error. */
status player_open(int rate_hz, const atomic_bool *stop, struct player **out);

/* samples: float [n], clipped to [-1, 1]. Waits while the ring is full; the first samples start the sound. */
status player_write(struct player *p, const float *samples, size_t n);

/* Waits until everything pushed has been heard. */
status player_drain(struct player *p);

/* How often the card wanted samples that were not there yet. */
long player_underruns(const struct player *p);

/* Stops at once. NULL is allowed. */
void player_close(struct player *p);

#endif
