/* Ctrl-C, kill and hang-up: they stop the running speech, so that the command ends in good order and leaves no half-
   written file. A second one ends the program at once. */
#ifndef UTTER_CLI_STOP_H
#define UTTER_CLI_STOP_H

#include <stdatomic.h>
#include <stdbool.h>

#include "utter.h"

/* From here on the signals are waited for in a thread of their own. Call before other threads are started. */
utter_status stop_begin(void);

/* The stream that a signal cancels; NULL: none. */
void stop_cancels(utter_stream *s);

/* True once a signal has come. */
bool stop_requested(void);
const atomic_bool *stop_flag(void);

/* 128 + the signal, as shells have it. */
int stop_exit_code(void);

#endif
