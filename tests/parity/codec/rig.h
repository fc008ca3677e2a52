/* What the codec's parity tests share: a codec opened with a kernel set, and comparisons. */
#ifndef UTTER_TESTS_PARITY_CODEC_RIG_H
#define UTTER_TESTS_PARITY_CODEC_RIG_H

#include "base/npy.h"
#include "cpu/codec.h"

struct rig {
    struct codec *codec;
    struct pool *pool;
    struct cpu_codec *cpu;
};

/* Fails the test when the file cannot be opened. */
void rig_open(struct rig *rig, const char *path, const struct kernels *kernels, int n_threads);
void rig_close(struct rig *rig);

/* The file `name` of tests/fixtures; fails the test when it cannot be read. */
struct npy fixture_npy(const char *name);

/* Largest |a - b|; NaN counts as infinite. */
double largest_difference(const float *a, const float *b, int64_t n);

/* Signal to noise of b against a, in dB. */
double signal_to_noise(const float *a, const float *b, int64_t n);

#endif
