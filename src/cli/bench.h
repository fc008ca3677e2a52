/* utter bench: what it was asked to measure, and what it found. */
#ifndef UTTER_CLI_BENCH_H
#define UTTER_CLI_BENCH_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/bench_rig.h"
#include "cli/bench_series.h"

struct bench {
    utter_options options;
    const char *voice, *text;
    bool json, quick, shows_progress;

    bool ready;           // only load, say so and leave
    bool capacity;        // how many listeners at once
    const char *server;   // URL; NULL: measure in this process
    const char *key;      // of the server
    const char *levels;   // numbers of requests at once, "1,2,4"
    int n_requests;       // of each level
    double most_seconds;  // that one request may take

    char argv0[4096];  // this program's file
    json_t *rows;      // array of what was found
    json_t *about;     // object: of what
};

/* One line on a terminal about what is being measured; "" takes it away. */
void bench_progress(const struct bench *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Notes a figure under `key` and prints its line, unless all is to be JSON. */
void bench_row(struct bench *b, const char *key, const char *what, const char *unit, const struct series *values);

/* bench_local.c, bench_capacity.c, bench_server.c */
status bench_local(struct bench *b);
status bench_capacity(struct bench *b);
status bench_server(struct bench *b);

#endif
