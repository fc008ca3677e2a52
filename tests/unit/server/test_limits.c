/* Rates and numbers of requests for each caller, with the clock in the test's hand. */
#include "test.h"

#include <stdio.h>

#include "server/limits.h"

static const int64_t second = 1000000000;

static void test_a_bucket_empties_and_fills(void **state) {
    (void)state;
    struct limits *l;
    double retry_s;
    assert_ok(limits_new(&l));
    int64_t now = 1000 * second;
    for (int i = 0; i < 10; i++) {  // 60 a minute, 10 s of them at once
        assert_ok(limits_begin(l, "anna", 60, 10, 0, now, &retry_s));
        limits_end(l, "anna");
    }
    assert_int_equal(limits_begin(l, "anna", 60, 10, 0, now, &retry_s), UTTER_LIMIT);
    assert_true(retry_s > 0.9 && retry_s <= 1);
    assert_ok(limits_begin(l, "bert", 60, 10, 0, now, &retry_s));  // has his own
    assert_int_equal(limits_begin(l, "anna", 60, 10, 0, now + second / 2, &retry_s), UTTER_LIMIT);
    assert_ok(limits_begin(l, "anna", 60, 10, 0, now + second + second / 100, &retry_s));
    assert_int_equal(limits_begin(l, "anna", 60, 10, 0, now + second + second / 100, &retry_s), UTTER_LIMIT);
    for (int i = 0; i < 10; i++) assert_ok(limits_begin(l, "anna", 60, 10, 0, now + 1000 * second, &retry_s));
    assert_int_equal(limits_begin(l, "anna", 60, 10, 0, now + 1000 * second, &retry_s), UTTER_LIMIT);
    limits_free(l);
}

static void test_a_slow_rate_lets_one_through(void **state) {
    (void)state;
    struct limits *l;
    double retry_s;
    assert_ok(limits_new(&l));
    assert_ok(limits_begin(l, "anna", 1, 10, 0, second, &retry_s));
    assert_int_equal(limits_begin(l, "anna", 1, 10, 0, second, &retry_s), UTTER_LIMIT);
    assert_true(retry_s > 59 && retry_s <= 60);
    assert_ok(limits_begin(l, "anna", 1, 10, 0, 62 * second, &retry_s));
    limits_free(l);
}

static void test_requests_at_once_are_counted(void **state) {
    (void)state;
    struct limits *l;
    double retry_s;
    assert_ok(limits_new(&l));
    assert_ok(limits_begin(l, "anna", 0, 10, 2, 0, &retry_s));
    assert_ok(limits_begin(l, "anna", 0, 10, 2, 0, &retry_s));
    assert_int_equal(limits_begin(l, "anna", 0, 10, 2, 0, &retry_s), UTTER_LIMIT);
    limits_end(l, "anna");
    assert_ok(limits_begin(l, "anna", 0, 10, 2, 0, &retry_s));
    limits_free(l);
}

static void test_the_table_forgets_who_is_still(void **state) {
    (void)state;
    struct limits *l;
    double retry_s;
    char name[32];
    assert_ok(limits_new(&l));
    int i = 0;
    for (status s = UTTER_OK; s == UTTER_OK && i < 100000; i++) {
        snprintf(name, sizeof name, "caller-%d", i);
        s = limits_begin(l, name, 60, 10, 0, second, &retry_s);
        if (s == UTTER_OK) limits_end(l, name);
    }
    assert_true(i > 1000 && i < 100000);                                   // it is bounded,
    assert_ok(limits_begin(l, name, 60, 10, 0, 3600 * second, &retry_s));  // and an hour later there is room
    limits_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bucket_empties_and_fills),
        cmocka_unit_test(test_a_slow_rate_lets_one_through),
        cmocka_unit_test(test_requests_at_once_are_counted),
        cmocka_unit_test(test_the_table_forgets_who_is_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
