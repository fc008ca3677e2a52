#include "cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

/* How long a thread looks for work, or for the others' end, before it sleeps: longer than the gap between two products
   of one step, shorter than anybody would notice in a machine that has other work. */
enum { SPIN_NS = 50000, PAUSES_PER_LOOK = 32, MAX_THREADS = 1024 };

struct pool {
    int n_threads;
    int n_started;       // workers that exist: n_threads - 1 once pool_new is through
    pthread_t *workers;  // [n_threads - 1]

    /* The job. Written by the caller before `round` moves on, read by the workers after it. */
    pool_job *job;
    void *argument;
    _Atomic uint32_t round;  // moves on with every job
    _Atomic int n_working;   // workers not yet done with this round's job
    _Atomic bool closing;

    /* Sleepers announce themselves before they look a last time, so a wake-up cannot fall between. */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    _Atomic int n_asleep;        // workers waiting for `work`
    _Atomic bool caller_asleep;  // the caller waits for `done`
};

struct worker {
    struct pool *pool;
    int thread;
};

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int n_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* Returns once the round is no longer `seen`. */
static void wait_for_work(struct pool *p, uint32_t seen) {
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (atomic_load_explicit(&p->round, memory_order_acquire) != seen) return;
            pause_briefly();
        }
        int64_t now = clock_ns();
        if (!end) end = now + SPIN_NS;
        if (now >= end) break;
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (atomic_load(&p->round) == seen) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(struct pool *p) {
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (atomic_load_explicit(&p->n_working, memory_order_acquire) == 0) return;
            pause_briefly();
        }
        int64_t now = clock_ns();
        if (!end) end = now + SPIN_NS;
        if (now >= end) break;
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_asleep, true);
    while (atomic_load(&p->n_working) > 0) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_asleep, false);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *argument) {
    struct worker w = *(struct worker *)argument;
    free_aligned(argument);
    struct pool *p = w.pool;
    for (uint32_t seen = 0;; seen++) {
        wait_for_work(p, seen);
        if (atomic_load(&p->closing)) return NULL;
        p->job(p->argument, w.thread, p->n_threads);
        if (atomic_fetch_sub(&p->n_working, 1) == 1 && atomic_load(&p->caller_asleep)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void start_round(struct pool *p) {
    atomic_fetch_add(&p->round, 1);
    if (atomic_load(&p->n_asleep) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static status start_worker(struct pool *p) {
    struct worker *w;
    TRY(alloc_for(&w, 1, sizeof *w, "a thread"));
    *w = (struct worker){p, p->n_started + 1};
    int error = pthread_create(&p->workers[p->n_started], NULL, work, w);
    if (error) {
        free_aligned(w);
        return fail(UTTER_DEVICE, "thread %d of %d could not be started (error %d): ask for fewer threads",
                    p->n_started + 2, p->n_threads, error);
    }
    p->n_started++;
    return UTTER_OK;
}

status pool_new(int n_threads, struct pool **out) {
    *out = NULL;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return fail(UTTER_INVALID, "%d threads: give 1 to %d, or 0 for one for each core", n_threads, MAX_THREADS);
    if (n_threads == 0) n_threads = n_cores();
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;

    struct pool *p;
    TRY(alloc_for(&p, 1, sizeof *p, "the thread pool"));
    p->n_threads = n_threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    status s = alloc_for(&p->workers, (size_t)n_threads, sizeof *p->workers, "the thread pool");
    while (s == UTTER_OK && p->n_started < n_threads - 1) s = start_worker(p);
    if (s != UTTER_OK) {
        pool_free(p);
        return s;
    }
    *out = p;
    return UTTER_OK;
}

void pool_free(struct pool *p) {
    if (!p) return;
    atomic_store(&p->closing, true);
    start_round(p);
    for (int i = 0; i < p->n_started; i++) pthread_join(p->workers[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free_aligned(p->workers);
    free_aligned(p);
}

int pool_n_threads(const struct pool *p) { return p->n_threads; }

void pool_run(struct pool *p, pool_job *job, void *argument) {
    if (p->n_threads > 1) {
        p->job = job;
        p->argument = argument;
        atomic_store_explicit(&p->n_working, p->n_threads - 1, memory_order_relaxed);
        start_round(p);
    }
    job(argument, 0, p->n_threads);
    if (p->n_threads > 1) wait_for_workers(p);
}
