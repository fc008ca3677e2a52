#include "server/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The statuses that the server gives; 0 is any other.
static const int statuses[METRICS_STATUSES] = {200, 201, 204, 400, 401, 403, 404, 405, 408, 409,
                                               411, 413, 415, 422, 429, 431, 500, 503, 504, 0};

static const double seconds[] = {0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30};
static const double factors[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5};

void metrics_init(struct metrics *m) {
    m->first_audio.bounds = m->queue.bounds = seconds;
    m->first_audio.n = m->queue.n = sizeof seconds / sizeof *seconds;
    m->real_time.bounds = factors;
    m->real_time.n = sizeof factors / sizeof *factors;
}

static void observe(struct histogram *h, double value) {
    int i = 0;
    while (i < h->n && value > h->bounds[i]) i++;
    atomic_fetch_add(&h->counts[i], 1);
    atomic_fetch_add(&h->total, 1);
    atomic_fetch_add(&h->sum_us, (unsigned long long)(value * 1e6));
}

void metrics_request(struct metrics *m, int route, int http_status) {
    int i = 0;
    while (statuses[i] && statuses[i] != http_status) i++;
    atomic_fetch_add(&m->requests[route][i], 1);
}

void metrics_outcome(struct metrics *m, const struct outcome *o, status s) {
    observe(&m->queue, o->queue_s);
    if (o->first_audio_s > 0) observe(&m->first_audio, o->first_audio_s);
    if (s == UTTER_OK && o->audio_s > 0) observe(&m->real_time, o->work_s / o->audio_s);
    if (s == UTTER_CANCELLED) atomic_fetch_add(&m->hangups, 1);
    atomic_fetch_add(&m->audio_us, (unsigned long long)(o->audio_s * 1e6));
}

static void head(struct str *out, const char *name, const char *type, const char *help) {
    str_printf(out, "# HELP utter_%s %s\n# TYPE utter_%s %s\n", name, help, name, type);
}

static void number(struct str *out, const char *name, const char *type, const char *help, double value) {
    head(out, name, type, help);
    str_printf(out, "utter_%s %.15g\n", name, value);
}

static void histogram(struct str *out, const char *name, const char *help, struct histogram *h) {
    head(out, name, "histogram", help);
    unsigned long long n = 0;
    for (int i = 0; i < h->n; i++) {
        n += atomic_load(&h->counts[i]);
        str_printf(out, "utter_%s_bucket{le=\"%g\"} %llu\n", name, h->bounds[i], n);
    }
    n += atomic_load(&h->counts[h->n]);
    str_printf(out, "utter_%s_bucket{le=\"+Inf\"} %llu\n", name, n);
    str_printf(out, "utter_%s_sum %.6f\nutter_%s_count %llu\n", name, (double)atomic_load(&h->sum_us) * 1e-6, name, n);
}

// Of the process, in bytes.
static double resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    long size = 0, resident = 0;
    if (f && fscanf(f, "%ld %ld", &size, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void engine(const utter_state *e, struct str *out) {
    number(out, "tokens_total", "counter", "Speech codes generated, retries included.", (double)e->n_tokens);
    number(out, "retries_total", "counter", "Attempts at a sentence thrown away.", (double)e->n_retries);
    number(out, "device_slots", "gauge", "Streams that the device takes at once.", e->n_places);
    number(out, "device_slots_active", "gauge", "Streams that hold a place on the device.", e->n_active);
    number(out, "device_slots_waiting", "gauge", "Streams that wait for a place on the device.", e->n_waiting);
    number(out, "device_memory_bytes", "gauge", "Memory that the networks take on their devices.",
           (double)e->device_bytes);
    number(out, "device_is_gpu", "gauge", "1 when the model runs on a GPU.", e->is_gpu);
    number(out, "device_gpu_lost", "gauge", "1 when a GPU should be in use and was lost.", e->gpu_lost);
    number(out, "device_gpu_losses_total", "counter", "How often a GPU was lost.", e->n_gpu_losses);
}

void metrics_write(struct metrics *m, const struct metrics_now *now, const char *const *routes, int n_routes,
                   struct str *out) {
    head(out, "requests_total", "counter", "Requests answered, by route and HTTP status.");
    for (int r = 0; r < n_routes; r++)
        for (int i = 0; i < METRICS_STATUSES; i++) {
            unsigned long long n = atomic_load(&m->requests[r][i]);
            if (n == 0) continue;
            str_printf(out, "utter_requests_total{route=\"%s\",status=\"", routes[r]);
            if (statuses[i])
                str_printf(out, "%d", statuses[i]);
            else
                str_puts(out, "other");
            str_printf(out, "\"} %llu\n", n);
        }
    histogram(out, "first_audio_seconds", "From the request to its first sound.", &m->first_audio);
    histogram(out, "queue_seconds", "From the request to the start of its work.", &m->queue);
    histogram(out, "real_time_factor", "Seconds of work for a second of sound.", &m->real_time);
    number(out, "audio_seconds_total", "counter", "Sound made.", (double)atomic_load(&m->audio_us) * 1e-6);
    number(out, "hangups_total", "counter", "Texts given up because their reader went away.",
           (double)atomic_load(&m->hangups));
    number(out, "queue_length", "gauge", "Texts that wait.", now->jobs.n_queued);
    number(out, "slots_active", "gauge", "Texts that are spoken now.", now->jobs.n_running);
    number(out, "slots_parked", "gauge", "Texts put aside until their reader catches up.", now->jobs.n_parked);
    number(out, "slots", "gauge", "Texts that are spoken at once.", now->n_places);
    number(out, "buffered_bytes", "gauge", "Sound that waits for its reader.", (double)now->jobs.n_buffered);
    number(out, "connections", "gauge", "Connections that are open.", now->n_connections);
    number(out, "ready", "gauge", "1 when the model is loaded.", now->ready);
    if (now->has_engine) engine(&now->engine, out);
    number(out, "process_resident_memory_bytes", "gauge", "Memory of the process.", resident_bytes());
}
