/* An encoder opened with a kernel set. */
#ifndef UTTER_TESTS_PARITY_CODEC_ENCODER_RIG_H
#define UTTER_TESTS_PARITY_CODEC_ENCODER_RIG_H

#include "cpu/encoder.h"

struct encoder_rig {
    struct codec_encoder *encoder;
    struct pool *pool;
    struct cpu_encoder *cpu;
};

/* Fails the test when the file cannot be opened. */
void encoder_rig_open(struct encoder_rig *rig, const char *path, const struct kernels *kernels, int n_threads);
void encoder_rig_close(struct encoder_rig *rig);

#endif
