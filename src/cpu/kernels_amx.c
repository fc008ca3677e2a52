/* Kernels for AMX (tiles of bfloat16): the AVX-512 VNNI set, with products of small formats and of 16-bit integers by
   tiles. Weights become floats, and floats become one bfloat16 where activations are coarse, else the sum of two, of
   which the product of the two small parts is left out: 8 and 16 bits that count. So nothing but the sums in the tiles
   is left of a block, and they hold all columns.

   Tiles are 16 by 64 bytes: of activations 16 tokens by 32 columns, of weights 16 pairs of columns by 16 rows. Products
   are 32 tokens by two panels. Activations lie as [cols / 32][planes][n][32]. */
#include "cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define BASE kernels_avx512vnni

enum {
    LANES = 16,
    TOKENS = 16,        // of a tile
    TILE_TOKENS = 256,  // of a call
    ROW_BYTES = 64,
    TILE_BYTES = 16 * ROW_BYTES,
    CHUNK = 16,  // blocks of 32 columns that are unpacked at once
};

typedef __m512 vf;
typedef __m512i vi;

struct config {
    uint8_t palette, start_row, zeros[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights. */
static void configure(void) {
    struct config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = ROW_BYTES;
        c.rows[i] = 16;
    }
    _tile_loadconfig(&c);
}

/* ---- floats as bfloat16 ---- */

static inline vi bits(vf x) { return _mm512_castps_si512(x); }

/* Rounded, still where floats have their upper halves. NaN stays NaN. */
INLINE vi round_upper(vf x) {
    return _mm512_and_si512(_mm512_add_epi32(bits(x), _mm512_set1_epi32(0x8000)), _mm512_set1_epi32((int)0xffff0000));
}

/* What rounding has left. */
INLINE vf rest(vf x, vi upper) { return _mm512_sub_ps(x, _mm512_castsi512_ps(upper)); }

/* Lanes of two columns each. */
INLINE vi pairs(vi even, vi odd) { return _mm512_or_si512(_mm512_srli_epi32(even, 16), odd); }

/* A row of a tile of weights, and of the second plane's. */
INLINE void store_pairs(const bool two, vf even, vf odd, uint8_t *out) {
    const vi e = round_upper(even), o = round_upper(odd);
    _mm512_store_si512(out, pairs(e, o));
    if (two) _mm512_store_si512(out + TILE_BYTES, pairs(round_upper(rest(even, e)), round_upper(rest(odd, o))));
}

/* ---- weights ---- */

INLINE void unpack_q4(const bool two, const uint8_t *words, float zero, vf d, vf m, uint8_t *out) {
    const vf table =
        _mm512_sub_ps(_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_ps(zero));
    for (int i = 0; i < 4; i++) {
        const vi w = _mm512_loadu_si512(words + i * ROW_BYTES);
        vf x[8];  // the index is a lane's lowest four bits
        UNROLL for (int j = 0; j < 8; j++) x[j] =
            _mm512_fmadd_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(w, (unsigned)j * 4), table), d, m);
        store_pairs(two, x[0], x[2], out + (2 * i + 0) * ROW_BYTES);
        store_pairs(two, x[4], x[6], out + (2 * i + 1) * ROW_BYTES);
        store_pairs(two, x[1], x[3], out + (2 * i + 8) * ROW_BYTES);
        store_pairs(two, x[5], x[7], out + (2 * i + 9) * ROW_BYTES);
    }
}

/* d and m: of columns 0 to 15, and of the others. */
INLINE void unpack_q8(const bool two, const uint8_t *words, const vf *d, vf m, uint8_t *out) {
    for (int i = 0; i < 8; i++) {
        const vi w = _mm512_xor_si512(_mm512_loadu_si512(words + i * ROW_BYTES), _mm512_set1_epi8((char)0x80));
        vf x[4];
        UNROLL for (int j = 0; j < 4; j++) {
            const vi column = _mm512_srai_epi32(_mm512_slli_epi32(w, 24 - 8 * (unsigned)j), 24);
            x[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(column), d[i / 4], m);
        }
        store_pairs(two, x[0], x[1], out + (2 * i + 0) * ROW_BYTES);
        store_pairs(two, x[2], x[3], out + (2 * i + 1) * ROW_BYTES);
    }
}

INLINE void unpack_i16(const uint8_t *words, vf d, uint8_t *out) {
    for (int i = 0; i < 16; i++) {
        const vi w = _mm512_loadu_si512(words + i * ROW_BYTES);
        const vf even = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, 16), 16));
        const vf odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(w, 16));
        store_pairs(true, _mm512_mul_ps(even, d), _mm512_mul_ps(odd, d), out + i * ROW_BYTES);
    }
}

/* Columns [32 b, 32 b + 32) of a panel to tiles, one for each plane. */
INLINE void unpack(const enum format format, const bool two, int64_t cols, const uint8_t *panel, int64_t b,
                   uint8_t *out) {
    const vf none = _mm512_setzero_ps();
    if (format == FORMAT_I16) {
        const int parts = block16(cols) / BLOCK;
        const uint8_t *words = panel + b / parts * (parts * TILE_BYTES + LANES * 4);
        unpack_i16(words + b % parts * TILE_BYTES, _mm512_loadu_ps(words + parts * TILE_BYTES), out);
        return;
    }
    const bool four = format == FORMAT_Q4 || format == FORMAT_Q4M, half = format == FORMAT_Q4 || format == FORMAT_Q8;
    const int n_data = (four ? 4 : 8) * ROW_BYTES, n_scales = LANES * (half ? 2 : 8);
    const uint8_t *pair = panel + b / 2 * 2 * (n_data + n_scales);
    const uint8_t *words = pair + b % 2 * n_data, *scales = pair + 2 * n_data + b % 2 * n_scales;
    vf d[2], m = none;
    d[0] = d[1] = half ? _mm512_cvtph_ps(_mm256_loadu_si256((const void *)scales)) : _mm512_loadu_ps(scales);
    if (format == FORMAT_Q8H) d[1] = _mm512_loadu_ps(scales + LANES * 4);
    if (format == FORMAT_Q4M || format == FORMAT_Q8M) m = _mm512_loadu_ps(scales + LANES * 4);
    if (four)
        unpack_q4(two, words, format == FORMAT_Q4 ? 8 : 0, d[0], m, out);
    else
        unpack_q8(two, words, d, m, out);
}

/* ---- products ---- */

typedef float sums[TILE_TOKENS][2 * LANES];

/* One plane: a0 a1 by w0 w1. */
INLINE void multiply_tiles(const uint8_t *a, int64_t next_tokens, const uint8_t *w0, const uint8_t *w1, bool second) {
    _tile_loadd(6, w0, ROW_BYTES);
    _tile_loadd(4, a, ROW_BYTES);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w1, ROW_BYTES);
    _tile_dpbf16ps(1, 4, 7);
    if (!second) return;
    _tile_loadd(5, a + next_tokens, ROW_BYTES);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* 32 tokens from t on times blocks [first, last) of two panels, added to their sums. tiles: [blocks][2][planes]. */
INLINE void tokens_product(const bool two, int64_t first, int64_t last, const uint8_t *tiles, const struct tile *x,
                           int t, sums out) {
    const int planes = two ? 2 : 1;
    const bool second = t + TOKENS < x->n;
    const int64_t plane = (int64_t)x->n * ROW_BYTES;
    const int stride = sizeof *out;
    _tile_loadd(0, out[t], stride);
    _tile_loadd(1, out[t] + LANES, stride);
    if (second) {
        _tile_loadd(2, out[t + TOKENS], stride);
        _tile_loadd(3, out[t + TOKENS] + LANES, stride);
    }
    for (int64_t b = first; b < last; b++, tiles += 2 * planes * TILE_BYTES) {
        const uint8_t *a = (const uint8_t *)x->q + b * planes * plane + (int64_t)t * ROW_BYTES;
        const uint8_t *w0 = tiles, *w1 = tiles + planes * TILE_BYTES;
        multiply_tiles(a, TOKENS * ROW_BYTES, w0, w1, second);
        if (!two) continue;
        multiply_tiles(a, TOKENS * ROW_BYTES, w0 + TILE_BYTES, w1 + TILE_BYTES, second);
        multiply_tiles(a + plane, TOKENS * ROW_BYTES, w0, w1, second);
    }
    _tile_stored(0, out[t], stride);
    _tile_stored(1, out[t] + LANES, stride);
    if (second) {
        _tile_stored(2, out[t + TOKENS], stride);
        _tile_stored(3, out[t + TOKENS] + LANES, stride);
    }
}

static void store_rows(const float *sum, int64_t n_rows, const float *bias, float *y) {
    const __mmask16 exist = (__mmask16)(n_rows >= LANES ? 0xffff : (1 << n_rows) - 1);
    vf v = _mm512_load_ps(sum);
    if (bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(exist, bias));
    _mm512_mask_storeu_ps(y, exist, v);
}

/* Two panels, or one, which is then taken twice. */
INLINE void panels_product(const enum format format, const bool two, const struct panels *w, int64_t panel, bool both,
                           const struct tile *x, const float *bias, float *y, int64_t y_stride) {
    const uint8_t *p0 = w->data + (size_t)panel * w->panel_bytes, *p1 = both ? p0 + w->panel_bytes : p0;
    const int planes = two ? 2 : 1;
    const int64_t n_blocks = w->cols / BLOCK;
    _Alignas(64) uint8_t tiles[CHUNK * 2 * 2 * TILE_BYTES];
    _Alignas(64) sums sum;
    memset(sum, 0, (size_t)round_up(x->n, TOKENS) * sizeof *sum);
    for (int64_t first = 0; first < n_blocks; first += CHUNK) {
        const int64_t last = first + CHUNK < n_blocks ? first + CHUNK : n_blocks;
        uint8_t *out = tiles;
        for (int64_t b = first; b < last; b++, out += 2 * planes * TILE_BYTES) {
            unpack(format, two, w->cols, p0, b, out);
            unpack(format, two, w->cols, p1, b, out + planes * TILE_BYTES);
        }
        for (int t = 0; t < x->n; t += 2 * TOKENS) tokens_product(two, first, last, tiles, x, t, sum);
    }
    const int64_t row = panel * LANES;
    for (int t = 0; t < x->n; t++) {
        float *to = y + t * y_stride + row;
        store_rows(sum[t], w->rows - row, bias ? bias + row : NULL, to);
        if (both) store_rows(sum[t] + LANES, w->rows - row - LANES, bias ? bias + row + LANES : NULL, to + LANES);
    }
}

#define FUNCTION(FORMAT, PLANES)                                                                                \
    static __attribute__((noinline)) void FORMAT##_##PLANES(const struct panels *w, int64_t begin, int64_t end, \
                                                            const struct tile *x, const float *bias, float *y,  \
                                                            int64_t y_stride) {                                 \
        for (int64_t p = begin; p < end; p += 2)                                                                \
            panels_product(FORMAT, PLANES == 2, w, p, p + 1 < end, x, bias, y, y_stride);                       \
    }
FUNCTION(FORMAT_I16, 2)
#define BOTH(FORMAT) FUNCTION(FORMAT, 1) FUNCTION(FORMAT, 2)
BOTH(FORMAT_Q4)
BOTH(FORMAT_Q4M)
BOTH(FORMAT_Q8)
BOTH(FORMAT_Q8M)
BOTH(FORMAT_Q8H)

typedef void tiles_function(const struct panels *, int64_t, int64_t, const struct tile *, const float *, float *,
                            int64_t);
#define ENTRIES(FORMAT) [FORMAT] = {FORMAT##_2, FORMAT##_1}
static tiles_function *const functions[][2] = {[FORMAT_I16] = {FORMAT_I16_2}, ENTRIES(FORMAT_Q4),
                                               ENTRIES(FORMAT_Q4M),           ENTRIES(FORMAT_Q8),
                                               ENTRIES(FORMAT_Q8M),           ENTRIES(FORMAT_Q8H)};

static void multiply(const struct panels *w, int64_t begin, int64_t end, int64_t k_begin, int64_t k_end,
                     const struct tile *x, const float *bias, float *y, int64_t y_stride) {
    if (format_is_float(w->format)) {
        BASE.multiply(w, begin, end, k_begin, k_end, x, bias, y, y_stride);
        return;
    }
    configure();
    functions[w->format][x->coarse](w, begin, end, x, bias, y, y_stride);
    _tile_release();
}

/* ---- activations ---- */

static void prepare(enum format format, bool coarse, const float *x, int64_t x_stride, int n, int64_t cols,
                    const struct tile_room *room) {
    if (format_is_float(format)) {
        BASE.prepare(format, coarse, x, x_stride, n, cols, room);
        return;
    }
    const int planes = coarse ? 1 : 2;
    const int64_t plane = (int64_t)n * ROW_BYTES;
    for (int t = 0; t < n; t++)
        for (int64_t c = 0; c < cols; c += LANES) {
            const vf v = _mm512_loadu_ps(x + t * x_stride + c);
            const vi upper = round_upper(v), lower = round_upper(rest(v, upper));
            uint8_t *out = (uint8_t *)room->q + c / BLOCK * planes * plane + t * ROW_BYTES + c % BLOCK * 2;
            _mm256_storeu_si256((void *)out, _mm512_cvtepi32_epi16(_mm512_srli_epi32(upper, 16)));
            if (coarse) continue;
            _mm256_storeu_si256((void *)(out + plane), _mm512_cvtepi32_epi16(_mm512_srli_epi32(lower, 16)));
        }
}

/* ---- the set ---- */

static float round16(bool bf16, const uint16_t *in, int n, float scale, int16_t *out) {
    return BASE.round16(bf16, in, n, scale, out);
}
static void rms_norm(const float *x, const float *gain, float eps, int64_t n, float *out) {
    BASE.rms_norm(x, gain, eps, n, out);
}
static void silu(float *x, const float *up, int64_t n) { BASE.silu(x, up, n); }
static void add(float *x, const float *y, int64_t n) { BASE.add(x, y, n); }
static void to_f16(const float *x, int64_t n, uint16_t *out) { BASE.to_f16(x, n, out); }
static void attend(const struct attention *a) { BASE.attend(a); }

const struct kernels kernels_amx = {
    .name = "amx",
    .for_steps = &BASE,
    .lanes = LANES,
    .n_tile_float = 14,
    .n_tile_small = TILE_TOKENS,
    .n_tile_coarse = TILE_TOKENS,
    .n_tile_whole = TILE_TOKENS,
    .zero8 = 128,
    .prepare = prepare,
    .round16 = round16,
    .multiply = multiply,
    .rms_norm = rms_norm,
    .silu = silu,
    .add = add,
    .to_f16 = to_f16,
    .attend = attend,
};
