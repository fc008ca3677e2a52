#include "server/clone.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "audio/load.h"
#include "base/memory.h"
#include "engine/clone.h"
#include "engine/plumbing.h"
#include "engine/voice_folder.h"

enum { MAX_WAITING = 4 };

struct clone_task {
    struct cloner *cloner;
    struct clone_order order;
    struct job_reader reader;
    bool waited, over, released;
    status result;
    char *message;
    json_t *warnings;
    struct clone_task *next;
};

struct cloner {
    struct str encoder;
    const utter_options *options;
    utter *u;
    pthread_t thread;
    bool has_thread;
    bool stop;
    pthread_mutex_t lock;  // over the tasks
    pthread_cond_t changed;
    struct clone_task *first, *current;
    int n;
};

void clone_order_free(struct clone_order *o) {
    free(o->name);
    free(o->text);
    free(o->language);
    free(o->note);
    free(o->audio);
    *o = (struct clone_order){0};
}

static void task_free(struct clone_task *t) {
    clone_order_free(&t->order);
    json_decref(t->warnings);
    free(t->message);
    free(t);
}

// ---- the work ----

// The recording as a file that is in memory alone.
static status load(const struct clone_order *o, struct sound *sound) {
    int fd = memfd_create("recording", MFD_CLOEXEC);
    if (fd < 0) return fail(UTTER_IO, "cannot keep the recording: %s", strerror(errno));
    status s = UTTER_OK;
    for (size_t done = 0; s == UTTER_OK && done < o->n_audio;) {
        ssize_t n = write(fd, o->audio + done, o->n_audio - done);
        if (n <= 0 && errno != EINTR) s = fail(UTTER_IO, "cannot keep the recording: %s", strerror(errno));
        if (n > 0) done += (size_t)n;
    }
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (s == UTTER_OK) s = sound_load(path, CLONE_RATE_HZ, CLONE_MAX_SECONDS, sound);
    close(fd);
    if (s == UTTER_OK) return s;
    const char *said = fail_message(), *at = strstr(said, path);  // the name of the file says nothing to the client
    if (!at) return s;
    char *copy = strdup(said);
    if (!copy) return fail_memory(strlen(said), "a sentence");
    s = fail(s, "%.*sthe recording%s", (int)(at - said), copy, copy + (at - said) + strlen(path));
    free(copy);
    return s;
}

static void warn(void *user, const char *sentence) { json_array_append_new(user, json_string(sentence)); }

static status check_name(const char *name, struct str *path) {
    TRY(voice_path(name, path));
    if (access(path->data, F_OK) == 0)
        return fail(UTTER_INVALID, "there is a voice \"%s\" already; give this one another name", name);
    struct str folder = {0};
    status s = voices_folder_make(&folder);
    str_free(&folder);
    return s;
}

static status check_language(const struct clone_order *o) {
    if (!o->language) return UTTER_OK;
    struct str phonemes = {0};
    status s = plumb_phonemes(o->language, false, o->text, strlen(o->text), &phonemes);
    str_free(&phonemes);
    return s;
}

static status make(struct cloner *c, struct clone_task *t, struct str *path, struct sound *sound) {
    const struct clone_order *o = &t->order;
    struct clip clip;
    int32_t *codes = NULL;
    int n_codes = 0;
    char *codec = NULL;
    TRY(check_name(o->name, path));
    TRY(load(o, sound));
    TRY(clip_find("the recording", sound->samples, sound->n, &clip));
    TRY(check_language(o));
    clip_judge(&clip, sound->n_clipped, o->text, warn, t->warnings);
    TRY(clip_encode(&clip, c->encoder.data, c->options, &codes, &n_codes, &codec));
    const struct voice_draft draft = {.name = o->name,
                                      .language = o->language,
                                      .note = o->note,
                                      .text = o->text,
                                      .codec = codec,
                                      .codes = codes,
                                      .n_codes = n_codes};
    status s = voice_write(&draft, path->data);
    free_aligned(codes);
    free(codec);
    if (s == UTTER_OK) s = utter_voice_load(c->u, path->data);
    if (s != UTTER_OK) unlink(path->data);
    return s;
}

static void run_task(struct cloner *c, struct clone_task *t) {
    struct str path = {0};
    struct sound sound = {0};
    t->warnings = json_array();
    t->result = make(c, t, &path, &sound);
    if (t->result != UTTER_OK) t->message = strdup(fail_message());
    sound_free(&sound);
    str_free(&path);
}

static void wake(struct clone_task *t) {
    if (t->waited) t->reader.wake(t->reader.user);
    t->waited = false;
}

static void *work(void *user) {
    struct cloner *c = user;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        struct clone_task *t = c->first;
        if (!t) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        c->first = t->next;
        c->n--;
        c->current = t;
        bool wanted = !t->released;
        pthread_mutex_unlock(&c->lock);
        if (wanted) run_task(c, t);
        pthread_mutex_lock(&c->lock);
        c->current = NULL;
        t->over = true;
        if (t->released)
            task_free(t);
        else
            wake(t);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

// ---- the queue ----

status cloner_open(const char *encoder, const utter_options *options, struct cloner **out) {
    *out = NULL;
    struct str path = {0};
    status s = encoder_find(encoder, NULL, &path);
    if (s == UTTER_OK && access(path.data, R_OK) != 0)
        s = fail(UTTER_IO, "cannot read the encoder %s: %s", path.data, strerror(errno));
    struct cloner *c = s == UTTER_OK ? calloc(1, sizeof *c) : NULL;
    if (s == UTTER_OK && !c) s = fail_memory(sizeof *c, "cloning");
    if (s != UTTER_OK) {
        str_free(&path);
        return s;
    }
    c->encoder = path;
    c->options = options;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    *out = c;
    return UTTER_OK;
}

void cloner_serve(struct cloner *c, utter *u) {
    c->u = u;
    c->has_thread = pthread_create(&c->thread, NULL, work, c) == 0;
}

void cloner_stop(struct cloner *c) {
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    for (struct clone_task *t = c->first; t; t = t->next) wake(t);
    if (c->current) wake(c->current);
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void cloner_close(struct cloner *c) {
    if (!c) return;
    cloner_stop(c);
    if (c->has_thread) pthread_join(c->thread, NULL);
    for (struct clone_task *t = c->first, *next; t; t = next) {
        next = t->next;
        task_free(t);
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    str_free(&c->encoder);
    free(c);
}

status cloner_submit(struct cloner *c, struct clone_order *o, const struct job_reader *reader,
                     struct clone_task **out) {
    *out = NULL;
    struct clone_task *t = calloc(1, sizeof *t);
    if (!t) return fail_memory(sizeof *t, "a request");
    pthread_mutex_lock(&c->lock);
    if (c->n >= MAX_WAITING || c->stop) {
        pthread_mutex_unlock(&c->lock);
        free(t);
        return fail(UTTER_LIMIT, "%d recordings wait already, which is all that may; try again later", MAX_WAITING);
    }
    *t = (struct clone_task){.cloner = c, .order = *o, .reader = *reader};
    *o = (struct clone_order){0};
    struct clone_task **at = &c->first;
    while (*at) at = &(*at)->next;
    *at = t;
    c->n++;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    *out = t;
    return UTTER_OK;
}

bool clone_ready(struct clone_task *t, status *s, json_t **warnings) {
    *s = UTTER_OK;
    *warnings = NULL;
    pthread_mutex_lock(&t->cloner->lock);
    bool over = t->over || t->cloner->stop;
    if (!over) {
        if (!t->waited) t->reader.wait(t->reader.user);
        t->waited = true;
    } else if (!t->over)
        *s = fail(UTTER_CANCELLED, "the server stops");
    else if (t->result != UTTER_OK)
        *s = fail(t->result, "%s", t->message ? t->message : "it failed");
    else
        *warnings = json_incref(t->warnings);
    pthread_mutex_unlock(&t->cloner->lock);
    return over;
}

const char *clone_name(const struct clone_task *t) { return t->order.name; }

void clone_release(struct clone_task *t) {
    struct cloner *c = t->cloner;
    pthread_mutex_lock(&c->lock);
    t->released = true;
    bool over = t->over;
    pthread_mutex_unlock(&c->lock);
    if (over) task_free(t);
}
