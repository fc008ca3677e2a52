#include "serve.h"

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

enum { PATIENCE_S = 60 };

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(void) { usleep(2000); }

// ---- the server ----

struct served serve_launch(const char *options) {
    static int n;
    struct served s = {0};
    snprintf(s.log, sizeof s.log, "%s/serve-%d.log", run_folder(), n++);
    char line[2048];
    snprintf(line, sizeof line, "cd '%s' && exec ./.bin/utter serve --port 0 %s 2>'%s' </dev/null", run_folder(),
             options, s.log);
    s.pid = fork();
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive the test
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    return s;
}

static char *read_log(const struct served *s) {
    FILE *f = fopen(s->log, "r");
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    if (f) {
        text[fread(text, 1, (1 << 20) - 1, f)] = 0;
        fclose(f);
    }
    return text;
}

bool serve_said(const struct served *s, const char *words) {
    char *text = read_log(s);
    bool said = strstr(text, words) != NULL;
    free(text);
    return said;
}

void serve_await(const struct served *s, const char *words) {
    for (double until = seconds_now() + PATIENCE_S; !serve_said(s, words); nap())
        if (seconds_now() > until) fail_msg("it never says \"%s\"", words);
}

struct served serve_start(const char *options) {
    struct served s = serve_launch(options);
    for (double until = seconds_now() + PATIENCE_S; !serve_said(&s, "ready after"); nap()) {
        int code;
        if (waitpid(s.pid, &code, WNOHANG) == 0 && seconds_now() < until) continue;
        char *text = read_log(&s);
        fail_msg("utter serve %s: not ready: %s", options, text);
    }
    char *text = read_log(&s);
    const char *at = strstr(text, "://127.0.0.1:");
    if (!at) at = strstr(text, "://0.0.0.0:");
    s.port = at ? atoi(strrchr(strndupa(at, strcspn(at + 3, " ,\n") + 3), ':') + 1) : 0;
    free(text);
    return s;
}

int serve_end(struct served *s, int signal_number) {
    int code = 0;
    if (signal_number) kill(s->pid, signal_number);
    for (double until = seconds_now() + PATIENCE_S; waitpid(s->pid, &code, WNOHANG) == 0; nap())
        if (seconds_now() > until) {
            kill(s->pid, SIGKILL);
            waitpid(s->pid, &code, 0);
            fail_msg("%s", "utter serve does not end");
        }
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}

// ---- the wire ----

int serve_connect(const struct served *s) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

void serve_send(int fd, const void *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return;
        done += (size_t)sent;
    }
}

static void send_head(int fd, const struct served *s, const char *method, const char *path, const char *headers,
                      const char *body, size_t n_body) {
    char head[4096];
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s", method, path, s->port, headers);
    if (body) n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", n_body);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    serve_send(fd, head, (size_t)n);
}

int serve_begin(const struct served *s, const char *path, const char *headers, const char *body) {
    int fd = serve_connect(s);
    assert_true(fd >= 0);
    send_head(fd, s, "POST", path, headers, body, strlen(body));
    serve_send(fd, body, strlen(body));
    return fd;
}

char *serve_sentences(const char *format, int n) {
    char *body = calloc(1, 200 + (size_t)n * sizeof SENTENCE);
    assert_non_null(body);
    strcpy(body, "{\"input\": \"");
    for (int i = 0; i < n; i++) strcat(body, SENTENCE " ");
    sprintf(body + strlen(body), "\", \"response_format\": \"%s\"}", format);
    return body;
}

static bool grow(char **data, size_t *cap, size_t need) {
    if (need <= *cap) return true;
    *cap = need * 2;
    char *grown = realloc(*data, *cap);
    if (grown) *data = grown;
    return grown != NULL;
}

// The chunks of a body without their framing, in place; whether the last is there.
static bool unchunk(char *body, size_t *n) {
    size_t from = 0, to = 0;
    for (;;) {
        char *end = memchr(body + from, '\n', *n - from);
        if (!end) break;
        size_t size = strtoul(body + from, NULL, 16), start = (size_t)(end - body) + 1;
        if (size == 0) {
            *n = to;
            return true;
        }
        if (start + size + 2 > *n) {
            size = *n - start;
            memmove(body + to, body + start, size);
            to += size;
            break;
        }
        memmove(body + to, body + start, size);
        to += size;
        from = start + size + 2;
    }
    *n = to;
    return false;
}

struct answer serve_receive(int fd) {
    struct answer a = {0};
    char *data = NULL, *body = NULL;
    size_t n = 0, cap = 0, head = 0;
    double begun = seconds_now();
    for (;;) {
        assert_true(grow(&data, &cap, n + 65537));
        ssize_t got = recv(fd, data + n, 65536, 0);
        if (got < 0 && errno == EINTR) continue;  // a child of another thread's ended
        if (got <= 0) break;
        n += (size_t)got;
        data[n] = 0;
        body = strstr(data, "\r\n\r\n");
        if (!body) continue;
        head = (size_t)(body - data) + 4;
        if (a.first_s == 0 && n > head) a.first_s = seconds_now() - begun;
        const char *length = strcasestr(data, "\r\nContent-Length:");
        if (length && length < body && n >= head + strtoul(length + 17, NULL, 10)) break;
        if (n >= head + 5 && memcmp(data + n - 5, "0\r\n\r\n", 5) == 0 &&
            strcasestr(data, "\r\nTransfer-Encoding: chunked"))
            break;
    }
    a.head = calloc(1, head + 1);
    a.body = calloc(1, n - head + 1);
    assert_non_null(a.head);
    assert_non_null(a.body);
    if (n > 0) {
        memcpy(a.head, data, head);
        memcpy(a.body, data + head, n - head);
    }
    a.n = n - head;
    if (head > 12) a.status = atoi(a.head + 9);
    const char *length = strcasestr(a.head, "\r\nContent-Length:");
    if (length) a.whole = a.n == strtoul(length + 17, NULL, 10);
    if (strcasestr(a.head, "\r\nTransfer-Encoding: chunked")) a.whole = unchunk(a.body, &a.n);
    a.body[a.n] = 0;
    free(data);
    return a;
}

struct answer serve_ask(const struct served *s, const char *method, const char *path, const char *headers,
                        const char *body, size_t n_body) {
    char closing[4000];
    snprintf(closing, sizeof closing, "Connection: close\r\n%s", headers);
    int fd = serve_connect(s);
    assert_true(fd >= 0);
    send_head(fd, s, method, path, closing, body, n_body);
    if (body) serve_send(fd, body, n_body);
    struct answer a = serve_receive(fd);
    close(fd);
    return a;
}

struct answer serve_get(const struct served *s, const char *path) {
    return serve_ask(s, "GET", path, "", NULL, 0);
}

struct answer serve_post(const struct served *s, const char *path, const char *body) {
    return serve_ask(s, "POST", path, "Content-Type: application/json\r\n", body, strlen(body));
}

void answer_free(struct answer *a) {
    free(a->head);
    free(a->body);
    *a = (struct answer){0};
}

const char *answer_header(const struct answer *a, const char *name) {
    static char value[512];
    char wanted[100];
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = strcasestr(a->head, wanted);
    if (!at) return NULL;
    at += strlen(wanted);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r\n"), at);
    return value;
}

double serve_metric(const struct served *s, const char *name) {
    char wanted[200];
    struct answer a = serve_get(s, "/metrics");
    snprintf(wanted, sizeof wanted, "\n%s ", name);
    const char *at = strstr(a.body, wanted);
    double value = at ? strtod(at + strlen(wanted), NULL) : -1;
    answer_free(&a);
    return value;
}

double serve_wait_metric(const struct served *s, const char *name, double value) {
    double begun = seconds_now();
    while (serve_metric(s, name) != value) {
        if (seconds_now() - begun > PATIENCE_S) fail_msg("%s does not become %g", name, value);
        nap();
    }
    return seconds_now() - begun;
}
