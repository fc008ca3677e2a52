/* The codec's decoder on the CPU: codes to samples. */
#ifndef UTTER_CPU_CODEC_H
#define UTTER_CPU_CODEC_H

#include "codec/codec.h"
#include "cpu/matmul.h"
#include "cpu/pool.h"

struct cpu_codec;

/* All frames of a decode see each other, so its work grows with the square of their number. */
enum { CPU_CODEC_MAX_FRAMES = 16384 };

/* `codec`, `kernels` and `pool` stay the caller's and must outlive the result. */
status cpu_codec_new(const struct codec *codec, const struct kernels *kernels, struct pool *pool,
                     struct cpu_codec **out);
void cpu_codec_free(struct cpu_codec *c);

/* codes[n] -> pcm[n * hop]. The deadline is looked at between layers. Memory grows when n is larger than ever before.
 */
status cpu_codec_decode(struct cpu_codec *c, const int32_t *codes, int n, float *pcm, int64_t deadline);

/* Bytes of packed weights and working memory now held. */
size_t cpu_codec_bytes(const struct cpu_codec *c);

/* Shows every stage of a decode as it is computed, for tests: rows[n_rows, n_cols], `index` where a stage is there more
   than once. NULL: nobody looks. */
typedef void cpu_codec_observer(void *user, const char *stage, int index, const float *rows, int64_t n_rows,
                                int64_t n_cols);
void cpu_codec_observe(struct cpu_codec *c, cpu_codec_observer *observer, void *user);

#endif
