#include "server/jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "engine/stream.h"
#include "server/fifo.h"
#include "server/lanes.h"
#include "server/speech.h"

enum { LEAST_BUFFER = 64 << 10 };
#define PATIENCE_NS ((int64_t)3 * 1000000000)  // with a reader that stands still while others wait
#define BEHIND_NS ((int64_t)250 * 1000000)     // in which a reader takes something, if he can
#define BEHIND_S 1.5                           // of sound that he has not taken; with less he is not behind
#define CAUGHT_UP_S 0.5
#define AHEAD_S 0.25  // of sound that a reader has before him, with which the last but one portion waits for the last

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_PARKED, JOB_READY, JOB_OVER };

struct job {
    struct lane_entry waits;  // the first member
    struct jobs *jobs;
    struct order order;
    struct job_reader reader;
    struct job *next;  // of the running, the parked or the ready
    int n_owners;
    enum job_state state;
    bool cancelled;
    bool waited;  // wait was called, wake was not yet
    bool keeps;   // put aside, its stream keeps its place on the device
    struct fifo out;
    size_t n_out;          // bytes that were put there
    struct speech speech;  // of the thread that has the job, without the lock
    utter_stream *stream;  // to cancel; NULL: there is none yet, or no more
    int64_t asked, read;   // clock_ns: when it was asked for; when its reader last took something, or found nothing
    struct outcome outcome;
    status failed;
    char *message;
    float *kept;
    size_t n_kept;
};

struct jobs {
    struct jobs_options options;
    utter *u;
    pthread_t *threads;  // [n_threads]
    int n_threads;
    pthread_mutex_t lock;  // over all below, and over the jobs but their orders and what runs
    pthread_cond_t changed;
    struct lanes queue;
    struct job *running, *parked, *ready;  // oldest first
    int n_open, n_running, n_parked, n_jobs;
    int n_keeping;  // jobs put aside that keep their places
    size_t n_buffered;
    double job_s;  // how long a thread is with a job, lately
    bool stopping;
};

// ---- lists ----

static struct job *queued(struct lane_entry *e) { return (struct job *)e; }

static void list_put(struct job **list, struct job *j) {
    while (*list) list = &(*list)->next;
    j->next = NULL;
    *list = j;
}

static void list_remove(struct job **list, struct job *j) {
    while (*list != j) list = &(*list)->next;
    *list = j->next;
}

static void take_aside(struct jobs *p, struct job *j) {
    list_remove(&p->parked, j);
    p->n_parked--;
}

// ---- a job, under the lock ----

static void wake(struct job *j) {
    if (!j->waited) return;
    j->waited = false;
    j->reader.wake(j->reader.user);
}

static void free_job(struct job *j) {
    j->jobs->n_buffered -= j->out.len;
    j->jobs->n_jobs--;
    fifo_free(&j->out);
    order_free(&j->order);
    free(j->message);
    free(j->kept);
    free(j);
}

static void let_go(struct job *j) {
    if (--j->n_owners == 0) free_job(j);
}

// It failed, before or while it was spoken.
static void set_failed(struct job *j, status s, const char *why) {
    if (j->failed != UTTER_OK) return;
    j->failed = s;
    j->message = strdup(why);
}

static void end_job(struct job *j) {
    j->state = JOB_OVER;
    wake(j);
    let_go(j);
}

// One that no thread has now. Those with a stream are left to a thread, which closes it.
static void end_idle(struct jobs *p, struct job *j, status s, const char *why) {
    set_failed(j, s, why);
    if (j->state == JOB_PARKED) {
        take_aside(p, j);
        list_put(&p->ready, j);
        j->state = JOB_READY;
        pthread_cond_signal(&p->changed);
    } else if (j->state == JOB_QUEUED) {
        lanes_remove(&p->queue, &j->waits);
        j->outcome.queue_s = (double)(clock_ns() - j->asked) * 1e-9;
        if (p->options.done) p->options.done(p->options.user, &j->outcome, s);
        end_job(j);
    }
}

// The job may be gone afterwards, unless the caller owns it.
static void cancel(struct jobs *p, struct job *j, const char *why) {
    if (j->state == JOB_OVER) return;
    j->cancelled = true;
    if (j->stream) utter_cancel(j->stream);
    end_idle(p, j, UTTER_CANCELLED, why);
    wake(j);
}

// ---- what threads do ----

static size_t buffer_bytes(const struct jobs *p) {
    return p->n_buffered < p->options.buffers_bytes ? p->options.buffer_bytes : LEAST_BUFFER;
}

static bool may_begin(const struct jobs *p) { return p->queue.n > 0 && p->n_open < p->options.n_open; }

// How long the bytes play that the reader has not taken.
static double unread_s(const struct job *j) {
    return j->n_out > 0 ? (double)j->out.len / (double)j->n_out * j->outcome.audio_s : 0;
}

// Whether a thread should turn to something else.
static bool should_park(const struct jobs *p, const struct job *j) {
    if (j->out.len >= buffer_bytes(p)) return true;
    bool others_wait = p->ready || may_begin(p);
    return others_wait && unread_s(j) > BEHIND_S && clock_ns() - j->read > BEHIND_NS;
}

// One that was put aside for the sake of others, or whose reader has caught up by half.
static struct job *parked_with_room(struct jobs *p) {
    struct job *j = p->parked;
    while (j && j->out.len >= buffer_bytes(p) / 2) j = j->next;
    return j;
}

// Until there is something to do: a job whose reader has caught up, a new one, or one with room left for its reader.
// NULL: they stop.
static struct job *next_job(struct jobs *p) {
    for (;;) {
        struct job *j;
        if ((j = p->ready)) {
            p->ready = j->next;
        } else if (may_begin(p)) {
            p->n_open++;
            j = queued(lanes_take(&p->queue));
        } else if ((j = parked_with_room(p)))
            take_aside(p, j);
        if (j) {
            p->n_keeping -= j->keeps;
            j->keeps = false;
            return j;
        }
        if (p->stopping && p->queue.n == 0 && p->n_parked == 0) return NULL;
        pthread_cond_wait(&p->changed, &p->lock);
    }
}

// Puts the job aside; false: it need not be any more.
static bool park(struct jobs *p, struct job *j) {
    if (p->n_keeping >= p->options.n_places - p->options.n_threads) {
        pthread_mutex_unlock(&p->lock);
        stream_rest(j->stream);
        pthread_mutex_lock(&p->lock);
        if (j->cancelled || !should_park(p, j)) return false;
    } else {
        j->keeps = true;
        p->n_keeping++;
    }
    list_remove(&p->running, j);
    list_put(&p->parked, j);
    p->n_parked++;
    j->state = JOB_PARKED;
    return true;
}

// Whether the reader need not be told yet of what is there: it goes with the rest of the sentence, which a call of the
// codec has in a moment, and is not wanted before that, as what went before still plays.
static bool may_wait(const struct job *j) {
    if (j->outcome.first_audio_s == 0 || !stream_ends_soon(j->speech.stream)) return false;
    double playing_s = (double)(clock_ns() - j->asked) * 1e-9 - j->outcome.first_audio_s;
    return j->outcome.audio_s - unread_s(j) - playing_s > AHEAD_S;
}

// Speaks until the job ends or fails; false: until it was put aside.
static bool speak(struct jobs *p, struct job *j) {
    bool begun = j->speech.order != NULL;
    status s = j->failed;
    if (!begun && s == UTTER_OK) {
        j->outcome.queue_s = (double)(clock_ns() - j->asked) * 1e-9;
        pthread_mutex_unlock(&p->lock);
        s = speech_open(p->u, &j->order, p->options.first_frames, &j->speech);
        pthread_mutex_lock(&p->lock);
        j->stream = j->speech.stream;
    }
    for (bool ended = false; s == UTTER_OK && !ended;) {
        if (!j->cancelled && should_park(p, j) && park(p, j)) return false;
        if (j->cancelled) {
            s = j->failed;
            break;
        }
        pthread_mutex_unlock(&p->lock);
        s = speech_step(&j->speech, &ended);
        if (s == UTTER_OK && ended) s = speech_commit(&j->speech, &j->order);
        pthread_mutex_lock(&p->lock);
        if (s != UTTER_OK) break;
        if (j->outcome.first_audio_s == 0 && j->speech.n_samples > 0 &&
            (j->speech.out.len > 0 || j->order.file || j->order.keep))
            j->outcome.first_audio_s = (double)(clock_ns() - j->asked) * 1e-9;
        if (j->out.len == 0) j->read = clock_ns();
        s = fifo_put(&j->out, str_text(&j->speech.out), j->speech.out.len);
        if (s != UTTER_OK) break;
        p->n_buffered += j->speech.out.len;
        j->n_out += j->speech.out.len;
        str_clear(&j->speech.out);
        j->outcome.audio_s = (double)j->speech.n_samples / j->speech.rate_hz;
        if (!ended && j->out.len > 0 && !may_wait(j)) wake(j);
    }
    if (s != UTTER_OK) set_failed(j, s, fail_message());
    return true;
}

static void take_report(struct job *j) {
    if (!j->speech.stream) return;
    utter_report r;
    utter_stream_report(j->speech.stream, &r);
    j->outcome.work_s = r.work_s;
    j->outcome.n_codes = r.n_codes;
    j->outcome.n_retries = r.n_retries;
    j->outcome.audio_s = (double)j->speech.n_samples / j->speech.rate_hz;
}

static void finish(struct jobs *p, struct job *j) {
    take_report(j);
    j->stream = NULL;
    j->kept = j->speech.kept;
    j->n_kept = j->speech.n_kept;
    j->speech.kept = NULL;
    pthread_mutex_unlock(&p->lock);
    speech_close(&j->speech);
    pthread_mutex_lock(&p->lock);
    p->n_open--;
    pthread_cond_signal(&p->changed);
    if (p->options.done) p->options.done(p->options.user, &j->outcome, j->failed);
    end_job(j);
}

static void *work(void *user) {
    struct jobs *p = user;
    pthread_setname_np(pthread_self(), "speech");
    pthread_mutex_lock(&p->lock);
    for (struct job *j; (j = next_job(p)) != NULL;) {
        j->state = JOB_RUNNING;
        list_put(&p->running, j);
        p->n_running++;
        int64_t since = clock_ns();
        bool over = speak(p, j);
        p->n_running--;
        if (!over) continue;
        list_remove(&p->running, j);
        p->job_s += ((double)(clock_ns() - since) * 1e-9 - p->job_s) * 0.2;
        finish(p, j);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

// ---- all of them ----

status jobs_new(const struct jobs_options *o, struct jobs **out) {
    *out = NULL;
    struct jobs *p = calloc(1, sizeof *p);
    if (p) p->threads = calloc((size_t)o->n_threads, sizeof *p->threads);
    if (!p || !p->threads) {
        free(p);
        return fail_memory((size_t)o->n_threads * sizeof *p->threads, "threads");
    }
    p->options = *o;
    lock_init(&p->lock);
    pthread_cond_init(&p->changed, NULL);
    *out = p;
    return UTTER_OK;
}

status jobs_serve(struct jobs *p, utter *u) {
    p->u = u;
    for (int i = 0; i < p->options.n_threads; i++) {
        int error = pthread_create(&p->threads[i], NULL, work, p);
        if (error) return fail(UTTER_INTERNAL, "cannot start a thread: %s", strerror(error));
        p->n_threads++;
    }
    return UTTER_OK;
}

void jobs_stop(struct jobs *p, bool now) {
    static const char why[] = "the server stops";
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    while (now && p->queue.n > 0) end_idle(p, queued(lanes_next(&p->queue, NULL)), UTTER_CANCELLED, why);
    while (now && p->parked) end_idle(p, p->parked, UTTER_CANCELLED, why);
    for (struct job *j = now ? p->running : NULL; j; j = j->next) cancel(p, j, why);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void jobs_free(struct jobs *p) {
    if (!p) return;
    jobs_stop(p, true);
    for (int i = 0; i < p->n_threads; i++) pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}

void jobs_tick(struct jobs *p) {
    pthread_mutex_lock(&p->lock);
    int64_t now = clock_ns();
    for (struct lane_entry *e = lanes_next(&p->queue, NULL), *next; e; e = next) {
        next = lanes_next(&p->queue, e);
        if (now < queued(e)->order.deadline) continue;
        end_idle(p, queued(e), UTTER_DEADLINE,
                 "the text waited longer than its deadline allows; too many others were before it");
    }
    struct job *stalled = NULL;
    for (struct job *j = p->parked, *after; j; j = after) {
        after = j->next;
        if (now >= j->order.deadline)
            end_idle(p, j, UTTER_DEADLINE, "the text was not read within its deadline");
        else if (!stalled || j->read < stalled->read)
            stalled = j;
    }
    if (stalled && p->queue.n > 0 && p->n_open >= p->options.n_open && now - stalled->read > PATIENCE_NS)
        end_idle(p, stalled, UTTER_CANCELLED, "the reader stood still while others waited");
    pthread_mutex_unlock(&p->lock);
}

void jobs_count(struct jobs *p, struct jobs_counts *out) {
    pthread_mutex_lock(&p->lock);
    *out = (struct jobs_counts){p->queue.n, p->n_running,  p->n_parked,
                                p->n_jobs,  p->n_buffered, p->job_s * (p->queue.n + 1) / p->options.n_threads};
    pthread_mutex_unlock(&p->lock);
}

// ---- readers ----

static status submit(struct jobs *p, struct job *j, const char *caller) {
    if (p->stopping) return fail(UTTER_CANCELLED, "the server is stopping; ask another, or later");
    if (p->queue.n >= p->options.n_queue)
        return fail(UTTER_LIMIT, "%d texts wait already, which is all that may; try again later", p->queue.n);
    TRY(lanes_put(&p->queue, caller, p->options.n_queue_caller, &j->waits));
    p->n_jobs++;
    return UTTER_OK;
}

status jobs_submit(struct jobs *p, struct order *o, const char *caller, const struct job_reader *reader,
                   struct job **out) {
    *out = NULL;
    struct job *j = calloc(1, sizeof *j);
    if (!j) return fail_memory(sizeof *j, "a request");
    j->jobs = p;
    j->order = *o;
    j->reader = *reader;
    j->n_owners = 2;
    j->asked = j->read = clock_ns();
    pthread_mutex_lock(&p->lock);
    status s = submit(p, j, caller);
    pthread_mutex_unlock(&p->lock);
    if (s != UTTER_OK) {
        free(j);
        return s;
    }
    pthread_cond_signal(&p->changed);  // not under the lock, which the thread takes first of all
    *o = (struct order){0};
    *out = j;
    return UTTER_OK;
}

static const char went_away[] = "the reader went away";

static status failure(const struct job *j) { return fail(j->failed, "%s", j->message ? j->message : "it failed"); }

static void let_wait(struct job *j) {
    if (j->waited) return;
    j->waited = true;
    j->reader.wait(j->reader.user);
}

status job_read(struct job *j, char *bytes, size_t capacity, size_t *n, bool *ended) {
    struct jobs *p = j->jobs;
    status s = UTTER_OK;
    pthread_mutex_lock(&p->lock);
    *n = fifo_take(&j->out, bytes, capacity);
    p->n_buffered -= *n;
    *ended = j->state == JOB_OVER && j->out.len == 0 && j->failed == UTTER_OK;
    if (*n > 0) j->read = clock_ns();
    if (j->state == JOB_PARKED && unread_s(j) < CAUGHT_UP_S) {
        take_aside(p, j);
        j->state = JOB_READY;
        list_put(&p->ready, j);
    }
    if (j->state == JOB_READY || j->state == JOB_PARKED) pthread_cond_signal(&p->changed);
    if (*n == 0 && j->failed != UTTER_OK)
        s = failure(j);
    else if (*n == 0 && !*ended)
        let_wait(j);
    pthread_mutex_unlock(&p->lock);
    return s;
}

bool job_ready(struct job *j, status *s) {
    pthread_mutex_lock(&j->jobs->lock);
    bool ready = j->out.len > 0 || j->state == JOB_OVER || j->failed != UTTER_OK;
    *s = UTTER_OK;
    if (!ready)
        let_wait(j);
    else if (j->out.len == 0 && j->failed != UTTER_OK)
        *s = failure(j);
    pthread_mutex_unlock(&j->jobs->lock);
    return ready;
}

void job_cancel(struct job *j) {
    struct jobs *p = j->jobs;
    pthread_mutex_lock(&p->lock);
    cancel(p, j, went_away);
    pthread_mutex_unlock(&p->lock);
}

void job_outcome(struct job *j, struct outcome *out) {
    pthread_mutex_lock(&j->jobs->lock);
    *out = j->outcome;
    pthread_mutex_unlock(&j->jobs->lock);
}

float *job_take_kept(struct job *j, size_t *n) {
    pthread_mutex_lock(&j->jobs->lock);
    float *kept = j->kept;
    *n = j->n_kept;
    j->kept = NULL;
    j->n_kept = 0;
    pthread_mutex_unlock(&j->jobs->lock);
    return kept;
}

const struct order *job_order(const struct job *j) { return &j->order; }

void job_release(struct job *j) {
    struct jobs *p = j->jobs;
    pthread_mutex_lock(&p->lock);
    j->waited = false;  // there is nobody to wake any more
    cancel(p, j, went_away);
    let_go(j);
    pthread_mutex_unlock(&p->lock);
}
