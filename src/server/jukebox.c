#include "server/jukebox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio/play.h"

enum { MAX_WAITING = 8 };

struct piece {
    float *samples;
    size_t n;
};

struct jukebox {
    int rate_hz;
    enum access_format log;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct piece waiting[MAX_WAITING];
    int n;
};

static void play(struct jukebox *b, const struct piece *piece) {
    struct player *player = NULL;
    status s = player_open(b->rate_hz, &b->stop, &player);
    if (s == UTTER_OK) s = player_write(player, piece->samples, piece->n);
    if (s == UTTER_OK) s = player_drain(player);
    if (s != UTTER_OK && s != UTTER_CANCELLED) access_sentence(b->log, UTTER_LOG_WARNING, fail_message());
    player_close(player);
}

static void *run(void *user) {
    struct jukebox *b = user;
    pthread_mutex_lock(&b->lock);
    while (!atomic_load(&b->stop)) {
        if (b->n == 0) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        struct piece piece = b->waiting[0];
        memmove(b->waiting, b->waiting + 1, (size_t)--b->n * sizeof *b->waiting);
        pthread_mutex_unlock(&b->lock);
        play(b, &piece);
        free(piece.samples);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

status jukebox_open(int rate_hz, enum access_format log, struct jukebox **out) {
    *out = NULL;
    struct jukebox *b = calloc(1, sizeof *b);
    if (!b) return fail_memory(sizeof *b, "playing");
    b->rate_hz = rate_hz;
    b->log = log;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    int error = pthread_create(&b->thread, NULL, run, b);
    if (error) {
        free(b);
        return fail(UTTER_INTERNAL, "cannot start a thread: %s", strerror(error));
    }
    *out = b;
    return UTTER_OK;
}

bool jukebox_put(struct jukebox *b, float *samples, size_t n) {
    pthread_mutex_lock(&b->lock);
    bool room = n > 0 && b->n < MAX_WAITING;
    if (room) b->waiting[b->n++] = (struct piece){samples, n};
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (!room) free(samples);
    return room;
}

void jukebox_close(struct jukebox *b) {
    if (!b) return;
    atomic_store(&b->stop, true);
    pthread_mutex_lock(&b->lock);
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    for (int i = 0; i < b->n; i++) free(b->waiting[i].samples);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}
