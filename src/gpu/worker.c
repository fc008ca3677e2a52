#include "gpu/worker.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

struct worker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *context;
    void (*release)(void *, bool);

    job_fn *job;        // running or about to; NULL: none
    int64_t job_limit;  // clock_ns at which the job's time is up
    status result;      // of the last job
    char sentence[1024];
    bool unwanted;
    bool quit;
    bool ended;  // the thread has let go of context
    bool left;   // the owner is gone; the thread frees the worker
    bool lost;
    char reason[1024];  // why it is lost
};

static void *run(void *argument);

static void free_worker(struct worker *w) {
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

status worker_start(void *context, void (*release)(void *, bool), struct worker **out) {
    *out = NULL;
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "a GPU's thread");
    w->context = context;
    w->release = release;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&w->lock, NULL);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, w);
    if (error) {
        free_worker(w);
        return fail(UTTER_MEMORY, "a thread for the GPU could not be started: %s", strerror(error));
    }
    pthread_detach(thread);  // it may have to be left behind
    *out = w;
    return UTTER_OK;
}

/* Waits, with the lock held, until the time or a change. */
static void wait_until(struct worker *w, int64_t time_ns) {
    if (time_ns == NO_DEADLINE) {
        pthread_cond_wait(&w->changed, &w->lock);
        return;
    }
    // clock_ns has an origin of its own
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t left = time_ns - clock_ns();
    if (left < 0) left = 0;
    int64_t at = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + left;
    struct timespec until = {.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};
    pthread_cond_timedwait(&w->changed, &w->lock, &until);
}

static void lose(struct worker *w, const char *reason) {
    if (w->lost) return;
    w->lost = true;
    snprintf(w->reason, sizeof w->reason, "%s", reason);
}

/* With the lock held: until the job in hand is done. */
static status wait_for_job(struct worker *w, int64_t deadline) {
    while (w->job) {
        int64_t now = clock_ns();
        if (now >= w->job_limit) {
            lose(w,
                 "the GPU did not answer within the time that its work can take; it is not used any more. See "
                 "`nvidia-smi` and the system log, and restart the machine if it does not come back");
            w->unwanted = true;
            return fail(UTTER_DEVICE, "%s", w->reason);
        }
        if (now >= deadline) {
            w->unwanted = true;
            return fail(UTTER_DEADLINE, "the GPU was not done in the time allowed");
        }
        wait_until(w, deadline < w->job_limit ? deadline : w->job_limit);
    }
    return UTTER_OK;
}

/* With the lock held. */
static status ready(struct worker *w, int64_t deadline) {
    if (w->lost) return fail(UTTER_DEVICE, "%s", w->reason);
    TRY(wait_for_job(w, deadline));
    return w->lost ? fail(UTTER_DEVICE, "%s", w->reason) : UTTER_OK;
}

status worker_ready(struct worker *w, int64_t deadline) {
    pthread_mutex_lock(&w->lock);
    status s = ready(w, deadline);
    pthread_mutex_unlock(&w->lock);
    return s;
}

status worker_call(struct worker *w, job_fn *job, int64_t deadline, int64_t limit_ns) {
    pthread_mutex_lock(&w->lock);
    status s = ready(w, deadline);
    if (s == UTTER_OK) {
        w->job = job;
        w->job_limit = clock_ns() + limit_ns;
        w->unwanted = false;
        pthread_cond_broadcast(&w->changed);
        s = wait_for_job(w, deadline);
        if (s == UTTER_OK) {
            s = w->result;
            if (s != UTTER_OK) fail(s, "%s", w->sentence);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return s;
}

void worker_lose(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    lose(w, fail_message());
    pthread_mutex_unlock(&w->lock);
}

bool worker_lost(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    bool lost = w->lost;
    pthread_mutex_unlock(&w->lock);
    return lost;
}

void worker_extend(struct worker *w, int64_t limit_ns) {
    pthread_mutex_lock(&w->lock);
    w->job_limit = clock_ns() + limit_ns;
    pthread_mutex_unlock(&w->lock);
}

bool worker_unwanted(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    bool unwanted = w->unwanted;
    pthread_mutex_unlock(&w->lock);
    return unwanted;
}

void worker_stop(struct worker *w, int64_t limit_ns) {
    if (!w) return;
    int64_t until = clock_ns() + limit_ns;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    w->unwanted = true;
    pthread_cond_broadcast(&w->changed);
    while (!w->ended && clock_ns() < until) wait_until(w, until);
    bool ended = w->ended;
    w->left = true;
    pthread_mutex_unlock(&w->lock);
    if (ended) free_worker(w);
}

static void *run(void *argument) {
    struct worker *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->job && !w->quit) wait_until(w, NO_DEADLINE);
        if (!w->job) break;
        job_fn *job = w->job;
        pthread_mutex_unlock(&w->lock);
        status s = job(w->context);
        pthread_mutex_lock(&w->lock);
        w->result = s;
        snprintf(w->sentence, sizeof w->sentence, "%s", s == UTTER_OK ? "" : fail_message());
        w->job = NULL;
        pthread_cond_broadcast(&w->changed);
    }
    bool lost = w->lost;
    pthread_mutex_unlock(&w->lock);
    w->release(w->context, lost);
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    bool left = w->left;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (left) free_worker(w);
    return NULL;
}
