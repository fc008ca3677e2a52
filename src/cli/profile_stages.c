#include "cli/profile_stages.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void spans_add(struct spans *s, const utter_span *span) {
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256;
        utter_span *grown = realloc(s->list, cap * sizeof *grown);
        if (!grown) {
            s->failed = true;
            return;
        }
        s->list = grown;
        s->cap = cap;
    }
    s->list[s->n++] = *span;
}

status spans_status(const struct spans *s) {
    return s->failed ? fail_memory(s->cap * 2 * sizeof *s->list, "the spans of a profile") : UTTER_OK;
}

void spans_free(struct spans *s) {
    free(s->list);
    *s = (struct spans){0};
}

/* ---- sums ---- */

// The stage called `name`, new where there is none yet; those beyond the table's end go to "other".
static int stage_of(struct stages *stages, const char *name) {
    for (int i = 0; i < stages->n; i++)
        if (strcmp(stages->list[i].name, name) == 0) return i;
    if (stages->n == MAX_STAGES - 1) return -1;
    stages->list[stages->n] = (struct stage){.name = name};
    return stages->n++;
}

// The moment at which a span begins or ends.
struct edge {
    double at_s;
    int stage;
    int step;  // 1 or -1
};

static int by_time(const void *a, const void *b) {
    double x = ((const struct edge *)a)->at_s, y = ((const struct edge *)b)->at_s;
    return (x > y) - (x < y);
}

static int by_begin(const void *a, const void *b) {
    double x = ((const utter_span *)a)->begin_s, y = ((const utter_span *)b)->begin_s;
    return (x > y) - (x < y);
}

static double within(double x, double most) { return x < 0 ? 0 : x > most ? most : x; }

// Goes through the edges in time; between two of them the running stages are known.
static void share(const struct edge *edges, size_t n, double total_s, struct stages *out, double *other_s) {
    int running[MAX_STAGES] = {0};
    double at = 0;
    for (size_t i = 0; i <= n; i++) {
        double until = i < n ? edges[i].at_s : total_s;
        int n_running = 0;
        for (int k = 0; k < out->n; k++) n_running += running[k] > 0;
        for (int k = 0; k < out->n; k++)
            if (running[k] > 0) out->list[k].share_s += (until - at) / n_running;
        if (n_running == 0) *other_s += until - at;
        at = until;
        if (i < n) running[edges[i].stage] += edges[i].step;
    }
}

status spans_sum(const struct spans *s, double total_s, struct stages *out) {
    *out = (struct stages){0};
    struct edge *edges = calloc(2 * s->n + 1, sizeof *edges);
    if (!edges) return fail_memory(2 * s->n * sizeof *edges, "a profile");
    if (s->n) qsort(s->list, s->n, sizeof *s->list, by_begin);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const utter_span *span = &s->list[i];
        int stage = stage_of(out, span->stage);
        if (stage < 0) continue;
        out->list[stage].busy_s += span->end_s - span->begin_s;
        out->list[stage].count += span->count;
        out->list[stage].n_spans++;
        edges[n++] = (struct edge){within(span->begin_s, total_s), stage, 1};
        edges[n++] = (struct edge){within(span->end_s, total_s), stage, -1};
    }
    qsort(edges, n, sizeof *edges, by_time);
    double other_s = 0;
    share(edges, n, total_s, out, &other_s);
    free(edges);
    out->list[out->n++] = (struct stage){.name = "other", .share_s = other_s, .busy_s = other_s};
    return UTTER_OK;
}

/* ---- the trace ---- */

void spans_write_trace(const struct spans *s, FILE *to) {
    struct stages rows = {0};
    json_t *events = json_array();
    for (size_t i = 0; i < s->n; i++) {
        const utter_span *span = &s->list[i];
        const int n_before = rows.n, row = stage_of(&rows, span->stage);
        if (rows.n > n_before)
            json_array_append_new(events, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", "thread_name", "ph", "M",
                                                    "pid", 1, "tid", row + 1, "args", "name", span->stage));
        json_array_append_new(
            events, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:{s:i, s:i}}", "name", span->stage, "cat", "utter",
                              "ph", "X", "ts", span->begin_s * 1e6, "dur", (span->end_s - span->begin_s) * 1e6, "pid",
                              1, "tid", row + 1, "args", "count", span->count, "sentence", span->sentence));
    }
    json_t *trace = json_pack("{s:o, s:s}", "traceEvents", events, "displayTimeUnit", "ms");
    json_dumpf(trace, to, JSON_REAL_PRECISION(12));
    fputc('\n', to);
    json_decref(trace);
}
