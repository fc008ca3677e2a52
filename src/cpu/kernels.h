/* Kernel sets: the arithmetic of the CPU device, once for each instruction set.

   Weights lie in panels: `lanes` rows side by side, so that one vector holds the same column of as many rows, and a
   product needs no sum across a vector. Every row is summed in the same order whatever the number of tokens or
   threads, so results do not depend on either.

   Panel of a float format:  weights [cols][lanes] as F32, F16 or BF16.
   Panel of a small format:  pairs of blocks of 32 columns, each pair words [2][4 or 8][lanes], then scales [2].
     4 bits: byte b of word w holds columns 4w + b (low half) and 16 + 4w + b (high half) of the 32;
     8 bits: byte b of word w holds column 4w + b, with kernels.zero8 added.
   Panel of 16-bit integers: blocks of 256 columns, or of 64 where those do not come out even, each words
     [columns / 2][lanes], then scales F32 [lanes]: a word holds columns 2w and 2w + 1. Half-precision weights become
     these: twice as fast as products of floats, and nearly as exact as they are. Parts that products by quarters sum
     have one scale.
   All of a panel is one stream in memory, aligned to cache lines: that is what the prefetchers like.
   A small format's activations are rounded 32 at a time with a scale each, so the sums inside a block are exact: fine,
   to 15 bits (the AVX and NEON sets split them into two 8-bit halves, 128 * high + low), or coarse, to 8 bits, at half
   the arithmetic. Coarse activations are where most of the error of a quantised model comes from. */
#ifndef UTTER_CPU_KERNELS_H
#define UTTER_CPU_KERNELS_H

#include "gguf/blocks.h"

enum format {
    FORMAT_F32,
    FORMAT_F16,
    FORMAT_BF16,
    FORMAT_I16,  // 16-bit integers: F16 and BF16 with whole blocks
    FORMAT_Q4,   // 4 bits less 8, scale F16 [lanes]: Q4_0
    FORMAT_Q4M,  // 4 bits, scale and minimum F32 [2][lanes]: Q4_1, Q4_K
    FORMAT_Q8,   // 8 bits, scale F16 [lanes]: Q8_0, Q5_0
    FORMAT_Q8M,  // 8 bits, scale and minimum F32 [2][lanes]: Q5_1, Q5_K
    FORMAT_Q8H,  // 8 bits, scales F32 [2][lanes] for 16 columns each: Q6_K
};

enum { BLOCK = 32, BLOCK16 = 64, BLOCK16_MAX = 256, TILE_MAX = 16, TILE_QUERIES = 8 };

/* Activations are rounded to -16256..16256, or coarse to -127..127, by the largest magnitude of their block. One so
   small that it counts for nothing gives zeros; a NaN or an infinity makes the scale NaN, so that it is seen at the
   end. */
enum { QUANTISED_MOST = 127 * 128, COARSE_MOST = 127 };
static inline float quantise_inverse(float most, float whole) {
    return most > 1e-30f && most <= 3e38f ? whole / most : 0;
}
static inline float quantise_scale(float most, float whole) {
    return most <= 3e38f ? most / whole : __builtin_nanf("");
}

/* 16-bit integers are scaled, a block of weights or activations at a time, so that the block's length (the root of the
   sum of its squares) is at most LENGTH_MOST. A sum of products is no more than the product of two lengths, so none
   overflows 32 bits, with what rounding adds to a length. */
enum { LENGTH_MOST = 46300 };

/* Columns of a block of 16-bit integers; cols is a multiple of BLOCK16. Long blocks are turned into floats less often.
 */
static inline int block16(int64_t cols) { return cols % BLOCK16_MAX ? BLOCK16 : BLOCK16_MAX; }

/* Floats, too: to move four bytes. */
typedef uint32_t __attribute__((may_alias)) four_bytes;

/* Loops over the tokens of a tile must vanish, or sums leave their registers. */
#define INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_ALL UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_ALL _Pragma("GCC unroll 64")
#endif

static inline bool format_is_float(enum format f) { return f <= FORMAT_BF16; }

/* Weights in panels. */
struct panels {
    enum format format;
    int64_t rows, cols;
    const uint8_t *data;  // [panels][panel_bytes], a multiple of 64 bytes each
    size_t panel_bytes;
};

/* Up to n_tile tokens of activations, as `multiply` reads them: the tokens of one column side by side. */
struct tile {
    int n;                 // tokens
    bool coarse;           // small formats
    const float *f;        // [cols][n]; float formats
    const uint32_t *q;     // [cols / 32][16, or 8][n], in the set's own order; small formats, as all below
                           // I16: [cols / 2][n], pairs of 16-bit integers
    const float *scale;    // [cols / 32][n]; I16: [blocks][n]
    const int32_t *start;  // what a block's sum starts from so that the weights' zero falls out: [cols / 32][n], Q8H:
                           // [cols / 16][n]
    const float *sum;      // [cols / 32][n] sums of the rounded activations; formats with a minimum

    /* Weights that far behind will be read next: of those, this tile fetches each n_parts-th line, from `part` on. */
    int64_t ahead;  // bytes
    int part, n_parts;
};

/* Room for a tile; the same pointers, to be written. */
struct tile_room {
    float *f;
    uint32_t *q;
    float *scale;
    int32_t *start;
    float *sum;
};

/* Attention of n queries over the same keys, for one head of keys and values. */
struct attention {
    int head_dim;
    int n_keys;
    bool half;           // keys and values are F16; otherwise F32
    const void *keys;    // [n_keys / lanes, rounded up][head_dim][lanes]
    const void *values;  // [n_keys][head_dim rounded up to lanes]
    float scale;         // of the products of queries and keys
    int n_queries;
    const float *queries;  // [n_queries], q_stride floats apart
    int64_t q_stride;
    float *out;  // [n_queries][head_dim], out_stride floats apart
    int64_t out_stride;
    float *scores;  // room: attention_room() floats
};

/* ---- products of quarters (quarters.h) ---- */

/* Weights and activations of 4 * PART_COLS columns are cut into 16 parts each: weights by a quarter of the rows and of
   the columns, activations by a quarter of the columns and of the tokens. 49 products of sums of parts are what 64
   products of parts would be. Integers of all 16 have one scale, such that no sum is longer than these, whose product
   is no more than LENGTH_MOST's square, and that four of them fit into 16 bits. */
enum {
    PARTS = 16,
    PART_SUMS = 49,
    PART_COLS = 256,
    QUARTERS_COLS = 4 * PART_COLS,
    WEIGHT_LENGTH_MOST = 92600,
    ACTIVATION_LENGTH_MOST = 23100,
    PART_MOST = 8191,
    TILE_PARTS_LEAST = 7,  // tokens of a tile
    TILE_PARTS_MOST = 14,
};

/* A quarter of the tokens: rows that lie `stride` floats apart. */
struct part_rows {
    const float *x;
    int64_t stride;
};

/* One of the 49, of two panels and a tile of tokens. */
struct part_product {
    enum format format;         // F32 or I16
    const uint8_t *weights[4];  // parts of the first panel, of the second panel_bytes behind
    size_t panel_bytes;
    int n_weights;                     // 1, 2 or 4
    bool differ;                       // the second half of them is subtracted
    int n;                             // tokens
    const uint32_t *x;                 // one of the sums that prepare_parts has made
    const float *scale;                // [n] I16
    const uint8_t *fetch, *fetch_end;  // weights that will be read next

    float *results[4];  // [n][2 * lanes] the product is added to the first n_plus, and taken from the others
    int n_plus, n_results;
};

struct kernels {
    const char *name;
    const struct kernels *for_steps;  // for a few tokens at a time, upon the same panels; NULL: this set
    int lanes;                        // rows of a panel; positions of a block of keys
    int n_tile_float;                 // tokens of a tile
    int n_tile_small;
    int n_tile_coarse;
    int n_tile_whole;  // I16
    int zero8;         // added to 8-bit weights: 0 or 128

    /* Makes x[n, cols] (rows x_stride floats apart) ready for products with weights of this format. */
    void (*prepare)(enum format format, bool coarse, const float *x, int64_t x_stride, int n, int64_t cols,
                    const struct tile_room *room);

    /* A block of n weights in half precision to 16-bit integers of this scale (0: the one that fits them best), which
       is returned. NULL: they stay floats. */
    float (*round16)(bool bf16, const uint16_t *in, int n, float scale, int16_t *out);

    /* Rows of panels [begin, end) times the tile's columns [k_begin, k_end), written at y + t * y_stride + row, or
       added there when k_begin > 0. Small formats take all columns at once. bias: [rows] or NULL. */
    void (*multiply)(const struct panels *w, int64_t begin, int64_t end, int64_t k_begin, int64_t k_end,
                     const struct tile *x, const float *bias, float *y, int64_t y_stride);

    /* Products of quarters. NULL: the set has none.
       prepare_parts: of a tile of n tokens, from four quarters of them, the sums [49][PART_COLS][n] (I16: of words,
       [49][PART_COLS / 2][n], and the scale [n]). room: PARTS * PART_COLS * n words.
       scale16: for 16 parts of a row of weights in half precision. */
    void (*prepare_parts)(enum format format, const struct part_rows *rows, int n, uint32_t *room, uint32_t *sums,
                          float *scale);
    float (*scale16)(bool bf16, const uint16_t *const *parts);
    void (*multiply_parts)(const struct part_product *p);

    /* out[i] = x[i] * gain[i] / sqrt(mean(x^2) + eps); out may be x. */
    void (*rms_norm)(const float *x, const float *gain, float eps, int64_t n, float *out);
    /* x[i] = silu(x[i]), times up[i] unless up is NULL. */
    void (*silu)(float *x, const float *up, int64_t n);
    void (*add)(float *x, const float *y, int64_t n);  // x += y
    void (*to_f16)(const float *x, int64_t n, uint16_t *out);
    void (*attend)(const struct attention *a);
};

/* Rows of values and rooms of scores are whole vectors. */
static inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Where element d of position `at` lies in attention.keys. */
static inline int64_t key_index(int lanes, int head_dim, int64_t at, int d) {
    return (at / lanes * head_dim + d) * lanes + at % lanes;
}

/* Floats that attention.scores needs. */
static inline int64_t attention_room(int lanes, int n_keys) { return TILE_QUERIES * round_up(n_keys, lanes); }

/* The set called `name` ("auto" or NULL: the best one; "avx512": the better of the two), or a sentence that says what
 * this processor lacks. */
status kernels_find(const char *name, const struct kernels **out);

/* Set i of those built in, from the plainest to the best; NULL beyond the last. *missing: what the processor lacks for
   it, NULL when it can run. */
const struct kernels *kernels_at(int i, const char **missing);

extern const struct kernels kernels_portable;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avxvnni, kernels_avx512bw, kernels_avx512vnni, kernels_amx;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon, kernels_dotprod, kernels_i8mm;
#endif

#endif
