/* Permits handed out in the order in which they were asked for: one for a device (it takes one call at a time), or as
   many as there are slots. Waiting ends with the deadline or with a cancel flag, never later. */
#ifndef UTTER_ENGINE_FAIR_H
#define UTTER_ENGINE_FAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct fair {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool *busy;  // [n_permits]
    int n_permits;
    struct fair_waiter *first;  // who asked first; a list through the waiters' own stacks
};

status fair_init(struct fair *f, int n_permits);
void fair_destroy(struct fair *f);

/* Waits for a permit: 0 <= *permit < n_permits. `cancelled` may be NULL. On failure nothing is held. */
status fair_take(struct fair *f, const atomic_bool *cancelled, int64_t deadline, int *permit);
void fair_give(struct fair *f, int permit);

/* How many wait; f->lock must be held. */
int fair_n_waiting(const struct fair *f);

#endif
