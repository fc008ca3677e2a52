/* Weights from blocks, as they stand in files, into panels. */
#ifndef UTTER_CPU_PACK_H
#define UTTER_CPU_PACK_H

#include "cpu/kernels.h"
#include "gguf/gguf.h"

/* The panel format of a block type in rows of `cols` columns. */
enum format pack_format(const struct kernels *k, block_type type, int64_t cols);

/* Bytes of a panel of `cols` columns. */
size_t pack_panel_bytes(enum format format, int lanes, int64_t cols);

/* Panel `panel` of the matrix made of rows[n_rows] of m (NULL: all) into dst[pack_panel_bytes], which is zeroed.
   scales: of 16-bit integers for products by quarters, [rows / 4][cols / QUARTERS_COLS]; else NULL. */
void pack_panel(const struct kernels *k, const struct matrix *m, const int32_t *rows, int64_t n_rows, int64_t panel,
                const float *scales, uint8_t *dst);

/* Those of row `row` of the first quarter, and of the rows that are added to it: [cols / QUARTERS_COLS]. */
void pack_scales(const struct kernels *k, const struct matrix *m, int64_t row, float *scales);

#endif
