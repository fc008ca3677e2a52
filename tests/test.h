/* What every test includes first: cmocka and what it needs. */
#ifndef UTTER_TESTS_TEST_H
#define UTTER_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail // base/status.h has a function of that name
#undef fail_msg
#define fail_msg(message, ...)                             \
    do {                                                   \
        print_error("ERROR: " message "\n", ##__VA_ARGS__); \
        _fail(__FILE__, __LINE__);                         \
    } while (0)

#include "base/status.h"

/* Succeeds, or says why not. */
#define assert_ok(call)                                                                   \
    do {                                                                                  \
        status assert_status_ = (call);                                                   \
        if (assert_status_ != UTTER_OK)                                                   \
            fail_msg("%s: %s (%s)", #call, fail_message(), status_name(assert_status_));  \
    } while (0)

#endif
