#include "queue/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOOK_MS = 100 };  // how often *stop is looked at

// Until the socket is ready for `events`.
static status wait_for(struct connection *c, short events, int64_t deadline) {
    for (;;) {
        if (c->stop && atomic_load(c->stop)) return fail(UTTER_CANCELLED, "it was stopped");
        int64_t left_ms = (deadline - clock_ns()) / 1000000;
        if (left_ms <= 0) return fail(UTTER_IO, "no answer in time");
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
        if (n > 0) return UTTER_OK;
        if (n < 0 && errno != EINTR) return fail(UTTER_IO, "%s", strerror(errno));
    }
}

// ---- opening ----

static status connect_to(struct connection *c, int family, const struct sockaddr *address, socklen_t len,
                         int64_t deadline) {
    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return fail(UTTER_IO, "%s", strerror(errno));
    if (connect(c->fd, address, len) != 0) {
        if (errno != EINPROGRESS && errno != EAGAIN) return fail(UTTER_IO, "%s", strerror(errno));
        TRY(wait_for(c, POLLOUT, deadline));
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) return fail(UTTER_IO, "%s", strerror(error));
    }
    int on = 1;
    if (family != AF_UNIX) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return UTTER_OK;
}

static void close_fd(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static status connect_host(struct connection *c, const struct redis_url *url, int64_t deadline) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
    int error = getaddrinfo(url->host, url->port, &hints, &all);
    if (error) return fail(UTTER_IO, "the name %s is not known: %s", url->host, gai_strerror(error));
    status s = fail(UTTER_IO, "the name %s has no address", url->host);
    for (const struct addrinfo *a = all; a; a = a->ai_next) {
        s = connect_to(c, a->ai_family, a->ai_addr, a->ai_addrlen, deadline);
        if (s != UTTER_IO) break;
        close_fd(c);
    }
    freeaddrinfo(all);
    return s;
}

static status tls_failed(void) {
    unsigned long code = ERR_get_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;
    return fail(UTTER_IO, "TLS failed: %s", why ? why : "the server closed the connection");
}

// What a TLS call asks to wait for; UTTER_IO when it failed.
static status tls_wait(struct connection *c, int result, int64_t deadline) {
    switch (SSL_get_error(c->tls, result)) {
        case SSL_ERROR_WANT_READ:
            return wait_for(c, POLLIN, deadline);
        case SSL_ERROR_WANT_WRITE:
            return wait_for(c, POLLOUT, deadline);
        case SSL_ERROR_ZERO_RETURN:
            return fail(UTTER_IO, "the server closed the connection");
        default:
            return tls_failed();
    }
}

static status start_tls(struct connection *c, const char *host, int64_t deadline) {
    ERR_clear_error();
    c->context = SSL_CTX_new(TLS_client_method());
    if (!c->context || SSL_CTX_set_default_verify_paths(c->context) != 1) return tls_failed();
    SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(c->context, TLS1_2_VERSION);
    c->tls = SSL_new(c->context);
    if (!c->tls || SSL_set_fd(c->tls, c->fd) != 1 || SSL_set1_host(c->tls, host) != 1) return tls_failed();
    SSL_set_tlsext_host_name(c->tls, host);
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(c->tls);
        if (result == 1) return UTTER_OK;
        long verified = SSL_get_verify_result(c->tls);
        if (verified != X509_V_OK)
            return fail(UTTER_IO, "its certificate is not trusted: %s (SSL_CERT_FILE names a file of trusted ones)",
                        X509_verify_cert_error_string(verified));
        TRY(tls_wait(c, result, deadline));
    }
}

status connection_open(struct connection *c, const struct redis_url *url, const char *label, int64_t deadline) {
    status s;
    c->fd = -1;
    if (*url->path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", url->path);
        s = connect_to(c, AF_UNIX, (const struct sockaddr *)&address, sizeof address, deadline);
    } else {
        s = connect_host(c, url, deadline);
    }
    if (s == UTTER_OK && url->tls) s = start_tls(c, url->host, deadline);
    if (s == UTTER_OK) return UTTER_OK;
    char why[400];
    snprintf(why, sizeof why, "%s", fail_message());
    connection_close(c);
    return fail(s, "cannot reach Redis at %s: %s", label, why);
}

void connection_close(struct connection *c) {
    if (c->tls) SSL_free(c->tls);
    if (c->context) SSL_CTX_free(c->context);
    c->tls = NULL;
    c->context = NULL;
    close_fd(c);
}

// ---- bytes ----

status connection_write(struct connection *c, const void *data, size_t n, int64_t deadline) {
    for (size_t done = 0; done < n;) {
        const char *at = (const char *)data + done;
        if (c->tls) {
            size_t written = 0;
            ERR_clear_error();
            int result = SSL_write_ex(c->tls, at, n - done, &written);
            done += written;
            if (result != 1) TRY(tls_wait(c, result, deadline));
            continue;
        }
        ssize_t written = send(c->fd, at, n - done, MSG_NOSIGNAL);
        if (written > 0)
            done += (size_t)written;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            TRY(wait_for(c, POLLOUT, deadline));
        else if (errno != EINTR)
            return fail(UTTER_IO, "%s", strerror(errno));
    }
    return UTTER_OK;
}

status connection_read(struct connection *c, void *buffer, size_t size, size_t *n, int64_t deadline) {
    for (;;) {
        if (c->tls) {
            ERR_clear_error();
            int result = SSL_read_ex(c->tls, buffer, size, n);
            if (result == 1) return UTTER_OK;
            TRY(tls_wait(c, result, deadline));
            continue;
        }
        ssize_t got = recv(c->fd, buffer, size, 0);
        if (got > 0) {
            *n = (size_t)got;
            return UTTER_OK;
        }
        if (got == 0) return fail(UTTER_IO, "the server closed the connection");
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            TRY(wait_for(c, POLLIN, deadline));
        else if (errno != EINTR)
            return fail(UTTER_IO, "%s", strerror(errno));
    }
}
