/* The CPU device's threads: they spin briefly between jobs, then sleep.

   A job is cut into tasks, and whatever thread is free takes the next one. So a thread that the system keeps off the
   processor, or that is still waking up, holds nobody up: the others do its share.

   No thread is bound to a core. Where a machine has nothing else to do, the system keeps them apart by itself; where it
   has, a bound thread waits behind others beside a core that idles, and two programs may choose the same one.

   Two lanes share the threads, each with a job of its own at a time: workers help where there are tasks. The threads
   that call count: while both lanes are in use, one worker fewer is. */
#ifndef UTTER_CPU_POOL_H
#define UTTER_CPU_POOL_H

#include <stdint.h>

#include "base/status.h"

struct pool;

/* n_threads counts the caller; 0: as many as cores_to_use. *out is the first lane. */
status pool_new(int n_threads, struct pool **out);
void pool_free(struct pool *p);
struct pool *pool_second_lane(struct pool *p);

/* Around the jobs of a lane that is used beside the other. With one thread, lanes take turns from begin to end. */
void pool_begin(struct pool *p);
void pool_end(struct pool *p);

int pool_n_threads(const struct pool *p);

/* Calls job(argument, task, n_tasks) once for each task, and returns when all are done. From one thread at a
   time in each lane. */
typedef void pool_job(void *argument, int task, int n_tasks);
void pool_run_tasks(struct pool *p, pool_job *job, void *argument, int n_tasks);

/* The same with a task for each thread: what is numbered by `thread` is never used twice at once. */
void pool_run(struct pool *p, pool_job *job, void *argument);

/* This task's share of n items: [*begin, *end), cut at multiples of `grain`. */
static inline void pool_share(int64_t n, int64_t grain, int task, int n_tasks, int64_t *begin, int64_t *end) {
    int64_t units = (n + grain - 1) / grain;
    *begin = units * task / n_tasks * grain;
    *end = units * (task + 1) / n_tasks * grain;
    if (*begin > n) *begin = n;
    if (*end > n) *end = n;
}

#endif
