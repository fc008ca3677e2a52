/* Runs GPU kernels on the processor: the threads of a block are fibres that take turns; barriers and shuffles switch
   between them. Memory checkers see every access.

   Blocks run one after another, and threads in the order that `emulator_order` says: a kernel that forgot a barrier gives
   different results in another. A kernel whose threads wait for each other for ever (a barrier that not all reach) is
   stopped and reported. */
#ifndef UTTER_TESTS_GPU_EMULATOR_H
#define UTTER_TESTS_GPU_EMULATOR_H

#include <stdbool.h>

typedef void emulated_kernel(const void *args);

/* Any other number: the order of warps, of lanes and of blocks side by side is drawn by it as a seed, and a warp that waits
   lets others overtake it now and then. In all orders but the first, shared memory holds no numbers when a block begins
   (but under sanitizers, which watch it instead). */
enum { EMULATOR_ASCENDING, EMULATOR_DESCENDING };
extern unsigned emulator_order;

/* NULL, or what was wrong. One launch at a time. */
const char *emulator_launch(emulated_kernel *kernel, int grid_x, int grid_y, int n_threads, int shared_bytes,
                            const void *args);
/* The same with all blocks side by side (up to 8): one that waits for another lets it run. */
const char *emulator_launch_together(emulated_kernel *kernel, int grid_x, int n_threads, int shared_bytes,
                                     const void *args);
/* The last of the blocks side by side never starts. */
extern bool emulator_loses_block;

struct emulated_entry {
    const char *name;
    emulated_kernel *kernel;
    int n_threads;
    const unsigned *args_bytes;  // size of the struct that it takes
};

/* The kernel of that name, or NULL. */
const struct emulated_entry *emulator_find(const char *name);

#endif
