/* LayerNorm, shared among the threads. */
#ifndef UTTER_CPU_LAYER_NORM_H
#define UTTER_CPU_LAYER_NORM_H

#include "cpu/pool.h"

/* Rows of in [n, width] with mean 0 and variance 1, times weight [width] plus bias [width]: to out, which may be in. */
void layer_norm_rows(struct pool *pool, const float *in, const float *weight, const float *bias, float eps, int64_t n,
                     int64_t width, float *out);

#endif
