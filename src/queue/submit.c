#include "queue/submit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "queue/jobs.h"

enum { BLOCK_MS = 500, AT_ONCE = 32, MAX_WORKERS = 1000, ENTRY_ID = 48, MAX_BROKEN = 3 };
#define PATIENCE_S 600.0
#define QUIET_NS ((int64_t)10000000000)   // without a result for so long, the queue is looked at
#define REMIND_NS ((int64_t)60000000000)  // that there is no worker
#define BOOK_NS ((int64_t)5000000000)     // how often the book says that it is waited for

struct submission {
    const struct reading *reading;
    struct spool *spool;
    const struct submit_options *options;
    narrate_progress_fn *progress;
    void *user;
    struct redis *redis;
    char book[IDENTITY_LENGTH + 1];
    struct waiting {
        char id[ENTRY_ID];   // where it lies in the queue; "" when it does not
        int n_broken;        // results that were no sound
    } * units;               // [n_units]
    int n_queued, next;      // next unit to look at
    char last_id[ENTRY_ID];  // of the results read
    int64_t last_result_ns, looked_ns, reminded_ns, told_ns;
    char *workers[MAX_WORKERS];
    struct submit_report report;
};

static status drop(status s, redisReply **reply) {
    if (s == UTTER_OK) freeReplyObject(*reply);
    return s;
}

// Of the processor, in this thread.
static double processor_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// ---- the book's name in the queue ----

static void name_book(struct submission *s) {
    char host[64] = "", folder[4096] = "";
    gethostname(host, sizeof host - 1);
    if (!getcwd(folder, sizeof folder)) *folder = 0;
    uint64_t hash = hash_string(HASH_START, str_text(&s->reading->plan));
    hash = hash_string(hash, host);
    if (s->options->output[0] != '/') hash = hash_string(hash, folder);
    hash = hash_string(hash, s->options->output);
    snprintf(s->book, sizeof s->book, "%016llx", (unsigned long long)hash);
}

// ---- putting in ----

static status write_unit(const struct submission *s, int unit, struct str *json) {
    const struct unit *where = &s->reading->units.all[unit];
    const utter_request *q = s->options->request;
    char *text = strndup(str_text(&s->reading->book.text) + where->begin, where->end - where->begin);
    if (!text) return fail_memory(where->end - where->begin, "a job");
    struct queued j = {.unit = unit,
                       .text = text,
                       .language = (char *)(uintptr_t)s->reading->language,
                       .emotion = (char *)(uintptr_t)q->emotion,
                       .seed = unit_seed(q->seed, unit),
                       .temperature = q->temperature,
                       .top_k = q->top_k,
                       .top_p = q->top_p,
                       .min_p = q->min_p,
                       .retries = q->retries};
    snprintf(j.book, sizeof j.book, "%s", s->book);
    status result = queued_write(&j, json);
    free(text);
    return result;
}

// Fills the window, some jobs a transaction.
static status put_in(struct submission *s) {
    const int n_units = s->reading->units.n;
    struct str json = {0};
    status result = UTTER_OK;
    while (result == UTTER_OK && s->n_queued < QUEUE_WINDOW) {
        int units[AT_ONCE], n = 0;
        for (; s->next < n_units && n < AT_ONCE && s->n_queued + n < QUEUE_WINDOW; s->next++) {
            if (spool_has(s->spool, s->next) || *s->units[s->next].id) continue;
            str_clear(&json);
            result = write_unit(s, s->next, &json);
            if (result == UTTER_OK)
                result = redis_add(s->redis, "XADD " QUEUE_PREFIX "jobs:%s * job %b", s->reading->identity, json.data,
                                   json.len);
            if (result != UTTER_OK) break;
            units[n++] = s->next;
        }
        if (n == 0 || result != UTTER_OK) break;
        redisReply *reply;
        result = redis_commit(s->redis, &reply);
        for (int i = 0; result == UTTER_OK && i < n; i++) {
            const char *id = reply_text(reply_at(reply, (size_t)i));
            snprintf(s->units[units[i]].id, ENTRY_ID, "%s", id ? id : "?");
            s->n_queued++;
        }
        if (result == UTTER_OK) freeReplyObject(reply);
    }
    str_free(&json);
    return result;
}

static void unqueue(struct submission *s, int unit) {
    if (!*s->units[unit].id) return;
    *s->units[unit].id = 0;
    s->n_queued--;
}

// ---- taking out ----

static void note_worker(struct submission *s, const char *name) {
    for (int i = 0; i < s->report.n_workers; i++)
        if (strcmp(s->workers[i], name) == 0) return;
    if (s->report.n_workers < MAX_WORKERS && (s->workers[s->report.n_workers] = strdup(name))) s->report.n_workers++;
}

static bool is_sound(const struct submission *s, const redisReply *sound, const char *crc, int64_t *n) {
    return reply_text(sound) && crc &&
           sound_check(sound->str, sound->len, (uint32_t)strtoul(crc, NULL, 10), s->reading->rate_hz, n) == UTTER_OK &&
           *n > 0;
}

static status take_result(struct submission *s, const redisReply *fields) {
    const char *number = reply_text(reply_field(fields, "unit")), *worker = reply_text(reply_field(fields, "worker"));
    const char *failure = reply_text(reply_field(fields, "failure"));
    const redisReply *sound = reply_field(fields, "sound");
    long unit = number ? strtol(number, NULL, 10) : -1;
    int64_t n = 0;
    if (unit < 0 || unit >= s->reading->units.n) return UTTER_OK;  // no result of ours
    bool heard = is_sound(s, sound, reply_text(reply_field(fields, "crc")), &n);
    unqueue(s, (int)unit);
    if (!heard && !failure) {
        // as good as none: it is spoken again, but not for ever
        if (++s->units[unit].n_broken < MAX_BROKEN) {
            if (unit < s->next) s->next = (int)unit;
            return UTTER_OK;
        }
        failure = "the sound that workers sent of it is broken";
    }
    const bool again = spool_has(s->spool, (int)unit);  // sound in the place of a failure
    if (again && !(heard && *spool_failure(s->spool, (int)unit))) return UTTER_OK;
    TRY(spool_add(s->spool, (int)unit, heard ? sound->str : NULL, heard ? sound->len : 0, heard ? "" : failure));
    if (worker) note_worker(s, worker);
    const struct unit *where = &s->reading->units.all[unit];
    if (s->progress) s->progress(s->user, (int)unit, again ? 0 : where->end - where->begin, n);
    s->last_result_ns = clock_ns();
    return UTTER_OK;
}

// The results that there are; waits a moment for one.
static status take_out(struct submission *s, int block_ms) {
    redisReply *reply;
    TRY(redis_wait(s->redis, block_ms * 1e-3, &reply, "XREAD COUNT %d BLOCK %d STREAMS " QUEUE_PREFIX "done:%s %s",
                   AT_ONCE, block_ms, s->book, s->last_id));
    const redisReply *entries = reply_at(reply_at(reply, 0), 1);
    status result = UTTER_OK;
    size_t n = 0;
    for (; result == UTTER_OK && reply_at(entries, n); n++) {
        const char *id = reply_text(reply_at(reply_at(entries, n), 0));
        result = take_result(s, reply_at(reply_at(entries, n), 1));
        if (result != UTTER_OK || !id) break;
        snprintf(s->last_id, ENTRY_ID, "%s", id);
        result = redis_add(s->redis, "XDEL " QUEUE_PREFIX "done:%s %s", s->book, id);
    }
    freeReplyObject(reply);
    if (result == UTTER_OK && n > 0) {
        // only once it is in the spool, and that on the disk as the spool sees fit, may it leave the queue
        TRY(redis_commit(s->redis, &reply));
        freeReplyObject(reply);
    }
    return result;
}

// ---- looking after the queue ----

// What lies in the queue of this book, from an earlier run.
static status find_queued(struct submission *s) {
    redisReply *reply;
    TRY(redis_call(s->redis, &reply, "XRANGE " QUEUE_PREFIX "jobs:%s - +", s->reading->identity));
    for (size_t i = 0; reply_at(reply, i); i++) {
        const redisReply *text = reply_field(reply_at(reply_at(reply, i), 1), "job");
        const char *id = reply_text(reply_at(reply_at(reply, i), 0));
        struct queued j;
        if (!id || !reply_text(text) || queued_read(text->str, text->len, &j) != UTTER_OK) continue;
        if (strcmp(j.book, s->book) == 0 && j.unit < s->reading->units.n && !*s->units[j.unit].id) {
            snprintf(s->units[j.unit].id, ENTRY_ID, "%s", id);
            s->n_queued++;
        }
        queued_free(&j);
    }
    freeReplyObject(reply);
    return UTTER_OK;
}

// Jobs that are gone without a result, as after a crash of Redis, are put in again.
static status look_after(struct submission *s) {
    for (int i = 0; i < s->reading->units.n; i++) {
        if (!*s->units[i].id) continue;
        redisReply *reply;
        TRY(redis_call(s->redis, &reply, "XRANGE " QUEUE_PREFIX "jobs:%s %s %s", s->reading->identity, s->units[i].id,
                       s->units[i].id));
        bool gone = !reply_at(reply, 0);
        freeReplyObject(reply);
        if (!gone) continue;
        // its result may have come between the last look and now: then it waits in the results
        unqueue(s, i);
        if (i < s->next) s->next = i;
    }
    return UTTER_OK;
}

static status count_workers(struct submission *s, int *n) {
    *n = 0;
    redisReply *keys, *told;
    char cursor[32] = "0";
    do {
        TRY(redis_call(s->redis, &keys, "SCAN %s MATCH " QUEUE_PREFIX "worker:* COUNT 100", cursor));
        snprintf(cursor, sizeof cursor, "%s", reply_text(reply_at(keys, 0)) ? reply_text(reply_at(keys, 0)) : "0");
        for (size_t i = 0; reply_at(reply_at(keys, 1), i); i++) {
            status result = redis_call(s->redis, &told, "GET %s", reply_text(reply_at(reply_at(keys, 1), i)));
            if (result != UTTER_OK) {
                freeReplyObject(keys);
                return result;
            }
            if (reply_text(told) && strstr(told->str, s->reading->identity)) ++*n;
            freeReplyObject(told);
        }
        freeReplyObject(keys);
    } while (strcmp(cursor, "0") != 0);
    return UTTER_OK;
}

static status remind(struct submission *s) {
    int n;
    if (clock_ns() - s->reminded_ns < REMIND_NS) return UTTER_OK;
    TRY(count_workers(s, &n));
    s->reminded_ns = clock_ns();
    if (n == 0)
        log_say(
            s->options->log, UTTER_LOG_WARNING,
            "no worker runs that has this model and the voice %s; start one with: utter worker --redis URL, with the "
            "same --model",
            s->reading->voice);
    return UTTER_OK;
}

static status tell_book(struct submission *s) {
    if (clock_ns() - s->told_ns < BOOK_NS) return UTTER_OK;
    s->told_ns = clock_ns();
    redisReply *reply;
    return drop(redis_call(s->redis, &reply, "SET " QUEUE_PREFIX "book:%s %d/%d:%s EX 86400", s->book,
                           spool_n_done(s->spool), s->reading->units.n, s->reading->book.title),
                &reply);
}

// ---- all of it ----

static status begin(struct submission *s) {
    redisReply *reply;
    status result = redis_call(s->redis, &reply, "XGROUP CREATE " QUEUE_PREFIX "jobs:%s " QUEUE_GROUP " 0 MKSTREAM",
                               s->reading->identity);
    if (result != UTTER_OK && strcmp(redis_error_word(s->redis), "BUSYGROUP") != 0) return result;
    drop(result, &reply);
    TRY(drop(redis_call(s->redis, &reply, "SADD " QUEUE_PREFIX "identities %s", s->reading->identity), &reply));
    return find_queued(s);
}

static status end(struct submission *s) {
    redisReply *reply;
    TRY(redis_add(s->redis, "DEL " QUEUE_PREFIX "done:%s", s->book));
    TRY(redis_add(s->redis, "DEL " QUEUE_PREFIX "book:%s", s->book));
    return drop(redis_commit(s->redis, &reply), &reply);
}

static status follow(struct submission *s) {
    TRY(begin(s));
    s->last_result_ns = s->looked_ns = clock_ns();
    s->reminded_ns = clock_ns() - REMIND_NS + QUIET_NS / 5;
    while (spool_n_done(s->spool) < s->reading->units.n) {
        TRY(put_in(s));
        TRY(take_out(s, BLOCK_MS));
        TRY(tell_book(s));
        int64_t now = clock_ns();
        if (now - s->last_result_ns < QUIET_NS / 5) continue;
        TRY(remind(s));
        if (now - s->last_result_ns < QUIET_NS || now - s->looked_ns < QUIET_NS) continue;
        TRY(look_after(s));
        s->looked_ns = now;
    }
    return end(s);
}

status submit_run(const struct reading *reading, struct spool *spool, const struct submit_options *options,
                  narrate_progress_fn *progress, void *user, struct submit_report *out) {
    *out = (struct submit_report){0};
    struct submission *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a submission");
    *s = (struct submission){
        .reading = reading, .spool = spool, .options = options, .progress = progress, .user = user, .last_id = "0"};
    s->units = calloc((size_t)reading->units.n + 1, sizeof *s->units);
    name_book(s);
    const struct redis_options redis = {
        .url = options->url, .log = options->log, .stop = options->stop, .patience_s = PATIENCE_S};
    status result =
        s->units ? redis_open(&redis, &s->redis) : fail_memory((size_t)reading->units.n * sizeof *s->units, "a queue");
    double began_s = processor_s();
    if (result == UTTER_OK) result = follow(s);
    *out = s->report;
    out->processor_s = processor_s() - began_s;
    for (int i = 0; i < s->report.n_workers; i++) free(s->workers[i]);
    redis_close(s->redis);
    free(s->units);
    free(s);
    return result;
}
