/* What was measured: rows that compare programs and curves that show how cost grows, as a table and as files. */
#ifndef UTTER_BENCH_RESULTS_H
#define UTTER_BENCH_RESULTS_H

#include <jansson.h>

#include "base/str.h"
#include "plot.h"

enum unit { TOKENS_A_SECOND, SOUND_A_SECOND, MILLISECONDS, MEGABYTES };

struct row {
    const char *what;
    int threads;
    enum unit unit;
    double amount;  // tokens, or seconds of sound, that one repetition makes
};

enum { N_PLOTS = 2 };

struct results {
    json_t *rows;  // as files have them
    struct plot plots[N_PLOTS];
    json_t *earlier;  // the file that was taken over; NULL: none
};

/* name: NAME.json, when it is there, is read; NULL: none. */
status results_begin(struct results *r, const struct plot plots[N_PLOTS], const char *name);
void results_free(struct results *r);

/* Series of seconds, or bytes, of n programs, of which the first is utter: how many times as fast, or as small, it is,
   run by run. Prints the row. */
void results_add(struct results *r, const struct row *row, const char *date, const struct series *series,
                 const char *const *programs, int n);

/* Takes over what that file has, and this run has not measured, and the peers of whom it tells. Nothing when it is of
   another processor. */
void results_merge(struct results *r, json_t *machine);

/* The head of the table, and all of it with the curves' lines, in Markdown. */
void results_put_head(struct str *to);
void results_put(const struct results *r, struct str *to);

/* NAME.json, NAME.md (the text) and NAME.svg. */
status results_write(const struct results *r, const char *name, json_t *machine, const struct str *text);

#endif
