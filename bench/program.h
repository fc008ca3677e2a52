/* A program that measures when it is asked (worker.c tells the commands). */
#ifndef UTTER_BENCH_PROGRAM_H
#define UTTER_BENCH_PROGRAM_H

#include <stdio.h>
#include <sys/types.h>

#include "base/status.h"

struct program {
    const char *name;
    pid_t pid;
    FILE *to, *from;
};

/* Starts argv[0]; NULL ends argv. */
status program_start(const char *name, char *const *argv, struct program *p);
/* Ends it. Safe on a zeroed one. */
void program_stop(struct program *p);

/* Asks one command and waits for its answer, up to n numbers. */
status program_ask(struct program *p, double *values, int n, const char *format, ...) PRINTF_LIKE(4, 5);

/* The first line that a command prints; "" when it prints none. */
void program_line(const char *command, char *line, size_t n_bytes);

#endif
