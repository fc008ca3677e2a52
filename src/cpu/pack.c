#include "cpu/pack.h"

#include <string.h>

enum format pack_format(const struct kernels *k, block_type type, int64_t cols) {
    switch (type) {
        case BLOCK_F32:
            return FORMAT_F32;
        case BLOCK_F16:
            return cols % BLOCK16 || !k->round16 ? FORMAT_F16 : FORMAT_I16;
        case BLOCK_BF16:
            return cols % BLOCK16 || !k->round16 ? FORMAT_BF16 : FORMAT_I16;
        case BLOCK_Q4_0:
            return FORMAT_Q4;
        case BLOCK_Q4_1:
        case BLOCK_Q4_K:
            return FORMAT_Q4M;
        case BLOCK_Q8_0:
        case BLOCK_Q5_0:
            return FORMAT_Q8;
        case BLOCK_Q5_1:
        case BLOCK_Q5_K:
            return FORMAT_Q8M;
        case BLOCK_Q6_K:
            return FORMAT_Q8H;
    }
    return FORMAT_F32;
}

static int n_words(enum format format) { return format == FORMAT_Q4 || format == FORMAT_Q4M ? 4 : 8; }

static int scale_bytes(enum format format) { return format == FORMAT_Q4 || format == FORMAT_Q8 ? 2 : 8; }

size_t pack_panel_bytes(enum format format, int lanes, int64_t cols) {
    const size_t n = (size_t)cols, pairs = (n / BLOCK + 1) / 2;
    size_t row = 2 * pairs * (size_t)(n_words(format) * 4 + scale_bytes(format));
    if (format == FORMAT_F32) row = n * 4;
    if (format == FORMAT_F16 || format == FORMAT_BF16) row = n * 2;
    if (format == FORMAT_I16) row = n * 2 + n / (size_t)block16(cols) * 4;
    return (row * (size_t)lanes + 63) / 64 * 64;
}

/* 32 columns of one row. */
struct part {
    uint8_t q[BLOCK];  // 4 bits: 16 bytes as Q4_0 has them; 8 bits: 32 integers
    uint16_t half;     // scale of the formats that keep it in half precision
    float scale[2];    // the others': scale and minimum, or the scales of the two halves
};

static uint16_t half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static float float_at(const uint8_t *p) { return f16_to_f32(half_at(p)); }

/* The fifth bits of a Q5_0 or Q5_1 block put upon the lower four. */
static void five_bits(const uint8_t *high, const uint8_t *low, int less, uint8_t *q) {
    uint32_t h;
    memcpy(&h, high, sizeof h);
    for (int i = 0; i < 16; i++) {
        q[i] = (uint8_t)(((low[i] & 15) | (h >> i & 1) << 4) - (uint32_t)less);
        q[i + 16] = (uint8_t)((low[i] >> 4 | (h >> (i + 16) & 1) << 4) - (uint32_t)less);
    }
}

/* The 6-bit scale and minimum of sub-block j of a Q4_K or Q5_K block. */
static void k_scales(const uint8_t *block, int j, float *scale) {
    const uint8_t *s = block + 4;
    int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    int m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    scale[0] = float_at(block) * (float)sc;
    scale[1] = -float_at(block + 2) * (float)m;
}

static void unpack_q4_k(const uint8_t *block, int j, struct part *p) {
    k_scales(block, j, p->scale);
    const uint8_t *low = block + 16 + j / 2 * 32;
    for (int i = 0; i < 16; i++)
        p->q[i] = (uint8_t)(j % 2 ? low[i] >> 4 | (low[i + 16] & 0xf0) : (low[i] & 15) | low[i + 16] << 4);
}

static void unpack_q5_k(const uint8_t *block, int j, struct part *p) {
    k_scales(block, j, p->scale);
    const uint8_t *high = block + 16, *low = block + 48 + j / 2 * 32;
    for (int i = 0; i < 32; i++) p->q[i] = (uint8_t)((j % 2 ? low[i] >> 4 : low[i] & 15) | (high[i] >> j & 1) << 4);
}

static void unpack_q6_k(const uint8_t *block, int j, struct part *p) {
    const uint8_t *low = block + j / 4 * 64 + j % 2 * 32, *high = block + 128 + j / 4 * 32;
    const int8_t *scales = (const int8_t *)block + 192 + j * 2;
    const float d = float_at(block + 208);
    for (int i = 0; i < 32; i++) {
        int four = j % 4 < 2 ? low[i] & 15 : low[i] >> 4, two = high[i] >> (j % 4 * 2) & 3;
        p->q[i] = (uint8_t)((four | two << 4) - 32);
    }
    p->scale[0] = d * (float)scales[0];
    p->scale[1] = d * (float)scales[1];
}

/* Columns [32 b, 32 b + 32) of a row. */
static void unpack(block_type type, const uint8_t *row, int64_t b, struct part *p) {
    switch (type) {
        case BLOCK_Q4_0:
            row += b * 18;
            p->half = half_at(row);
            memcpy(p->q, row + 2, 16);
            break;
        case BLOCK_Q4_1:
            row += b * 20;
            p->scale[0] = float_at(row);
            p->scale[1] = float_at(row + 2);
            memcpy(p->q, row + 4, 16);
            break;
        case BLOCK_Q5_0:
            row += b * 22;
            p->half = half_at(row);
            five_bits(row + 2, row + 6, 16, p->q);
            break;
        case BLOCK_Q5_1:
            row += b * 24;
            p->scale[0] = float_at(row);
            p->scale[1] = float_at(row + 2);
            five_bits(row + 4, row + 8, 0, p->q);
            break;
        case BLOCK_Q8_0:
            row += b * 34;
            p->half = half_at(row);
            memcpy(p->q, row + 2, 32);
            break;
        case BLOCK_Q4_K:
            unpack_q4_k(row + b / 8 * 144, (int)(b % 8), p);
            break;
        case BLOCK_Q5_K:
            unpack_q5_k(row + b / 8 * 176, (int)(b % 8), p);
            break;
        case BLOCK_Q6_K:
            unpack_q6_k(row + b / 8 * 210, (int)(b % 8), p);
            break;
        default:
            break;
    }
}

/* ---- panels ---- */

/* Asks for what the next panel reads where this one reads at `p`: rows of a matrix follow each other in its file, and
   too many of them are read at once for the processor to see it. */
static inline void fetch_ahead(const uint8_t *p, size_t ahead, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch((const void *)((uintptr_t)p + ahead + i), 0, 2);
}

typedef uint32_t words4 __attribute__((vector_size(16)));

/* to[w * lanes + r] = word w of row[r]. Both counts are multiples of 4. */
static void transpose(int lanes, int64_t n_words, const uint8_t *const *row, uint8_t *to) {
    for (int64_t w = 0; w < n_words; w += 4)
        for (int r = 0; r < lanes; r += 4) {
            words4 x[4];
            for (int i = 0; i < 4; i++) memcpy(&x[i], row[r + i] + w * 4, sizeof x[i]);
            const words4 a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
            const words4 b = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
            const words4 c = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
            const words4 d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
            x[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
            x[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
            x[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
            x[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
            for (int i = 0; i < 4; i++) memcpy(to + ((w + i) * lanes + r) * 4, &x[i], sizeof x[i]);
        }
}

static void pack_floats(int lanes, int64_t cols, size_t size, const uint8_t *const *row, int n, uint8_t *dst) {
    const int64_t whole = size == 4 && n == lanes ? cols / 4 * 4 : 0;
    transpose(lanes, whole, row, dst);
    dst += (size_t)(whole * lanes) * size;
    for (int64_t c = whole; c < cols; c++, dst += (size_t)lanes * size)
        for (int r = 0; r < n; r++) memcpy(dst + (size_t)r * size, row[r] + (size_t)c * size, size);
}

/* common: the rows' scales of products by quarters, n_common floats apart; or NULL. */
static void pack_whole(const struct kernels *k, block_type type, int64_t cols, const uint8_t *const *row, int n,
                       const float *common, int64_t n_common, uint8_t *dst) {
    const size_t ahead = (size_t)k->lanes * block_row_bytes(type, cols);
    const int lanes = k->lanes, block = block16(cols);
    int16_t q[TILE_MAX][BLOCK16_MAX];  // of rows that there are not: zeros
    const uint8_t *at[TILE_MAX];
    for (int r = 0; r < lanes; r++) at[r] = (const uint8_t *)q[r];
    memset(q[n], 0, (size_t)(TILE_MAX - n) * sizeof q[0]);
    for (int64_t b = 0; b < cols / block; b++, dst += lanes * (block * 2 + 4)) {
        float scales[TILE_MAX] = {0};
        for (int r = 0; r < n; r++) {
            const uint16_t *in = (const uint16_t *)row[r] + b * block;
            fetch_ahead((const uint8_t *)in, ahead, (size_t)block * sizeof *in);
            const float scale = common ? common[r * n_common + b * block / QUARTERS_COLS] : 0;
            scales[r] = k->round16(type == BLOCK_BF16, in, block, scale, q[r]);
        }
        transpose(lanes, block / 2, at, dst);
        memcpy(dst + lanes * block * 2, scales, (size_t)lanes * sizeof *scales);
    }
}

static void pack_blocks(const struct kernels *k, block_type type, int64_t cols, const uint8_t *const *row, int n,
                        uint8_t *dst) {
    const enum format format = pack_format(k, type, cols);
    const int64_t n_blocks = cols / BLOCK, lanes = k->lanes;
    const size_t row_bytes = block_row_bytes(type, cols), ahead = (size_t)lanes * row_bytes;
    const int words = n_words(format);
    const int64_t n_data = words * 4 * lanes, n_scales = scale_bytes(format) * lanes;
    struct part parts[TILE_MAX] = {0};  // of rows that there are not: zeros
    const uint8_t *at[TILE_MAX];
    for (int r = 0; r < lanes; r++) at[r] = parts[r].q;
    for (int64_t b = 0; b < n_blocks; b++) {
        uint8_t *pair = dst + b / 2 * 2 * (n_data + n_scales);
        uint8_t *data = pair + b % 2 * n_data, *scales = pair + 2 * n_data + b % 2 * n_scales;
        for (int r = 0; r < n; r++) {
            struct part *p = &parts[r];
            fetch_ahead(row[r] + (size_t)b * row_bytes / (size_t)n_blocks, ahead, 1);
            unpack(type, row[r], b, p);
            if (words == 8)
                for (int i = 0; i < BLOCK; i++) p->q[i] = (uint8_t)(p->q[i] + k->zero8);
            if (scale_bytes(format) == 2) {
                memcpy(scales + r * 2, &p->half, 2);
            } else {
                memcpy(scales + r * 4, &p->scale[0], 4);
                memcpy(scales + (lanes + r) * 4, &p->scale[1], 4);
            }
        }
        transpose((int)lanes, words, at, data);
    }
}

void pack_panel(const struct kernels *k, const struct matrix *m, const int32_t *rows, int64_t n_rows, int64_t panel,
                const float *scales, uint8_t *dst) {
    const uint8_t *row[TILE_MAX];
    const size_t row_bytes = block_row_bytes(m->type, m->cols);
    const int64_t first = panel * k->lanes;
    int n = 0;
    for (; n < k->lanes && first + n < n_rows; n++)
        row[n] = (const uint8_t *)m->data + (size_t)(rows ? rows[first + n] : first + n) * row_bytes;
    const enum format format = pack_format(k, m->type, m->cols);
    const int64_t n_common = m->cols / QUARTERS_COLS;
    if (format_is_float(format))
        pack_floats(k->lanes, m->cols, format == FORMAT_F32 ? 4 : 2, row, n, dst);
    else if (format == FORMAT_I16)
        pack_whole(k, m->type, m->cols, row, n, scales ? scales + first % (m->rows / 4) * n_common : NULL, n_common,
                   dst);
    else
        pack_blocks(k, m->type, m->cols, row, n, dst);
}

void pack_scales(const struct kernels *k, const struct matrix *m, int64_t row, float *scales) {
    const size_t row_bytes = block_row_bytes(m->type, m->cols);
    for (int64_t c = 0; c < m->cols / QUARTERS_COLS; c++) {
        const uint16_t *parts[PARTS];
        for (int p = 0; p < PARTS; p++) {
            const uint8_t *from = (const uint8_t *)m->data + (size_t)(row + p / 4 * (m->rows / 4)) * row_bytes;
            parts[p] = (const uint16_t *)from + c * QUARTERS_COLS + p % 4 * PART_COLS;
        }
        scales[c] = k->scale16(m->type == BLOCK_BF16, parts);
    }
}
