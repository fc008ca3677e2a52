/* The devices of an engine, each with its queue and its slots: which one a stream runs on, and what happens when one is
   lost. A GPU that stops answering is left behind with one sentence; its streams go on on the CPU; after a cool-down it
   is tried again. */
#ifndef UTTER_ENGINE_RUNNERS_H
#define UTTER_ENGINE_RUNNERS_H

#include "base/log.h"
#include "engine/device.h"
#include "engine/fair.h"

struct runner {
    struct device *device;
    struct fair turn;   // one permit: a device takes one call at a time
    struct fair slots;  // a permit is a slot of the device
    bool is_gpu;
    struct runner *next;  // the one opened before
};

/* What was asked for. */
struct device_choice {
    bool cpu, gpu;  // which kinds may be used; both: auto
    int gpu_index;
};

/* "auto", "cpu", "gpu" or "gpu:N"; NULL is "auto". */
status device_choice_parse(const char *name, struct device_choice *out);

struct runners {
    struct log log;
    struct device_choice choice;
    int n_threads;
    char *kernels;  // NULL: auto
    const struct backbone *backbone;
    const struct codec *codec;
    int n_slots, n_ctx;
    pthread_mutex_t lock;      // over all below
    struct runner *all;        // every one ever opened, newest first; closed at the end, since streams may hold them
    struct runner *gpu, *cpu;  // those in use; NULL: not open
    int n_gpu_losses;
    int64_t gpu_again;  // clock_ns() from which a lost GPU is tried again
};

/* Opens the device that streams will run on first. Strings and networks are the caller's and must outlive it; call
   runners_close also after a failure. */
status runners_open(struct runners *r);
void runners_close(struct runners *r);

/* The device to use now. Opens the CPU when it is needed for the first time, and a lost GPU after its cool-down. */
status runners_pick(struct runners *r, struct runner **out);

/* A call on `lost` gave UTTER_DEVICE, for the reason `why`. */
void runners_lose(struct runners *r, struct runner *lost, const char *why);

/* What of utter_state is the devices'. */
void runners_state(struct runners *r, utter_state *out);

/* The device that utter_describe names. */
const struct device *runners_first(const struct runners *r);

#endif
