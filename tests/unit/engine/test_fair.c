/* Permits: first come, first served; waiting ends with the deadline or a cancel. */
#include "test.h"

#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/fair.h"

enum { N_WAITERS = 8 };

struct waiter {
    struct fair *fair;
    atomic_int *order;
    int place;
    pthread_t thread;
};

static void *wait_for_turn(void *argument) {
    struct waiter *w = argument;
    int permit;
    if (fair_take(w->fair, NULL, NO_DEADLINE, &permit) == UTTER_OK) {
        w->place = atomic_fetch_add(w->order, 1);
        fair_give(w->fair, permit);
    }
    return NULL;
}

static int n_waiting(struct fair *f) {
    pthread_mutex_lock(&f->lock);
    int n = fair_n_waiting(f);
    pthread_mutex_unlock(&f->lock);
    return n;
}

static void test_first_come_first_served(void **state) {
    (void)state;
    struct fair f;
    atomic_int order = 0;
    struct waiter waiters[N_WAITERS];
    assert_ok(fair_init(&f, 1));
    int permit;
    assert_ok(fair_take(&f, NULL, NO_DEADLINE, &permit));
    for (int i = 0; i < N_WAITERS; i++) {
        waiters[i] = (struct waiter){.fair = &f, .order = &order, .place = -1};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_turn, &waiters[i]), 0);
        while (n_waiting(&f) <= i) usleep(100);  // so that the order of asking is known
    }
    fair_give(&f, permit);
    for (int i = 0; i < N_WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].place, i);
    }
    fair_destroy(&f);
}

static void test_permits_are_distinct_and_bounded(void **state) {
    (void)state;
    struct fair f;
    int a, b, c;
    assert_ok(fair_init(&f, 2));
    assert_ok(fair_take(&f, NULL, NO_DEADLINE, &a));
    assert_ok(fair_take(&f, NULL, NO_DEADLINE, &b));
    assert_int_not_equal(a, b);
    assert_int_equal(fair_take(&f, NULL, clock_ns() + 1000000, &c), UTTER_DEADLINE);
    atomic_bool cancelled = true;
    assert_int_equal(fair_take(&f, &cancelled, NO_DEADLINE, &c), UTTER_CANCELLED);
    assert_int_equal(n_waiting(&f), 0);  // who gave up is gone
    fair_give(&f, a);
    assert_ok(fair_take(&f, NULL, NO_DEADLINE, &c));
    assert_int_equal(c, a);
    fair_destroy(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_permits_are_distinct_and_bounded),
    };
    return cmocka_run_group_tests_name("fair", tests, NULL, NULL);
}
