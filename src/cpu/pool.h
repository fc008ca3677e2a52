/* The CPU device's threads: they spin briefly between jobs, then sleep. */
#ifndef UTTER_CPU_POOL_H
#define UTTER_CPU_POOL_H

#include "base/status.h"

struct pool;

/* n_threads counts the caller; 0: one for each core this process may use. */
status pool_new(int n_threads, struct pool **out);
void pool_free(struct pool *p);
int pool_n_threads(const struct pool *p);

/* Calls job(argument, thread, n_threads) once on every thread, the caller being thread 0, and returns when all are
   done. From one thread at a time. */
typedef void pool_job(void *argument, int thread, int n_threads);
void pool_run(struct pool *p, pool_job *job, void *argument);

/* This thread's share of n items: [*begin, *end), cut at multiples of `grain`. */
static inline void pool_share(int64_t n, int64_t grain, int thread, int n_threads, int64_t *begin, int64_t *end) {
    int64_t units = (n + grain - 1) / grain;
    *begin = units * thread / n_threads * grain;
    *end = units * (thread + 1) / n_threads * grain;
    if (*begin > n) *begin = n;
    if (*end > n) *end = n;
}

#endif
