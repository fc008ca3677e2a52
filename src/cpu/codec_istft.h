/* The codec's last stage: log magnitudes and phases to samples, by the inverse real transform (kissfft) and
   overlap-add. */
#ifndef UTTER_CPU_CODEC_ISTFT_H
#define UTTER_CPU_CODEC_ISTFT_H

#include "codec/codec.h"
#include "cpu/pool.h"

struct istft;

status istft_new(const struct codec_config *config, int n_threads, struct istft **out);
void istft_free(struct istft *s);

/* head: [n, n_fft + 2], n_fft / 2 + 1 log magnitudes and as many phases a frame; used up. pcm: [n * hop]. */
void istft_run(struct istft *s, struct pool *pool, float *head, int64_t n, float *pcm);

/* Bytes it holds. */
size_t istft_bytes(const struct istft *s);

#endif
