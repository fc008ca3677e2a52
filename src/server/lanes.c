#include "server/lanes.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CALLER = 64 };

struct caller_lane {
    char caller[MAX_CALLER];
    struct lane_entry *first, **last;
    int n;
    struct caller_lane *next;
};

static struct caller_lane *lane_of(struct lanes *l, const char *caller) {
    for (struct caller_lane *lane = l->first; lane; lane = lane->next)
        if (strncmp(lane->caller, caller, MAX_CALLER - 1) == 0) return lane;
    struct caller_lane *lane = calloc(1, sizeof *lane);
    if (!lane) return NULL;
    strncpy(lane->caller, caller, MAX_CALLER - 1);
    lane->last = &lane->first;
    if (l->last)
        l->last->next = lane;
    else
        l->first = lane;
    l->last = lane;
    return lane;
}

static void unlink_lane(struct lanes *l, struct caller_lane *lane) {
    struct caller_lane **at = &l->first, *before = NULL;
    while (*at != lane) {
        before = *at;
        at = &before->next;
    }
    *at = lane->next;
    lane->next = NULL;
    if (l->last == lane) l->last = before;
}

status lanes_put(struct lanes *l, const char *caller, int most, struct lane_entry *e) {
    struct caller_lane *lane = lane_of(l, caller);
    if (!lane) return fail_memory(sizeof *lane, "the queue");
    if (most > 0 && lane->n >= most)
        return fail(UTTER_LIMIT, "%d of your texts wait already, which is all that may; try again later", lane->n);
    *e = (struct lane_entry){.lane = lane};
    *lane->last = e;
    lane->last = &e->next;
    lane->n++;
    l->n++;
    return UTTER_OK;
}

void lanes_remove(struct lanes *l, struct lane_entry *e) {
    struct caller_lane *lane = e->lane;
    struct lane_entry **at = &lane->first;
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    if (lane->last == &e->next) lane->last = at;
    *e = (struct lane_entry){0};
    lane->n--;
    l->n--;
    if (lane->n > 0) return;
    unlink_lane(l, lane);
    free(lane);
}

struct lane_entry *lanes_take(struct lanes *l) {
    struct caller_lane *lane = l->first;
    if (!lane) return NULL;
    struct lane_entry *e = lane->first;
    if (lane->n > 1 && lane->next) {  // it goes behind the others
        unlink_lane(l, lane);
        l->last->next = lane;
        l->last = lane;
    }
    lanes_remove(l, e);
    return e;
}

struct lane_entry *lanes_next(const struct lanes *l, const struct lane_entry *e) {
    if (!e) return l->first ? l->first->first : NULL;
    if (e->next) return e->next;
    return e->lane->next ? e->lane->next->first : NULL;
}
