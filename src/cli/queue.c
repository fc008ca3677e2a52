/* utter queue: a look at the queue of sentences in Redis, and what to do when something is stuck in it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/json.h"
#include "queue/jobs.h"
#include "queue/redis.h"

struct queue {
    const char *url;
    bool json, yes, quiet;
    struct redis *redis;
};

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    (void)user;
    if (level == UTTER_LOG_WARNING) fprintf(stderr, "utter queue: %s\n", sentence);
}

static status open_queue(struct queue *q) {
    static const struct log log = {log_sentence, NULL};
    const struct redis_options options = {.url = q->url, .log = &log, .patience_s = 5};
    return redis_open(&options, &q->redis);
}

// Calls back for each key of ours that begins so.
typedef status key_fn(struct queue *q, const char *key, void *user);
static status each_key(struct queue *q, const char *begin, key_fn *fn, void *user) {
    char cursor[32] = "0";
    do {
        redisReply *keys;
        TRY(redis_call(q->redis, &keys, "SCAN %s MATCH " QUEUE_PREFIX "%s* COUNT 100", cursor, begin));
        snprintf(cursor, sizeof cursor, "%s", reply_text(reply_at(keys, 0)) ? reply_text(reply_at(keys, 0)) : "0");
        status s = UTTER_OK;
        for (size_t i = 0; s == UTTER_OK && reply_at(reply_at(keys, 1), i); i++)
            s = fn(q, reply_text(reply_at(reply_at(keys, 1), i)), user);
        freeReplyObject(keys);
        TRY(s);
    } while (strcmp(cursor, "0") != 0);
    return UTTER_OK;
}

static status number_of(struct queue *q, long long *out, const char *command, const char *key) {
    redisReply *reply;
    TRY(redis_call(q->redis, &reply, command, key));
    const redisReply *number = reply->type == REDIS_REPLY_ARRAY ? reply_at(reply, 0) : reply;
    *out = number && number->type == REDIS_REPLY_INTEGER ? number->integer : 0;
    freeReplyObject(reply);
    return UTTER_OK;
}

static const char *name_in(const char *key, const char *begin) { return key + strlen(QUEUE_PREFIX) + strlen(begin); }

// ---- status ----

static status status_of_jobs(struct queue *q, const char *key, void *user) {
    long long waiting, taken = 0;
    TRY(number_of(q, &waiting, "XLEN %s", key));
    redisReply *reply;
    if (redis_call(q->redis, &reply, "XPENDING %s " QUEUE_GROUP, key) == UTTER_OK) {
        if (reply_at(reply, 0) && reply_at(reply, 0)->type == REDIS_REPLY_INTEGER) taken = reply_at(reply, 0)->integer;
        freeReplyObject(reply);
    }
    json_array_append_new(json_object_get(user, "queues"),
                          json_pack("{s:s, s:I, s:I}", "identity", name_in(key, "jobs:"), "waiting",
                                    (json_int_t)(waiting - taken), "in_hand", (json_int_t)taken));
    return UTTER_OK;
}

static status status_of_worker(struct queue *q, const char *key, void *user) {
    redisReply *reply;
    TRY(redis_call(q->redis, &reply, "GET %s", key));
    int n_done, n_given_up, n_streams;
    double audio_s, busy_s;
    if (reply_text(reply) &&
        sscanf(reply->str, "%d %d %lf %lf %d", &n_done, &n_given_up, &audio_s, &busy_s, &n_streams) == 5)
        json_array_append_new(json_object_get(user, "workers"),
                              json_pack("{s:o, s:i, s:i, s:f, s:f, s:i}", "name", json_text(name_in(key, "worker:")),
                                        "sentences", n_done, "given_up", n_given_up, "audio_s", audio_s,
                                        "real_time_factor", busy_s > 0 ? audio_s / busy_s : 0.0, "streams", n_streams));
    freeReplyObject(reply);
    return UTTER_OK;
}

static status status_of_book(struct queue *q, const char *key, void *user) {
    redisReply *reply;
    TRY(redis_call(q->redis, &reply, "GET %s", key));
    int n_done, n_units, at = 0;
    if (reply_text(reply) && sscanf(reply->str, "%d/%d:%n", &n_done, &n_units, &at) == 2 && at > 0)
        json_array_append_new(json_object_get(user, "books"),
                              json_pack("{s:o, s:o, s:i, s:i}", "book", json_text(name_in(key, "book:")), "title",
                                        json_text(reply->str + at), "done", n_done, "sentences", n_units));
    freeReplyObject(reply);
    return UTTER_OK;
}

static status collect(struct queue *q, json_t *o) {
    long long dead;
    TRY(each_key(q, "jobs:", status_of_jobs, o));
    TRY(each_key(q, "worker:", status_of_worker, o));
    TRY(each_key(q, "book:", status_of_book, o));
    TRY(number_of(q, &dead, "XLEN %s", QUEUE_PREFIX "dead"));
    json_object_set_new(o, "dead", json_integer(dead));
    redisReply *reply;
    TRY(redis_call(q->redis, &reply, "XREVRANGE " QUEUE_PREFIX "dead + - COUNT 5"));
    for (size_t i = 0; reply_at(reply, i); i++) {
        const redisReply *fields = reply_at(reply_at(reply, i), 1);
        json_array_append_new(json_object_get(o, "latest_dead"),
                              json_pack("{s:o, s:o}", "job", json_text(reply_text(reply_field(fields, "job"))), "why",
                                        json_text(reply_text(reply_field(fields, "why")))));
    }
    freeReplyObject(reply);
    return UTTER_OK;
}

static const char *text_of(const json_t *o, const char *name) {
    const char *text = json_string_value(json_object_get(o, name));
    return text ? text : "";
}

static json_int_t integer_of(const json_t *o, const char *name) { return json_integer_value(json_object_get(o, name)); }

static void print_status(const json_t *o) {
    size_t i;
    json_t *each;
    if (json_array_size(json_object_get(o, "workers")) == 0) puts("no worker is running");
    json_array_foreach(json_object_get(o, "workers"), i, each)
        printf("worker %-28s %6lld sentences  %8.0f s of sound  %5.1fx real time\n", text_of(each, "name"),
               (long long)integer_of(each, "sentences"), json_real_value(json_object_get(each, "audio_s")),
               json_real_value(json_object_get(each, "real_time_factor")));
    json_array_foreach(json_object_get(o, "books"), i, each)
        printf("book   %-28.60s %6lld of %lld sentences\n", text_of(each, "title"), (long long)integer_of(each, "done"),
               (long long)integer_of(each, "sentences"));
    json_array_foreach(json_object_get(o, "queues"), i, each)
        printf("queue  %-28s %6lld waiting  %lld in hand\n", text_of(each, "identity"),
               (long long)integer_of(each, "waiting"), (long long)integer_of(each, "in_hand"));
    printf("given up: %lld\n", (long long)integer_of(o, "dead"));
    json_array_foreach(json_object_get(o, "latest_dead"), i, each)
        printf("  %.100s\n    %s\n", text_of(each, "job"), text_of(each, "why"));
}

static status show_status(struct queue *q) {
    json_t *o = json_pack("{s:[], s:[], s:[], s:[]}", "workers", "books", "queues", "latest_dead");
    status s = o ? collect(q, o) : fail_memory(100, "a status");
    if (s == UTTER_OK && q->json) {
        json_print(o, stdout);
        return s;
    }
    if (s == UTTER_OK) print_status(o);
    json_decref(o);
    return s;
}

// ---- retry and purge ----

static status retry(struct queue *q) {
    redisReply *reply, *done;
    TRY(redis_call(q->redis, &reply, "XRANGE " QUEUE_PREFIX "dead - +"));
    status s = UTTER_OK;
    int n = 0;
    for (size_t i = 0; s == UTTER_OK && reply_at(reply, i); i++) {
        const redisReply *fields = reply_at(reply_at(reply, i), 1), *job = reply_field(fields, "job");
        const char *id = reply_text(reply_at(reply_at(reply, i), 0)), *key = reply_text(reply_field(fields, "key"));
        if (!id || !key || !reply_text(job) || strncmp(key, QUEUE_PREFIX "jobs:", strlen(QUEUE_PREFIX "jobs:")) != 0)
            continue;
        s = redis_add(q->redis, "XADD %s * job %b", key, job->str, job->len);
        if (s == UTTER_OK) s = redis_add(q->redis, "XDEL " QUEUE_PREFIX "dead %s", id);
        if (s == UTTER_OK) s = redis_commit(q->redis, &done);
        if (s == UTTER_OK) freeReplyObject(done), n++;
    }
    freeReplyObject(reply);
    if (s == UTTER_OK && !q->quiet) printf("%d jobs are back in the queue\n", n);
    return s;
}

static status remove_key(struct queue *q, const char *key, void *user) {
    redisReply *reply;
    TRY(redis_call(q->redis, &reply, "DEL %s", key));
    freeReplyObject(reply);
    ++*(int *)user;
    return UTTER_OK;
}

static status purge(struct queue *q) {
    int n = 0;
    TRY(each_key(q, "", remove_key, &n));
    if (!q->quiet) printf("%d keys are gone; books that are waited for are put in again by those who wait\n", n);
    return UTTER_OK;
}

// ---- the commands ----

static int command(int argc, char **argv, const struct manual *manual, status (*run)(struct queue *q), bool has_json,
                   bool needs_yes) {
    struct queue q = {0};
    struct option options[4] = {
        {"redis", 0, OPTION_TEXT, &q.url, "URL", "redis://HOST:PORT/DB, rediss:// for TLS, or unix:///PATH", 0, 0},
        {"quiet", 'q', OPTION_FLAG, &q.quiet, NULL, "say only what goes wrong", 0, 0},
    };
    size_t n = 2;
    if (has_json) options[n++] = (struct option){"json", 0, OPTION_FLAG, &q.json, NULL, "print JSON", 0, 0};
    if (needs_yes) options[n++] = (struct option){"yes", 0, OPTION_FLAG, &q.yes, NULL, "I am sure", 0, 0};
    int n_words, exit_code;
    if (!command_begin(manual, options, n, argc, argv, &n_words, &exit_code)) return exit_code;
    if (n_words > 0 || !q.url || (needs_yes && !q.yes)) {
        fail(UTTER_INVALID, !q.url        ? "say where the queue is: --redis URL"
                            : n_words > 0 ? "there are no other arguments"
                                          : "this takes away all jobs and results that are not fetched yet; say --yes");
        return command_usage(argv[0]);
    }
    status s = open_queue(&q);
    if (s == UTTER_OK) s = run(&q);
    redis_close(q.redis);
    return command_end(argv[0], s);
}

static int queue_status(int argc, char **argv) {
    static const struct manual manual = {
        "--redis URL", "Shows the workers with their speed, the books, the queues, and what was given up.\n",
        "  utter queue status --redis redis://queue.local\n"};
    return command(argc, argv, &manual, show_status, true, false);
}

static int queue_retry(int argc, char **argv) {
    static const struct manual manual = {"--redis URL", "Puts jobs that were given up back into their queues.\n",
                                         "  utter queue retry --redis redis://queue.local\n"};
    return command(argc, argv, &manual, retry, false, false);
}

static int queue_purge(int argc, char **argv) {
    static const struct manual manual = {"--redis URL --yes",
                                         "Takes everything of utter's out of Redis; other programs' keys stay.\n",
                                         "  utter queue purge --redis redis://queue.local --yes\n"};
    return command(argc, argv, &manual, purge, false, true);
}

int command_queue(int argc, char **argv) {
    static const struct command commands[] = {
        {"status", "show workers, books and queues", queue_status},
        {"retry", "put jobs that were given up back", queue_retry},
        {"purge", "empty the queue", queue_purge},
    };
    return command_dispatch("utter queue", commands, sizeof commands / sizeof *commands, argc, argv,
                            "to see the queue: utter queue status --redis URL");
}
