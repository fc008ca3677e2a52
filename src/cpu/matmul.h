/* Matrix products of the CPU device: weights of any block type, activations in float.

   Each kernel set (portable, AVX2, AVX-512) is a file of its own behind `struct kernels`; the pool splits the rows. */
#ifndef UTTER_CPU_MATMUL_H
#define UTTER_CPU_MATMUL_H

#include "cpu/kernels.h"
#include "cpu/pages.h"
#include "cpu/pool.h"
#include "gguf/gguf.h"

/* A weight matrix made ready for the kernel set. */
struct packed {
    block_type type;  // as stored
    bool coarse;      // activations are rounded to 8 bits for it, if it is quantised: to be set by who packs it
    bool quarters;    // many tokens are multiplied by quarters (quarters.h)
    int64_t rows, cols;
    struct panels panels;
    size_t n_bytes;             // of the panels
    const struct packed *next;  // whose panels lie behind these and are read after them; or NULL
};

struct to_pack {
    const struct matrix *m;
    const int32_t *rows;  // which rows to take, in which order, [n_rows]; NULL: all
    int64_t n_rows;
    struct packed *out;
    bool quarters;  // make it ready for products by quarters if it can be; all rows in order
};

/* Packs matrices that are read one after another, one behind the other, into memory that lives as long as they. The
   threads share the work. */
status pack_all(const struct kernels *k, struct pool *pool, const struct to_pack *list, int n, const char *what,
                struct pages *memory);

/* Room that products need besides their results; sized once, at load. One for each device. */
struct matmul_scratch;
status matmul_scratch_new(struct matmul_scratch **out);
void matmul_scratch_free(struct matmul_scratch *s);

/* y[t, r] = sum_c w[r, c] x[t, c] + bias[r] for t < n, written at y + t * y_stride.
   x: row t begins at x + t * x_stride (rows may overlap: a convolution over [T, C] is x_stride = C, cols = k * C).
   bias: float [rows] or NULL. Strides in floats. Grows the scratch when n is larger than ever before. */
status matmul(const struct kernels *k, struct pool *pool, struct matmul_scratch *scratch, const struct packed *w,
              const float *x, int64_t x_stride, int64_t n, const float *bias, float *y, int64_t y_stride);

/* The same for several matrices with one x: q, k and v; gate and up. */
struct product {
    const struct packed *w;
    const float *bias;  // [rows] or NULL
    float *y;           // [n, rows], y_stride floats apart
    int64_t y_stride;
};
status matmul_group(const struct kernels *k, struct pool *pool, struct matmul_scratch *scratch,
                    const struct product *products, int n_products, const float *x, int64_t x_stride, int64_t n);

#endif
