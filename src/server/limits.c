#include "server/limits.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 64, N_BUCKETS = 1024, MAX_CALLERS = 65536 };

struct caller {
    char name[MAX_NAME];
    double tokens;
    int64_t filled_ns;  // when tokens was right
    int64_t forget_ns;  // from then on the bucket is full
    int n_active;
    struct caller *next;
};

struct limits {
    pthread_mutex_t lock;
    struct caller *buckets[N_BUCKETS];
    int n;
};

status limits_new(struct limits **out) {
    *out = calloc(1, sizeof **out);
    if (!*out) return fail_memory(sizeof **out, "limits");
    pthread_mutex_init(&(*out)->lock, NULL);
    return UTTER_OK;
}

void limits_free(struct limits *l) {
    if (!l) return;
    for (int i = 0; i < N_BUCKETS; i++)
        for (struct caller *c = l->buckets[i], *next; c; c = next) {
            next = c->next;
            free(c);
        }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct caller **bucket_of(struct limits *l, const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return &l->buckets[h % N_BUCKETS];
}

static struct caller *find(struct limits *l, const char *name) {
    struct caller *c = *bucket_of(l, name);
    while (c && strncmp(c->name, name, MAX_NAME - 1) != 0) c = c->next;
    return c;
}

static void forget_still(struct limits *l, int64_t now_ns) {
    for (int i = 0; i < N_BUCKETS; i++)
        for (struct caller **at = &l->buckets[i]; *at;) {
            struct caller *c = *at;
            if (c->n_active > 0 || now_ns < c->forget_ns) {
                at = &c->next;
                continue;
            }
            *at = c->next;
            free(c);
            l->n--;
        }
}

static status find_or_add(struct limits *l, const char *name, int64_t now_ns, struct caller **out) {
    *out = find(l, name);
    if (*out) return UTTER_OK;
    if (l->n >= MAX_CALLERS) forget_still(l, now_ns);
    if (l->n >= MAX_CALLERS) return fail(UTTER_LIMIT, "too many callers at once; try again later");
    struct caller *c = calloc(1, sizeof *c);
    if (!c) return fail_memory(sizeof *c, "a caller");
    strncpy(c->name, name, MAX_NAME - 1);
    c->tokens = INFINITY;
    c->filled_ns = now_ns;
    struct caller **bucket = bucket_of(l, c->name);
    c->next = *bucket;
    *bucket = c;
    l->n++;
    *out = c;
    return UTTER_OK;
}

static status take(struct caller *c, double rate, double burst_s, int at_once, int64_t now_ns, double *retry_s) {
    if (at_once > 0 && c->n_active >= at_once) {
        *retry_s = 1;
        return fail(
            UTTER_LIMIT,
            "%d of your requests %s being served already, which is all that may at once; read what they give to "
            "its end, or close them",
            c->n_active, c->n_active == 1 ? "is" : "are");
    }
    if (rate <= 0) return UTTER_OK;
    double a_second = rate / 60, most = fmax(1, a_second * burst_s);
    c->tokens = fmin(most, c->tokens + (double)(now_ns - c->filled_ns) * 1e-9 * a_second);
    c->filled_ns = now_ns;
    if (c->tokens < 1) {
        *retry_s = (1 - c->tokens) / a_second;
        return fail(UTTER_LIMIT, "more than %g requests a minute came from you; wait %.0f s", rate, ceil(*retry_s));
    }
    c->tokens -= 1;
    c->forget_ns = now_ns + (int64_t)((most - c->tokens) / a_second * 1e9);
    return UTTER_OK;
}

status limits_begin(struct limits *l, const char *caller, double rate, double burst_s, int at_once, int64_t now_ns,
                    double *retry_s) {
    *retry_s = 1;
    pthread_mutex_lock(&l->lock);
    struct caller *c = NULL;
    status s = find_or_add(l, caller, now_ns, &c);
    if (s == UTTER_OK) s = take(c, rate, burst_s, at_once, now_ns, retry_s);
    if (s == UTTER_OK) c->n_active++;
    pthread_mutex_unlock(&l->lock);
    return s;
}

void limits_end(struct limits *l, const char *caller) {
    pthread_mutex_lock(&l->lock);
    struct caller *c = find(l, caller);
    if (c) c->n_active--;
    pthread_mutex_unlock(&l->lock);
}
