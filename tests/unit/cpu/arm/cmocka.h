/* As much of cmocka as the tests of the kernels need, for a compiler that has no cmocka for the machine it compiles
 * for. */
#ifndef UTTER_TESTS_ARM_CMOCKA_H
#define UTTER_TESTS_ARM_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*function)(void **state);
};
#define cmocka_unit_test(f) \
    { #f, f }
#define cmocka_run_group_tests(tests, setup, teardown) run_tests(tests, sizeof(tests) / sizeof *(tests))

static inline int run_tests(const struct CMUnitTest *tests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        void *state = NULL;
        printf("%s\n", tests[i].name);
        fflush(stdout);
        tests[i].function(&state);
    }
    return 0;
}

#define print_error(...) fprintf(stderr, __VA_ARGS__)
static inline void _fail(const char *file, int line) {
    fprintf(stderr, "%s:%d: failed\n", file, line);
    exit(1);
}
#define assert_true(x) ((x) ? (void)0 : _fail(__FILE__ ": " #x, __LINE__))
#define assert_false(x) assert_true(!(x))
#define assert_null(x) assert_true(!(x))
#define assert_non_null(x) assert_true(x)
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_int_not_equal(a, b) assert_true((a) != (b))
#define assert_ptr_equal(a, b) assert_true((a) == (b))
#define assert_memory_equal(a, b, n) assert_true(memcmp(a, b, n) == 0)

#endif
