/* The thread pool: every thread once a job, no deadlock however jobs and sleep fall, an end at any moment. */
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/memory.h"
#include "cpu/pool.h"

enum { MAX = 16 };

struct counts {
    int calls[MAX];  // of each thread, by that thread alone
    int n_threads;
    _Atomic int all;
};

static void count(void *argument, int thread, int n_threads) {
    struct counts *c = argument;
    c->calls[thread]++;
    if (n_threads != c->n_threads) c->calls[thread] = -1000000;
    atomic_fetch_add(&c->all, 1);
}

static void sleep_us(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

static void every_thread_once(void **unused) {
    (void)unused;
    for (int n = 1; n <= MAX; n = n * 2 + 1) {
        struct pool *p;
        struct counts c = {.n_threads = n};
        assert_ok(pool_new(n, &p));
        assert_int_equal(pool_n_threads(p), n);
        const int jobs = 2000;
        for (int i = 0; i < jobs; i++) pool_run(p, count, &c);
        for (int i = 0; i < n; i++) assert_int_equal(c.calls[i], jobs);
        assert_int_equal(atomic_load(&c.all), jobs * n);
        pool_free(p);
    }
}

/* What the caller wrote before a job is seen by all; what they wrote is seen by the caller. */
struct relay {
    int value;
    int seen[MAX];
};

static void read_value(void *argument, int thread, int n_threads) {
    (void)n_threads;
    struct relay *r = argument;
    r->seen[thread] = r->value;
}

static void memory_is_passed_on(void **unused) {
    (void)unused;
    struct pool *p;
    struct relay r;
    assert_ok(pool_new(3, &p));
    for (r.value = 0; r.value < 5000; r.value++) {
        pool_run(p, read_value, &r);
        for (int i = 0; i < 3; i++) assert_int_equal(r.seen[i], r.value);
    }
    pool_free(p);
}

/* Pauses about as long as the threads spin: some sleep, some do not, some are just going to. */
static void jobs_between_sleeps(void **unused) {
    (void)unused;
    struct pool *p;
    struct counts c = {.n_threads = 4};
    assert_ok(pool_new(4, &p));
    for (int i = 0; i < 600; i++) {
        pool_run(p, count, &c);
        if (i % 3) sleep_us(i % 120);
    }
    assert_int_equal(atomic_load(&c.all), 2400);
    pool_free(p);
}

static void work_late(void *argument, int thread, int n_threads) {
    (void)n_threads;
    if (thread) sleep_us(300);
    atomic_fetch_add((_Atomic int *)argument, 1);
}

/* The others work longer than the caller is willing to spin. */
static void caller_sleeps(void **unused) {
    (void)unused;
    struct pool *p;
    _Atomic int n = 0;
    assert_ok(pool_new(4, &p));
    for (int i = 0; i < 100; i++) {
        pool_run(p, work_late, &n);
        assert_int_equal(atomic_load(&n), 4 * (i + 1));
    }
    pool_free(p);
}

struct lane_user {
    struct pool *pool;
    int n_jobs;
    int64_t sum;  // of all tasks' numbers, by the tasks
    int64_t parts[MAX];
};

static void add_task(void *argument, int task, int n_tasks) {
    struct lane_user *u = argument;
    (void)n_tasks;
    u->parts[task] += task + 1;
}

static void *use_lane(void *argument) {
    struct lane_user *u = argument;
    for (int i = 0; i < u->n_jobs; i++) {
        if (i % 50 == 0) pool_begin(u->pool);
        pool_run_tasks(u->pool, add_task, u, 1 + i % MAX);
        if (i % 50 == 49) pool_end(u->pool);
        if (i % 200 == 199) sleep_us(i % 3 * 60);
    }
    for (int i = 0; i < MAX; i++) u->sum += u->parts[i];
    return NULL;
}

/* Both lanes at once, now and then alone: every task of each is done once. */
static void two_lanes(void **unused) {
    (void)unused;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *p;
        assert_ok(pool_new(n_threads, &p));
        struct lane_user users[2] = {{.pool = p, .n_jobs = 3200}, {.pool = pool_second_lane(p), .n_jobs = 1600}};
        pthread_t other;
        assert_int_equal(pthread_create(&other, NULL, use_lane, &users[1]), 0);
        use_lane(&users[0]);
        pthread_join(other, NULL);
        for (int i = 0; i < 2; i++) {
            int64_t want = 0;
            for (int j = 0; j < users[i].n_jobs; j++) want += (1 + j % MAX) * (2 + j % MAX) / 2;
            assert_int_equal(users[i].sum, want);
        }
        pool_free(p);
    }
}

static void ends_at_any_moment(void **unused) {
    (void)unused;
    struct counts c = {.n_threads = 5};
    for (int i = 0; i < 100; i++) {
        struct pool *p;
        assert_ok(pool_new(5, &p));
        if (i % 2) pool_run(p, count, &c);
        if (i % 5 == 0) sleep_us(200);  // asleep
        if (i % 5 == 1) sleep_us(40);   // about to sleep
        pool_free(p);
    }
}

static void sizes(void **unused) {
    (void)unused;
    struct pool *p;
    assert_ok(pool_new(0, &p));
    assert_true(pool_n_threads(p) >= 1);
    pool_free(p);
    assert_int_equal(pool_new(-1, &p), UTTER_INVALID);
    assert_null(p);
    assert_int_equal(pool_new(1000000, &p), UTTER_INVALID);
    assert_null(p);
    pool_free(NULL);
}

static void shares_cover_everything_once(void **unused) {
    (void)unused;
    for (int64_t n = 0; n < 50; n++)
        for (int64_t grain = 1; grain < 9; grain++)
            for (int n_threads = 1; n_threads < 9; n_threads++) {
                int64_t at = 0;
                for (int i = 0; i < n_threads; i++) {
                    int64_t begin, end;
                    pool_share(n, grain, i, n_threads, &begin, &end);
                    assert_int_equal(begin, at);
                    assert_true(end >= begin && (end == n || end % grain == 0));
                    at = end;
                }
                assert_int_equal(at, n);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_once),
        cmocka_unit_test(memory_is_passed_on),
        cmocka_unit_test(jobs_between_sleeps),
        cmocka_unit_test(caller_sleeps),
        cmocka_unit_test(two_lanes),
        cmocka_unit_test(ends_at_any_moment),
        cmocka_unit_test(sizes),
        cmocka_unit_test(shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
