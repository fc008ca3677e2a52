/* The devices of an engine, with their lanes: which ones a stream runs on, and what happens when one is lost.

   A runner is a pair of devices, one for each network; mostly it is the same one twice. Where a GPU's memory is too
   small for both networks, one of them runs on the CPU. A GPU that stops answering is left behind with one sentence;
   its streams go on on the CPU; after a cool-down it is tried again. */
#ifndef UTTER_ENGINE_RUNNERS_H
#define UTTER_ENGINE_RUNNERS_H

#include "base/log.h"
#include "base/str.h"
#include "engine/device.h"
#include "engine/scheduler.h"

struct runner {
    struct device *devices[2];  // the backbone's and the codec's
    struct lane backbone, codec;
    bool is_gpu;  // one of them is a GPU
    bool lost;    // and does not answer
    int n_users;  // streams that have it; a lost one goes with the last of them
    struct runner *next;
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
    int n_places;  // that streams want on a device; 0: as suits it
    int n_ctx;
    pthread_mutex_t lock;  // over all below, the lanes and their calls
    pthread_cond_t opened;
    bool opening;              // some thread opens a device, without the lock
    struct runner *all;        // that are open
    struct runner *gpu, *cpu;  // those in use; NULL: not open
    int n_gpu_losses;
    int64_t gpu_again;  // clock_ns() from which a GPU that was lost, or could not be used, is tried again; 0: never was
};

/* Opens the devices that streams will run on first. Strings and networks are the caller's and must outlive it; call
   runners_close also after a failure. */
status runners_open(struct runners *r);
void runners_close(struct runners *r);

/* The devices to use now. Opens the CPU when it is needed for the first time, and a lost GPU after its cool-down. They
   stay until runners_leave. */
status runners_enter(struct runners *r, struct runner **out);
void runners_leave(struct runners *r, struct runner *used);

/* A call on `lost` gave UTTER_DEVICE, for the reason `why`. */
void runners_lose(struct runners *r, struct runner *lost, const char *why);

/* What of utter_state is the devices'. */
void runners_state(struct runners *r, utter_state *out);

/* One line about the devices in use. */
status runners_describe(struct runners *r, struct str *out);

/* Puts devices, with their networks loaded, to work: takes them over, also on failure. */
status runner_start(struct runners *r, struct device *backbone, struct device *codec, int n_slots, bool is_gpu,
                    struct runner **out);

#endif
