/* Answers: JSON, errors as OpenAI's, and sound as it comes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/json_out.h"
#include "server/parts.h"

enum { BLOCK = 16 << 10 };

void add_common_headers(struct request *r, struct MHD_Response *response) {
    const struct server_options *o = &r->server->options;
    MHD_add_response_header(response, "Server", "utter/" UTTER_VERSION);
    MHD_add_response_header(response, "X-Request-Id", r->id);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (*r->trace) MHD_add_response_header(response, "traceparent", r->trace);
    if (o->cors) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", o->cors);
        MHD_add_response_header(response, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
        if (strcmp(o->cors, "*") != 0) MHD_add_response_header(response, "Vary", "Origin");
    }
    if (atomic_load(&r->server->draining)) MHD_add_response_header(response, "Connection", "close");
}

static enum MHD_Result queue(struct request *r, int http_status, struct MHD_Response *response) {
    if (!response) return MHD_NO;
    add_common_headers(r, response);
    r->http_status = http_status;
    enum MHD_Result result = MHD_queue_response(r->connection, (unsigned)http_status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result reply(struct request *r, int http_status, const char *mime, struct str *body,
                      const char *const *headers) {
    if (body->failed) {
        str_free(body);
        return MHD_NO;
    }
    r->n_sent = (int64_t)body->len;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->len, body->data ? body->data : (char *)"", body->data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!response) {
        str_free(body);
        return MHD_NO;
    }
    *body = (struct str){0};
    if (*mime) MHD_add_response_header(response, "Content-Type", mime);
    for (; headers && *headers; headers += 2) MHD_add_response_header(response, headers[0], headers[1]);
    return queue(r, http_status, response);
}

static enum MHD_Result reply_json_with(struct request *r, int http_status, json_t *o, const char *const *headers) {
    struct str body = {0};
    json_out(o, 9, &body);
    str_putc(&body, '\n');
    return reply(r, http_status, "application/json", &body, headers);
}

enum MHD_Result reply_json(struct request *r, int http_status, json_t *o) {
    return reply_json_with(r, http_status, o, NULL);
}

// ---- errors ----

static const char *type_of(int http_status) {
    if (http_status == 429) return "rate_limit_error";
    if (http_status == 403) return "permission_error";
    return http_status >= 500 ? "server_error" : "invalid_request_error";
}

enum MHD_Result reply_error(struct request *r, int http_status, const char *message, const char *param,
                            const char *code) {
    char retry[16];
    const char *headers[5] = {NULL};
    int n = 0;
    if (http_status == 429 || http_status == 503) {
        snprintf(retry, sizeof retry, "%.0f", fmin(fmax(ceil(r->retry_s), 1), 3600));
        headers[n++] = "Retry-After";
        headers[n++] = retry;
    }
    if (http_status == 401) {
        headers[n++] = "WWW-Authenticate";
        headers[n++] = "Bearer";
    }
    free(r->error);
    r->error = strdup(message);
    json_t *o = json_pack("{s:{s:o, s:s, s:o, s:o}}", "error", "message", json_text(message), "type",
                          type_of(http_status), "param", json_text(param), "code", json_text(code));
    if (o && r->seed) {
        json_object_set_new(o, "status", json_string("error"));
        json_object_set_new(o, "message", json_text(message));
    }
    return reply_json_with(r, http_status, o, headers);
}

int http_status_of(status s) {
    switch (s) {
        case UTTER_OK:
            return 200;
        case UTTER_INVALID:
        case UTTER_NO_TEXT:
        case UTTER_LIMIT:
        case UTTER_FORMAT:
        case UTTER_UNSUPPORTED:
            return 400;
        case UTTER_DEADLINE:
            return 504;
        case UTTER_CANCELLED:
            return 503;
        default:
            return 500;
    }
}

enum MHD_Result reply_failure(struct request *r, status s, const char *param) {
    char *message = strdup(fail_message());  // what is called below may fail too
    enum MHD_Result result = reply_error(r, http_status_of(s), message ? message : "out of memory", param,
                                         s == UTTER_INVALID ? "invalid_value" : status_name(s));
    free(message);
    return result;
}

// ---- sound ----

// Called by the library when it can send: what is there, or the connection sleeps until there is something. The headers
// go with the first bytes, and the end with the last: a packet costs more than all that is done to fill it.
static ssize_t next_bytes(void *user, uint64_t position, char *to, size_t capacity) {
    struct request *r = user;
    size_t n;
    bool ended;
    status s = job_read(r->job, to, capacity, &n, &ended);
    if (ended)
        hold_back(r, true);
    else if (position > 0)
        hold_back(r, false);
    if (s != UTTER_OK) {
        free(r->error);
        r->error = strdup(fail_message());
        if (r->announced) return MHD_CONTENT_READER_END_OF_STREAM;
        if (!job_order(r->job)->events || s == UTTER_CANCELLED) return MHD_CONTENT_READER_END_WITH_ERROR;
        r->announced = true;  // the last event tells it; the next call ends
        json_t *o = json_pack("{s:{s:o, s:s, s:n, s:s}}", "error", "message", json_text(r->error), "type",
                              type_of(http_status_of(s)), "param", "code", status_name(s));
        struct str event = {0};
        str_puts(&event, "event: error\ndata: ");
        json_out(o, 9, &event);
        str_puts(&event, "\n\n");
        n = !event.failed && event.len < capacity ? event.len : 0;
        memcpy(to, str_text(&event), n);
        str_free(&event);
        return n > 0 ? (ssize_t)n : MHD_CONTENT_READER_END_WITH_ERROR;
    }
    r->n_sent += (int64_t)n;
    return n == 0 && ended ? MHD_CONTENT_READER_END_OF_STREAM : (ssize_t)n;
}

enum MHD_Result reply_stream(struct request *r, const char *mime) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, next_bytes, r, NULL);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", mime);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    hold_back(r, true);
    return queue(r, 200, response);
}
