/* A day of listeners on a fleet of servers: whether the arithmetic of docs/scale.md holds.

   Service times are those that `utter bench --capacity --json` measured (tests/fixtures/fleet/measured.json). Requests
   come at random, in the rhythm of a day. A server makes as many seconds of sound a second as it was measured to speak
   streams in real time, for all of them together, and no more than it was measured to make for one alone; a load
   balancer sends each request to the server with the fewest streams; what finds all places taken (as many as the server
   speaks in real time: --places) waits. A stream is in
   time when no sound comes later than a listener needs it. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOURS = 24, HOUR_S = 3600, MAX_SERVERS = 200, MOST_PLACES = 512 };
#define STEP_S 0.1
#define MEAN_SOUND_S 10.0  // of a text, exponentially distributed
#define FIRST_PIECE_S 0.5  // of sound before a listener hears anything
#define IN_TIME 0.7        // how full a fleet may be at its peak: docs/scale.md

// Listeners of an hour against the day's peak: a country asleep, at work, in the evening.
static const double rhythm[HOURS] = {0.30, 0.20, 0.14, 0.10, 0.10, 0.15, 0.28, 0.45, 0.60, 0.66, 0.68, 0.70,
                                     0.72, 0.70, 0.68, 0.70, 0.75, 0.82, 0.90, 0.97, 1.00, 0.92, 0.72, 0.48};

struct measured {
    double streams;  // in real time at once
    double alone;    // times real time, of one stream
};

static struct measured read_measured(void) {
    char path[1024];
    snprintf(path, sizeof path, "%s/fleet/measured.json", getenv("UTTER_FIXTURES"));
    json_t *o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    struct measured m = {.streams = json_number_value(json_object_get(o, "capacity"))};
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(o, "rows"), i,
                       row) if (json_integer_value(json_object_get(row, "listeners")) == 1) m.alone =
        json_number_value(json_object_get(row, "real_time"));
    json_decref(o);
    assert_true(m.streams > 1 && m.alone > 1);
    return m;
}

// Servers for so many listeners at once at the peak: docs/scale.md.
static int servers_for(double listeners, const struct measured *m) {
    return (int)ceil(listeners / (m->streams * IN_TIME));
}

// ---- random numbers: the same day each time ----

static uint64_t state_of_chance;

static double chance(void) {
    state_of_chance = state_of_chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(state_of_chance >> 11) + 0.5) / 9007199254740992.0;
}

static int poisson(double mean) {
    double limit = exp(-mean), product = chance();
    int n = 0;
    for (; product > limit; n++) product *= chance();
    return n;
}

// ---- the day ----

struct stream {
    double sound_s, made_s;  // in all, made so far
    double started_s;        // when the listener heard the first piece; negative: not yet
    double asked_s;
    bool late;
};

struct server {
    struct stream streams[MOST_PLACES];
    int n;
    bool up;
};

struct day {
    struct measured m;
    struct server servers[MAX_SERVERS];
    int n_servers;
    double waiting_s;  // of the one that has waited longest
    int n_waiting;
    struct stream *queue;
    int queue_cap;
    long n_requests, n_ended, n_late, n_slow;  // slow: first sound after more than a second
    double worst_wait_s, wait_sum_s, audio_s, server_hours;
    long n_begun;
};

static struct server *least_loaded(struct day *d) {
    struct server *best = NULL;
    for (int i = 0; i < d->n_servers; i++)
        if (d->servers[i].up && d->servers[i].n < (int)d->m.streams && (!best || d->servers[i].n < best->n))
            best = &d->servers[i];
    return best;
}

static void admit(struct day *d, double now) {
    int taken = 0;
    for (; taken < d->n_waiting; taken++) {
        struct server *s = least_loaded(d);
        if (!s) break;
        double wait = now - d->queue[taken].asked_s;
        d->wait_sum_s += wait;
        d->n_begun++;
        if (wait > d->worst_wait_s) d->worst_wait_s = wait;
        s->streams[s->n++] = d->queue[taken];
    }
    d->n_waiting -= taken;
    memmove(d->queue, d->queue + taken, (size_t)d->n_waiting * sizeof *d->queue);
}

static void arrive(struct day *d, double now, int n) {
    for (int i = 0; i < n; i++) {
        if (d->n_waiting == d->queue_cap) {
            d->queue_cap = d->queue_cap ? 2 * d->queue_cap : 1024;
            d->queue = realloc(d->queue, (size_t)d->queue_cap * sizeof *d->queue);
            assert_non_null(d->queue);
        }
        d->queue[d->n_waiting++] =
            (struct stream){.sound_s = FIRST_PIECE_S - MEAN_SOUND_S * log(chance()), .started_s = -1, .asked_s = now};
        d->n_requests++;
    }
}

static void serve(struct day *d, struct server *s, double now) {
    double each = s->n > 0 ? d->m.streams / s->n : 0;
    if (each > d->m.alone) each = d->m.alone;
    for (int i = 0; i < s->n;) {
        struct stream *t = &s->streams[i];
        t->made_s += each * STEP_S;
        if (t->started_s < 0 && t->made_s >= FIRST_PIECE_S) {
            t->started_s = now;
            d->n_slow += now - t->asked_s > 1;
        }
        // a listener who has heard all there is must wait: that is a gap
        if (t->started_s >= 0 && t->made_s < t->sound_s && now - t->started_s > t->made_s) t->late = true;
        if (t->made_s < t->sound_s) {
            i++;
            continue;
        }
        d->n_ended++;
        d->n_late += t->late;
        d->audio_s += t->sound_s;
        s->streams[i] = s->streams[--s->n];
    }
}

// `listeners`: at once, at the peak. scale: NULL, or called each second to start and end servers.
static void live(struct day *d, double listeners, double hours, void (*scale)(struct day *d, double now)) {
    state_of_chance = 20261122;
    double per_second = listeners / (MEAN_SOUND_S + FIRST_PIECE_S);
    for (long step = 0; step < (long)(hours * HOUR_S / STEP_S); step++) {
        double now = (double)step * STEP_S, hour = now / HOUR_S;
        int h = (int)hour % HOURS;
        double between = hour - floor(hour), load = rhythm[h] * (1 - between) + rhythm[(h + 1) % HOURS] * between;
        arrive(d, now, poisson(per_second * load * STEP_S));
        admit(d, now);
        for (int i = 0; i < d->n_servers; i++) {
            if (d->servers[i].n > 0) serve(d, &d->servers[i], now);
            if (d->servers[i].up) d->server_hours += STEP_S / HOUR_S;
        }
        if (scale && step % 10 == 0) scale(d, now);
    }
}

static struct day *new_day(int n_servers) {
    struct day *d = calloc(1, sizeof *d);
    assert_non_null(d);
    assert_true(n_servers <= MAX_SERVERS);
    d->m = read_measured();
    d->n_servers = n_servers;
    for (int i = 0; i < n_servers; i++) d->servers[i].up = true;
    return d;
}

static void end_day(struct day *d, const char *what) {
    print_message(
        "%s: %d servers, %.0f server hours, %ld texts, %.4f%% late, %.4f%% slow, longest wait %.2f s, %.1f hours of "
        "sound\n",
        what, d->n_servers, d->server_hours, d->n_requests, 100.0 * (double)d->n_late / (double)(d->n_ended + 1),
        100.0 * (double)d->n_slow / (double)(d->n_ended + 1), d->worst_wait_s, d->audio_s / HOUR_S);
    free(d->queue);
    free(d);
}

enum { LISTENERS = 400 };

// As many servers as the arithmetic says: nobody hears a gap, nobody waits.
static void test_as_planned(void **state) {
    (void)state;
    struct measured m = read_measured();
    struct day *d = new_day(servers_for(LISTENERS, &m));
    live(d, LISTENERS, HOURS, NULL);
    assert_true(d->n_requests > 1500000);
    assert_true((double)d->n_late < 1e-4 * (double)d->n_ended);
    assert_true((double)d->n_slow < 1e-4 * (double)d->n_ended);
    assert_true(d->worst_wait_s < 1);
    end_day(d, "as planned");
}

// Not much more than half of them: the evening is more than the fleet can speak, and texts wait for minutes.
static void test_too_few(void **state) {
    (void)state;
    struct measured m = read_measured();
    struct day *d = new_day((int)(servers_for(LISTENERS, &m) * 0.6));
    live(d, LISTENERS, HOURS, NULL);
    assert_true((double)d->n_slow > 0.1 * (double)d->n_ended);
    assert_true(d->worst_wait_s > 60);
    end_day(d, "too few");
}

// As packaging/fleet/kubernetes.yaml says: every 15 seconds as many servers as bring the mean wait to 250 ms, at most
// twice as many in 30 seconds; fewer only when five minutes asked for fewer, and one a minute.
static void scale(struct day *d, double now) {
    enum { LOOKS = 20, TARGET_MS = 250, LEAST = 2 };
    static double wait_sum_s, grown_s, shrunk_s;
    static long n_begun, n_looks;
    static int wanted[LOOKS];
    if (now < 1) {
        wait_sum_s = grown_s = shrunk_s = 0;
        n_begun = n_looks = 0;
    }
    if (fmod(now, 15) > 0.5) return;
    long n = d->n_begun - n_begun;
    double wait_ms = n > 0 ? 1000 * (d->wait_sum_s - wait_sum_s) / (double)n : 0;
    wait_sum_s = d->wait_sum_s;
    n_begun = d->n_begun;
    int up = 0;
    for (int i = 0; i < d->n_servers; i++) up += d->servers[i].up;
    int asked = (int)ceil(up * wait_ms / TARGET_MS);
    wanted[n_looks++ % LOOKS] = asked < LEAST ? LEAST : asked;
    int most = 0;
    for (int i = 0; i < LOOKS && i < n_looks; i++) most = wanted[i] > most ? wanted[i] : most;
    int then = up;
    if (asked > up && now - grown_s >= 30) {
        then = asked > 2 * up ? 2 * up : asked;
        grown_s = now;
    } else if (most < up && n_looks >= LOOKS && now - shrunk_s >= 60) {
        then = up - 1;
        shrunk_s = now;
    }
    for (int i = 0; i < d->n_servers && up < then; i++)
        if (!d->servers[i].up) d->servers[i].up = true, up++;
    for (int i = d->n_servers - 1; i >= 0 && up > then; i--)
        if (d->servers[i].up) d->servers[i].up = false, up--;  // it finishes the streams it has
}

// Servers that come and go with the load: still in time, with fewer hours.
static void test_scaled(void **state) {
    (void)state;
    struct measured m = read_measured();
    int most = servers_for(LISTENERS, &m) * 2;
    struct day *d = new_day(most);
    for (int i = servers_for(LISTENERS * rhythm[0], &m); i < most; i++) d->servers[i].up = false;
    live(d, LISTENERS, HOURS, scale);
    assert_true((double)d->n_late < 1e-3 * (double)d->n_ended);
    assert_true((double)d->n_slow < 0.05 * (double)d->n_ended);
    assert_true(d->server_hours < 0.95 * HOURS * servers_for(LISTENERS, &m));
    end_day(d, "scaled");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_planned),
        cmocka_unit_test(test_too_few),
        cmocka_unit_test(test_scaled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
