#include "server/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { TICK_MS = 100, MAX_EVENTS = 64, MAX_PEERS = 1 << 20 };
#define LAST_NS ((int64_t)2 * 1000000000)  // for the answer to who will not say any more

struct peer {
    struct watch *watch;
    uint64_t id;  // of epoll's events: index and generation, as the memory may be another peer's by then
    int fd;
    int64_t deadline;
    struct job *job;  // NULL: none is watched for
    bool hung_up;     // it has closed its side
};

struct watch {
    void (*tick)(void *user);
    void *user;
    int epoll_fd;
    pthread_t thread;
    bool has_thread;
    atomic_bool stop;
    pthread_mutex_t lock;   // over all below
    struct peer **peers;    // [cap] by index; NULL: free
    uint32_t *generations;  // [cap]
    int cap, n;
};

static struct peer *peer_of(struct watch *w, uint64_t id) {
    uint32_t index = (uint32_t)id;
    struct peer *p = index < (uint32_t)w->cap ? w->peers[index] : NULL;
    return p && p->id == id ? p : NULL;
}

static void set_deadline(struct peer *p, int64_t deadline) {
    int64_t last = clock_ns() + LAST_NS;
    p->deadline = p->hung_up && deadline > last ? last : deadline;
}

// A peer hung up: what it asked for is cancelled, and what it has not asked to the end it never will. epoll says it
// once (EPOLLONESHOT).
static void hang_up(struct watch *w, uint64_t id) {
    pthread_mutex_lock(&w->lock);
    struct peer *p = peer_of(w, id);
    if (p) {
        p->hung_up = true;
        set_deadline(p, p->deadline);
        if (p->job) job_cancel(p->job);
    }
    pthread_mutex_unlock(&w->lock);
}

static void cut_overdue(struct watch *w) {
    int64_t now = clock_ns();
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->cap; i++) {
        struct peer *p = w->peers[i];
        if (!p || now < p->deadline) continue;
        p->deadline = NO_DEADLINE;
        shutdown(p->fd, SHUT_RDWR);  // the HTTP library finds it closed
        if (p->job) job_cancel(p->job);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *user) {
    struct watch *w = user;
    struct epoll_event events[MAX_EVENTS];
    int64_t next = clock_ns();
    pthread_setname_np(pthread_self(), "watch");
    while (!atomic_load(&w->stop)) {
        int n = epoll_wait(w->epoll_fd, events, MAX_EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) hang_up(w, events[i].data.u64);
        if (clock_ns() < next) continue;
        next = clock_ns() + (int64_t)TICK_MS * 1000000;
        cut_overdue(w);
        w->tick(w->user);
    }
    return NULL;
}

status watch_new(void (*tick)(void *user), void *user, struct watch **out) {
    *out = NULL;
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "connections");
    w->tick = tick;
    w->user = user;
    pthread_mutex_init(&w->lock, NULL);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int error = w->epoll_fd < 0 ? errno : pthread_create(&w->thread, NULL, run, w);
    w->has_thread = error == 0;
    if (error) {
        watch_free(w);
        return fail(UTTER_INTERNAL, "cannot watch connections: %s", strerror(error));
    }
    *out = w;
    return UTTER_OK;
}

void watch_free(struct watch *w) {
    if (!w) return;
    atomic_store(&w->stop, true);
    if (w->has_thread) pthread_join(w->thread, NULL);
    if (w->epoll_fd >= 0) close(w->epoll_fd);
    pthread_mutex_destroy(&w->lock);
    free(w->peers);
    free(w->generations);
    free(w);
}

static int free_index(struct watch *w) {
    for (int i = 0; w->n < w->cap && i < w->cap; i++)
        if (!w->peers[i]) return i;
    int cap = w->cap ? w->cap * 2 : 64;
    if (cap > MAX_PEERS) return -1;
    struct peer **peers = realloc(w->peers, (size_t)cap * sizeof *peers);
    if (peers) w->peers = peers;
    uint32_t *generations = realloc(w->generations, (size_t)cap * sizeof *generations);
    if (generations) w->generations = generations;
    if (!peers || !generations) return -1;
    memset(peers + w->cap, 0, (size_t)(cap - w->cap) * sizeof *peers);
    memset(generations + w->cap, 0, (size_t)(cap - w->cap) * sizeof *generations);
    int index = w->cap;
    w->cap = cap;
    return index;
}

struct peer *watch_open(struct watch *w, int fd, int64_t deadline) {
    struct peer *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    *p = (struct peer){.watch = w, .fd = fd, .deadline = deadline};
    pthread_mutex_lock(&w->lock);
    int index = free_index(w);
    if (index >= 0) {
        p->id = (uint64_t)++w->generations[index] << 32 | (uint32_t)index;
        w->peers[index] = p;
        w->n++;
        struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = p->id};
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
    pthread_mutex_unlock(&w->lock);
    if (index >= 0) return p;
    free(p);
    return NULL;
}

void watch_close(struct peer *p) {
    struct watch *w = p->watch;
    pthread_mutex_lock(&w->lock);
    epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
    w->peers[(uint32_t)p->id] = NULL;
    w->n--;
    pthread_mutex_unlock(&w->lock);
    free(p);
}

void peer_deadline(struct peer *p, int64_t deadline) {
    pthread_mutex_lock(&p->watch->lock);
    set_deadline(p, deadline);
    pthread_mutex_unlock(&p->watch->lock);
}

void peer_watch(struct peer *p, struct job *j) {
    struct watch *w = p->watch;
    pthread_mutex_lock(&w->lock);
    p->job = j;
    if (j && p->hung_up) job_cancel(j);
    pthread_mutex_unlock(&w->lock);
}

int watch_count(struct watch *w) {
    pthread_mutex_lock(&w->lock);
    int n = w->n;
    pthread_mutex_unlock(&w->lock);
    return n;
}
