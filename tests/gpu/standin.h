/* A stand-in for the NVIDIA driver's library: the functions that utter calls, on top of the emulator. Loaded through
   UTTER_CUDA_LIBRARY. What it pretends to be, and which faults it has, is set in `standin`, its exported variable. */
#ifndef UTTER_TESTS_GPU_STANDIN_H
#define UTTER_TESTS_GPU_STANDIN_H

#include <stdbool.h>
#include <stddef.h>

enum standin_call {
    STANDIN_NONE,
    STANDIN_INIT,
    STANDIN_CONTEXT,
    STANDIN_MODULE,
    STANDIN_ALLOC,
    STANDIN_LAUNCH,
    STANDIN_QUERY,
    STANDIN_DOWNLOAD,
};

struct standin {
    int driver_version;  // 12040
    int n_devices;
    int capability;  // 90
    int compute_mode;
    size_t memory_bytes;  // of each device
    int shared_bytes;     // that a block can have

    /* Faults: `call` returns `result` once `after` such calls have gone well; from then on for ever. */
    enum standin_call call;
    int result, after;
    const char *jit_log;  // what a refused module leaves in the log
    /* The same, but the call does not come back while this is set. */
    enum standin_call volatile blocked;
    int blocked_after;
    bool never_ready;      // streams are never done
    bool wrong_results;    // what is copied back is all ones
    const char *missing;   // a kernel that modules do not have
    bool no_graphs;        // launches cannot be recorded
    unsigned order;        // of threads: emulator_order; what UTTER_EMULATOR_ORDER says at first
    bool not_cooperative;  // blocks cannot wait for each other
    bool loses_block;      // a block of those that wait for each other never runs

    /* What happened. */
    int n_launches, n_together;  // of those, with blocks that wait for each other
    int n_graph_launches;
    int n_modules;  // that were compiled
    int live_allocations, live_host, live_modules, live_streams, live_events, live_graphs, live_contexts;
    size_t live_bytes;
    char failure[256];  // what the emulator found wrong; "" for nothing

    /* Frees all that was not given back, and makes everything as good as new. */
    void (*restore)(void);
};

#endif
