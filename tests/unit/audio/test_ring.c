/* The ring between the thread that makes sound and the one that plays it. */
#include "test.h"

#include <pthread.h>
#include <string.h>

#include "audio/ring.h"

static void test_wraps_and_bounds(void **state) {
    (void)state;
    struct ring r;
    assert_ok(ring_init(&r, 5));
    float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};
    assert_int_equal(ring_pop(&r, out, 8), 0);
    assert_int_equal(ring_push(&r, in, 3), 3);
    assert_int_equal(ring_pop(&r, out, 2), 2);
    assert_int_equal(ring_push(&r, in + 3, 5), 4);  // one waits already
    assert_int_equal(ring_length(&r), 5);
    assert_int_equal(ring_push(&r, in, 1), 0);
    assert_int_equal(ring_pop(&r, out + 2, 8), 5);
    for (int i = 0; i < 7; i++) assert_true(out[i] == in[i]);
    assert_int_equal(ring_length(&r), 0);
    ring_free(&r);
}

static void test_push_all_gives_up(void **state) {
    (void)state;
    struct ring r;
    assert_ok(ring_init(&r, 4));
    float in[6] = {0};
    size_t n_pushed;
    assert_false(ring_push_all(&r, in, 6, 20000000, NULL, &n_pushed));  // nobody pops
    assert_int_equal(n_pushed, 4);
    atomic_bool stop = true;
    assert_false(ring_push_all(&r, in, 1, INT64_MAX, &stop, &n_pushed));
    assert_int_equal(n_pushed, 0);
    ring_free(&r);
}

enum { COUNT = 300000 };

static void *read_all(void *user) {
    struct ring *r = user;
    float out[333];
    size_t n_read = 0;
    while (n_read < COUNT) {
        size_t n = ring_pop(r, out, 1 + n_read % 333);
        for (size_t i = 0; i < n; i++)
            if (out[i] != (float)(n_read + i)) return "a sample is lost, doubled or out of order";
        n_read += n;
    }
    return NULL;
}

static void test_two_threads(void **state) {
    (void)state;
    struct ring r;
    assert_ok(ring_init(&r, 8192));
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, &r), 0);
    float in[1000];
    for (size_t at = 0; at < COUNT;) {
        size_t n = 1 + at % 1000, n_pushed;
        if (n > COUNT - at) n = COUNT - at;
        for (size_t i = 0; i < n; i++) in[i] = (float)(at + i);
        assert_true(ring_push_all(&r, in, n, INT64_MAX, NULL, &n_pushed));
        at += n_pushed;
    }
    void *complaint;
    pthread_join(reader, &complaint);
    if (complaint) fail_msg("%s", (const char *)complaint);
    ring_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wraps_and_bounds),
        cmocka_unit_test(test_push_all_gives_up),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
