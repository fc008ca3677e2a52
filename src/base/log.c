#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void log_say(const struct log *log, utter_log_level level, const char *format, ...) {
    if (!log || !log->fn) return;
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    log->fn(log->user, level, sentence);
}
