/* The guard: what it must catch, and what it must leave alone. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "engine/guard.h"

// Codes of made-up speech: no two the same in a row for long.
static int32_t speech_code(int i) { return (int32_t)((unsigned)i * 2654435761u >> 16); }

static enum verdict feed(struct guard *g, int n, int32_t (*code)(int), int *good) {
    enum verdict v = SPEECH_FINE;
    for (int i = 0; i < n && v == SPEECH_FINE; i++) v = guard_code(g, code(i), good);
    return v;
}

static void test_speech_is_fine(void **state) {
    (void)state;
    struct guard g;
    int good = -1;
    guard_start(&g, 200, 600);
    assert_int_equal(feed(&g, 210, speech_code, &good), SPEECH_FINE);
    assert_int_equal(guard_end(&g), SPEECH_FINE);
}

static int32_t pause_code(int i) { return i >= 20 && i < 70 ? 7 : speech_code(i); }

static void test_a_pause_of_a_second_is_fine(void **state) {
    (void)state;
    struct guard g;
    int good = -1;
    guard_start(&g, 200, 600);
    assert_int_equal(feed(&g, 200, pause_code, &good), SPEECH_FINE);
}

static int32_t stuck_code(int i) { return i < 40 ? speech_code(i) : 9; }
static int32_t cycle_code(int i) { return i < 40 ? speech_code(i) : 100 + i % 11; }
static int32_t long_cycle_code(int i) { return i < 40 ? speech_code(i) : 100 + i % 32; }

static void test_repetition_is_caught_where_it_begins(void **state) {
    (void)state;
    int32_t (*const kinds[])(int) = {stuck_code, cycle_code, long_cycle_code};
    const int period[] = {1, 11, 32};
    for (int k = 0; k < 3; k++) {
        struct guard g;
        int good = -1;
        guard_start(&g, 200, 600);
        assert_int_equal(feed(&g, 600, kinds[k], &good), SPEECH_REPEATS);
        assert_in_range(good, 40, 40 + period[k]);  // the first cycle is kept
    }
}

static void test_no_end_and_too_early_an_end(void **state) {
    (void)state;
    struct guard g;
    int good = -1;
    guard_start(&g, 100, 300);
    assert_int_equal(feed(&g, 1000, speech_code, &good), SPEECH_ENDLESS);
    assert_int_equal(g.n, 300);
    guard_start(&g, 100, 300);
    feed(&g, 20, speech_code, &good);
    assert_int_equal(guard_end(&g), SPEECH_SHORT);
    guard_start(&g, 10, 300);  // "No." may be over at once
    feed(&g, 2, speech_code, &good);
    assert_int_equal(guard_end(&g), SPEECH_FINE);
    guard_start(&g, 10, 300);
    assert_int_equal(guard_end(&g), SPEECH_SHORT);  // nothing at all is never right
}

static void test_sound(void **state) {
    (void)state;
    enum { N = 24000 };
    float *pcm = calloc(N, sizeof *pcm);
    assert_non_null(pcm);
    struct guard g;
    guard_start(&g, 50, 300);
    assert_int_equal(guard_sound(&g, pcm, N), SPEECH_SILENT);
    for (int i = 0; i < N; i++) pcm[i] = 0.1f * sinf((float)i * 0.05f);
    assert_int_equal(guard_sound(&g, pcm, N), SPEECH_FINE);
    pcm[N / 2] = NAN;
    assert_int_equal(guard_sound(&g, pcm, N), SPEECH_NOT_FINITE);
    pcm[N / 2] = INFINITY;
    assert_int_equal(guard_sound(&g, pcm, N), SPEECH_NOT_FINITE);
    free(pcm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech_is_fine),
        cmocka_unit_test(test_a_pause_of_a_second_is_fine),
        cmocka_unit_test(test_repetition_is_caught_where_it_begins),
        cmocka_unit_test(test_no_end_and_too_early_an_end),
        cmocka_unit_test(test_sound),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
