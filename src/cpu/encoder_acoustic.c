/* The acoustic branch: residual units of dilated convolutions, each stage at a lower rate. Activations are made between
   twofold up- and downsampling, so that the sine's harmonics do not fold back; they are computed a tile of rows at a
   time and written where the convolution that follows wants them. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/encoder_parts.h"

enum { HALF = ENCODER_FILTER_TAPS / 2, TILE_FLOATS = 16384, TILE_LEAST = 8 };

/* Rows for a convolution: row t of the input is row t / dilation of phase t % dilation, so that the taps of a dilated
   convolution lie one after another. Every phase has `pad` rows of zeros around it. */
struct phases {
    float *rows;
    int64_t dilation, pad, phase_rows;  // with the padding
};

struct branch {
    struct cpu_encoder *e;
    float filter[ENCODER_FILTER_TAPS];
    float *x, *y;   // [T, C] what runs through the branch, and what is added to it
    float *padded;  // input of a convolution
    float *tiles;   // [n_threads][tile_floats] upsampled rows of an activation
    int64_t tile_floats;
};

static struct phases phases_of(const struct branch *b, int64_t n, int64_t dilation, int64_t pad) {
    return (struct phases){b->padded, dilation, pad, (n + dilation - 1) / dilation + 2 * pad};
}

static int64_t tile_rows(int64_t width) {
    int64_t n = TILE_FLOATS / width;
    return n < TILE_LEAST ? TILE_LEAST : n;
}

static int64_t upsampled_rows(int64_t n) { return 2 * n + 2 * HALF - 2; }

/* ---- activations ---- */

INLINE int64_t clamp(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* Row m of the upsampled input, activated. */
INLINE void upsampled_row(const float *filter, const struct encoder_snake *act, const float *x, int64_t n,
                          int64_t width, int64_t m, float *restrict out) {
    int odd = (int)(m & 1);
    int64_t newest = m / 2 + HALF / 2 - 1 + odd;  // the first tap's row
    const float *rows[HALF];
    float taps[HALF];
    for (int j = 0; j < HALF; j++) {
        rows[j] = x + clamp(newest - j, n) * width;
        taps[j] = 2 * filter[2 * j + !odd];
    }
    const float *restrict frequency = act->frequency, *restrict amplitude = act->amplitude;
    for (int64_t c = 0; c < width; c++) {
        float u = 0;
        for (int j = 0; j < HALF; j++) u += taps[j] * rows[j][c];
        out[c] = u + sine_squared(u * frequency[c]) * amplitude[c];
    }
}

struct activation {
    const struct branch *b;
    const struct encoder_snake *act;
    const float *x;
    int64_t n, width;
    struct phases to;
};

static WIDE void activation_job(void *argument, int thread, int n_threads) {
    const struct activation *a = argument;
    const float *filter = a->b->filter;
    int64_t begin, end, width = a->width, most = tile_rows(width);
    float *up = a->b->tiles + thread * a->b->tile_floats;
    pool_share(a->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t0 = begin, t1; t0 < end; t0 = t1) {
        t1 = t0 + most < end ? t0 + most : end;
        int64_t first = 2 * t0 - (HALF - 1);
        for (int64_t i = 0; i < upsampled_rows(t1 - t0); i++)
            upsampled_row(filter, a->act, a->x, a->n, width, clamp(first + i, 2 * a->n), up + i * width);
        for (int64_t t = t0; t < t1; t++) {
            const float *rows = up + 2 * (t - t0) * width;
            const struct phases *to = &a->to;
            float *restrict out = to->rows + (t % to->dilation * to->phase_rows + to->pad + t / to->dilation) * width;
            for (int64_t c = 0; c < width; c++) {
                float sum = 0;
                for (int j = 0; j < ENCODER_FILTER_TAPS; j++) sum += filter[j] * rows[j * width + c];
                out[c] = sum;
            }
        }
    }
}

/* Zeros around the n rows of all phases. */
static void clear_padding(const struct phases *p, int64_t n, int64_t width) {
    for (int64_t i = 0; i < p->dilation; i++) {
        int64_t n_rows = (n - i + p->dilation - 1) / p->dilation;
        if (n_rows < 0) n_rows = 0;
        float *rows = p->rows + i * p->phase_rows * width;
        memset(rows, 0, (size_t)(p->pad * width) * sizeof *rows);
        memset(rows + (p->pad + n_rows) * width, 0, (size_t)((p->phase_rows - p->pad - n_rows) * width) * sizeof *rows);
    }
}

/* x[n, width], activated, into the padded rows. */
static struct phases activate(struct branch *b, const struct encoder_snake *act, const float *x, int64_t n,
                              int64_t width, int64_t dilation, int64_t pad) {
    struct activation a = {b, act, x, n, width, phases_of(b, n, dilation, pad)};
    clear_padding(&a.to, n, width);
    pool_run(b->e->pool, activation_job, &a);
    return a.to;
}

/* ---- layers ---- */

static status convolve_phases(struct branch *b, const struct encoder_linear *l, const struct phases *p, int64_t n,
                              int64_t width, float *out) {
    for (int64_t i = 0; i < p->dilation && i < n; i++)
        TRY(encoder_multiply(b->e, l, p->rows + i * p->phase_rows * width, width,
                             (n - i + p->dilation - 1) / p->dilation, out + i * l->w.rows, p->dilation * l->w.rows));
    return UTTER_OK;
}

static status run_unit(struct branch *b, const struct encoder_unit *unit, int64_t n, int64_t width, bool show) {
    struct phases p = activate(b, &unit->act1, b->x, n, width, unit->dilation, unit->conv1.taps / 2);
    if (show) encoder_show(b->e, "acoustic_act", 0, p.rows + p.pad * width, n, width);
    TRY(convolve_phases(b, &unit->conv1, &p, n, width, b->y));
    if (show) encoder_show(b->e, "acoustic_conv", 0, b->y, n, width);
    p = activate(b, &unit->act2, b->y, n, width, 1, 0);
    TRY(convolve_phases(b, &unit->conv2, &p, n, width, b->y));
    encoder_add(b->e, b->x, b->y, 1, n * width);
    return UTTER_OK;
}

/* x [n, width] -> x [n / stride, 2 * width] */
static status run_stage(struct branch *b, int i, int64_t n, int64_t width) {
    const struct encoder_stage *stage = &b->e->encoder->stages[i];
    int stride = b->e->encoder->config.strides[i];
    for (int u = 0; u < ENCODER_UNITS; u++) {
        TRY(run_unit(b, &stage->units[u], n, width, i == 0 && u == 0));
        if (i == 0) encoder_show(b->e, "acoustic_unit", u, b->x, n, width);
    }
    struct phases p = activate(b, &stage->act, b->x, n, width, 1, stride / 2 + stride % 2);
    TRY(encoder_multiply(b->e, &stage->down, p.rows, stride * width, n / stride, b->x, 2 * width));
    encoder_show(b->e, "acoustic_stage", i, b->x, n / stride, 2 * width);
    return UTTER_OK;
}

static status run(struct branch *b, const float *pcm, int64_t n, float *out) {
    const struct codec_encoder *encoder = b->e->encoder;
    int64_t width = encoder->config.n_first, pad = encoder->first.taps / 2;
    struct phases p = phases_of(b, n, 1, pad);
    clear_padding(&p, n, 1);
    memcpy(p.rows + pad, pcm, (size_t)n * sizeof *pcm);
    TRY(encoder_multiply(b->e, &encoder->first, p.rows, 1, n, b->x, width));
    encoder_show(b->e, "acoustic_first", 0, b->x, n, width);
    for (int i = 0; i < encoder->config.n_stages; i++) {
        TRY(run_stage(b, i, n, width));
        n /= encoder->config.strides[i];
        width *= 2;
    }
    p = activate(b, &encoder->final_act, b->x, n, width, 1, encoder->final.taps / 2);
    encoder_show(b->e, "acoustic_final_act", 0, p.rows + p.pad * width, n, width);
    TRY(convolve_phases(b, &encoder->final, &p, n, width, out));
    encoder_show(b->e, "acoustic", 0, out, n, encoder->config.n_acoustic);
    return UTTER_OK;
}

static void grow(int64_t *most, int64_t n) {
    if (n > *most) *most = n;
}

/* The largest rows, padded rows and tile of all stages. */
static void sizes(const struct codec_encoder *e, int64_t n, int64_t *rows, int64_t *padded, int64_t *tile) {
    int64_t width = e->config.n_first;
    *rows = *tile = 0;
    *padded = n + 2 * e->first.taps;
    for (int i = 0; i <= e->config.n_stages; i++, width *= 2) {
        grow(rows, n * width);
        grow(tile, upsampled_rows(tile_rows(width)) * width);
        if (i == e->config.n_stages) {
            grow(padded, (n + e->final.taps) * width);
            break;
        }
        for (int u = 0; u < ENCODER_UNITS; u++) {  // a phase may have a row less than the others
            const struct encoder_unit *unit = &e->stages[i].units[u];
            grow(padded, (n + unit->dilation * (unit->conv1.taps + 1)) * width);
        }
        grow(padded, (n + e->stages[i].down.taps) * width);
        n /= e->config.strides[i];
    }
}

status encoder_acoustic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out) {
    struct branch b = {.e = e};
    int64_t n = n_frames * e->encoder->config.hop, n_rows, n_padded;
    codec_encoder_filter(b.filter);
    sizes(e->encoder, n, &n_rows, &n_padded, &b.tile_floats);
    status s = alloc_for(&b.x, (size_t)n_rows, sizeof *b.x, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.y, (size_t)n_rows, sizeof *b.y, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.padded, (size_t)n_padded, sizeof *b.padded, "encoding a recording");
    if (s == UTTER_OK)
        s = alloc_for(&b.tiles, (size_t)(b.tile_floats * pool_n_threads(e->pool)), sizeof *b.tiles,
                      "encoding a recording");
    if (s == UTTER_OK) s = run(&b, pcm, n, out);
    free_aligned(b.x);
    free_aligned(b.y);
    free_aligned(b.padded);
    free_aligned(b.tiles);
    return s;
}
