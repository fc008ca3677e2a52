/* Runs the utter binary as a person would: a shell line in, exit code and both outputs back. */
#ifndef UTTER_TESTS_E2E_RUN_H
#define UTTER_TESTS_E2E_RUN_H

#include <stddef.h>

struct result {
    int code;   // exit code; 128 + signal when it died of one
    char *out;  // [out_len + 1] standard output
    size_t out_len;
    char *err;  // [] standard error
};

/* A temporary folder of this test program, the current one of its commands; removed by run_cleanup. */
int run_setup(void **state);
int run_cleanup(void **state);
const char *run_folder(void);

/* Runs `sh -c line`; "utter" in the line is the binary under test. At most `seconds` long, then it is killed and the
   code is 124. The result lives until the next call. */
const struct result *run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless the command ended with `code` and said `what` on standard error. */
void assert_says(const struct result *r, int code, const char *what);

/* Waits, a minute at most, until the shell's condition holds; fails when it never does. */
void wait_until(const char *condition);

/* As the tests need them: whether a file is there, its size. */
long file_size(const char *name);  // -1: not there

#endif
