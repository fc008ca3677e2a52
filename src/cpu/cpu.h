/* The CPU device. */
#ifndef UTTER_CPU_CPU_H
#define UTTER_CPU_CPU_H

#include "engine/device.h"

struct cpu_options {
    int n_threads;        // 0: as many as cores_to_use (base/cores.h)
    const char *kernels;  // "auto", "portable" or another set by its name (kernels_find); NULL: "auto"
};

/* A kernel set that this processor cannot run is refused, with what it lacks and what there is. */
status cpu_open(const struct cpu_options *options, const struct log *log, struct device **out);

#endif
