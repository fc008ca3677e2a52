/* What lies in Redis, and how a job is written.

   All keys begin with utter:1: (the version of the format); nothing else is touched.
     jobs:IDENTITY     a stream of sentences for workers that have that model and voice; group "workers"
     identities        the set of those
     done:BOOK         a stream of finished sentences (unit, worker, and failure or sound with its crc), read and
                       emptied by the one who submitted the book
     dead              a stream of jobs that nobody could do, the newest 1,000
     worker:NAME       what a worker is doing, gone 15 seconds after its end
     book:BOOK         who waits for what, gone a day after its end
   A job is at least once with somebody; its result is put down together with the end of the job, and a second one of
   the same sentence is the same and is dropped. */
#ifndef UTTER_QUEUE_JOBS_H
#define UTTER_QUEUE_JOBS_H

#include <stdint.h>

#include "base/str.h"

#define QUEUE_PREFIX "utter:1:"
#define QUEUE_GROUP "workers"

enum {
    QUEUE_WINDOW = 256,     // sentences of a book that lie in the queue at once
    QUEUE_MAX_DEAD = 1000,  // jobs kept that nobody could do
    // a job that so many took and none finished is given up: few, since it may be what kills them; not too few, since
    // a machine that is taken away leaves all that it had in hand
    QUEUE_MAX_DELIVERIES = 5,
    QUEUE_IDLE_MS = 15000,  // a job whose worker has said nothing for so long is another's
    QUEUE_ALIVE_S = 15,     // a worker says so often enough that it is alive
    QUEUE_ID = 64,          // bytes of names here
};

struct queued {
    char book[QUEUE_ID];
    int unit;
    char *text, *language, *emotion;  // owned; emotion may be NULL
    uint32_t seed;
    float temperature, top_p, min_p;
    int top_k, retries;
};

/* Appends the job as JSON. */
status queued_write(const struct queued *j, struct str *out);
/* Reads a job that came over the network: a version or a field that is not known or not of its kind is refused. */
status queued_read(const char *json, size_t len, struct queued *out);
void queued_free(struct queued *j);

#endif
