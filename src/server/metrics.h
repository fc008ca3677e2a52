/* What the server counts, and how Prometheus reads it. Counting is lock-free, from any thread. */
#ifndef UTTER_SERVER_METRICS_H
#define UTTER_SERVER_METRICS_H

#include <stdatomic.h>

#include "base/str.h"
#include "server/order.h"
#include "server/jobs.h"
#include "utter.h"

enum { METRICS_ROUTES = 16, METRICS_STATUSES = 20, METRICS_BOUNDS = 14 };

struct histogram {
    const double *bounds;  // [n], ascending
    int n;
    atomic_ullong counts[METRICS_BOUNDS + 1];
    atomic_ullong total;
    atomic_ullong sum_us;
};

struct metrics {
    atomic_ullong requests[METRICS_ROUTES][METRICS_STATUSES];
    struct histogram first_audio, queue, real_time;
    atomic_ullong audio_us, hangups;
};

void metrics_init(struct metrics *m);
/* A request to route `route` was answered. */
void metrics_request(struct metrics *m, int route, int http_status);
/* A job ended. */
void metrics_outcome(struct metrics *m, const struct outcome *o, status s);

struct metrics_now {
    struct jobs_counts jobs;
    int n_connections, n_places;
    bool ready;
    bool has_engine;
    utter_state engine;
};

/* Appends the text format of Prometheus. routes[n_routes]: their names. */
void metrics_write(struct metrics *m, const struct metrics_now *now, const char *const *routes, int n_routes,
                   struct str *out);

#endif
