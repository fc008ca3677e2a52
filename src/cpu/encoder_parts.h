/* What the encoder's branches share. */
#ifndef UTTER_CPU_ENCODER_PARTS_H
#define UTTER_CPU_ENCODER_PARTS_H

#include "cpu/encoder.h"

/* For loops over floats that the compiler makes vectors of: they are compiled for wider vectors too, and the widest
   that the processor has are taken. The same operations in the same order, so the same results. What such a function
   calls is INLINE. Sanitizers cannot be there yet when that is decided. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define WIDE
#endif

struct cpu_encoder {
    const struct codec_encoder *encoder;
    const struct kernels *kernels;
    struct pool *pool;
    struct matmul_scratch *scratch;
    struct packed *packed;  // [encoder->n_linears]
    struct pages weights;
    int64_t deadline;  // of the call that runs
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

/* in [n, width] -> out, which may be in. */
void encoder_layer_norm(struct cpu_encoder *e, const struct encoder_norm *norm, const float *in, int64_t n,
                        int64_t width, float *out);
/* x[n], by the error function */
void encoder_gelu(struct cpu_encoder *e, float *x, int64_t n);
void encoder_soft_max(float *scores, int64_t n);

/* Attention of all frames; with a window, of those before a frame in its window and in the one before. */
struct encoder_attention {
    const float *q, *k, *v;  // [n, heads * head_dim], rows `stride` floats apart
    int64_t stride;
    float *out;  // [n, heads * head_dim]
    int64_t n;
    int n_heads, head_dim;
    int window;         // 0: none
    const float *bias;  // [2 * window, heads] by how far back a frame is; NULL without a window
};
status encoder_attend(struct cpu_encoder *e, const struct encoder_attention *a);

/* sin(x)^2, which repeats every pi: exact to some 1e-7 for |x| up to 10^5. Simple enough for the compiler to make
   vectors of. */
INLINE float sine_squared(float x) {
    const float magic = 12582912;  // 1.5 * 2^23: adding it rounds to a whole number
    float k = (x * 0.318309886f + magic) - magic;
    float r = ((x - k * 3.140625f) - k * 9.67502593994140625e-4f) - k * 1.50995799e-7f;
    r = r > 2 ? 2 : r;
    r = r < -2 ? -2 : r;
    float s = r * r;
    float sine = r * (1 + s * (-1.66666666e-1f +
                               s * (8.33333310e-3f + s * (-1.98408743e-4f + s * (2.75239710e-6f - s * 2.39e-8f)))));
    return sine * sine;
}

/* Log-mel features: pcm[n_frames * 320 + 320] (the end is padding) -> out [n_frames, ENCODER_FEATURES]. */
status encoder_features(const struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);

/* pcm[n_frames * 320] -> out [n_frames, n_acoustic]. */
status encoder_acoustic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);

/* features [n, ENCODER_FEATURES] -> out [n, n_semantic] */
status encoder_semantic(struct cpu_encoder *e, const float *features, int64_t n, float *out);

/* The convolutions behind the semantic model: x [n, n_embd] -> out [n, n_semantic] */
status encoder_semantic_end(struct cpu_encoder *e, float *x, int64_t n, float *out);

/* The branches of a distilled encoder; pcm [n_frames * 320]. */
status distill_acoustic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);
status distill_semantic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out);

#endif
