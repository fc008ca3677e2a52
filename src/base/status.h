/* Status codes and the sentence that goes with a failure.

   A function that can fail returns `status`. Where the fault is found, and only there, fail() records the sentence for
   a person (what, where, what to do) in a buffer of the calling thread; callers pass the status up unchanged. */
#ifndef UTTER_BASE_STATUS_H
#define UTTER_BASE_STATUS_H

#include "utter.h"

typedef enum utter_status status;

#if defined(__GNUC__)
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
#else
#define PRINTF_LIKE(at, first)
#endif

/* Records the sentence and returns `code`. Control characters that came in with file names or text are made visible. */
status fail(status code, const char *format, ...) PRINTF_LIKE(2, 3);

/* fail(UTTER_MEMORY) with the size that could not be had and what it was for. */
status fail_memory(size_t n_bytes, const char *what);

/* The sentence of this thread's last failure, "" if none. */
const char *fail_message(void);

/* "ok", "invalid", ... */
const char *status_name(status s);

#define TRY(call)                                        \
    do {                                                 \
        status try_status_ = (call);                     \
        if (try_status_ != UTTER_OK) return try_status_; \
    } while (0)

#endif
