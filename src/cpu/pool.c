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

    /* The round's number in the upper half, the tasks that nobody has taken yet in the lower. A thread takes one by
       lowering the count; if that succeeds, what it has read of the job below belongs to this round, since the caller
       changes it only while the count is 0. */
    _Atomic uint64_t ticket;
    pool_job *_Atomic job;
    void *_Atomic argument;
    _Atomic int n_tasks;
    _Atomic int n_done;  // tasks of this round that are through
    _Atomic bool closing;

    /* Sleepers announce themselves before they look a last time, so a wake-up cannot fall between. */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    _Atomic int n_asleep;        // workers waiting for `work`
    _Atomic bool caller_asleep;  // the caller waits for `done`
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

static bool has_work(const struct pool *p) { return (uint32_t)atomic_load(&p->ticket) > 0 || atomic_load(&p->closing); }
static bool all_done(const struct pool *p) { return atomic_load(&p->n_done) == atomic_load(&p->n_tasks); }

/* Looks for a while; false when it did not come. */
static bool spin_until(const struct pool *p, bool (*condition)(const struct pool *)) {
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (condition(p)) return true;
            pause_briefly();
        }
        const int64_t now = clock_ns();
        if (!end) end = now + SPIN_NS;
        if (now >= end) return false;
    }
}

static void wait_for_work(struct pool *p) {
    if (spin_until(p, has_work)) return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (!has_work(p)) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_end(struct pool *p) {
    if (spin_until(p, all_done)) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_asleep, true);
    while (!all_done(p)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_asleep, false);
    pthread_mutex_unlock(&p->lock);
}

static void wake(struct pool *p, pthread_cond_t *sleepers) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(sleepers);
    pthread_mutex_unlock(&p->lock);
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
        if (atomic_fetch_add(&p->n_done, 1) == n_tasks - 1 && atomic_load(&p->caller_asleep)) wake(p, &p->done);
        ticket = atomic_load(&p->ticket);
    }
}

static void *work(void *argument) {
    struct pool *p = argument;
    for (;;) {
        wait_for_work(p);
        if (atomic_load(&p->closing)) return NULL;
        do_tasks(p);
    }
}

static status start_worker(struct pool *p) {
    int error = pthread_create(&p->workers[p->n_started], NULL, work, p);
    if (error)
        return fail(UTTER_DEVICE, "thread %d of %d could not be started (error %d): ask for fewer threads",
                    p->n_started + 2, p->n_threads, error);
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
    wake(p, &p->work);
    for (int i = 0; i < p->n_started; i++) pthread_join(p->workers[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free_aligned(p->workers);
    free_aligned(p);
}

int pool_n_threads(const struct pool *p) { return p->n_threads; }

void pool_run_tasks(struct pool *p, pool_job *job, void *argument, int n_tasks) {
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (int i = 0; i < n_tasks; i++) job(argument, i, n_tasks);
        return;
    }
    atomic_store_explicit(&p->job, job, memory_order_relaxed);
    atomic_store_explicit(&p->argument, argument, memory_order_relaxed);
    atomic_store_explicit(&p->n_tasks, n_tasks, memory_order_relaxed);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    const uint64_t round = (atomic_load(&p->ticket) >> 32) + 1;
    atomic_store(&p->ticket, round << 32 | (uint32_t)n_tasks);
    if (atomic_load(&p->n_asleep) > 0) wake(p, &p->work);
    do_tasks(p);
    wait_for_end(p);
}

void pool_run(struct pool *p, pool_job *job, void *argument) { pool_run_tasks(p, job, argument, p->n_threads); }
