/* Speaks the units of a book into its spool. */
#ifndef UTTER_BOOK_NARRATE_H
#define UTTER_BOOK_NARRATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "book/spool.h"
#include "book/units.h"

/* Unit i of a reading with `seed` is spoken with this one: the same whenever, wherever and after whatever it is spoken.
   Retries count on from it. */
static inline uint32_t unit_seed(uint32_t seed, int unit) { return seed + (uint32_t)unit * 1009; }

/* Whether a unit that failed so is given up for itself, the rest of the book being spoken; other failures are of the
   machine, and the unit can be tried again. */
bool unit_is_given_up(status s);

/* Speaks one text whole, at most for ten minutes. *samples: new memory. `current`, if not NULL, holds the stream while
   it runs, for utter_cancel, guarded by *lock. */
struct running {
    pthread_mutex_t *lock;
    utter_stream *stream;
    bool stopped;  // no stream may begin any more
};
status unit_speak(utter *u, const utter_request *request, struct running *running, float **samples, int64_t *n);

/* Called after each unit, from one thread at a time. n_bytes: of its text, 0 when the unit was told before, as failed;
   n_samples: 0 when it failed. */
typedef void narrate_progress_fn(void *user, int unit, size_t n_bytes, int64_t n_samples);

/* Speaks what the spool does not have yet, n_streams units at once. `request` has voice, language and sampling. A unit
   that gives no speech is noted in the spool and left out; anything else that fails ends it. *stop, set from any
   thread, ends it with UTTER_CANCELLED, all finished units being kept. */
status narrate(utter *u, const struct book *b, const struct units *units, const utter_request *request,
               struct spool *spool, int n_streams, const atomic_bool *stop, narrate_progress_fn *progress, void *user);

#endif
