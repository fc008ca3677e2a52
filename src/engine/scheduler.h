/* How many streams share a device. Each network has a lane: a thread of its own that makes the device's calls, in the
   order in which streams asked for them.

   The backbone's lane writes codes for all streams that want some in one call, so that the weights are read once for
   all; a call is short, so that who comes new is let in soon. A newcomer is given a place (a slot of the device), and
   its prompt is read in pieces between the calls of those that run already. The codec's lane decodes what waits
   together, as far as that takes no longer than one call should.

   A stream hands in a call and waits for it, or does something else meanwhile: it may have one call in each lane. What
   it gets does not depend on who else is there, but for a GPU's rounding. */
#ifndef UTTER_ENGINE_SCHEDULER_H
#define UTTER_ENGINE_SCHEDULER_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/device.h"

/* Who waits for calls. */
struct waiter {
    pthread_cond_t changed;
    atomic_bool cancelled;
    int64_t deadline;
};

void waiter_init(struct waiter *w);
void waiter_destroy(struct waiter *w);

enum call_kind { CALL_PREFILL, CALL_GENERATE, CALL_SYNTHESIZE };
enum call_state { CALL_IDLE, CALL_QUEUED, CALL_RUNNING, CALL_DONE };

/* What a stream wants of a device. Filled in by the stream up to `waiter`; the rest is the lane's. */
struct call {
    enum call_kind kind;
    int slot;                      // where the sequence is; -1: a prefill is given one when one is free
    const int32_t *tokens;         // prefill: [n] what an empty slot is filled with
    int n;                         // prefill: tokens; generate: codes wanted
    int n_codes;                   // prefill: when it is done, the call becomes a generate of as many; 0: it is all
    struct generation generation;  // generate: sampler, indices [n] and end_index; ended is set with the last
    bool alone;                    // generate: not together with others
    struct synthesis piece;        // synthesize
    struct waiter *waiter;

    enum call_state state;
    bool awaited;  // the waiter is told when it is done: taken for true, until he says otherwise
    int n_kept;    // tokens of a prompt that its place held already
    int n_done;    // of n, with these; a generate that is done with fewer has ended, or its context is full
    bool spoiled;  // done, but a call that it shared failed, maybe for another's sake: neither slot nor sampler are
                   // what they should be. To be made again, alone
    status result;
    char message[1024];                   // when it failed
    int64_t asked, placed, began, ended;  // clock_ns()
    int64_t busy_ns;                      // that the device was at it
    struct {                              // of the prefill that a generate was
        int n;                            // tokens, without those kept; 0: it was none
        int64_t placed, began, ended, busy_ns;
    } read;
    bool unwanted;
    struct call *next;
};

struct lane {
    pthread_mutex_t *lock;  // over everything here and in its calls, shared by all lanes
    struct device *device;
    pthread_t thread;
    bool running;
    pthread_cond_t work;
    struct call *first;  // queued and running, in the order of asking
    bool stopping;
    bool lost;  // its device: calls fail at once
    char why[1024];

    int n_slots;      // the backbone's; 0: this is the codec's
    bool *busy;       // [n_slots]
    bool read_last;   // the last call read a prompt, so the next writes codes
    int n_returning;  // streams that will want more codes in a moment
    int64_t returning_until;
    struct call **batch;                 // [max(n_slots, MAX_PIECES)] calls that one call of the device serves
    struct generation *generations;      // [n_slots]
    struct synthesis *pieces;            // [MAX_PIECES]
    int n_together;                      // pieces of sound in one call, at most
    double token_ns, step_ns, frame_ns;  // as last measured; 0: not yet
};

/* Starts the lane of a network that is loaded on `d`. n_slots: of the backbone; 0 for the codec. lane_close also after
   a failure; it waits for the call under way, and no stream may have calls in it. */
status lane_open(struct lane *l, pthread_mutex_t *lock, struct device *d, int n_slots);
void lane_close(struct lane *l);

/* All of these are called with the lock held. */

/* Takes the call over until it is done or withdrawn. lane_wake is to follow. */
void lane_submit(struct lane *l, struct call *c);
/* Makes the call idle again, whatever its state: not before the device has let go of what it points to. */
void lane_withdraw(struct lane *l, struct call *c);
/* Gives back the place that a prefill was given. */
void lane_leave(struct lane *l, int slot);
/* Fails all that waits, and what comes later. */
void lane_lose(struct lane *l, const char *why);

/* Without the lock, which the lane takes first of all: has it look at what was submitted. */
void lane_wake(struct lane *l);

/* UTTER_DEADLINE, for a call that still waits for a place, or for another. */
status call_late(bool placeless);

int lane_n_active(const struct lane *l);   // places taken
int lane_n_waiting(const struct lane *l);  // calls that wait for a place

/* Waits for a change of the waiter's calls, at most until `until` (clock_ns()). */
void waiter_wait(struct waiter *w, pthread_mutex_t *lock, int64_t until);

#endif
