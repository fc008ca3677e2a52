#include "server/wyoming_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static const int64_t second_ns = 1000000000, slow_ns = 10 * second_ns;

// How long an event may take to come, or the other side to read some of what is written.
static int64_t patience(const struct wire *w) { return w->idle_ns < slow_ns ? w->idle_ns : slow_ns; }

status wire_open(struct wire *w, int fd, int64_t idle_ns) {
    *w = (struct wire){.fd = fd, .idle_ns = idle_ns, .in = malloc(WIRE_LINE)};
    if (w->in) return UTTER_OK;
    close(fd);
    return fail_memory(WIRE_LINE, "a connection");
}

void wire_close(struct wire *w) {
    shutdown(w->fd, SHUT_WR);
    int64_t deadline = clock_ns() + second_ns;
    size_t passed = 0;
    while (passed < WIRE_PAYLOAD) {  // closing a socket with something unread would take back what was written
        int64_t left = deadline - clock_ns();
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)(left / 1000000) + 1) <= 0) break;
        ssize_t n = recv(w->fd, w->in, WIRE_LINE, 0);
        if (n <= 0) break;
        passed += (size_t)n;
    }
    close(w->fd);
    free(w->in);
    str_free(&w->out);
}

// ---- reading ----

// Waits until something is there, at most until `deadline`. *n 0: the other side has ended.
static status receive(struct wire *w, char *to, size_t capacity, int64_t deadline, size_t *n) {
    *n = 0;
    for (;;) {
        ssize_t got = recv(w->fd, to, capacity, 0);
        if (got >= 0) return *n = (size_t)got, UTTER_OK;
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return UTTER_OK;  // a connection that broke has ended
        int64_t left = deadline - clock_ns();
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        if (left <= 0) return fail(UTTER_DEADLINE, "nothing, or no whole event, was sent for too long");
        poll(&p, 1, left > 60 * second_ns ? 60000 : (int)(left / 1000000) + 1);
    }
}

// The rest of something begun: bytes that are there, then from the socket. to NULL: they are passed over.
static status read_exactly(struct wire *w, char *to, size_t n, int64_t deadline) {
    while (n > 0) {
        if (w->begin == w->end) {
            w->begin = 0;
            TRY(receive(w, w->in, WIRE_LINE, deadline, &w->end));
            if (w->end == 0) return fail(UTTER_FORMAT, "the connection ended in the middle of an event");
        }
        size_t now = w->end - w->begin < n ? w->end - w->begin : n;
        if (to) {
            memcpy(to, w->in + w->begin, now);
            to += now;
        }
        w->begin += now;
        n -= now;
    }
    return UTTER_OK;
}

// A line without its end, in w->in, which lives until the next read. *line NULL: the other side has ended.
static status read_line(struct wire *w, const char **line, size_t *len, int64_t *deadline) {
    *line = NULL;
    memmove(w->in, w->in + w->begin, w->end - w->begin);
    w->end -= w->begin;
    w->begin = 0;
    size_t looked = 0;
    *deadline = clock_ns() + (w->end > 0 ? patience(w) : w->idle_ns);
    for (;;) {
        char *newline = memchr(w->in + looked, '\n', w->end - looked);
        if (newline) {
            *line = w->in;
            *len = (size_t)(newline - w->in);
            w->begin = *len + 1;
            return UTTER_OK;
        }
        looked = w->end;
        if (w->end == WIRE_LINE) return fail(UTTER_LIMIT, "a line of more than %d bytes; is this Wyoming?", WIRE_LINE);
        size_t n;
        TRY(receive(w, w->in + w->end, WIRE_LINE - w->end, *deadline, &n));
        if (n == 0) return w->end == 0 ? UTTER_OK : fail(UTTER_FORMAT, "the connection ended in the middle of a line");
        if (w->end == 0) *deadline = clock_ns() + patience(w);
        w->end += n;
    }
}

static status parse(const char *text, size_t len, json_t **out) {
    json_error_t error;
    *out = json_loadb(text, len, 0, &error);
    if (!*out) return fail(UTTER_FORMAT, "not JSON: %s (byte %d)", error.text, error.position);
    if (json_is_object(*out)) return UTTER_OK;
    json_decref(*out);
    *out = NULL;
    return fail(UTTER_FORMAT, "an event must be a JSON object");
}

// A length in the header, 0 when it is not there.
static status length_of(const json_t *header, const char *name, size_t most, size_t *out) {
    json_t *value = json_object_get(header, name);
    *out = 0;
    if (!value || json_is_null(value)) return UTTER_OK;
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0) return fail(UTTER_FORMAT, "%s must be a number of bytes", name);
    if ((uint64_t)n > most) return fail(UTTER_LIMIT, "%s is %lld; it may be %zu", name, (long long)n, most);
    *out = (size_t)n;
    return UTTER_OK;
}

// What follows the header's line. Its "data" and the data behind it are one object.
static status read_rest(struct wire *w, struct wire_event *e, int64_t deadline) {
    size_t n_data, n_payload;
    TRY(length_of(e->header, "data_length", WIRE_DATA, &n_data));
    TRY(length_of(e->header, "payload_length", WIRE_PAYLOAD, &n_payload));
    json_t *data = json_object_get(e->header, "data");
    e->data = json_is_object(data) ? json_incref(data) : json_object();
    if (!e->data) return fail_memory(WIRE_DATA, "an event");
    if (n_data > 0) {
        char *text = malloc(n_data);
        if (!text) return fail_memory(n_data, "an event");
        json_t *more = NULL;
        status s = read_exactly(w, text, n_data, deadline);
        if (s == UTTER_OK) s = parse(text, n_data, &more);
        if (s == UTTER_OK && json_object_update(e->data, more) != 0) s = fail_memory(n_data, "an event");
        json_decref(more);
        free(text);
        TRY(s);
    }
    return read_exactly(w, NULL, n_payload, deadline);
}

status wire_read(struct wire *w, struct wire_event *out) {
    *out = (struct wire_event){0};
    const char *line;
    size_t len;
    int64_t deadline;
    TRY(read_line(w, &line, &len, &deadline));
    if (!line) return UTTER_OK;
    status s = parse(line, len, &out->header);
    if (s == UTTER_OK) {
        out->type = json_string_value(json_object_get(out->header, "type"));
        s = out->type ? read_rest(w, out, deadline) : fail(UTTER_FORMAT, "an event must have a \"type\"");
    }
    if (s != UTTER_OK) wire_event_free(out);
    return s;
}

void wire_event_free(struct wire_event *e) {
    json_decref(e->data);
    json_decref(e->header);
    *e = (struct wire_event){0};
}

// ---- writing ----

static status send_all(struct wire *w, const char *bytes, size_t n) {
    int64_t deadline = clock_ns() + patience(w);
    while (n > 0) {
        ssize_t sent = send(w->fd, bytes, n, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
            deadline = clock_ns() + patience(w);
            continue;
        }
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) return fail(UTTER_CANCELLED, "the connection was closed");
        int64_t left = deadline - clock_ns();
        if (left <= 0) return fail(UTTER_DEADLINE, "the other side stopped reading");
        struct pollfd p = {.fd = w->fd, .events = POLLOUT};
        poll(&p, 1, (int)(left / 1000000) + 1);
    }
    return UTTER_OK;
}

static status encode(struct wire *w, const char *type, const json_t *data, const void *payload, size_t n) {
    char *text = data && json_object_size(data) > 0 ? json_dumps(data, JSON_COMPACT) : NULL;
    size_t len = text ? strlen(text) : 0;
    str_clear(&w->out);
    str_printf(&w->out, "{\"type\":\"%s\"", type);
    if (text) str_printf(&w->out, ",\"data_length\":%zu", len);
    if (n > 0) str_printf(&w->out, ",\"payload_length\":%zu", n);
    str_puts(&w->out, "}\n");
    if (text) str_append(&w->out, text, len);
    if (n > 0) str_append(&w->out, payload, n);
    free(text);
    return str_status(&w->out);
}

status wire_write(struct wire *w, const char *type, json_t *data, const void *payload, size_t n) {
    status s = encode(w, type, data, payload, n);
    json_decref(data);
    TRY(s);
    return send_all(w, w->out.data, w->out.len);
}
