/* What the files of the Wyoming server share. */
#ifndef UTTER_SERVER_WYOMING_PARTS_H
#define UTTER_SERVER_WYOMING_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "server/listen.h"
#include "server/proxies.h"
#include "server/wyoming.h"
#include "server/wyoming_wire.h"

enum client_state { CLIENT_FREE, CLIENT_TALKS, CLIENT_DONE };

/* A connection, and the thread that talks to it. */
struct client {
    struct wyoming *server;
    pthread_t thread;
    struct wire wire;
    char peer[80];
    char caller[MAX_CALLER];  // whose turn it is
    int wake_fd;              // told when there is sound to send
    bool half_closed;         // it will ask nothing more, and may be gone

    _Atomic(enum client_state) state;
    int fd;  // under the server's lock; -1: closed

    // of the text that is spoken
    bool busy;                   // there is one
    bool streaming;              // between synthesize-start and synthesize-stop
    struct str voice;            // the one asked for; empty: the first
    struct str pending;          // text that has come and is no whole sentence yet
    bool started;                // audio-start was sent
    int64_t asked_ns, first_ns;  // when it was asked for; when the first sound went out, 0: not yet
    size_t n_bytes, n_samples;   // of text, of sound
};

struct wyoming {
    struct wyoming_options options;
    utter *u;
    struct jobs *jobs;
    struct log log;
    struct listeners listeners;
    int wake_fd;
    pthread_t watcher;
    atomic_bool draining, stopping;
    atomic_int n_texts;
    pthread_mutex_t lock;
    struct client *clients;  // [options.connections]
};

/* Answers the connection's events until it ends (wyoming_talk.c). */
void client_talk(struct client *c);

#endif
