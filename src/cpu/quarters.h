/* Matrix products with fewer multiplications, for many tokens: Strassen's algorithm, twice.

   Weights are cut into quarters of their rows and of each 1024 columns, activations into quarters of those columns and
   of the tokens. 49 products of sums of these parts make what 64 products of parts would. Sums of weights are made in
   registers while they are multiplied, so the panels are those of other products; those of 16-bit integers have one
   scale for the parts that are summed (pack_scales).

   Results depend on the number of tokens, in their last bits: where they must not, as with a prompt that is read in
   pieces, packed.quarters stays false. */
#ifndef UTTER_CPU_QUARTERS_H
#define UTTER_CPU_QUARTERS_H

#include "cpu/matmul.h"

/* From so many tokens on tiles are full enough. */
enum { QUARTERS_LEAST = 56 };

/* Whether the set can, and the matrix can be cut so. */
bool quarters_fit(const struct kernels *k, const struct matrix *m);

/* Bytes of room for n tokens. */
size_t quarters_bytes(int64_t n, int n_threads);

/* y = w x + bias as matmul() has it, n >= QUARTERS_LEAST. room: quarters_bytes(), aligned to 64. */
void quarters_multiply(const struct kernels *k, struct pool *pool, const struct packed *w, const float *x,
                       int64_t x_stride, int64_t n, const float *bias, float *y, int64_t y_stride, void *room);

#endif
