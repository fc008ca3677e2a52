/* The journal of a reading: what has been spoken so far, one record a unit, in the order in which they came. A record
   is whole or it is not there: after a crash or a power cut the file is cut behind the last whole one, and the reading
   goes on from there. Sound is kept as FLAC of 24 bits. */
#ifndef UTTER_BOOK_SPOOL_H
#define UTTER_BOOK_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct spool;

/* Opens or makes the spool `path` of a reading of n_units, known by `plan` (a hash of all that decides its sound). One
   of another plan is refused, or with `restart` made anew. A spool that another process has open is refused. */
status spool_open(const char *path, const char *plan, int rate_hz, int n_units, bool restart, struct spool **out);
/* Makes sure that all of it is on the disk. NULL is allowed. */
void spool_close(struct spool *s);
/* Takes the file away; the spool must be closed. */
void spool_remove(const char *path);

bool spool_has(const struct spool *s, int unit);
int spool_n_done(const struct spool *s);
int spool_n_failed(const struct spool *s);

/* Adds a unit's sound, as sound_pack makes it, or with n_bytes 0 the sentence why it could not be spoken. What is there
   already stays, but sound takes the place of a failure. From one thread at a time. */
status spool_add(struct spool *s, int unit, const void *packed, size_t n_bytes, const char *failure);

/* A unit's sound; *samples: new memory, NULL and *n 0 for a unit that failed. */
status spool_read(struct spool *s, int unit, float **samples, int64_t *n);
/* Why it failed; "" when it did not. Lives until the spool is closed. */
const char *spool_failure(struct spool *s, int unit);

/* Sound of one unit as FLAC, 24 bits, clipped to [-1, 1]. Appends to out. */
status sound_pack(const float *samples, int64_t n, int rate_hz, struct str *out);
/* *samples: new memory. Sound at another rate than rate_hz or longer than an hour is refused. */
status sound_unpack(const void *packed, size_t n_bytes, int rate_hz, float **samples, int64_t *n);

/* For sound that comes from elsewhere: whether it is as it was packed, by its CRC, and of that rate and no longer than
   an hour, by its header. *n: its samples. Far cheaper than unpacking. */
uint32_t sound_crc(const void *packed, size_t n_bytes);
status sound_check(const void *packed, size_t n_bytes, uint32_t crc, int rate_hz, int64_t *n);

#endif
