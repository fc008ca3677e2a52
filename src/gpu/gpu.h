/* The GPU device: an NVIDIA card through the driver's library alone. */
#ifndef UTTER_GPU_GPU_H
#define UTTER_GPU_GPU_H

#include "engine/device.h"

struct gpu_options {
    int index;            // number of the card, from 0
    int64_t patience_ns;  // so long beyond its own time may work take before the card counts as lost; 0: 10 s
    /* What will be loaded, so that its kernels are compiled from the start; only gpu_open reads them. NULL: unknown. */
    const struct backbone *backbone;
    const struct codec *codec;
    size_t chunk_bytes;  // memory is taken from the driver in pieces of at least this; 0: 32 MiB. Smaller pieces show
                         // memory checkers more.
};

/* Opens card `index`. Every reason why not is a sentence of its own. A card that does not answer in time, here or in
   any later call, is left behind: calls return UTTER_DEVICE at once, and close does not wait for it. */
status gpu_open(const struct gpu_options *options, const struct log *log, struct device **out);

struct gpu_info {
    int index;
    char name[128];
    int capability;     // 90 for 9.0
    size_t n_bytes;     // memory in all
    char refusal[256];  // why utter cannot use it; "" when it can
};

/* The machine's cards: infos[*n], at most max of them, and the newest CUDA the driver speaks (13000 for 13.0). Fails
   with a sentence when there is no driver or no card. */
status gpu_probe(struct gpu_info *infos, int max, int *n, int *driver_version);

#endif
