/* How many listeners this machine can speak to at once, each hearing a text of its own without a gap. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench.h"
#include "cli/bench_listener.h"
#include "cli/stop.h"

enum { CPU_MOST = 64, GPU_MOST = 512, N_TEXTS = 4 };

/* About ten seconds each. */
static const char *const texts[N_TEXTS] = {
    ("The harbour was quiet when the first boats came in. Gulls sat along the wall, and the smell of tar and salt lay "
     "over the stones. Nobody spoke until the nets were down and the ropes made fast."),
    ("A small machine in the corner counts the hours and says nothing about them. Once a day somebody winds it, looks "
     "at the window, and goes back to work. That is all it ever asked for."),
    ("If you follow the path behind the mill you will reach a bridge of three planks. Cross it slowly, because the "
     "water below is deep and cold. On the other side there is bread, and a warm stove."),
    ("Rain came from the west before noon and stayed until the lamps were lit. The children drew ships on the glass "
     "and named every one of them. By evening there was a fleet of forty sails."),
};

struct ear {
    struct capacity *all;
    int number;
    struct listener heard;  // seconds since capacity.since
    status status;
    char message[256];
};

struct capacity {
    const struct bench *bench;
    utter *u;
    int64_t since;
};

static double now_s(const struct capacity *c) { return (double)(clock_ns() - c->since) * 1e-9; }

static status listen(struct ear *e) {
    utter_request request = utter_request_default();
    request.text = texts[e->number % N_TEXTS];
    request.voice = e->all->bench->voice;
    request.streaming = true;
    request.seed = (uint32_t)e->number + 1;
    request.retries = 0;
    utter_stream *s;
    TRY(utter_speak(e->all->u, &request, &s));
    float samples[4096];
    size_t n = 1;
    status result = UTTER_OK;
    while (result == UTTER_OK && n > 0) {
        result = utter_read(s, samples, sizeof samples / sizeof *samples, &n);
        if (n > 0) listener_hear(&e->heard, now_s(e->all), (double)n / utter_sample_rate(e->all->u));
        if (stop_requested()) utter_cancel(s);
    }
    utter_stream_close(s);
    return result;
}

static void *run_ear(void *argument) {
    struct ear *e = argument;
    e->status = listen(e);
    if (e->status != UTTER_OK) strncpy(e->message, fail_message(), sizeof e->message - 1);
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return values[n / 2];
}

struct outcome {
    int n_gaps;
    double first_s, last_first_s;  // when the median listener first heard something, and the last one
    double audio_s, seconds;
};

static status sum_up(const struct ear *ears, int n, struct outcome *out) {
    double firsts[GPU_MOST];
    for (int i = 0; i < n; i++) {
        const struct ear *e = &ears[i];
        if (e->status != UTTER_OK) return fail(e->status, "%s", e->message);
        out->n_gaps += e->heard.n_gaps;
        out->audio_s += e->heard.audio_s;
        firsts[i] = e->heard.first_s;
        if (firsts[i] > out->last_first_s) out->last_first_s = firsts[i];
    }
    out->first_s = median_of(firsts, n);
    return UTTER_OK;
}

// n listeners at once, from the same moment on.
static status listen_at_once(struct capacity *c, int n, struct outcome *out) {
    *out = (struct outcome){0};
    struct ear *ears;
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    status s = alloc_for(&ears, (size_t)n, sizeof *ears, "listeners");
    if (s == UTTER_OK && !threads) s = fail_memory((size_t)n * sizeof *threads, "threads");
    c->since = clock_ns();
    int n_started = 0;
    while (s == UTTER_OK && n_started < n) {
        ears[n_started] = (struct ear){.all = c, .number = n_started};
        if (pthread_create(&threads[n_started], NULL, run_ear, &ears[n_started]) != 0)
            s = fail(UTTER_LIMIT, "the system gives no more than %d threads", n_started);
        else
            n_started++;
    }
    for (int i = 0; i < n_started; i++) pthread_join(threads[i], NULL);
    out->seconds = now_s(c);
    if (s == UTTER_OK) s = sum_up(ears, n, out);
    free(threads);
    free_aligned(ears);
    return s;
}

static status try(struct bench *b, struct capacity *c, int n, bool *keeps_up) {
    struct outcome o;
    bench_progress(b, "%d listeners at once", n);
    if (stop_requested()) return fail(UTTER_CANCELLED, "stopped");
    TRY(listen_at_once(c, n, &o));
    *keeps_up = o.n_gaps == 0;
    json_array_append_new(
        b->rows, json_pack("{s:i, s:i, s:f, s:f, s:f}", "listeners", n, "gaps", o.n_gaps, "first_sound_s", o.first_s,
                           "last_first_sound_s", o.last_first_s, "real_time", o.audio_s / o.seconds));
    bench_progress(b, "%s", "");
    if (!b->json)
        printf("%4d listeners  %s%d gaps, first sound %.2f s (the last one's %.2f), %.1fx real time in all\n", n,
               *keeps_up ? "keeps up: " : "too many: ", o.n_gaps, o.first_s, o.last_first_s, o.audio_s / o.seconds);
    fflush(stdout);
    return UTTER_OK;
}

// Doubles until it is too many, then halves the step.
static status search(struct bench *b, struct capacity *c, int most, int *capacity) {
    int good = 0, bad = most + 1;
    for (int n = 1; good + 1 < bad;) {
        bool keeps_up = false;
        TRY(try(b, c, n, &keeps_up));
        if (keeps_up)
            good = n;
        else
            bad = n;
        n = bad > most ? (2 * good < most ? 2 * good : most) : (good + bad) / 2;
        if (good == most) break;
        if (bad <= most && bad - good <= good / 8) break;  // near enough
    }
    *capacity = good;
    return UTTER_OK;
}

status bench_capacity(struct bench *b) {
    struct capacity c = {.bench = b};
    utter_options options = b->options;
    utter_state state;
    options.n_streams = CPU_MOST;
    bench_progress(b, "load");
    TRY(utter_open(&options, &c.u));
    status s = utter_state_get(c.u, &state);
    if (s == UTTER_OK && state.is_gpu) {  // a GPU has places for more
        utter_close(c.u);
        options.n_streams = GPU_MOST;
        TRY(utter_open(&options, &c.u));
    }
    int most = b->quick ? 2 : options.n_streams, capacity = 0;
    json_object_set_new(b->about, "describe", json_string(utter_describe(c.u)));
    if (!b->json) printf("%s\n", utter_describe(c.u));
    struct outcome warm;
    if (s == UTTER_OK) s = listen_at_once(&c, 1, &warm);
    if (s == UTTER_OK) s = search(b, &c, most, &capacity);
    utter_close(c.u);
    if (s != UTTER_OK) return s;
    json_object_set_new(b->about, "capacity", json_integer(capacity));
    if (!b->json && capacity > 0)
        printf("capacity: %d%s listener%s at once, without a gap\n", capacity, capacity == most ? " or more" : "",
               capacity == 1 ? "" : "s");
    if (!b->json && capacity == 0) printf("capacity: none; one listener already hears gaps\n");
    return UTTER_OK;
}
