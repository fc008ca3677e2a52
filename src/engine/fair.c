#include "engine/fair.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

// How long a waiter sleeps before it looks at its cancel flag and its deadline again.
enum { SLICE_NS = 10 * 1000 * 1000 };

status fair_init(struct fair *f, int n_permits) {
    *f = (struct fair){.n_permits = n_permits};
    f->busy = calloc((size_t)n_permits, sizeof *f->busy);
    if (!f->busy) return fail_memory((size_t)n_permits, "permits");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&f->lock, NULL);
    return UTTER_OK;
}

void fair_destroy(struct fair *f) {
    if (!f->busy) return;
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f->busy);
    *f = (struct fair){0};
}

static int free_permit(const struct fair *f) {
    for (int i = 0; i < f->n_permits; i++)
        if (!f->busy[i]) return i;
    return -1;
}

static void wait_a_slice(struct fair *f) {
    int64_t until = clock_ns() + SLICE_NS;
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    pthread_cond_timedwait(&f->changed, &f->lock, &t);
}

struct fair_waiter {
    struct fair_waiter *next;
};

static void enqueue(struct fair *f, struct fair_waiter *me) {
    struct fair_waiter **p = &f->first;
    while (*p) p = &(*p)->next;
    *p = me;
}

static void leave_queue(struct fair *f, const struct fair_waiter *me) {
    struct fair_waiter **p = &f->first;
    while (*p != me) p = &(*p)->next;
    *p = me->next;
    pthread_cond_broadcast(&f->changed);
}

status fair_take(struct fair *f, const atomic_bool *cancelled, int64_t deadline, int *permit) {
    status s = UTTER_OK;
    struct fair_waiter me = {0};
    pthread_mutex_lock(&f->lock);
    enqueue(f, &me);
    while (s == UTTER_OK) {
        *permit = f->first == &me ? free_permit(f) : -1;
        if (*permit >= 0) {
            f->busy[*permit] = true;
            break;
        }
        if (cancelled && atomic_load(cancelled))
            s = fail(UTTER_CANCELLED, "the stream was cancelled");
        else if (clock_ns() >= deadline)
            s = fail(UTTER_DEADLINE,
                     "no place became free in time, other streams hold them all; close those that are not read on, or "
                     "open the engine for more streams");
        else
            wait_a_slice(f);
    }
    leave_queue(f, &me);
    pthread_mutex_unlock(&f->lock);
    return s;
}

void fair_give(struct fair *f, int permit) {
    pthread_mutex_lock(&f->lock);
    f->busy[permit] = false;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

int fair_n_waiting(const struct fair *f) {
    int n = 0;
    for (const struct fair_waiter *w = f->first; w; w = w->next) n++;
    return n;
}
