/* The codec's encoder on the CPU: samples to codes. */
#ifndef UTTER_CPU_ENCODER_H
#define UTTER_CPU_ENCODER_H

#include "codec/encoder.h"
#include "cpu/codec.h"

struct cpu_encoder;

/* A minute; memory grows with the length (about 0.6 GB for a minute at NeuCodec's size), attention with its square. */
enum { CPU_ENCODER_MAX_FRAMES = 3000 };

/* `encoder`, `kernels` and `pool` stay the caller's and must outlive the result. */
status cpu_encoder_new(const struct codec_encoder *encoder, const struct kernels *kernels, struct pool *pool,
                       struct cpu_encoder **out);
void cpu_encoder_free(struct cpu_encoder *e);

/* pcm[n] at 16 kHz -> codes[n / 320], of a distilled encoder one more: room for n / 320 + 1 is wanted. The deadline is
   looked at between layers. Working memory is freed at the end: recordings are encoded once. */
status cpu_encoder_encode(struct cpu_encoder *e, const float *pcm, int64_t n, int32_t *codes, int *n_codes,
                          int64_t deadline);

/* Bytes of packed weights. */
size_t cpu_encoder_bytes(const struct cpu_encoder *e);

/* As cpu_codec_observe. */
void cpu_encoder_observe(struct cpu_encoder *e, cpu_codec_observer *observer, void *user);

#endif
