/* Runs GPU kernels on the processor: the threads of a block are fibres that take turns; barriers and shuffles switch
   between them. Memory checkers see every access.

   Blocks run one after another. Threads run in ascending order, or in descending order when `emulator_descending` is
   set: a kernel that forgot a barrier gives different results then. A kernel whose threads wait for each other for ever
   (a barrier that not all reach) is stopped and reported. */
#ifndef UTTER_TESTS_GPU_EMULATOR_H
#define UTTER_TESTS_GPU_EMULATOR_H

#include <stdbool.h>

typedef void emulated_kernel(const void *args);

extern bool emulator_descending;

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
