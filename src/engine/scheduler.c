#include "engine/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

enum {
    QUANTUM_NS = 50 * 1000 * 1000,     // how long a call should take while others wait
    RETURN_NS = 300 * 1000,            // how long a stream takes to come back for more codes
    LENIENCE_NS = 1000 * 1000 * 1000,  // a shared call is not given up for the sake of the first deadline in it
    FIRST_STEPS = 4,                   // before a step was measured
    LEAST_PIECE = 128,                 // tokens of a prompt read in one call: fewer would cost nearly as much
    MAX_PIECES = 32,                   // decoded in one call
};

// ---- waiting ----

static void init_condition(pthread_cond_t *c) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void waiter_init(struct waiter *w) {
    *w = (struct waiter){.deadline = NO_DEADLINE};
    init_condition(&w->changed);
}

void waiter_destroy(struct waiter *w) { pthread_cond_destroy(&w->changed); }

static void wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t until) {
    if (until == NO_DEADLINE) {
        pthread_cond_wait(c, lock);
        return;
    }
    struct timespec now;  // clock_ns has an origin of its own
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t left = until - clock_ns();
    if (left < 0) left = 0;
    int64_t at = now.tv_nsec + left;
    struct timespec t = {.tv_sec = now.tv_sec + (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};
    pthread_cond_timedwait(c, lock, &t);
}

void waiter_wait(struct waiter *w, pthread_mutex_t *lock, int64_t until) { wait_until(&w->changed, lock, until); }

// ---- the queue ----

static void take_out(struct lane *l, struct call *c) {
    struct call **p = &l->first;
    while (*p != c) p = &(*p)->next;
    *p = c->next;
    c->next = NULL;
}

static void finish(struct lane *l, struct call *c, status result, const char *why) {
    take_out(l, c);
    c->state = CALL_DONE;
    c->ended = clock_ns();
    c->result = result;
    if (result != UTTER_OK) snprintf(c->message, sizeof c->message, "%s", why);
    if (c->awaited || c->unwanted) pthread_cond_signal(&c->waiter->changed);
}

void lane_submit(struct lane *l, struct call *c) {
    c->state = CALL_QUEUED;
    c->n_done = c->n_kept = 0;
    c->spoiled = c->unwanted = false;
    c->awaited = true;
    c->read.n = 0;
    c->result = UTTER_OK;
    c->asked = c->placed = c->began = c->ended = clock_ns();
    c->busy_ns = 0;
    c->next = NULL;
    struct call **end = &l->first;
    while (*end) end = &(*end)->next;
    *end = c;
    if (l->lost) finish(l, c, UTTER_DEVICE, l->why);
}

void lane_wake(struct lane *l) { pthread_cond_signal(&l->work); }

void lane_withdraw(struct lane *l, struct call *c) {
    c->unwanted = true;
    while (c->state == CALL_RUNNING) pthread_cond_wait(&c->waiter->changed, l->lock);
    if (c->state == CALL_QUEUED) take_out(l, c);
    c->state = CALL_IDLE;
}

void lane_leave(struct lane *l, int slot) {
    l->busy[slot] = false;
    pthread_cond_signal(&l->work);
}

void lane_lose(struct lane *l, const char *why) {
    if (!l->lost) snprintf(l->why, sizeof l->why, "%s", why);
    l->lost = true;
    for (struct call *c = l->first, *next; c; c = next) {
        next = c->next;
        if (c->state == CALL_QUEUED) finish(l, c, UTTER_DEVICE, l->why);
    }
}

int lane_n_active(const struct lane *l) {
    int n = 0;
    for (int i = 0; i < l->n_slots; i++) n += l->busy[i];
    return n;
}

static bool wants_place(const struct call *c) { return c->kind == CALL_PREFILL && c->slot < 0; }

int lane_n_waiting(const struct lane *l) {
    int n = 0;
    for (const struct call *c = l->first; c; c = c->next) n += wants_place(c);
    return n;
}

status call_late(bool placeless) {
    if (placeless)
        return fail(UTTER_DEADLINE,
                    "no place became free in time, other streams hold them all; close those that are not read on, or "
                    "open the engine for more streams");
    return fail(UTTER_DEADLINE, "the text was not spoken within the time allowed; allow more time or shorten it");
}

// Those that nobody waits for any more need not be made.
static void drop_unwanted(struct lane *l) {
    int64_t now = clock_ns();
    for (struct call *c = l->first, *next; c; c = next) {
        next = c->next;
        if (c->unwanted || atomic_load(&c->waiter->cancelled))
            finish(l, c, UTTER_CANCELLED, "the stream was cancelled");
        else if (now >= c->waiter->deadline)
            finish(l, c, call_late(wants_place(c)), fail_message());
    }
}

// Who asked first gets the first place.
static void give_places(struct lane *l) {
    int slot = 0;
    for (struct call *c = l->first; c; c = c->next) {
        if (!wants_place(c)) continue;
        while (slot < l->n_slots && l->busy[slot]) slot++;
        if (slot == l->n_slots) return;
        l->busy[slot] = true;
        c->slot = slot;
        c->placed = clock_ns();
    }
}

static struct call *first_prompt(const struct lane *l) {
    for (struct call *c = l->first; c; c = c->next)
        if (c->kind == CALL_PREFILL && c->slot >= 0) return c;
    return NULL;
}

static int n_generating(const struct lane *l) {
    int n = 0;
    for (const struct call *c = l->first; c; c = c->next) n += c->kind == CALL_GENERATE;
    return n;
}

// ---- calls of the device ----

static void begin(struct call *c) {
    if (c->n_done == 0) c->began = clock_ns();
    c->state = CALL_RUNNING;
}

// A call for n streams: a deadline that only some of them have must not undo the others' work.
static int64_t deadline_of(struct call *const *calls, int n) {
    int64_t earliest = NO_DEADLINE;
    for (int i = 0; i < n; i++)
        if (calls[i]->waiter->deadline < earliest) earliest = calls[i]->waiter->deadline;
    int64_t least = clock_ns() + LENIENCE_NS;
    return n > 1 && earliest < least ? least : earliest;
}

static int between(double n, int least, int most) {
    if (n < least) n = least;
    return n < most ? (int)n : most;
}

// Tokens of the prompt to read in one call.
static int piece_of(const struct lane *l, int n) {
    int piece = l->token_ns > 0 ? between(QUANTUM_NS / l->token_ns, LEAST_PIECE, 1 << 20) : LEAST_PIECE;
    piece -= piece % LEAST_PIECE;
    return n < piece ? n : piece;
}

// The prompt is read: codes are written behind it, without going by way of the stream.
static void become_generate(struct call *c) {
    int64_t now = clock_ns();
    c->read.n = c->n_done - c->n_kept;
    c->read.placed = c->placed;
    c->read.began = c->began;
    c->read.ended = now;
    c->read.busy_ns = c->busy_ns;
    c->kind = CALL_GENERATE;
    c->n = c->n_codes;
    c->n_done = c->n_kept = 0;
    c->placed = now;
    c->busy_ns = 0;
}

static void read_prompt(struct lane *l, struct call *c) {
    const struct device_ops *ops = l->device->ops;
    begin(c);
    if (c->n_done == 0 && ops->keep) c->n_done = c->n_kept = ops->keep(l->device, c->slot, c->tokens, c->n);
    int n = piece_of(l, c->n - c->n_done);
    int64_t deadline = c->waiter->deadline;
    pthread_mutex_unlock(l->lock);
    int64_t since = clock_ns();
    if (c->n_done == 0) ops->reset(l->device, c->slot);
    status s = ops->prefill(l->device, c->slot, c->tokens + c->n_done, n, NULL, deadline);
    double elapsed = (double)(clock_ns() - since);
    pthread_mutex_lock(l->lock);
    l->read_last = true;
    c->state = CALL_QUEUED;
    c->busy_ns += (int64_t)elapsed;
    if (s == UTTER_OK) {
        l->token_ns = elapsed / n;
        c->n_done += n;
    }
    if (s == UTTER_DEVICE)
        lane_lose(l, fail_message());
    else if (s == UTTER_OK && c->n_done == c->n && c->n_codes > 0)
        become_generate(c);
    else if (s != UTTER_OK || c->n_done == c->n)
        finish(l, c, s, fail_message());
}

// Those that one call serves, and its steps: as many as the first to have enough wants.
static int gather(struct lane *l, int *steps) {
    int n = 0;
    *steps = l->step_ns > 0 ? between(QUANTUM_NS / l->step_ns, 1, 1 << 20) : FIRST_STEPS;
    for (struct call *c = l->first; c && n < l->n_slots; c = c->next) {
        if (c->kind != CALL_GENERATE || (c->alone && n > 0)) continue;
        l->batch[n] = c;
        l->generations[n] = c->generation;
        l->generations[n].slot = c->slot;
        l->generations[n].indices += c->n_done;
        n++;
        if (c->n - c->n_done < *steps) *steps = c->n - c->n_done;
        if (c->alone) break;
    }
    for (int i = 0; i < n; i++) begin(l->batch[i]);
    return n;
}

static void write_codes(struct lane *l) {
    int steps, n = gather(l, &steps);
    int64_t deadline = deadline_of(l->batch, n);
    pthread_mutex_unlock(l->lock);
    int64_t since = clock_ns();
    status s = l->device->ops->generate(l->device, l->generations, n, steps, deadline);
    double elapsed = (double)(clock_ns() - since);
    pthread_mutex_lock(l->lock);
    l->read_last = false;
    int n_steps = 1;
    for (int i = 0; i < n; i++)
        if (l->generations[i].n > n_steps) n_steps = l->generations[i].n;
    if (s == UTTER_OK) l->step_ns = elapsed / n_steps;
    l->n_returning = 0;
    l->returning_until = clock_ns() + RETURN_NS;
    for (int i = 0; i < n; i++) {
        struct call *c = l->batch[i];
        c->state = CALL_QUEUED;
        c->busy_ns += (int64_t)elapsed;
        if (s == UTTER_OK) {
            c->n_done += l->generations[i].n;
            c->generation.ended = l->generations[i].ended;
            bool over = c->generation.ended || l->generations[i].n < steps;
            if (over || c->n_done == c->n) finish(l, c, UTTER_OK, "");
            if (!over && c->state == CALL_DONE) l->n_returning++;
        } else if (s != UTTER_DEVICE) {
            c->spoiled = n > 1;
            finish(l, c, n > 1 ? UTTER_OK : s, fail_message());
        }
    }
    if (s == UTTER_DEVICE) lane_lose(l, fail_message());
}

static bool serve_backbone(struct lane *l) {
    give_places(l);
    struct call *prompt = first_prompt(l);
    int n = n_generating(l);
    if (prompt && !(n > 0 && l->read_last)) {
        read_prompt(l, prompt);
        return true;
    }
    if (n == 0) return false;
    if (n < l->n_returning && !prompt && clock_ns() < l->returning_until) {
        wait_until(&l->work, l->lock, l->returning_until);  // so that they go on together
        return true;
    }
    write_codes(l);
    return true;
}

static status decode(struct lane *l, int n, int64_t deadline) {
    return l->device->ops->synthesize(l->device, l->pieces, n, deadline);
}

static bool serve_codec(struct lane *l) {
    int n = 0, frames = 0;
    for (struct call *c = l->first; c && n < l->n_together; c = c->next) {
        if (n > 0 && (l->frame_ns == 0 || (frames + c->piece.n) * l->frame_ns > QUANTUM_NS)) break;
        l->batch[n] = c;
        l->pieces[n++] = c->piece;
        frames += c->piece.n;
        begin(c);
    }
    if (n == 0) return false;
    int64_t deadline = deadline_of(l->batch, n);
    pthread_mutex_unlock(l->lock);
    int64_t since = clock_ns();
    status s = decode(l, n, deadline);
    double elapsed = (double)(clock_ns() - since);
    pthread_mutex_lock(l->lock);
    if (s == UTTER_OK && frames > 0) l->frame_ns = elapsed / frames;
    if (s == UTTER_OK || n == 1) {
        for (int i = 0; i < n; i++) {
            l->batch[i]->state = CALL_QUEUED;
            l->batch[i]->busy_ns = (int64_t)elapsed;
            if (s != UTTER_DEVICE) finish(l, l->batch[i], s, fail_message());
        }
    } else {  // one of them, or all together, are too much: then fewer at a time
        l->frame_ns = 0;
        if (s != UTTER_DEADLINE) l->n_together = n / 2;
        for (int i = 0; i < n; i++) l->batch[i]->state = CALL_QUEUED;
    }
    if (s == UTTER_DEVICE) lane_lose(l, fail_message());
    return true;
}

static void *run(void *lane) {
    struct lane *l = lane;
    pthread_mutex_lock(l->lock);
    while (!l->stopping) {
        drop_unwanted(l);
        if (l->lost) lane_lose(l, l->why);
        if (!(l->n_slots > 0 ? serve_backbone(l) : serve_codec(l))) pthread_cond_wait(&l->work, l->lock);
    }
    pthread_mutex_unlock(l->lock);
    return NULL;
}

// ---- opening ----

status lane_open(struct lane *l, pthread_mutex_t *lock, struct device *d, int n_slots) {
    *l = (struct lane){.lock = lock, .device = d, .n_slots = n_slots, .n_together = MAX_PIECES};
    init_condition(&l->work);
    size_t n = n_slots > MAX_PIECES ? (size_t)n_slots : MAX_PIECES;
    l->busy = calloc(n, sizeof *l->busy);
    l->batch = calloc(n, sizeof *l->batch);
    l->generations = calloc(n, sizeof *l->generations);
    l->pieces = calloc(MAX_PIECES, sizeof *l->pieces);
    if (!l->busy || !l->batch || !l->generations || !l->pieces)
        return fail_memory(n * sizeof *l->generations, "places");
    int error = pthread_create(&l->thread, NULL, run, l);
    if (error) return fail(UTTER_MEMORY, "a thread for the device could not be started: %s", strerror(error));
    l->running = true;
    return UTTER_OK;
}

void lane_close(struct lane *l) {
    if (!l->lock) return;
    if (l->running) {
        pthread_mutex_lock(l->lock);
        l->stopping = true;
        pthread_cond_signal(&l->work);
        pthread_mutex_unlock(l->lock);
        pthread_join(l->thread, NULL);
    }
    pthread_cond_destroy(&l->work);
    free(l->busy);
    free(l->batch);
    free(l->generations);
    free(l->pieces);
    *l = (struct lane){0};
}
