#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

status fail(status code, const char *format, ...) {
    char sentence[sizeof message];  // formatted beside `message`, which may itself be an argument
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    for (char *p = sentence; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    memcpy(message, sentence, sizeof message);
    return code;
}

status fail_memory(size_t n_bytes, const char *what) {
    return fail(UTTER_MEMORY,
                "out of memory: %zu bytes for %s could not be had; close other programs or use a smaller model",
                n_bytes, what);
}

const char *fail_message(void) { return message; }

const char *status_name(status s) {
    static const char *const names[] = {
        [UTTER_OK] = "ok",
        [UTTER_INVALID] = "invalid",
        [UTTER_NO_TEXT] = "no_text",
        [UTTER_IO] = "io",
        [UTTER_FORMAT] = "format",
        [UTTER_UNSUPPORTED] = "unsupported",
        [UTTER_MEMORY] = "memory",
        [UTTER_LIMIT] = "limit",
        [UTTER_DEADLINE] = "deadline",
        [UTTER_CANCELLED] = "cancelled",
        [UTTER_DEVICE] = "device",
        [UTTER_SPEECH] = "speech",
        [UTTER_INTERNAL] = "internal",
    };
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}
