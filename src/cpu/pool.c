#include "cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/memory.h"

/* How long a thread looks for work, or for the others' end, before it sleeps: longer than the gap between two products
   of one step, shorter than anybody would notice in a machine that has other work. */
enum { SPIN_NS = 50000, PAUSES_PER_LOOK = 32, MAX_THREADS = 1024 };

/* A lane. */
struct pool {
    struct crew *crew;

    /* The round's number in the upper half, the tasks that nobody has taken yet in the lower. A thread takes one by
       lowering the count; if that succeeds, what it has read of the job below belongs to this round, since the caller
       changes it only while the count is 0. */
    _Atomic uint64_t ticket;
    pool_job *_Atomic job;
    void *_Atomic argument;
    _Atomic int n_tasks;
    _Atomic int n_done;  // tasks of this round that are through

    _Atomic bool caller_asleep;  // the caller waits for `done`
    pthread_cond_t done;
};

enum { N_LANES = 2 };

struct worker {
    struct crew *crew;
    int number;
    pthread_t thread;
};

struct crew {
    int n_threads;
    int n_started;           // workers that exist: n_threads - 1 once pool_new is through
    struct worker *workers;  // [n_threads - 1]
    struct pool lanes[N_LANES];
    pthread_mutex_t turn;  // held from begin to end where there is one thread
    _Atomic int n_begun;   // lanes in use, where there are more
    _Atomic bool closing;

    /* Sleepers announce themselves before they look a last time, so a wake-up cannot fall between. */
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t wanted;  // for workers in whose place a caller runs
    _Atomic int n_asleep;   // workers waiting for `work`
};

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_tasks(const struct pool *p) { return (uint32_t)atomic_load(&p->ticket) > 0; }

static bool is_wanted(const struct worker *w) {
    const int n_begun = atomic_load(&w->crew->n_begun);
    return w->number < w->crew->n_threads - (n_begun > 1 ? n_begun : 1) || atomic_load(&w->crew->closing);
}

static bool has_news(const void *worker) {
    const struct worker *w = worker;
    for (int i = 0; i < N_LANES; i++)
        if (has_tasks(&w->crew->lanes[i])) return true;
    return !is_wanted(w) || atomic_load(&w->crew->closing);
}

static bool all_done(const void *lane) {
    const struct pool *p = lane;
    return atomic_load(&p->n_done) == atomic_load(&p->n_tasks);
}

/* Looks for a while; false when it did not come. */
static bool spin_until(bool (*condition)(const void *), const void *of) {
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (condition(of)) return true;
            pause_briefly();
        }
        const int64_t now = clock_ns();
        if (!end) end = now + SPIN_NS;
        if (now >= end) return false;
    }
}

static void wait_for_work(struct worker *w) {
    struct crew *c = w->crew;
    if (spin_until(has_news, w)) return;
    pthread_mutex_lock(&c->lock);
    atomic_fetch_add(&c->n_asleep, 1);
    while (!has_news(w)) pthread_cond_wait(&c->work, &c->lock);
    atomic_fetch_sub(&c->n_asleep, 1);
    pthread_mutex_unlock(&c->lock);
}

static void wait_until_wanted(struct worker *w) {
    struct crew *c = w->crew;
    if (is_wanted(w)) return;
    pthread_mutex_lock(&c->lock);
    while (!is_wanted(w)) pthread_cond_wait(&c->wanted, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void wait_for_end(struct pool *p) {
    if (spin_until(all_done, p)) return;
    pthread_mutex_lock(&p->crew->lock);
    atomic_store(&p->caller_asleep, true);
    while (!all_done(p)) pthread_cond_wait(&p->done, &p->crew->lock);
    atomic_store(&p->caller_asleep, false);
    pthread_mutex_unlock(&p->crew->lock);
}

static void wake(struct crew *c, pthread_cond_t *sleepers) {
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(sleepers);
    pthread_mutex_unlock(&c->lock);
}

/* Takes tasks until there are none. */
static void do_tasks(struct pool *p) {
    uint64_t ticket = atomic_load(&p->ticket);
    while ((uint32_t)ticket > 0) {
        pool_job *job = atomic_load_explicit(&p->job, memory_order_relaxed);
        void *argument = atomic_load_explicit(&p->argument, memory_order_relaxed);
        const int n_tasks = atomic_load_explicit(&p->n_tasks, memory_order_relaxed);
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket - 1)) continue;
        job(argument, n_tasks - (int)(uint32_t)ticket, n_tasks);
        if (atomic_fetch_add(&p->n_done, 1) == n_tasks - 1 && atomic_load(&p->caller_asleep)) wake(p->crew, &p->done);
        ticket = atomic_load(&p->ticket);
    }
}

static void *work(void *argument) {
    struct worker *w = argument;
    for (;;) {
        wait_until_wanted(w);
        wait_for_work(w);
        if (atomic_load(&w->crew->closing)) return NULL;
        for (int i = 0; i < N_LANES && is_wanted(w); i++) do_tasks(&w->crew->lanes[i]);
    }
}

static status start_worker(struct crew *c) {
    struct worker *w = &c->workers[c->n_started];
    *w = (struct worker){.crew = c, .number = c->n_started};
    int error = pthread_create(&w->thread, NULL, work, w);
    if (error)
        return fail(UTTER_DEVICE, "thread %d of %d could not be started (error %d): ask for fewer threads",
                    c->n_started + 2, c->n_threads, error);
    c->n_started++;
    return UTTER_OK;
}

status pool_new(int n_threads, struct pool **out) {
    *out = NULL;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return fail(UTTER_INVALID, "%d threads: give 1 to %d, or 0 for one for each core", n_threads, MAX_THREADS);
    if (n_threads == 0) n_threads = cores_to_use();
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;

    struct crew *c;
    TRY(alloc_for(&c, 1, sizeof *c, "the thread pool"));
    c->n_threads = n_threads;
    pthread_mutex_init(&c->turn, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->wanted, NULL);
    for (int i = 0; i < N_LANES; i++) {
        c->lanes[i].crew = c;
        pthread_cond_init(&c->lanes[i].done, NULL);
    }
    status s = alloc_for(&c->workers, (size_t)n_threads, sizeof *c->workers, "the thread pool");
    while (s == UTTER_OK && c->n_started < n_threads - 1) s = start_worker(c);
    if (s != UTTER_OK) {
        pool_free(&c->lanes[0]);
        return s;
    }
    *out = &c->lanes[0];
    return UTTER_OK;
}

void pool_free(struct pool *p) {
    if (!p) return;
    struct crew *c = p->crew;
    atomic_store(&c->closing, true);
    wake(c, &c->work);
    wake(c, &c->wanted);
    for (int i = 0; i < c->n_started; i++) pthread_join(c->workers[i].thread, NULL);
    for (int i = 0; i < N_LANES; i++) pthread_cond_destroy(&c->lanes[i].done);
    pthread_cond_destroy(&c->wanted);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->turn);
    free_aligned(c->workers);
    free_aligned(c);
}

struct pool *pool_second_lane(struct pool *p) {
    return &p->crew->lanes[1];
}

int pool_n_threads(const struct pool *p) { return p->crew->n_threads; }

void pool_begin(struct pool *p) {
    if (p->crew->n_threads == 1)
        pthread_mutex_lock(&p->crew->turn);
    else
        atomic_fetch_add(&p->crew->n_begun, 1);
}

void pool_end(struct pool *p) {
    if (p->crew->n_threads == 1)
        pthread_mutex_unlock(&p->crew->turn);
    else if (atomic_fetch_sub(&p->crew->n_begun, 1) > 1)
        wake(p->crew, &p->crew->wanted);
}

void pool_run_tasks(struct pool *p, pool_job *job, void *argument, int n_tasks) {
    if (p->crew->n_threads == 1 || n_tasks <= 1) {
        for (int i = 0; i < n_tasks; i++) job(argument, i, n_tasks);
        return;
    }
    atomic_store_explicit(&p->job, job, memory_order_relaxed);
    atomic_store_explicit(&p->argument, argument, memory_order_relaxed);
    atomic_store_explicit(&p->n_tasks, n_tasks, memory_order_relaxed);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    const uint64_t round = (atomic_load(&p->ticket) >> 32) + 1;
    atomic_store(&p->ticket, round << 32 | (uint32_t)n_tasks);
    if (atomic_load(&p->crew->n_asleep) > 0) wake(p->crew, &p->crew->work);
    do_tasks(p);
    wait_for_end(p);
}

void pool_run(struct pool *p, pool_job *job, void *argument) { pool_run_tasks(p, job, argument, p->crew->n_threads); }
