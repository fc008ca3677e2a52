/* What measurements are told by: spreads, fitted lines, listeners, stages of a request. */
#include "test.h"

#include <math.h>

#include "cli/bench_listener.h"
#include "cli/bench_series.h"
#include "cli/profile_stages.h"

static void near(double got, double wanted) {
    if (fabs(got - wanted) > 1e-9) fail_msg("%g is not %g", got, wanted);
}

static void test_spread(void **state) {
    (void)state;
    struct series s = {0};
    near(series_spread(&s).median, 0);
    const double values[] = {5, 1, 4, 2};
    for (int i = 0; i < 4; i++) series_add(&s, values[i]);
    near(series_spread(&s).median, 3);
    series_add(&s, 9);
    near(series_spread(&s).median, 4);
    near(series_spread(&s).least, 1);
    near(series_spread(&s).most, 9);
    for (int i = 0; i < 2 * SERIES_MAX; i++) series_add(&s, 7);  // the rest is left out
    assert_int_equal(s.n, SERIES_MAX);
}

static void test_line(void **state) {
    (void)state;
    const double x[] = {0, 1, 2, 3}, y[] = {1, 3, 5, 7};
    near(line_fit(x, y, 4).at_zero, 1);
    near(line_fit(x, y, 4).slope, 2);
    near(line_fit(x, y, 1).at_zero, 1);
    near(line_fit(x, y, 0).slope, 0);
}

static void test_listener(void **state) {
    (void)state;
    struct listener l = {0};
    listener_hear(&l, 2.0, 0.5);  // lasts until 2.5
    listener_hear(&l, 2.1, 0.5);  // 3.0
    near(l.first_s, 2.0);
    near(l.until_s, 3.0);
    assert_int_equal(l.n_gaps, 0);
    near(l.spare_s, 0.4);
    listener_hear(&l, 3.25, 1.0);  // a quarter of a second too late
    assert_int_equal(l.n_gaps, 1);
    near(l.late_s, 0.25);
    near(l.until_s, 4.25);
    near(l.audio_s, 2.0);
}

static void add(struct spans *s, const char *stage, double begin_s, double end_s) {
    spans_add(s, &(utter_span){.stage = stage, .begin_s = begin_s, .end_s = end_s, .count = 2});
}

static void test_stages_share_what_overlaps(void **state) {
    (void)state;
    struct spans s = {0};
    add(&s, "decode", 1, 4);
    add(&s, "codec", 3, 5);  // shares 3..4
    add(&s, "decode", 5, 6);
    add(&s, "write", 7, 12);  // beyond the end
    struct stages out;
    assert_ok(spans_sum(&s, 10, &out));
    spans_free(&s);
    assert_int_equal(out.n, 4);
    const char *const names[] = {"decode", "codec", "write", "other"};
    const double shares[] = {3.5, 1.5, 3, 2}, busy[] = {4, 2, 5, 2};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(out.list[i].name, names[i]);
        near(out.list[i].share_s, shares[i]);
        near(out.list[i].busy_s, busy[i]);
    }
    assert_int_equal(out.list[0].count, 4);
    assert_int_equal(out.list[0].n_spans, 2);
}

static void test_no_span_is_all_other(void **state) {
    (void)state;
    struct stages out;
    assert_ok(spans_sum(&(struct spans){0}, 3, &out));
    assert_int_equal(out.n, 1);
    near(out.list[0].share_s, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_stages_share_what_overlaps),
        cmocka_unit_test(test_no_span_is_all_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
