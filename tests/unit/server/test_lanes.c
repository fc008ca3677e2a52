/* Who waits behind whom: lanes take turns, and within one it is first come, first served. */
#include "test.h"

#include <string.h>

#include "server/lanes.h"

enum { N = 8 };

static struct lane_entry entries[N];
static struct lanes l;

// Puts the entries 0.. for the callers that the letters name.
static void put(const char *callers) {
    l = (struct lanes){0};
    for (int i = 0; callers[i]; i++) assert_ok(lanes_put(&l, (char[]){callers[i], 0}, 0, &entries[i]));
}

// Takes all; the digits say which came when.
static const char *take_all(void) {
    static char order[N + 1];
    int n = 0;
    for (struct lane_entry *e; (e = lanes_take(&l));) {
        assert_null(e->lane);
        order[n++] = (char)('0' + (e - entries));
    }
    order[n] = 0;
    assert_int_equal(l.n, 0);
    assert_null(l.first);
    assert_null(l.last);
    return order;
}

static void test_lanes_take_turns(void **state) {
    (void)state;
    static const struct {
        const char *callers, *order;
    } cases[] = {{"", ""},         {"a", "0"},           {"aaaa", "0123"},        {"abc", "012"},
                 {"aaab", "0312"}, {"aaabbc", "035142"}, {"abababab", "01234567"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(cases[i].callers);
        assert_int_equal(l.n, strlen(cases[i].callers));
        assert_string_equal(take_all(), cases[i].order);
    }
}

static void test_who_is_removed_is_not_waited_for(void **state) {
    (void)state;
    put("aaabbc");
    lanes_remove(&l, &entries[0]);  // the first of a lane
    lanes_remove(&l, &entries[4]);  // the last
    lanes_remove(&l, &entries[5]);  // the only one
    assert_int_equal(l.n, 3);
    assert_ok(lanes_put(&l, "c", 0, &entries[6]));
    assert_string_equal(take_all(), "1362");
}

static void test_each_is_seen_once(void **state) {
    (void)state;
    put("aabacb");
    int seen = 0;
    for (struct lane_entry *e = lanes_next(&l, NULL), *next; e; e = next) {
        next = lanes_next(&l, e);
        int i = (int)(e - entries);
        assert_int_equal(seen & 1 << i, 0);
        seen |= 1 << i;
        if (i % 2) lanes_remove(&l, e);  // as those whose time is over are
    }
    assert_int_equal(seen, (1 << 6) - 1);
    assert_string_equal(take_all(), "024");
}

static void test_a_caller_may_have_so_many(void **state) {
    (void)state;
    put("aa");
    assert_int_equal(lanes_put(&l, "a", 2, &entries[2]), UTTER_LIMIT);
    assert_non_null(strstr(fail_message(), "2 of your texts"));
    assert_int_equal(l.n, 2);
    assert_ok(lanes_put(&l, "b", 2, &entries[3]));
    assert_string_equal(take_all(), "031");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_take_turns),
        cmocka_unit_test(test_who_is_removed_is_not_waited_for),
        cmocka_unit_test(test_each_is_seen_once),
        cmocka_unit_test(test_a_caller_may_have_so_many),
    };
    return cmocka_run_group_tests_name("lanes", tests, NULL, NULL);
}
