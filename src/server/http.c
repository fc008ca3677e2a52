/* Between libmicrohttpd and the routes: a request from its first header to its last byte. */
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server/parts.h"

enum {
    N_THREADS = 2,
    CONNECTION_BYTES = 32 << 10,  // the library's, for headers and what is sent; only what is used is there
    MOST_JSON = 16 << 10,         // beside the text
    MOST_FORM = 32 << 20,
    MOST_IGNORED = 32 << 20,  // read to its end, so that the answer is not lost with the connection
    UNSENT_BYTES = 16 << 10,  // that the system may hold back: what is made for who does not read waits here
    STILL_S = 60,             // a connection on which nothing moves
    HEAD_S = 15,
    BODY_S = 60,
    FORM_S = 300,
    ANSWER_S = 60,
    IDLE_S = 90,
    LATE_S = 10,  // after a text's deadline, for the answer that says so
};

static int64_t seconds_from_now(int s) { return clock_ns() + (int64_t)s * 1000000000; }

// ---- a request ----

static const char *header(const struct request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static void choose_route(struct request *r) {
    int n;
    const struct route *routes = server_routes(&n);
    const char *method = strcmp(r->method, "HEAD") == 0 ? "GET" : r->method;
    r->route_index = n - 1;
    for (int i = 0; i < n - 1; i++) {
        size_t len = strlen(routes[i].path);
        bool is_prefix = routes[i].path[len - 1] == '*';
        if (strcmp(method, routes[i].method) != 0) continue;
        if (is_prefix ? strncmp(r->path, routes[i].path, len - 1) == 0 : strcmp(r->path, routes[i].path) == 0)
            r->route_index = i;
    }
    r->route = &routes[r->route_index];
}

static void name_request(struct request *r) {
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    static atomic_ullong count;
    const char *given = header(r, "X-Request-Id"), *trace = header(r, "traceparent");
    size_t len = given ? strlen(given) : 0;
    if (len > 0 && len < sizeof r->id && strspn(given, good) == len)
        memcpy(r->id, given, len + 1);
    else {
        uint64_t x = (uint64_t)r->begun + atomic_fetch_add(&count, 1) * 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        snprintf(r->id, sizeof r->id, "req_%016llx", (unsigned long long)(x ^ x >> 31));
    }
    // version-trace-parent-flags, as W3C's Trace Context has it
    static const size_t dashes[] = {2, 35, 52};
    bool fine =
        trace && strlen(trace) == 55 && strspn(trace, "0123456789abcdef-") == 55 && strncmp(trace, "ff", 2) != 0;
    for (int i = 0; i < 3; i++) fine = fine && trace[dashes[i]] == '-';
    if (fine) memcpy(r->trace, trace, 56);
}

static struct request *request_new(struct server *s, struct MHD_Connection *connection, const char *method,
                                   const char *path) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct peer *peer = info ? info->socket_context : NULL;
    struct request *r = peer ? calloc(1, sizeof *r) : NULL;
    if (!r) return NULL;
    *r = (struct request){
        .server = s, .connection = connection, .peer = peer, .begun = clock_ns(), .path = strdup(path)};
    if (!r->path) {
        free(r);
        return NULL;
    }
    snprintf(r->method, sizeof r->method, "%s", method);
    choose_route(r);
    name_request(r);
    r->seed = r->route->begin == seed_begin;
    atomic_fetch_add(&s->n_requests, 1);
    return r;
}

static size_t most_body(const struct request *r) {
    if (r->route->begin == clone_begin) return r->server->cloner ? MOST_FORM : MOST_JSON;
    return (size_t)r->server->limit.characters * 12 + MOST_JSON;  // a character has 12 bytes at most, as \u escapes
}

static void check_state(struct request *r) {
    struct server *s = r->server;
    if (r->route->is_open) return;
    r->retry_s = 2;
    if (atomic_load(&s->draining))
        refuse(r, 503, "stopping", "the server is stopping; ask another, or later");
    else if (r->route->needs_engine && !server_engine(s))
        refuse(r, 503, "loading", "the model is being loaded; try again in a moment");
}

static enum MHD_Result refuse_now(struct request *r) {
    return reply_error(r, r->refusal, r->refusal_message ? r->refusal_message : "refused", NULL, r->refusal_code);
}

// The headers are there.
static enum MHD_Result begin(struct request *r) {
    admit(r);
    check_state(r);
    peer_deadline(r->peer, seconds_from_now(r->route->begin == clone_begin ? FORM_S : BODY_S));
    const char *length = header(r, MHD_HTTP_HEADER_CONTENT_LENGTH), *expect = header(r, MHD_HTTP_HEADER_EXPECT);
    unsigned long long n = length ? strtoull(length, NULL, 10) : 0;
    if (n > most_body(r))
        refuse(r, 413, "too_large", "the body has %llu bytes; at most %zu are taken", n, most_body(r));
    return r->refusal && (expect || n > MOST_IGNORED) ? refuse_now(r) : MHD_YES;
}

static enum MHD_Result take_body(struct request *r, const char *data, size_t n) {
    r->n_body += n;
    if (r->n_body > most_body(r)) {
        refuse(r, 413, "too_large", "the body has more than %zu bytes", most_body(r));
        str_free(&r->body);
    } else if (!r->refusal)
        str_append(&r->body, data, n);
    return r->n_body > most_body(r) + MOST_IGNORED || r->body.failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result answer(struct request *r) {
    peer_deadline(r->peer, seconds_from_now(ANSWER_S));
    if (r->refusal) return refuse_now(r);
    enum MHD_Result result = r->route->begin(r);
    if (r->job) peer_deadline(r->peer, job_order(r->job)->deadline + (int64_t)LATE_S * 1000000000);
    if (r->clone) peer_deadline(r->peer, seconds_from_now(FORM_S));
    str_free(&r->body);
    return result;
}

void hold_back(struct request *r, bool hold) {
    if (r->held == hold) return;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info) setsockopt(info->connect_fd, IPPROTO_TCP, TCP_CORK, &(int){hold}, sizeof(int));
    r->held = hold;
}

// ---- the library's calls ----

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *data, size_t *n_data, void **state) {
    (void)version;
    struct request *r = *state;
    if (!r) {
        r = request_new(user, connection, method, path);
        *state = r;
        return r ? begin(r) : MHD_NO;
    }
    if (*n_data > 0) {
        enum MHD_Result result = take_body(r, data, *n_data);
        *n_data = 0;
        return result;
    }
    return r->job || r->clone ? r->route->resume(r) : answer(r);
}

static void log_request(const struct request *r, const struct outcome *outcome) {
    const struct access_entry entry = {
        .id = r->id,
        .trace = r->trace,
        .caller = r->caller,
        .method = r->method,
        .path = r->path,
        .http_status = r->http_status,
        .n_bytes = r->n_sent,
        .seconds = (double)(clock_ns() - r->begun) * 1e-9,
        .voice = r->job ? r->voice : NULL,
        .format = r->format,
        .n_characters = r->n_characters,
        .outcome = outcome,
        .error = r->error,
    };
    access_request(r->server->options.log, &entry);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
    (void)user, (void)connection;
    struct request *r = *state;
    if (!r) return;
    struct server *s = r->server;
    struct outcome outcome = {0};
    hold_back(r, false);
    peer_watch(r->peer, NULL);
    peer_deadline(r->peer, seconds_from_now(IDLE_S));
    if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->error)
        r->error = strdup(how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED ? "the client stood still"
                                                                        : "the connection was lost");
    if (r->job) job_outcome(r->job, &outcome);
    log_request(r, r->job ? &outcome : NULL);
    metrics_request(&s->metrics, r->route_index, r->http_status);
    if (r->job) job_release(r->job);
    if (r->clone) clone_release(r->clone);
    if (r->counted) limits_end(s->limits, r->caller);
    str_free(&r->body);
    free(r->path);
    free(r->refusal_message);
    free(r->voice);
    free(r->output);
    free(r->error);
    free(r);
    *state = NULL;
    atomic_fetch_sub(&s->n_requests, 1);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode how) {
    struct server *s = user;
    if (how == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (info) setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){UNSENT_BYTES}, sizeof(int));
        *socket_context = info ? watch_open(s->watch, info->connect_fd, seconds_from_now(HEAD_S)) : NULL;
    } else if (*socket_context)
        watch_close(*socket_context);
}

// What the library has to say is of one client's bytes, and his alone to know.
static void on_message(void *user, const char *format, va_list arguments) { (void)user, (void)format, (void)arguments; }

status http_listen(struct server *s, int fd) {
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, s->tls_cert},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls_key},
                                   {MHD_OPTION_END, 0, NULL}};
    if (s->tls_cert)
        flags |= MHD_USE_TLS;
    else
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    struct MHD_Daemon *d = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)N_THREADS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->limit.connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)STILL_S, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
    if (!d)
        return fail(UTTER_INTERNAL, "cannot serve HTTP%s",
                    s->tls_cert ? "; are --tls-cert and --tls-key a certificate "
                                  "and its key in PEM?"
                                : "");
    s->daemons[s->n_daemons++] = d;
    return UTTER_OK;
}
