#include "book/narrate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_STREAMS = 64, PATIENCE_MS = 600000, SAMPLES = 8192 };

bool unit_is_given_up(status s) {
    return s == UTTER_SPEECH || s == UTTER_NO_TEXT || s == UTTER_LIMIT || s == UTTER_INVALID || s == UTTER_DEADLINE;
}

// ---- one unit ----

static bool hold(struct running *r, utter_stream *stream) {
    if (!r) return true;
    pthread_mutex_lock(r->lock);
    r->stream = r->stopped ? NULL : stream;
    bool may = !r->stopped;
    pthread_mutex_unlock(r->lock);
    return may;
}

static status read_all(utter_stream *stream, float **samples, int64_t *n) {
    size_t cap = 0, len = 0;
    float *all = NULL;
    for (;;) {
        if (cap - len < SAMPLES) {
            cap = cap ? 2 * cap : 1 << 17;
            float *grown = realloc(all, cap * sizeof *grown);
            if (!grown) {
                free(all);
                return fail_memory(cap * sizeof *grown, "a sentence");
            }
            all = grown;
        }
        size_t got;
        status s = utter_read(stream, all + len, SAMPLES, &got);
        if (s != UTTER_OK) {
            free(all);
            return s;
        }
        if (got == 0) break;
        len += got;
    }
    *samples = all;
    *n = (int64_t)len;
    return UTTER_OK;
}

status unit_speak(utter *u, const utter_request *request, struct running *running, float **samples, int64_t *n) {
    *samples = NULL;
    *n = 0;
    utter_request bounded = *request;
    bounded.deadline_ms = PATIENCE_MS;
    utter_stream *stream;
    TRY(utter_speak(u, &bounded, &stream));
    status s = hold(running, stream) ? read_all(stream, samples, n) : fail(UTTER_CANCELLED, "the reading was stopped");
    hold(running, NULL);
    utter_stream_close(stream);
    return s;
}

// ---- many at once ----

struct narrator {
    utter *u;
    const struct book *b;
    const struct units *units;
    const utter_request *request;
    struct spool *spool;
    int rate_hz;
    narrate_progress_fn *progress;
    void *user;

    pthread_mutex_t lock;  // over all below, the spool and the progress
    pthread_cond_t ended;
    int next;  // unit to look at
    int n_running;
    bool stopped;
    status failed;
    char why[1024];
    struct running running[MAX_STREAMS];
};

struct voice_thread {
    struct narrator *n;
    struct running *running;
    pthread_t thread;
};

static void stop_all(struct narrator *n) {
    n->stopped = true;
    for (int i = 0; i < MAX_STREAMS; i++) {
        n->running[i].stopped = true;
        if (n->running[i].stream) utter_cancel(n->running[i].stream);
    }
}

static int take_unit(struct narrator *n) {
    pthread_mutex_lock(&n->lock);
    while (n->next < n->units->n && spool_has(n->spool, n->next)) n->next++;
    int unit = n->stopped || n->next >= n->units->n ? -1 : n->next++;
    pthread_mutex_unlock(&n->lock);
    return unit;
}

static status speak(struct narrator *n, struct running *running, int unit, struct str *text, struct str *packed,
                    int64_t *n_samples) {
    const struct unit *where = &n->units->all[unit];
    str_clear(text);
    str_append(text, str_text(&n->b->text) + where->begin, where->end - where->begin);
    TRY(str_status(text));
    utter_request request = *n->request;
    request.text = str_text(text);
    request.seed = unit_seed(n->request->seed, unit);
    float *samples;
    TRY(unit_speak(n->u, &request, running, &samples, n_samples));
    status s = sound_pack(samples, *n_samples, n->rate_hz, packed);
    free(samples);
    return s;
}

static void finish(struct narrator *n, int unit, status s, const struct str *packed, int64_t n_samples) {
    const struct unit *where = &n->units->all[unit];
    pthread_mutex_lock(&n->lock);
    if (s == UTTER_OK || unit_is_given_up(s)) {
        char why[512];
        snprintf(why, sizeof why, "%s", fail_message());
        bool whole = s == UTTER_OK && n_samples > 0;
        s = spool_add(n->spool, unit, packed->data, whole ? packed->len : 0, whole ? "" : why);
        if (s == UTTER_OK && n->progress) n->progress(n->user, unit, where->end - where->begin, whole ? n_samples : 0);
    }
    if (s != UTTER_OK && n->failed == UTTER_OK && !n->stopped) {
        n->failed = s;
        snprintf(n->why, sizeof n->why, "%s", fail_message());
        stop_all(n);
    }
    pthread_mutex_unlock(&n->lock);
}

static void *run(void *user) {
    struct voice_thread *t = user;
    struct str text = {0}, packed = {0};
    for (int unit; (unit = take_unit(t->n)) >= 0;) {
        int64_t n_samples = 0;
        str_clear(&packed);
        status s = speak(t->n, t->running, unit, &text, &packed, &n_samples);
        finish(t->n, unit, s, &packed, n_samples);
    }
    str_free(&text);
    str_free(&packed);
    pthread_mutex_lock(&t->n->lock);
    t->n->n_running--;
    pthread_cond_signal(&t->n->ended);
    pthread_mutex_unlock(&t->n->lock);
    return NULL;
}

static void wait_for_all(struct narrator *n, const atomic_bool *stop) {
    pthread_mutex_lock(&n->lock);
    while (n->n_running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
        pthread_cond_timedwait(&n->ended, &n->lock, &until);
        if (stop && atomic_load(stop) && !n->stopped) stop_all(n);
    }
    pthread_mutex_unlock(&n->lock);
}

status narrate(utter *u, const struct book *b, const struct units *units, const utter_request *request,
               struct spool *spool, int n_streams, const atomic_bool *stop, narrate_progress_fn *progress, void *user) {
    struct narrator n = {.u = u,
                         .b = b,
                         .units = units,
                         .request = request,
                         .spool = spool,
                         .rate_hz = utter_sample_rate(u),
                         .progress = progress,
                         .user = user};
    pthread_mutex_init(&n.lock, NULL);
    pthread_cond_init(&n.ended, NULL);
    if (n_streams > MAX_STREAMS) n_streams = MAX_STREAMS;
    struct voice_thread threads[MAX_STREAMS];
    int n_threads = 0, error = 0;
    for (; n_threads < n_streams && error == 0; n_threads += error == 0) {
        n.running[n_threads].lock = &n.lock;
        threads[n_threads] = (struct voice_thread){.n = &n, .running = &n.running[n_threads]};
        pthread_mutex_lock(&n.lock);
        n.n_running++;
        error = pthread_create(&threads[n_threads].thread, NULL, run, &threads[n_threads]);
        if (error) n.n_running--;
        pthread_mutex_unlock(&n.lock);
    }
    wait_for_all(&n, stop);
    for (int i = 0; i < n_threads; i++) pthread_join(threads[i].thread, NULL);
    pthread_cond_destroy(&n.ended);
    pthread_mutex_destroy(&n.lock);
    if (n.failed != UTTER_OK) return fail(n.failed, "%s", n.why);
    if (n_threads == 0) return fail(UTTER_MEMORY, "cannot start a thread to speak in: %s", strerror(error));
    return n.stopped ? fail(UTTER_CANCELLED, "the reading was stopped") : UTTER_OK;
}
