#include "hub_server.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUTES = 64, MAX_REQUESTS = 256 };

struct hub_server {
    struct MHD_Daemon *daemon;
    char url[64];
    pthread_mutex_t lock;
    atomic_bool stopping;
    struct hub_route routes[MAX_ROUTES];
    int n_routes;
    struct hub_request requests[MAX_REQUESTS];
    int n_requests;
};

// What one answer sends.
struct body {
    struct hub_server *server;
    const char *data;
    size_t n, cut;  // nothing after `cut` bytes
    bool stall;
};

static ssize_t send_body(void *user, uint64_t at, char *out, size_t room) {
    struct body *b = user;
    if (at >= b->cut) {
        struct timespec pause = {.tv_nsec = 10000000};
        while (b->stall && !atomic_load(&b->server->stopping)) nanosleep(&pause, NULL);
        return b->cut < b->n || b->stall ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    }
    size_t n = b->cut - at < room ? b->cut - at : room;
    memcpy(out, b->data + at, n);
    return (ssize_t)n;
}

static void copy(char *out, size_t room, const char *text) { snprintf(out, room, "%s", text ? text : ""); }

static void remember(struct hub_server *s, struct MHD_Connection *c, const char *path) {
    if (s->n_requests == MAX_REQUESTS) return;
    struct hub_request *r = &s->requests[s->n_requests++];
    copy(r->path, sizeof r->path, path);
    copy(r->query, sizeof r->query, MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "recursive"));
    copy(r->range, sizeof r->range, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range"));
    copy(r->if_range, sizeof r->if_range, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-Range"));
    copy(r->authorization, sizeof r->authorization, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"));
}

static struct MHD_Response *empty(void) { return MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT); }

static struct MHD_Response *answer_body(struct hub_server *s, const struct hub_route *r, enum hub_fault fault,
                                        const struct hub_request *q, unsigned *http) {
    size_t from = 0;
    bool same = !q->if_range[0] || strcmp(q->if_range, r->etag) == 0 || fault == FAULT_RANGE;
    if (q->range[0] && same) from = strtoull(q->range + strlen("bytes="), NULL, 10);
    *http = q->range[0] && same ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK;
    if (*http == MHD_HTTP_PARTIAL_CONTENT && from >= r->n) {
        *http = MHD_HTTP_RANGE_NOT_SATISFIABLE;
        return empty();
    }
    if (fault == FAULT_OTHER_RANGE) from = 0;
    struct body *b = malloc(sizeof *b);
    *b = (struct body){s, (const char *)r->data + from, r->n - from, r->n - from, fault == FAULT_STALL};
    if ((fault == FAULT_CUT || fault == FAULT_STALL) && r->after < b->n) b->cut = r->after;
    uint64_t length = fault == FAULT_LENGTH ? (uint64_t)r->length : fault == FAULT_CHUNKED ? MHD_SIZE_UNKNOWN : b->n;
    if (fault == FAULT_LENGTH) b->n = SIZE_MAX;
    struct MHD_Response *answer = MHD_create_response_from_callback(length, 1 << 16, send_body, b, free);
    char range[100];
    snprintf(range, sizeof range, "bytes %zu-%zu/%zu", from, r->n - 1, r->n);
    if (*http == MHD_HTTP_PARTIAL_CONTENT) MHD_add_response_header(answer, "Content-Range", range);
    if (r->etag[0]) MHD_add_response_header(answer, "ETag", r->etag);
    return answer;
}

static struct MHD_Response *answer(struct hub_server *s, struct hub_route *r, const struct hub_request *q,
                                   unsigned *http) {
    enum hub_fault fault = r->times == 0 || r->n_asked < r->times ? r->fault : FAULT_NONE;
    struct MHD_Response *a;
    r->n_asked++;
    if (fault == FAULT_STATUS) {
        *http = r->http;
        a = empty();
        if (r->code[0]) MHD_add_response_header(a, "X-Error-Code", r->code);
        if (r->retry_after[0]) MHD_add_response_header(a, "Retry-After", r->retry_after);
    } else if (r->location[0]) {
        *http = MHD_HTTP_FOUND;
        a = empty();
        MHD_add_response_header(a, "Location", r->location);
    } else
        a = answer_body(s, r, fault, q, http);
    if (r->link[0]) MHD_add_response_header(a, "Link", r->link);
    if (r->linked_etag[0]) MHD_add_response_header(a, "X-Linked-ETag", r->linked_etag);
    if (fault == FAULT_HEADERS) {
        char value[4001];
        memset(value, 'x', sizeof value - 1);
        value[sizeof value - 1] = 0;
        for (int i = 0; i < 70; i++) {
            char name[32];
            snprintf(name, sizeof name, "X-Many-%d", i);
            MHD_add_response_header(a, name, value);
        }
    }
    return a;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *n_upload, void **state) {
    static int seen;
    struct hub_server *s = user;
    (void)method, (void)version, (void)upload, (void)n_upload;
    if (!*state) {  // the headers alone: the answer is asked for again
        *state = &seen;
        return MHD_YES;
    }
    pthread_mutex_lock(&s->lock);
    remember(s, c, path);
    unsigned http = MHD_HTTP_NOT_FOUND;
    struct MHD_Response *a = NULL;
    for (int i = 0; i < s->n_routes && !a; i++)
        if (strcmp(s->routes[i].path, path) == 0) a = answer(s, &s->routes[i], &s->requests[s->n_requests - 1], &http);
    if (!a) a = empty();
    pthread_mutex_unlock(&s->lock);
    enum MHD_Result result = MHD_queue_response(c, http, a);
    MHD_destroy_response(a);
    return result;
}

struct hub_server *hub_server_start(const char *address) {
    struct hub_server *s = calloc(1, sizeof *s);
    struct sockaddr_in at = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &at.sin_addr);
    pthread_mutex_init(&s->lock, NULL);
    s->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
                                 on_request, s, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)1 << 20, MHD_OPTION_END);
    if (!s->daemon) {
        free(s);
        return NULL;
    }
    snprintf(s->url, sizeof s->url, "http://%s:%d", address,
             MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return s;
}

void hub_server_stop(struct hub_server *s) {
    atomic_store(&s->stopping, true);
    MHD_stop_daemon(s->daemon);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *hub_server_url(const struct hub_server *s) { return s->url; }

struct hub_route *hub_server_at(struct hub_server *s, const char *path) {
    for (int i = 0; i < s->n_routes; i++)
        if (strcmp(s->routes[i].path, path) == 0) return &s->routes[i];
    if (s->n_routes == MAX_ROUTES) return NULL;
    struct hub_route *r = &s->routes[s->n_routes++];
    copy(r->path, sizeof r->path, path);
    return r;
}

int hub_server_n_requests(const struct hub_server *s) { return s->n_requests; }
const struct hub_request *hub_server_request(const struct hub_server *s, int i) { return &s->requests[i]; }
