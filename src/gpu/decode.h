/* One sequence at a time by a kernel that generates many tokens in a launch. */
#ifndef UTTER_GPU_DECODE_H
#define UTTER_GPU_DECODE_H

#include "gpu/internal.h"

struct gpu_backbone;

struct gpu_decode {
    bool usable;  // the kernel is made for this model and runs on this card
    enum gpu_kernel kernel;
    int n_blocks, shared_bytes;
    struct decode_args args;
};

/* Names the module of the kernel that is made for the model with a head of n_head rows, if this card can run such. */
void gpu_want_decode(const struct gpu *g, const struct backbone *b, int n_head, bool wanted[N_MODULES]);

/* While loading, in this order; all but `upload` are of jobs. The last once the kernel is there. */
void gpu_decode_prepare(struct gpu *g, struct gpu_backbone *d);
status gpu_decode_place(struct gpu *g, struct gpu_backbone *d, struct device_memory *m);
status gpu_decode_upload(struct gpu *g, struct gpu_backbone *d);
status gpu_decode_ready(struct gpu *g, struct gpu_backbone *d);

/* Whether a sequence with these settings can be generated so. */
bool gpu_decode_takes(const struct gpu_backbone *d, const struct sequence *s);
status gpu_decode_job(struct gpu *g);

#endif
