/* Time. Deadlines are absolute times of clock_ns(); NO_DEADLINE never comes. */
#ifndef UTTER_BASE_CLOCK_H
#define UTTER_BASE_CLOCK_H

#include <stdint.h>

#define NO_DEADLINE INT64_MAX

/* Monotonic nanoseconds since some fixed point. */
int64_t clock_ns(void);

#endif
