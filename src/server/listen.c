#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_HANDED_OVER = 3, BACKLOG = 1024, SEND_BUFFER = 128 << 10 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
};

static bool is_loopback(const union address *a) {
    if (a->any.sa_family == AF_INET) return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    if (a->any.sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
    return a->any.sa_family == AF_UNIX;
}

static void describe(const union address *a, bool tls, struct listeners *l) {
    char text[INET6_ADDRSTRLEN] = "";
    const char *scheme = tls ? "https" : "http";
    if (l->where.len > 0) str_puts(&l->where, ", ");
    if (a->any.sa_family == AF_INET)
        str_printf(&l->where, "%s://%s:%d", scheme, inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof text),
                   ntohs(a->v4.sin_port));
    else if (a->any.sa_family == AF_INET6)
        str_printf(&l->where, "%s://[%s]:%d", scheme, inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof text),
                   ntohs(a->v6.sin6_port));
    else
        str_printf(&l->where, "unix:%.*s", (int)sizeof a->local.sun_path, a->local.sun_path);
    int port = a->any.sa_family == AF_INET    ? ntohs(a->v4.sin_port)
               : a->any.sa_family == AF_INET6 ? ntohs(a->v6.sin6_port)
                                              : 0;
    if (l->port == 0) l->port = port;
}

static status add(int fd, bool tls, struct listeners *l) {
    union address a = {0};
    socklen_t len = sizeof a;
    // What a client does not read stays in the server, where it is counted, and not in the system's buffers.
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (getsockname(fd, &a.any, &len) != 0) return fail(UTTER_IO, "cannot look at a socket: %s", strerror(errno));
    l->fds[l->n++] = fd;
    l->beyond |= !is_loopback(&a);
    describe(&a, tls, l);
    return str_status(&l->where);
}

// ---- handed over ----

static int n_handed_over(void) {
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    if (!pid || !n || strtol(pid, NULL, 10) != (long)getpid()) return 0;
    return (int)strtol(n, NULL, 10);
}

static status take_handed_over(int n, bool tls, struct listeners *l) {
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (n > MAX_LISTENERS)
        return fail(UTTER_LIMIT, "%d sockets are handed over; at most %d can be used", n, MAX_LISTENERS);
    for (int i = 0; i < n; i++) {
        int fd = FIRST_HANDED_OVER + i, listening = 0;
        socklen_t len = sizeof listening;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening)
            return fail(UTTER_INVALID, "file descriptor %d of LISTEN_FDS is no socket that listens", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        TRY(add(fd, tls, l));
    }
    return UTTER_OK;
}

// ---- made here ----

static status listen_on(const struct addrinfo *info, bool tls, struct listeners *l) {
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
    if (fd < 0) return fail(UTTER_IO, "cannot make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (info->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return add(fd, tls, l);
    int error = errno;
    close(fd);
    errno = error;
    return UTTER_IO;
}

static status listen_tcp(const char *host, int port, bool tls, struct listeners *l) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    int error = getaddrinfo(host, number, &hints, &list);
    if (error) return fail(UTTER_INVALID, "cannot listen on \"%s\": %s", host, gai_strerror(error));
    status s = UTTER_IO;
    int n = l->n;
    for (const struct addrinfo *i = list; i && l->n < MAX_LISTENERS - 1; i = i->ai_next) s = listen_on(i, tls, l);
    error = errno;
    freeaddrinfo(list);
    if (l->n > n) return UTTER_OK;  // of several addresses of a name one will do
    (void)s;
    return fail(UTTER_IO, "cannot listen on %s port %d: %s%s", host, port, strerror(error),
                error == EADDRINUSE ? "; another server does, give another --port" : "");
}

// A socket that a server left behind when it was killed is removed; one that is answered at is not.
static bool remove_left_behind(const union address *a, socklen_t len) {
    struct stat info;
    if (stat(a->local.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool dead = fd >= 0 && connect(fd, &a->any, len) != 0 && errno == ECONNREFUSED;
    if (fd >= 0) close(fd);
    return dead && unlink(a->local.sun_path) == 0;
}

static status listen_unix(const char *path, bool tls, struct listeners *l) {
    union address a = {.local = {.sun_family = AF_UNIX}};
    socklen_t len = sizeof a.local;
    if (strlen(path) >= sizeof a.local.sun_path)
        return fail(UTTER_INVALID, "--unix: a path of %zu bytes is too long; %zu can be had", strlen(path),
                    sizeof a.local.sun_path - 1);
    strcpy(a.local.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(UTTER_IO, "cannot make a socket: %s", strerror(errno));
    int bound = bind(fd, &a.any, len);
    if (bound != 0 && errno == EADDRINUSE && remove_left_behind(&a, len)) bound = bind(fd, &a.any, len);
    if (bound != 0 || chmod(path, 0660) != 0 || listen(fd, BACKLOG) != 0) {
        status s = fail(UTTER_IO, "cannot listen on %s: %s", path, strerror(errno));
        close(fd);
        return s;
    }
    l->unix_path = strdup(path);
    return add(fd, tls, l);
}

status listeners_open(const char *host, int port, const char *unix_path, bool no_tcp, bool tls, struct listeners *out) {
    *out = (struct listeners){0};
    int n = n_handed_over();
    status s = n > 0 ? take_handed_over(n, tls, out) : UTTER_OK;
    if (n <= 0 && !no_tcp) s = listen_tcp(host ? host : "127.0.0.1", port, tls, out);
    if (n <= 0 && s == UTTER_OK && unix_path) s = listen_unix(unix_path, tls, out);
    if (s != UTTER_OK) listeners_close(out);
    return s;
}

void listeners_close(struct listeners *l) {
    for (int i = 0; i < l->n; i++) close(l->fds[i]);
    if (l->unix_path) unlink(l->unix_path);
    free(l->unix_path);
    str_free(&l->where);
    *l = (struct listeners){0};
}

void listen_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    union address a = {.local = {.sun_family = AF_UNIX}};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof a.local.sun_path) return;
    memcpy(a.local.sun_path, path, strlen(path));
    if (*path == '@') a.local.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, &a.any, len);
    close(fd);
}
