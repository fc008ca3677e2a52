/* The connections of the Wyoming protocol: one thread watches, and one talks to each client. */
#include "server/wyoming.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/wyoming_parts.h"

static const char default_host[] = "127.0.0.1";
enum { DEFAULT_PORT = 10200, MAX_CLIENTS = 1024 };
static const int64_t second_ns = 1000000000;

// ---- addresses ----

struct address {
    char host[256];
    int port;
};

static status split_address(const char *text, struct address *out) {
    if (!text) text = "";
    const char *host = text, *host_end, *port = NULL;
    if (*text == '[') {
        host = text + 1;
        host_end = strchr(text, ']');
        if (host_end && host_end[1] == ':') port = host_end + 2;
        if (host_end && host_end[1] && !port) host_end = NULL;
    } else {
        const char *colon = strrchr(text, ':');
        bool plain = !colon || strchr(text, ':') == colon;  // more than one: an IPv6 address without a port
        host_end = colon && plain ? colon : text + strlen(text);
        if (colon && plain) port = colon + 1;
    }
    size_t n = host_end ? (size_t)(host_end - host) : sizeof out->host;
    if (n >= sizeof out->host ||
        (port && (!*port || strlen(port) > 5 || port[strspn(port, "0123456789")] || atoi(port) > 65535)))
        return fail(UTTER_INVALID, "\"%.60s\" is no address; say HOST:PORT, as in 127.0.0.1:10200 or [::]:10200", text);
    snprintf(out->host, sizeof out->host, "%.*s", (int)n, n > 0 ? host : "");
    if (n == 0) strcpy(out->host, default_host);
    out->port = port ? atoi(port) : DEFAULT_PORT;
    return UTTER_OK;
}

static status open_listeners(struct wyoming *w) {
    struct address a;
    TRY(split_address(w->options.address, &a));
    TRY(listeners_open(a.host, a.port, NULL, false, false, &w->listeners));
    for (int i = 0; i < w->listeners.n; i++) fcntl(w->listeners.fds[i], F_SETFL, O_NONBLOCK);
    if (!w->listeners.beyond || w->options.allow_anyone) return UTTER_OK;
    return fail(
        UTTER_INVALID,
        "%s can be reached from other machines, and Wyoming knows no keys; say --allow-anyone if whoever reaches "
        "it may have speech made",
        a.host);
}

// ---- clients ----

static void wake(struct wyoming *w) { eventfd_write(w->wake_fd, 1); }

static void *talk(void *user) {
    struct client *c = user;
    struct wyoming *w = c->server;
    pthread_setname_np(pthread_self(), "wyoming");
    client_talk(c);
    pthread_mutex_lock(&w->lock);
    c->fd = -1;
    pthread_mutex_unlock(&w->lock);
    wire_close(&c->wire);
    close(c->wake_fd);
    c->state = CLIENT_DONE;
    wake(w);
    return NULL;
}

static void refuse(int fd, const char *why) {
    char line[200];
    int n = snprintf(line, sizeof line, "{\"type\":\"error\",\"data\":{\"text\":\"%s\",\"code\":\"limit\"}}\n", why);
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) shutdown(fd, SHUT_WR);
    close(fd);
}

static struct client *free_place(struct wyoming *w) {
    for (int i = 0; i < w->options.connections; i++)
        if (w->clients[i].state == CLIENT_FREE) return &w->clients[i];
    return NULL;
}

static void greet(struct wyoming *w, int fd, const struct sockaddr *from, socklen_t size) {
    struct client *c = free_place(w);
    if (!c) {
        log_say(&w->log, UTTER_LOG_WARNING, "wyoming: a connection beyond %d was refused", w->options.connections);
        refuse(fd, "too many connections; try again later");
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    *c = (struct client){.server = w, .fd = fd, .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct in6_addr address;
    if (proxies_address(from, &address)) proxies_name(&address, c->caller);
    char host[48], port[8];
    if (getnameinfo(from, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(c->peer, sizeof c->peer, "%s port %s", host, port);
    status s = wire_open(&c->wire, fd, (int64_t)w->options.idle_s * second_ns);
    c->state = CLIENT_TALKS;
    if (s == UTTER_OK && c->wake_fd >= 0 && pthread_create(&c->thread, NULL, talk, c) == 0) return;
    c->state = CLIENT_FREE;
    if (c->wake_fd >= 0) close(c->wake_fd);
    if (s == UTTER_OK) wire_close(&c->wire);
}

// False: there are no descriptors or memory for more at the moment.
static bool accept_all(struct wyoming *w, int listener) {
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            greet(w, fd, (struct sockaddr *)&from, size);
        else if (errno == EAGAIN)
            return true;
        else if (errno != EINTR && errno != ECONNABORTED)
            return false;
    }
}

// Threads that have ended.
static int reap(struct wyoming *w) {
    int n_left = 0;
    for (int i = 0; i < w->options.connections; i++) {
        struct client *c = &w->clients[i];
        enum client_state state = c->state;
        if (state == CLIENT_TALKS) n_left++;
        if (state != CLIENT_DONE) continue;
        pthread_join(c->thread, NULL);
        c->state = CLIENT_FREE;
    }
    return n_left;
}

// ---- the watcher ----

// All connections end: after what is being said, or `now`.
static void end_all(struct wyoming *w, bool now) {
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->options.connections; i++) {
        struct client *c = &w->clients[i];
        if (c->state == CLIENT_TALKS && c->fd >= 0) shutdown(c->fd, now ? SHUT_RDWR : SHUT_RD);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *watch(void *user) {
    struct wyoming *w = user;
    struct pollfd fds[1 + MAX_LISTENERS];
    bool full = false;
    while (!w->draining) {
        int n = 1 + (full ? 0 : w->listeners.n);
        fds[0] = (struct pollfd){.fd = w->wake_fd, .events = POLLIN};
        for (int i = 1; i < n; i++) fds[i] = (struct pollfd){.fd = w->listeners.fds[i - 1], .events = POLLIN};
        if (poll(fds, (nfds_t)n, full ? 100 : -1) < 0) continue;
        eventfd_t count;
        if (fds[0].revents) eventfd_read(w->wake_fd, &count);
        reap(w);
        full = false;
        for (int i = 1; i < n; i++)
            if (fds[i].revents) full |= !accept_all(w, w->listeners.fds[i - 1]);
    }
    listeners_close(&w->listeners);
    end_all(w, false);
    while (reap(w) > 0) {
        if (w->stopping) end_all(w, true);
        struct pollfd woken = {.fd = w->wake_fd, .events = POLLIN};
        eventfd_t count;
        if (poll(&woken, 1, 50) > 0) eventfd_read(w->wake_fd, &count);
    }
    return NULL;
}

// ---- start and stop ----

static void wyoming_free(struct wyoming *w) {
    listeners_close(&w->listeners);
    if (w->wake_fd >= 0) close(w->wake_fd);
    pthread_mutex_destroy(&w->lock);
    free(w->clients);
    free(w);
}

static status start(struct wyoming *w) {
    struct wyoming_options *o = &w->options;
    if (o->connections <= 0) o->connections = 32;
    if (o->connections > MAX_CLIENTS) o->connections = MAX_CLIENTS;
    if (o->characters <= 0) o->characters = 4096;
    if (o->idle_s <= 0) o->idle_s = 120;
    if (o->deadline_s <= 0) o->deadline_s = 600;
    w->clients = calloc((size_t)o->connections, sizeof *w->clients);
    if (!w->clients) return fail_memory((size_t)o->connections * sizeof *w->clients, "connections");
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0) return fail(UTTER_IO, "cannot watch connections: %s", strerror(errno));
    TRY(open_listeners(w));
    int error = pthread_create(&w->watcher, NULL, watch, w);
    return error == 0 ? UTTER_OK : fail(UTTER_IO, "cannot start a thread: %s", strerror(error));
}

status wyoming_start(const struct wyoming_options *options, utter *u, struct jobs *jobs, struct wyoming **out) {
    *out = NULL;
    struct wyoming *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "a server");
    w->options = *options;
    w->log = (struct log){options->log, options->log_user};
    w->u = u;
    w->jobs = jobs;
    w->wake_fd = -1;
    pthread_mutex_init(&w->lock, NULL);
    status s = start(w);
    if (s == UTTER_OK)
        *out = w;
    else
        wyoming_free(w);
    return s;
}

int wyoming_port(const struct wyoming *w) { return w->listeners.port; }

int wyoming_n_texts(const struct wyoming *w) { return atomic_load(&w->n_texts); }

void wyoming_drain(struct wyoming *w) {
    w->draining = true;
    wake(w);
}

void wyoming_stop(struct wyoming *w) {
    if (!w) return;
    w->stopping = true;
    wyoming_drain(w);
    pthread_join(w->watcher, NULL);
    wyoming_free(w);
}
