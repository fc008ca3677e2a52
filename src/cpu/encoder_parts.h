/* What the encoder's branches share. */
#ifndef UTTER_CPU_ENCODER_PARTS_H
#define UTTER_CPU_ENCODER_PARTS_H

#include "cpu/encoder.h"

struct cpu_encoder {
    const struct codec_encoder *encoder;
    const struct kernels *kernels;
    struct pool *pool;
    struct matmul_scratch *scratch;
    struct packed *packed;  // [encoder->n_linears]
    int64_t deadline;       // of the call that runs
    cpu_codec_observer *observer;
    void *user;
};

/* y[t] = W x[t] + bias for n rows; rows x_stride and y_stride floats apart. */
status encoder_multiply(struct cpu_encoder *e, const struct encoder_linear *l, const float *x, int64_t x_stride,
                        int64_t n, float *y, int64_t y_stride);

/* x[n] += scale * y[n] */
void encoder_add(struct cpu_encoder *e, float *x, const float *y, float scale, int64_t n);

status encoder_in_time(const struct cpu_encoder *e);
void encoder_show(const struct cpu_encoder *e, const char *stage, int index, const float *rows, int64_t n_rows,
                  int64_t n_cols);

/* Log-mel features: pcm[n_frames * 320 + 320] (the end is padding) -> out [n_frames, ENCODER_FEATURES]. */
status encoder_features(const struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);

/* pcm[n_frames * 320] -> out [n_frames, n_acoustic]. */
status encoder_acoustic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);

/* features [n, ENCODER_FEATURES] -> out [n, n_semantic] */
status encoder_semantic(struct cpu_encoder *e, const float *features, int64_t n, float *out);

#endif
