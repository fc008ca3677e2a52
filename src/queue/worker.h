/* A worker: takes sentences out of the queue, speaks them on this machine, puts the sound back. */
#ifndef UTTER_QUEUE_WORKER_H
#define UTTER_QUEUE_WORKER_H

#include "base/log.h"
#include "queue/redis.h"

struct worker_options {
    const char *url;
    const char *name;  // NULL: host name and process id
    int n_streams;     // sentences at once
    const struct log *log;
    const atomic_bool *stop;  // ends it after the sentences in hand
    double idle_s;            // > 0: ends it when there was nothing to do for so long
};

struct worker_report {
    int n_done, n_given_up;
    double audio_s, busy_s;  // of sound; of time with at least one sentence in hand
};

/* Works until *stop, or until Redis is gone for ten minutes. */
status worker_run(utter *u, const struct worker_options *options, struct worker_report *out);

#endif
