/* What waits, in a lane for each caller; the lanes take turns. Not locked: its owner is. */
#ifndef UTTER_SERVER_LANES_H
#define UTTER_SERVER_LANES_H

#include "base/status.h"

struct caller_lane;

/* In whatever waits. */
struct lane_entry {
    struct caller_lane *lane;  // NULL: it does not wait
    struct lane_entry *next;
};

struct lanes {
    struct caller_lane *first, *last;  // the first's turn is next
    int n;                             // entries
};

/* Behind what the caller has waiting already. most: of his; 0: any number. UTTER_LIMIT when they do. */
status lanes_put(struct lanes *l, const char *caller, int most, struct lane_entry *e);
/* The first of the lane whose turn it is; NULL: nothing waits. */
struct lane_entry *lanes_take(struct lanes *l);
void lanes_remove(struct lanes *l, struct lane_entry *e);
/* All of them, one after the other: the one behind `e`; of NULL the first. */
struct lane_entry *lanes_next(const struct lanes *l, const struct lane_entry *e);

#endif
