/* What the files of the Wyoming server share. */
#ifndef UTTER_SERVER_WYOMING_PARTS_H
#define UTTER_SERVER_WYOMING_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "server/listen.h"
#include "server/wyoming.h"
#include "server/wyoming_wire.h"

enum client_state { CLIENT_FREE, CLIENT_TALKS, CLIENT_DONE };

/* A connection, and the thread that talks to it. */
struct client {
    struct wyoming *server;
    pthread_t thread;
    struct wire wire;
    char peer[80];

    _Atomic(enum client_state) state;

    // under the server's lock
    int fd;
    utter_stream *stream;  // being spoken; NULL: none
    bool gone;             // hung up while it was

    // of the text that is spoken
    bool streaming;      // between synthesize-start and synthesize-stop
    struct str voice;    // the one asked for; empty: the first
    struct str pending;  // text that has come and is no whole sentence yet
    bool started;        // audio-start was sent
    struct audio_encoder *encoder;
    int64_t asked_ns, first_ns;  // when it was asked for; when the first sound went out, 0: not yet
    size_t n_bytes, n_samples;   // of text, of sound
};

struct wyoming {
    struct wyoming_options options;
    utter *u;
    struct log log;
    struct listeners listeners;
    int wake_fd;
    pthread_t watcher;
    atomic_bool stopping;
    int64_t stop_ns;  // when what still runs is cancelled; set before `stopping`
    pthread_mutex_t lock;
    struct client *clients;  // [options.connections]
};

/* Tells the watcher that something changed. */
void wyoming_wake(struct wyoming *w);

/* Answers the connection's events until it ends (wyoming_talk.c). */
void client_talk(struct client *c);

#endif
