/* Spans of one request, and what they add up to by stage. */
#ifndef UTTER_CLI_PROFILE_STAGES_H
#define UTTER_CLI_PROFILE_STAGES_H

#include <stdio.h>

#include "base/status.h"

enum { MAX_STAGES = 16 };

struct spans {
    utter_span *list;  // [n]
    size_t n, cap;
    bool failed;  // out of memory; told by spans_status
};

void spans_add(struct spans *s, const utter_span *span);
status spans_status(const struct spans *s);
void spans_free(struct spans *s);

struct stage {
    const char *name;
    double share_s;  // of the whole: a moment in which several stages run is divided among them
    double busy_s;   // all its spans, end less begin
    int64_t count;
    int n_spans;
};

struct stages {
    struct stage list[MAX_STAGES];  // [n], as they first began; the last is "other", what no span covers
    int n;
};

/* The stages of the time from 0 to total_s, which their shares add up to. */
status spans_sum(const struct spans *s, double total_s, struct stages *out);

/* As a Chrome trace: a row for each stage. */
void spans_write_trace(const struct spans *s, FILE *to);

#endif
