/* Orders that wait, and the threads that speak them.

   Orders wait in a bounded queue, a lane for each caller; a thread that is free takes the next lane's first, so that
   who asks for much waits behind himself and not others behind him. A thread speaks into the job's buffer. The job is
   put aside (parked) when the buffer is full, or when its reader takes nothing and others wait; it goes on when the
   reader has caught up, before new ones are begun, or when a thread has nothing else to do. There are some more places
   on the device than threads, which jobs that were put aside may keep; beyond those their streams rest, so that who
   stands still keeps nobody waiting. Only when very many stand still, and others wait, the one that has stood longest
   is given up.

   A job has two owners, the threads and its reader, and lives until both let go of it. */
#ifndef UTTER_SERVER_JOBS_H
#define UTTER_SERVER_JOBS_H

#include "server/order.h"
#include "utter.h"

struct job;
struct jobs;

/* How the reader is told. Both are called under the lock of all jobs, with nothing allowed that would call back. */
struct job_reader {
    void (*wait)(void *user);  // nothing is there: wake will be called when that changes
    void (*wake)(void *user);  // once for each wait
    void *user;
};

struct jobs_options {
    int n_threads;         // speak at once
    int n_places;          // on the device: n_threads, and some that jobs put aside may keep
    int n_open;            // streams that may be open: n_threads and those put aside
    int n_queue;           // may wait
    int n_queue_caller;    // of one caller; 0: no bound of its own
    int first_frames;      // of each stream, as in utter_request
    size_t buffer_bytes;   // that a reader may be behind
    size_t buffers_bytes;  // that all of them together may be, before each has little
    void (*done)(void *user, const struct outcome *o, status s);  // of each job that was spoken or failed
    void *user;
};

status jobs_new(const struct jobs_options *o, struct jobs **out);
/* Starts the threads. Until then jobs wait. */
status jobs_serve(struct jobs *p, utter *u);
/* No more jobs are taken. With `now` those that there are end; their readers are told. */
void jobs_stop(struct jobs *p, bool now);
/* After all readers have let go. */
void jobs_free(struct jobs *p);

/* To be called some times a second: ends what is past its deadline, gives up readers that others wait for. */
void jobs_tick(struct jobs *p);

struct jobs_counts {
    int n_queued, n_running, n_parked;
    int n_jobs;  // that a reader or a thread still holds
    size_t n_buffered;
    double next_s;  // about how long until the next of the queue is begun
};
void jobs_count(struct jobs *p, struct jobs_counts *out);

/* Queues an order, which becomes the job's. `caller` names whose lane it waits in. UTTER_LIMIT when the queue is full,
   UTTER_CANCELLED when they are stopping; then the order is still the caller's. */
status jobs_submit(struct jobs *p, struct order *o, const char *caller, const struct job_reader *reader,
                   struct job **out);

/* Up to `capacity` bytes. *n 0: with *ended that was all; without, the reader's wait has been called. Returns what the
   job failed with, once its bytes have been read. */
status job_read(struct job *j, char *bytes, size_t capacity, size_t *n, bool *ended);
/* As job_read, taking nothing: true when there is something to read, or it has ended or failed. */
bool job_ready(struct job *j, status *s);
/* The reader wants no more of it. */
void job_cancel(struct job *j);
/* What became of it; for what has not ended, what is known so far. */
void job_outcome(struct job *j, struct outcome *out);
/* The samples that the order had kept; the caller's from then on (free). */
float *job_take_kept(struct job *j, size_t *n);
const struct order *job_order(const struct job *j);
/* Lets go, cancels what still runs. */
void job_release(struct job *j);

#endif
