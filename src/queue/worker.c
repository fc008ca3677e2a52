#include "queue/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "book/narrate.h"
#include "book/spool.h"
#include "engine/identity.h"
#include "queue/jobs.h"

enum { MAX_STREAMS = 64, MAX_VOICES = 1024, BLOCK_MS = 1000, KEY = 96, ENTRY_ID = 48, FAILURES_IN_A_ROW = 5 };
#define PATIENCE_S 600.0
#define DRAIN_S 60.0                    // the longest that a sentence in hand is waited for at the end
#define LOOK_NS ((int64_t)2000000000)   // for new books, and for jobs of those that died
#define ALIVE_NS ((int64_t)4000000000)  // a worker says that it is alive

struct served {
    char identity[IDENTITY_LENGTH + 1], voice[QUEUE_ID];
    char key[KEY];
    bool wanted;  // there are jobs for it
};

struct worker {
    utter *u;
    struct worker_options options;
    char name[QUEUE_ID];
    int rate_hz;
    struct served *served;  // [n_served] a voice each
    int n_served;
    pthread_mutex_t lock;  // over all below
    struct hand {
        bool busy;
        char key[KEY], id[ENTRY_ID];  // the job in hand
    } hands[MAX_STREAMS];
    struct worker_report report;
    int n_busy;             // hands with a job
    int64_t busy_since_ns;  // while there are some
    int64_t last_work_ns, looked_ns;
    int n_running;   // threads
    int n_failures;  // of this machine, in a row
    bool ending;
    atomic_bool abandoned;  // breaks off what still waits for Redis
    status failed;
    char why[1024];
};

struct hand_thread {
    struct worker *w;
    struct hand *hand;
    struct redis *redis;
    int first;  // voice to look at first, so that each gets its turn
    pthread_t thread;
};

static bool is_ending(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    bool ending = w->ending;
    pthread_mutex_unlock(&w->lock);
    return ending || (w->options.stop && atomic_load(w->options.stop));
}

// The worker ends, for the reason in fail_message() if s is a failure.
static void end_all(struct worker *w, status s) {
    pthread_mutex_lock(&w->lock);
    if (!w->ending && s != UTTER_OK && s != UTTER_CANCELLED) {
        w->failed = s;
        snprintf(w->why, sizeof w->why, "%s", fail_message());
    }
    w->ending = true;
    pthread_mutex_unlock(&w->lock);
}

// ---- a job in hand ----

static void hold(struct hand_thread *t, const char *key, const char *id) {
    pthread_mutex_lock(&t->w->lock);
    const bool busy = id != NULL;
    if (busy && t->w->n_busy++ == 0) t->w->busy_since_ns = clock_ns();
    if (!busy && --t->w->n_busy == 0) t->w->report.busy_s += (double)(clock_ns() - t->w->busy_since_ns) * 1e-9;
    t->hand->busy = busy;
    snprintf(t->hand->key, KEY, "%s", key ? key : "");
    snprintf(t->hand->id, ENTRY_ID, "%s", id ? id : "");
    pthread_mutex_unlock(&t->w->lock);
}

static status commit(struct hand_thread *t) {
    redisReply *reply;
    TRY(redis_commit(t->redis, &reply));
    freeReplyObject(reply);
    return UTTER_OK;
}

static status add_end(struct hand_thread *t) {
    TRY(redis_add(t->redis, "XACK %s " QUEUE_GROUP " %s", t->hand->key, t->hand->id));
    return redis_add(t->redis, "XDEL %s %s", t->hand->key, t->hand->id);
}

// The job cannot be done by anybody: its book goes on without it, and it is kept to be looked at.
static status give_up(struct hand_thread *t, const char *book, int unit, const char *json, size_t len,
                      const char *why) {
    if (book) {
        TRY(redis_add(t->redis, "XADD " QUEUE_PREFIX "done:%s * unit %d failure %s worker %s", book, unit, why,
                      t->w->name));
        TRY(redis_add(t->redis, "EXPIRE " QUEUE_PREFIX "done:%s 604800", book));
    }
    TRY(redis_add(t->redis, "XADD " QUEUE_PREFIX "dead MAXLEN ~ %d * job %b key %s why %s worker %s", QUEUE_MAX_DEAD,
                  json, len, t->hand->key, why, t->w->name));
    TRY(add_end(t));
    TRY(commit(t));
    pthread_mutex_lock(&t->w->lock);
    t->w->report.n_given_up++;
    pthread_mutex_unlock(&t->w->lock);
    return UTTER_OK;
}

static status put_down(struct hand_thread *t, const struct queued *j, const struct str *sound, int64_t n) {
    double audio_s = (double)n / t->w->rate_hz;
    TRY(redis_add(t->redis, "XADD " QUEUE_PREFIX "done:%s * unit %d sound %b crc %u worker %s", j->book, j->unit,
                  sound->data, sound->len, (unsigned)sound_crc(sound->data, sound->len), t->w->name));
    TRY(redis_add(t->redis, "EXPIRE " QUEUE_PREFIX "done:%s 604800", j->book));
    TRY(add_end(t));
    TRY(commit(t));
    pthread_mutex_lock(&t->w->lock);
    t->w->report.n_done++;
    t->w->report.audio_s += audio_s;
    t->w->last_work_ns = clock_ns();
    t->w->n_failures = 0;
    pthread_mutex_unlock(&t->w->lock);
    return UTTER_OK;
}

static status speak(struct hand_thread *t, const struct queued *j, const char *voice, struct str *sound, int64_t *n) {
    utter_request q = utter_request_default();
    q.text = j->text;
    q.voice = voice;
    q.language = j->language;
    q.emotion = j->emotion;
    q.seed = j->seed;
    q.temperature = j->temperature;
    q.top_k = j->top_k;
    q.top_p = j->top_p;
    q.min_p = j->min_p;
    q.retries = j->retries;
    float *samples;
    TRY(unit_speak(t->w->u, &q, NULL, &samples, n));
    status s = *n > 0 ? sound_pack(samples, *n, t->w->rate_hz, sound) : fail(UTTER_SPEECH, "it gave no sound");
    free(samples);
    return s;
}

// A failure of this machine: the job stays in the queue, for another worker.
static status leave(struct hand_thread *t, status s) {
    char why[512];
    snprintf(why, sizeof why, "%s", fail_message());
    pthread_mutex_lock(&t->w->lock);
    bool too_often = ++t->w->n_failures >= FAILURES_IN_A_ROW;
    pthread_mutex_unlock(&t->w->lock);
    if (too_often) return fail(s, "%s (%d times in a row; this worker ends)", why, FAILURES_IN_A_ROW);
    log_say(t->w->options.log, UTTER_LOG_WARNING, "%s (the sentence is left to another worker)", why);
    return UTTER_OK;
}

static status do_job(struct hand_thread *t, const struct served *served, const char *json, size_t len) {
    struct queued j;
    if (queued_read(json, len, &j) != UTTER_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", fail_message());
        return give_up(t, NULL, 0, json, len, why);
    }
    struct str sound = {0};
    int64_t n = 0;
    status s = speak(t, &j, served->voice, &sound, &n);
    if (s == UTTER_OK) {
        s = put_down(t, &j, &sound, n);
    } else if (unit_is_given_up(s)) {
        char why[512];
        snprintf(why, sizeof why, "%s", fail_message());
        s = give_up(t, j.book, j.unit, json, len, why);
    } else if (s != UTTER_CANCELLED) {
        s = leave(t, s);
    }
    str_free(&sound);
    queued_free(&j);
    return s;
}

// ---- taking jobs ----

static const struct served *served_by_key(const struct worker *w, const char *key) {
    for (int i = 0; i < w->n_served; i++)
        if (key && strcmp(w->served[i].key, key) == 0) return &w->served[i];
    return NULL;
}

// One entry [id, [name, value ...]] of a stream, ours now.
static status take_entry(struct hand_thread *t, const struct served *served, const redisReply *entry, bool claimed) {
    const char *id = reply_text(reply_at(entry, 0));
    const redisReply *job = reply_field(reply_at(entry, 1), "job");
    if (!id) return UTTER_OK;
    hold(t, served->key, id);
    const char *json = job && reply_text(job) ? job->str : "";
    size_t len = job && reply_text(job) ? job->len : 0;
    long long n_deliveries = 1;
    status s = UTTER_OK;
    if (claimed) {
        redisReply *pending;
        s = redis_call(t->redis, &pending, "XPENDING %s " QUEUE_GROUP " %s %s 1", served->key, id, id);
        const redisReply *count = s == UTTER_OK ? reply_at(reply_at(pending, 0), 3) : NULL;
        if (count && count->type == REDIS_REPLY_INTEGER) n_deliveries = count->integer;
        if (s == UTTER_OK) freeReplyObject(pending);
    }
    if (s == UTTER_OK && n_deliveries > QUEUE_MAX_DELIVERIES) {
        struct queued j;
        bool known = queued_read(json, len, &j) == UTTER_OK;
        char why[100];
        snprintf(why, sizeof why, "%d workers took it and none finished it", QUEUE_MAX_DELIVERIES);
        s = give_up(t, known ? j.book : NULL, known ? j.unit : 0, json, len, why);
        if (known) queued_free(&j);
    } else if (s == UTTER_OK) {
        s = do_job(t, served, json, len);
    }
    hold(t, NULL, NULL);
    return s;
}

// Where one job was left there may be more: the next thread that is free looks, too.
static void look_soon(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    w->looked_ns = 0;
    pthread_mutex_unlock(&w->lock);
}

// Jobs of workers that died, of the voice whose turn it is.
static status take_over(struct hand_thread *t, const struct served *served, bool *took) {
    redisReply *reply;
    status s = redis_call(t->redis, &reply, "XAUTOCLAIM %s " QUEUE_GROUP " %s %d 0-0 COUNT 1", served->key, t->w->name,
                          QUEUE_IDLE_MS);
    if (s != UTTER_OK) return strcmp(redis_error_word(t->redis), "NOGROUP") == 0 ? UTTER_OK : s;
    const redisReply *entry = reply_at(reply_at(reply, 1), 0);
    *took = entry != NULL;
    if (entry) {
        look_soon(t->w);
        s = take_entry(t, served, entry, true);
    }
    freeReplyObject(reply);
    return s;
}

// Which of our voices have jobs, by what the submitters have said.
static status look_for_books(struct hand_thread *t) {
    redisReply *reply;
    TRY(redis_call(t->redis, &reply, "SMEMBERS " QUEUE_PREFIX "identities"));
    pthread_mutex_lock(&t->w->lock);
    for (int i = 0; i < t->w->n_served; i++) {
        t->w->served[i].wanted = false;
        for (size_t k = 0; k < reply->elements; k++) {
            const char *identity = reply_text(reply_at(reply, k));
            if (identity && strcmp(identity, t->w->served[i].identity) == 0) t->w->served[i].wanted = true;
        }
    }
    pthread_mutex_unlock(&t->w->lock);
    freeReplyObject(reply);
    return UTTER_OK;
}

// New jobs of all voices that have some; waits a second for one.
static status take_new(struct hand_thread *t) {
    const struct served *wanted[MAX_VOICES];
    int n = 0;
    pthread_mutex_lock(&t->w->lock);
    for (int i = 0; i < t->w->n_served && n < MAX_VOICES; i++) {
        const struct served *each = &t->w->served[(i + t->first) % t->w->n_served];
        if (each->wanted) wanted[n++] = each;
    }
    pthread_mutex_unlock(&t->w->lock);
    t->first++;
    if (n == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
        return UTTER_OK;
    }
    struct str command = {0};
    str_printf(&command, "XREADGROUP GROUP " QUEUE_GROUP " %s COUNT 1 BLOCK %d STREAMS", t->w->name, BLOCK_MS);
    for (int i = 0; i < n; i++) str_printf(&command, " %s", wanted[i]->key);
    for (int i = 0; i < n; i++) str_puts(&command, " >");
    redisReply *reply = NULL;
    status s = str_status(&command);
    if (s == UTTER_OK) s = redis_wait(t->redis, BLOCK_MS * 1e-3, &reply, str_text(&command));
    str_free(&command);
    if (s != UTTER_OK) {
        if (strcmp(redis_error_word(t->redis), "NOGROUP") != 0) return s;
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);  // a queue that was emptied, or is being made
        return look_for_books(t);
    }
    // more than one stream may have had an entry: all that came are ours
    for (size_t i = 0; s == UTTER_OK && reply_at(reply, i); i++) {
        const struct served *served = served_by_key(t->w, reply_text(reply_at(reply_at(reply, i), 0)));
        const redisReply *entries = reply_at(reply_at(reply, i), 1);
        for (size_t k = 0; s == UTTER_OK && served && reply_at(entries, k); k++)
            s = take_entry(t, served, reply_at(entries, k), false);
    }
    freeReplyObject(reply);
    return s;
}

// One thread in two seconds is enough.
static bool may_look(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    const bool due = clock_ns() - w->looked_ns > LOOK_NS;
    if (due) w->looked_ns = clock_ns();
    pthread_mutex_unlock(&w->lock);
    return due;
}

static status work(struct hand_thread *t) {
    while (!is_ending(t->w)) {
        if (may_look(t->w)) {
            TRY(look_for_books(t));
            for (int i = 0; i < t->w->n_served && !is_ending(t->w); i++) {
                bool took = t->w->served[i].wanted;
                while (took && !is_ending(t->w)) TRY(take_over(t, &t->w->served[i], &took));
            }
        }
        TRY(take_new(t));
    }
    return UTTER_OK;
}

static void *run(void *user) {
    struct hand_thread *t = user;
    end_all(t->w, work(t));
    pthread_mutex_lock(&t->w->lock);
    t->w->n_running--;
    pthread_mutex_unlock(&t->w->lock);
    return NULL;
}

// ---- signs of life ----

static status say_alive(struct worker *w, struct redis *redis) {
    struct hand hands[MAX_STREAMS];
    struct str told = {0};
    pthread_mutex_lock(&w->lock);
    memcpy(hands, w->hands, sizeof hands);
    str_printf(&told, "%d %d %.1f %.1f %d", w->report.n_done, w->report.n_given_up, w->report.audio_s,
               w->report.busy_s + (w->n_busy ? (double)(clock_ns() - w->busy_since_ns) * 1e-9 : 0),
               w->options.n_streams);
    for (int i = 0; i < w->n_served; i++) str_printf(&told, " %s", w->served[i].identity);
    pthread_mutex_unlock(&w->lock);
    redisReply *reply = NULL;
    status s = str_status(&told);
    if (s == UTTER_OK)
        s = redis_call(redis, &reply, "SET " QUEUE_PREFIX "worker:%s %s EX %d", w->name, str_text(&told),
                       QUEUE_ALIVE_S);
    if (reply) freeReplyObject(reply);
    str_free(&told);
    // a claim of one's own job sets its idle time to zero, and with JUSTID counts as no delivery
    for (int i = 0; i < MAX_STREAMS && s == UTTER_OK; i++) {
        if (!hands[i].busy) continue;
        s = redis_call(redis, &reply, "XCLAIM %s " QUEUE_GROUP " %s 0 %s JUSTID", hands[i].key, w->name, hands[i].id);
        if (s == UTTER_OK) freeReplyObject(reply);
    }
    return s;
}

static bool is_idle(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    bool idle = w->options.idle_s > 0 && (double)(clock_ns() - w->last_work_ns) * 1e-9 > w->options.idle_s;
    for (int i = 0; i < MAX_STREAMS; i++) idle = idle && !w->hands[i].busy;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

static void live(struct worker *w, struct redis *redis) {
    for (int64_t said = 0; !is_ending(w);) {
        if (clock_ns() - said > ALIVE_NS) {
            status s = say_alive(w, redis);
            if (s != UTTER_OK && strcmp(redis_error_word(redis), "NOGROUP") != 0) end_all(w, s);
            said = clock_ns();
        }
        if (is_idle(w)) end_all(w, UTTER_OK);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

// ---- all of it ----

static status find_voices(struct worker *w) {
    int n = utter_voice_count(w->u);
    if (n > MAX_VOICES) n = MAX_VOICES;
    w->served = calloc((size_t)n + 1, sizeof *w->served);
    if (!w->served) return fail_memory((size_t)n * sizeof *w->served, "a list of voices");
    for (int i = 0; i < n; i++) {
        utter_voice v;
        TRY(utter_voice_get(w->u, i, &v));
        struct served *s = &w->served[w->n_served++];
        TRY(engine_identity(w->u, v.name, s->identity));
        snprintf(s->voice, sizeof s->voice, "%s", v.name);
        snprintf(s->key, KEY, QUEUE_PREFIX "jobs:%s", s->identity);
    }
    return n > 0 ? UTTER_OK
                 : fail(UTTER_INVALID, "this model has no voice to speak with; add one with: utter voices add");
}

static void choose_name(struct worker *w) {
    char host[40] = "machine";
    gethostname(host, sizeof host - 1);
    if (w->options.name)
        snprintf(w->name, sizeof w->name, "%s", w->options.name);
    else
        snprintf(w->name, sizeof w->name, "%s-%ld", host, (long)getpid());
    for (char *c = w->name; *c; c++)
        if (*c <= ' ' || *c == ':' || *c == '%' || *c == 0x7f) *c = '-';
}

static bool any_busy(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    bool busy = false;
    for (int i = 0; i < MAX_STREAMS; i++) busy |= w->hands[i].busy;
    pthread_mutex_unlock(&w->lock);
    return busy;
}

// The sentences in hand are finished and put down, unless Redis is gone meanwhile.
static void drain(struct worker *w) {
    int64_t began = clock_ns();
    for (;;) {
        double waited = (double)(clock_ns() - began) * 1e-9;
        if (waited > DRAIN_S || (waited > 2.0 * BLOCK_MS * 1e-3 && !any_busy(w))) break;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        pthread_mutex_lock(&w->lock);
        bool all_ended = w->n_running == 0;
        pthread_mutex_unlock(&w->lock);
        if (all_ended) return;
    }
    atomic_store(&w->abandoned, true);
}

static status run_threads(struct worker *w, const struct redis_options *redis) {
    struct hand_thread threads[MAX_STREAMS] = {{0}};
    struct redis *signs = NULL;
    int n = 0;
    status s = redis_open(redis, &signs);
    for (; n < w->options.n_streams && s == UTTER_OK; n++) {
        threads[n] = (struct hand_thread){.w = w, .hand = &w->hands[n]};
        s = redis_open(redis, &threads[n].redis);
        if (s != UTTER_OK) break;
        pthread_mutex_lock(&w->lock);
        bool started = pthread_create(&threads[n].thread, NULL, run, &threads[n]) == 0;
        w->n_running += started;
        pthread_mutex_unlock(&w->lock);
        if (started) continue;
        redis_close(threads[n].redis);
        s = fail(UTTER_MEMORY, "cannot start a thread to speak in");
        break;
    }
    if (s == UTTER_OK) live(w, signs);
    end_all(w, s);
    drain(w);
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i].thread, NULL);
        redis_close(threads[i].redis);
    }
    redisReply *reply;
    if (signs && w->failed == UTTER_OK &&
        redis_call(signs, &reply, "DEL " QUEUE_PREFIX "worker:%s", w->name) == UTTER_OK)
        freeReplyObject(reply);
    redis_close(signs);
    return w->failed != UTTER_OK ? fail(w->failed, "%s", w->why) : UTTER_OK;
}

status worker_run(utter *u, const struct worker_options *options, struct worker_report *out) {
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "a worker");
    w->u = u;
    w->options = *options;
    if (w->options.n_streams > MAX_STREAMS) w->options.n_streams = MAX_STREAMS;
    w->rate_hz = utter_sample_rate(u);
    w->last_work_ns = clock_ns();
    pthread_mutex_init(&w->lock, NULL);
    choose_name(w);
    status s = find_voices(w);
    const struct redis_options redis = {
        .url = options->url, .log = options->log, .stop = &w->abandoned, .patience_s = PATIENCE_S};
    if (s == UTTER_OK) s = run_threads(w, &redis);
    *out = w->report;
    pthread_mutex_destroy(&w->lock);
    free(w->served);
    free(w);
    return s;
}
