/* A thread that makes every call into the driver, so that a call that never returns is noticed and left behind instead
   of taking its caller along.

   Jobs run one after another. A caller waits for its job until the job's limit (how long such work can take at the very
   most) or its own deadline, whichever is first:
     - the job ends: its status and sentence are the caller's;
     - the deadline passes: UTTER_DEADLINE; the job goes on, asked to stop early, and the next call waits for it first;
     - the limit passes: the worker is lost. This call and all later ones return UTTER_DEVICE at once with the reason.
 */
#ifndef UTTER_GPU_WORKER_H
#define UTTER_GPU_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct worker;

typedef status job_fn(void *context);

/* release(context, lost) is the thread's last act, whenever that comes; what it gets may be used by the thread until
   then. */
status worker_start(void *context, void (*release)(void *context, bool lost), struct worker **out);

/* Waits for a job that a former caller left running. What jobs read may be written after this and before worker_call.
 */
status worker_ready(struct worker *w, int64_t deadline);
status worker_call(struct worker *w, job_fn *job, int64_t deadline, int64_t limit_ns);

/* From a job: the device must not be used any more, for the reason in fail_message(). */
void worker_lose(struct worker *w);
bool worker_lost(struct worker *w);

/* From a job that has done a part of its work: its limit is so far from now. */
void worker_extend(struct worker *w, int64_t limit_ns);

/* From a job: whether nobody waits for its result any more. */
bool worker_unwanted(struct worker *w);

/* Lets the thread end and waits for that, at most limit_ns; after that it is left to itself. */
void worker_stop(struct worker *w, int64_t limit_ns);

#endif
