#include "queue/redis.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "queue/socket.h"

#define SECOND INT64_C(1000000000)
#define ANSWER_S 10.0  // a server that is alive has answered by then
#define FIRST_BACKOFF_S 0.05
#define LONGEST_BACKOFF_S 2.0

enum { READ_BYTES = 1 << 16, NEEDED = 6 * 100 + 2 };  // version 6.2 has XAUTOCLAIM

struct redis {
    struct redis_url url;
    char label[400];
    struct redis_options options;
    struct connection connection;
    redisReader *reader;
    bool lost;         // and told so
    struct str batch;  // of a transaction
    int n_batch;
    char error_word[32];
};

// ---- one exchange ----

static status read_reply(struct redis *r, redisReply **reply, int64_t deadline) {
    for (;;) {
        void *got = NULL;
        if (redisReaderGetReply(r->reader, &got) != REDIS_OK)
            return fail(UTTER_IO, "Redis at %s answers what is no Redis protocol: %s", r->label, r->reader->errstr);
        if (got) {
            *reply = got;
            return UTTER_OK;
        }
        char buffer[READ_BYTES];
        size_t n;
        TRY(connection_read(&r->connection, buffer, sizeof buffer, &n, deadline));
        if (redisReaderFeed(r->reader, buffer, n) != REDIS_OK) return fail_memory(n, "an answer of Redis");
    }
}

static status read_replies(struct redis *r, int n, redisReply **last, int64_t deadline) {
    *last = NULL;
    for (int i = 0; i < n; i++) {
        if (*last) freeReplyObject(*last);
        *last = NULL;
        TRY(read_reply(r, last, deadline));
    }
    return UTTER_OK;
}

static status exchange(struct redis *r, const char *commands, size_t len, int n, double block_s, redisReply **last) {
    int64_t deadline = clock_ns() + (int64_t)((ANSWER_S + block_s) * 1e9);
    TRY(connection_write(&r->connection, commands, len, deadline));
    return read_replies(r, n, last, deadline);
}

// ---- connecting ----

static void disconnect(struct redis *r) {
    connection_close(&r->connection);
    if (r->reader) redisReaderFree(r->reader);
    r->reader = NULL;
}

static status command(struct redis *r, redisReply **reply, int n, const char **words) {
    char *text = NULL;
    long long len = redisFormatCommandArgv(&text, n, words, NULL);
    if (len < 0) return fail_memory(100, "a command to Redis");
    status s = exchange(r, text, (size_t)len, 1, 0, reply);
    redisFreeCommand(text);
    return s;
}

// A command whose error is the end of the connection.
static status greet(struct redis *r, const char *doing, int n, const char **words) {
    redisReply *reply;
    TRY(command(r, &reply, n, words));
    status s = UTTER_OK;
    if (reply->type == REDIS_REPLY_ERROR)
        s = fail(UTTER_INVALID, "Redis at %s refuses %s: %s", r->label, doing, reply->str);
    freeReplyObject(reply);
    return s;
}

static status check_version(struct redis *r) {
    redisReply *reply;
    TRY(command(r, &reply, 2, (const char *[]){"INFO", "server"}));
    const char *text = reply_text(reply), *version = text ? strstr(text, "redis_version:") : NULL;
    int major = 0, minor = 0;
    status s = UTTER_OK;
    if (reply->type == REDIS_REPLY_ERROR)
        s = fail(UTTER_INVALID,
                 "Redis at %s refuses a look at its version: %s (REDIS_PASSWORD or the URL gives a "
                 "password)",
                 r->label, reply->str);
    else if (version && sscanf(version, "redis_version:%d.%d", &major, &minor) == 2 && major * 100 + minor < NEEDED)
        s = fail(UTTER_UNSUPPORTED,
                 "Redis at %s has version %d.%d; queues need 6.2 or later, which can take over the "
                 "work of one that died",
                 r->label, major, minor);
    freeReplyObject(reply);
    return s;
}

static status connect_once(struct redis *r) {
    disconnect(r);
    r->reader = redisReaderCreate();
    if (!r->reader) return fail_memory(sizeof *r->reader, "a connection to Redis");
    r->reader->maxbuf = 0;  // it keeps its memory: sentences of sound come one after another
    r->connection.stop = r->options.stop;
    TRY(connection_open(&r->connection, &r->url, r->label, clock_ns() + (int64_t)(ANSWER_S * 1e9)));
    if (*r->url.password && *r->url.user)
        TRY(greet(r, "the user and password", 3, (const char *[]){"AUTH", r->url.user, r->url.password}));
    else if (*r->url.password)
        TRY(greet(r, "the password", 2, (const char *[]){"AUTH", r->url.password}));
    char database[16];
    snprintf(database, sizeof database, "%d", r->url.database);
    if (r->url.database) TRY(greet(r, "the database", 2, (const char *[]){"SELECT", database}));
    return check_version(r);
}

static status pause_for(const struct redis *r, double seconds) {
    for (int64_t until = clock_ns() + (int64_t)(seconds * 1e9); clock_ns() < until;) {
        if (r->options.stop && atomic_load(r->options.stop)) return fail(UTTER_CANCELLED, "it was stopped");
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return UTTER_OK;
}

// Until there is a connection, or patience is at its end.
static status reconnect(struct redis *r, int64_t since) {
    double backoff = FIRST_BACKOFF_S;
    for (;;) {
        status s = connect_once(r);
        if (s == UTTER_OK) {
            if (r->lost && r->options.log) log_say(r->options.log, UTTER_LOG_WARNING, "Redis at %s is back", r->label);
            r->lost = false;
            return UTTER_OK;
        }
        if (s != UTTER_IO) return s;
        if ((double)(clock_ns() - since) * 1e-9 + backoff > r->options.patience_s) return s;
        if (!r->lost && r->options.log) log_say(r->options.log, UTTER_LOG_WARNING, "%s (trying again)", fail_message());
        r->lost = true;
        TRY(pause_for(r, backoff));
        backoff = backoff * 2 < LONGEST_BACKOFF_S ? backoff * 2 : LONGEST_BACKOFF_S;
    }
}

status redis_open(const struct redis_options *options, struct redis **out) {
    *out = NULL;
    struct redis *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(sizeof *r, "a connection to Redis");
    r->options = *options;
    r->connection.fd = -1;
    status s = redis_url_parse(options->url, &r->url);
    if (s == UTTER_OK) {
        redis_url_show(&r->url, r->label);
        s = connect_once(r);
    }
    if (s != UTTER_OK) {
        redis_close(r);
        return s;
    }
    *out = r;
    return UTTER_OK;
}

void redis_close(struct redis *r) {
    if (!r) return;
    disconnect(r);
    str_free(&r->batch);
    free(r);
}

// ---- commands ----

static status error_status(struct redis *r, const char *error) {
    snprintf(r->error_word, sizeof r->error_word, "%.*s", (int)strcspn(error, " "), error);
    if (strcmp(r->error_word, "WRONGTYPE") == 0)
        return fail(UTTER_FORMAT,
                    "Redis at %s holds a key that begins with utter: but is another program's; use another database "
                    "(redis://HOST/1)",
                    r->label);
    return fail(UTTER_IO, "Redis at %s: %s", r->label, error);
}

static status check_reply(struct redis *r, redisReply **reply) {
    r->error_word[0] = 0;
    if ((*reply)->type != REDIS_REPLY_ERROR) return UTTER_OK;
    status s = error_status(r, (*reply)->str);
    freeReplyObject(*reply);
    *reply = NULL;
    return s;
}

static bool is_loading(const redisReply *reply) {
    return reply->type == REDIS_REPLY_ERROR &&
           (strncmp(reply->str, "LOADING", 7) == 0 || strncmp(reply->str, "MASTERDOWN", 10) == 0);
}

// The commands go out and n answers come back, over as many connections as it takes.
static status send_all(struct redis *r, const char *commands, size_t len, int n, double block_s, redisReply **last) {
    int64_t since = clock_ns();
    for (;;) {
        status s = r->connection.fd >= 0 ? exchange(r, commands, len, n, block_s, last) : UTTER_IO;
        if (s == UTTER_OK && is_loading(*last)) {
            freeReplyObject(*last);
            *last = NULL;
            if ((double)(clock_ns() - since) * 1e-9 > r->options.patience_s)
                return fail(UTTER_IO, "Redis at %s is still loading its data; try again later", r->label);
            TRY(pause_for(r, 0.2));
            continue;
        }
        if (s == UTTER_OK) return check_reply(r, last);
        if (*last) freeReplyObject(*last);
        *last = NULL;
        if (s != UTTER_IO) return s;
        TRY(reconnect(r, since));
    }
}

static status call(struct redis *r, double block_s, redisReply **reply, const char *format, va_list args) {
    char *text = NULL;
    *reply = NULL;
    int len = redisvFormatCommand(&text, format, args);
    if (len < 0) return fail_memory(100, "a command to Redis");
    status s = send_all(r, text, (size_t)len, 1, block_s, reply);
    redisFreeCommand(text);
    return s;
}

status redis_call(struct redis *r, redisReply **reply, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status s = call(r, 0, reply, format, args);
    va_end(args);
    return s;
}

status redis_wait(struct redis *r, double block_s, redisReply **reply, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status s = call(r, block_s, reply, format, args);
    va_end(args);
    return s;
}

status redis_add(struct redis *r, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = redisvFormatCommand(&text, format, args);
    va_end(args);
    if (len < 0) return fail_memory(100, "a command to Redis");
    if (r->n_batch == 0) str_puts(&r->batch, "*1\r\n$5\r\nMULTI\r\n");
    str_append(&r->batch, text, (size_t)len);
    redisFreeCommand(text);
    r->n_batch++;
    return str_status(&r->batch);
}

status redis_commit(struct redis *r, redisReply **reply) {
    *reply = NULL;
    str_puts(&r->batch, "*1\r\n$4\r\nEXEC\r\n");
    status s = str_status(&r->batch);
    if (s == UTTER_OK) s = send_all(r, r->batch.data, r->batch.len, r->n_batch + 2, 0, reply);
    str_clear(&r->batch);
    r->n_batch = 0;
    for (size_t i = 0; s == UTTER_OK && i < (*reply)->elements; i++) {
        redisReply *each = (*reply)->element[i];
        if (each->type != REDIS_REPLY_ERROR) continue;
        s = error_status(r, each->str);
        freeReplyObject(*reply);
        *reply = NULL;
    }
    return s;
}

const char *redis_error_word(const struct redis *r) { return r->error_word; }

// ---- replies ----

const redisReply *reply_at(const redisReply *reply, size_t i) {
    return reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements ? reply->element[i] : NULL;
}

const char *reply_text(const redisReply *reply) {
    return reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) ? reply->str : NULL;
}

const redisReply *reply_field(const redisReply *fields, const char *name) {
    for (size_t i = 0; reply_at(fields, i + 1); i += 2) {
        const char *text = reply_text(reply_at(fields, i));
        if (text && strcmp(text, name) == 0) return reply_at(fields, i + 1);
    }
    return NULL;
}
