/* Has workers speak a book: puts its sentences into the queue, takes their sound into the spool. */
#ifndef UTTER_QUEUE_SUBMIT_H
#define UTTER_QUEUE_SUBMIT_H

#include "base/log.h"
#include "book/reading.h"
#include "queue/redis.h"

struct submit_options {
    const char *url;
    const char *output;  // where the book goes: the same one goes on with the same work in the queue
    const utter_request *request;
    const struct log *log;
    const atomic_bool *stop;
};

struct submit_report {
    int n_workers;       // that sent sound
    double processor_s;  // spent here on writing sentences into the queue and their sound into the spool
};

/* Until the spool is full. *stop ends it with UTTER_CANCELLED; what is in the queue is spoken all the same, and taken
   when the same book is submitted again. progress: as narrate() has it. */
status submit_run(const struct reading *reading, struct spool *spool, const struct submit_options *options,
                  narrate_progress_fn *progress, void *user, struct submit_report *out);

#endif
