/* Plays what was spoken on this machine, one after the other, in a thread of its own. Nobody waits for it: what comes
   while too much waits already is not played. */
#ifndef UTTER_SERVER_JUKEBOX_H
#define UTTER_SERVER_JUKEBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "server/access.h"

struct jukebox;

status jukebox_open(int rate_hz, enum access_format log, struct jukebox **out);
/* Takes samples[n], made by malloc. False: it is not played. */
bool jukebox_put(struct jukebox *b, float *samples, size_t n);
/* Stops at once. NULL is allowed. */
void jukebox_close(struct jukebox *b);

#endif
