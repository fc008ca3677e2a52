/* Log sentences to whoever opened the engine. */
#ifndef UTTER_BASE_LOG_H
#define UTTER_BASE_LOG_H

#include "base/status.h"

struct log {
    utter_log_fn *fn;  // NULL: silent
    void *user;
};

void log_say(const struct log *log, utter_log_level level, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
