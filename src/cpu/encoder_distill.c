/* The acoustic branch of a distilled encoder: five convolutions of the recording and of how loud it is around, units of
   pointwise products at falling rates, and two transformers that look back some seconds. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "codec/encoder_distill.h"
#include "cpu/encoder_parts.h"

enum { TILE = 4096 };  // rows whose wide inner activations exist at a time

struct branch {
    struct cpu_encoder *e;
    const struct encoder_distill *d;
    float *x, *y;  // [T, C] what runs through the branch, and what comes of it
    float *wide;   // [TILE, widest]
    float *row;    // [TILE, widest] too
};

/* ---- the first block ---- */

/* The largest |x| of `size` samples around each, then the mean of those; outside there is nothing, which counts as 0
   in the mean. */
static void pool_trend(const float *x, int64_t n, int size, float *largest, float *out) {
    int half = size / 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t begin = i < half ? 0 : i - half, end = i + half < n ? i + half + 1 : n;
        float most = 0;
        for (int64_t j = begin; j < end; j++) most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
        largest[i] = most;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t begin = i < half ? 0 : i - half, end = i + half < n ? i + half + 1 : n;
        double sum = 0;
        for (int64_t j = begin; j < end; j++) sum += largest[j];
        out[i] = (float)(sum / size);
    }
}

/* Rows begin .. begin + n of all branches side by side. trends: [DISTILL_BRANCHES][n_all] */
static void run_branches(const struct encoder_distill *d, const float *trends, int64_t n_all, int64_t begin, int64_t n,
                         float *out) {
    int channels = d->branch_channels, taps = d->branch_taps;
    for (int i = 0; i < DISTILL_BRANCHES; i++)
        for (int64_t t = 0; t < n; t++) {
            float *row = out + t * DISTILL_BRANCHES * channels + i * channels;
            for (int c = 0; c < channels; c++) {
                float sum = d->branches[i].bias[c];
                for (int k = 0; k < taps; k++) {
                    int64_t at = begin + t + k - taps / 2;
                    if (at >= 0 && at < n_all) sum += d->branches[i].weight[c * taps + k] * trends[i * n_all + at];
                }
                row[c] = sum;
            }
        }
}

static status run_first(struct branch *b, const float *pcm, int64_t n) {
    const struct encoder_distill *d = b->d;
    int64_t mid = d->conv_1.w.rows;
    float *trends, *largest = NULL;
    TRY(alloc_for(&trends, (size_t)(DISTILL_BRANCHES * n), sizeof *trends, "encoding a recording"));
    status s = alloc_for(&largest, (size_t)n, sizeof *largest, "encoding a recording");
    for (int i = 0; i < DISTILL_BRANCHES && s == UTTER_OK; i++) {
        if (distill_pools[i] == 1)
            memcpy(trends + i * n, pcm, (size_t)n * sizeof *pcm);
        else
            pool_trend(pcm, n, distill_pools[i], largest, trends + i * n);
    }
    for (int64_t t = 0; t < n && s == UTTER_OK; t += TILE) {
        int64_t rows = n - t < TILE ? n - t : TILE;
        run_branches(d, trends, n, t, rows, b->row);
        s = encoder_multiply(b->e, &d->conv_1, b->row, DISTILL_BRANCHES * d->branch_channels, rows, b->wide, mid + 1);
        if (s != UTTER_OK) break;
        encoder_gelu(b->e, b->wide, rows * (mid + 1));
        for (int64_t i = 0; i < rows; i++) b->wide[i * (mid + 1) + mid] = pcm[t + i];
        s = encoder_multiply(b->e, &d->conv_2, b->wide, mid + 1, rows, b->x + t * d->stages[0].channels,
                             d->stages[0].channels);
    }
    free_aligned(trends);
    free_aligned(largest);
    if (s == UTTER_OK) encoder_show(b->e, "distill_block", 0, b->x, n, d->stages[0].channels);
    return s;
}

/* ---- units ---- */

struct unit_job {
    const struct branch *b;
    const struct distill_unit *unit;
    int64_t n_all, begin, n, width;
};

static void depthwise_job(void *argument, int thread, int n_threads) {
    const struct unit_job *job = argument;
    int64_t begin, end, width = job->width;
    int taps = job->b->d->depthwise_taps;
    pool_share(job->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *restrict out = job->b->row + t * width;
        memcpy(out, job->unit->depthwise_bias, (size_t)width * sizeof *out);
        for (int k = 0; k < taps; k++) {
            int64_t at = job->begin + t + k - taps / 2;
            if (at < 0 || at >= job->n_all) continue;
            const float *restrict in = job->b->x + at * width, *restrict weight = job->unit->depthwise + k * width;
            for (int64_t i = 0; i < width; i++) out[i] += weight[i] * in[i];
        }
    }
}

static void activate_job(void *argument, int thread, int n_threads) {
    const struct unit_job *job = argument;
    int64_t begin, end, width = job->unit->in.w.rows;
    const float *restrict frequency = job->unit->frequency, *restrict amplitude = job->unit->amplitude;
    const float *restrict gain = job->unit->gain, *restrict shift = job->unit->shift;
    pool_share(job->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *restrict x = job->b->wide + t * width;
        for (int64_t i = 0; i < width; i++)
            x[i] = (x[i] + sine_squared(x[i] * frequency[i]) * amplitude[i]) * gain[i] + shift[i];
    }
}

/* x [n, width] += what the unit makes of it */
static status run_unit(struct branch *b, const struct distill_unit *unit, int64_t n, int64_t width) {
    int64_t wide = unit->in.w.rows;
    for (int64_t t = 0; t < n; t += TILE) {
        struct unit_job job = {b, unit, n, t, n - t < TILE ? n - t : TILE, width};
        pool_run(b->e->pool, depthwise_job, &job);
        TRY(encoder_multiply(b->e, &unit->in, b->row, width, job.n, b->wide, wide));
        pool_run(b->e->pool, activate_job, &job);
        TRY(encoder_multiply(b->e, &unit->out, b->wide, wide, job.n, b->y + t * width, width));
    }
    encoder_add(b->e, b->x, b->y, 1, n * width);
    return UTTER_OK;
}

static void swap(struct branch *b) {
    float *x = b->x;
    b->x = b->y;
    b->y = x;
}

/* Leaves x [*n, n_embd]. */
static status run_stages(struct branch *b, int64_t *n) {
    const struct encoder_distill *d = b->d;
    for (int i = 0; i < DISTILL_STAGES; i++) {
        const struct distill_stage *stage = &d->stages[i];
        int64_t width = stage->channels;
        for (int u = 0; u < stage->n_units; u++) TRY(run_unit(b, &stage->units[u], *n, width));
        encoder_show(b->e, "distill_block", 2 * i + 1, b->x, *n, width);
        const float *in = b->x;
        int64_t stride = stage->down.taps;
        if (i == DISTILL_STAGES - 1) {  // keeps the length: zeros before and behind
            int64_t pad = stage->down.taps / 2 * width;
            memmove(b->x + pad, b->x, (size_t)(*n * width) * sizeof *b->x);
            memset(b->x, 0, (size_t)pad * sizeof *b->x);
            memset(b->x + pad + *n * width, 0, (size_t)pad * sizeof *b->x);
            stride = 1;
        }
        *n /= stride;
        TRY(encoder_multiply(b->e, &stage->down, in, stride * width, *n, b->y, stage->down.w.rows));
        swap(b);
        encoder_show(b->e, "distill_block", 2 * i + 2, b->x, *n, stage->down.w.rows);
    }
    return UTTER_OK;
}

/* ---- transformers ---- */

/* out [2 * window, heads]: how much a frame counts by how far back it is. */
static status distance_bias(struct branch *b, const struct distill_transformer *t, float **out) {
    int64_t n = 2 * t->window, width = t->distance[0].w.rows;
    float *x = NULL, *y = NULL;
    *out = NULL;
    status s = alloc_for(&x, (size_t)(n * width), sizeof *x, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&y, (size_t)(n * width), sizeof *y, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(out, (size_t)(n * b->d->n_heads), sizeof **out, "encoding a recording");
    for (int64_t i = 0; i < n && s == UTTER_OK; i++) y[i] = (float)i;
    if (s == UTTER_OK) s = encoder_multiply(b->e, &t->distance[0], y, 1, n, x, width);
    if (s == UTTER_OK) b->e->kernels->silu(x, NULL, n * width);
    if (s == UTTER_OK) s = encoder_multiply(b->e, &t->distance[1], x, width, n, y, width);
    if (s == UTTER_OK) b->e->kernels->silu(y, NULL, n * width);
    if (s == UTTER_OK) s = encoder_multiply(b->e, &t->distance[2], y, width, n, *out, b->d->n_heads);
    free_aligned(x);
    free_aligned(y);
    return s;
}

struct gate_job {
    float *x;
    int64_t n, width;
};

/* Row t of [n, 2 * width] becomes its first half by how far the second lets it through, in place. */
static void gate_job(void *argument, int thread, int n_threads) {
    const struct gate_job *job = argument;
    int64_t begin, end, width = job->width;
    pool_share(job->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *x = job->x + t * 2 * width;
        for (int64_t i = 0; i < width; i++) {
            float gate = x[width + i];
            x[i] *= gate * 0.5f * (1 + erff(gate * 0.70710678f));
        }
    }
}

static status run_layer(struct branch *b, const struct distill_layer *l, int window, const float *bias, int64_t n,
                        float *wide) {
    const struct encoder_distill *d = b->d;
    int64_t c = d->n_embd, inner = (int64_t)d->n_heads * d->head_dim;
    encoder_layer_norm(b->e, &l->attention_norm, b->x, n, c, b->y);
    TRY(encoder_multiply(b->e, &l->qkv, b->y, c, n, wide, 3 * inner));
    float *heads = wide + 3 * inner * n;
    const struct encoder_attention attention = {.q = wide,
                                                .k = wide + inner,
                                                .v = wide + 2 * inner,
                                                .stride = 3 * inner,
                                                .out = heads,
                                                .n = n,
                                                .n_heads = d->n_heads,
                                                .head_dim = d->head_dim,
                                                .window = window,
                                                .bias = bias};
    TRY(encoder_attend(b->e, &attention));
    TRY(encoder_multiply(b->e, &l->out, heads, inner, n, b->y, c));
    encoder_add(b->e, b->x, b->y, 1, n * c);
    encoder_layer_norm(b->e, &l->ffn_norm, b->x, n, c, b->y);
    TRY(encoder_multiply(b->e, &l->ffn_in, b->y, c, n, wide, 2 * d->n_ffn));
    struct gate_job gate = {wide, n, d->n_ffn};
    pool_run(b->e->pool, gate_job, &gate);
    TRY(encoder_multiply(b->e, &l->ffn_out, wide, 2 * d->n_ffn, n, b->y, c));
    encoder_add(b->e, b->x, b->y, 1, n * c);
    return UTTER_OK;
}

static status run_transformer(struct branch *b, const struct distill_transformer *t, int64_t n) {
    const struct encoder_distill *d = b->d;
    int64_t width = 4 * (int64_t)d->n_heads * d->head_dim;
    if (width < 2 * d->n_ffn) width = 2 * d->n_ffn;
    float *bias, *wide = NULL;
    status s = distance_bias(b, t, &bias);
    if (s == UTTER_OK) s = alloc_for(&wide, (size_t)(n * width), sizeof *wide, "encoding a recording");
    for (int i = 0; i < t->n_layers && s == UTTER_OK; i++) s = run_layer(b, &t->layers[i], t->window, bias, n, wide);
    free_aligned(bias);
    free_aligned(wide);
    return s;
}

/* ---- all of it ---- */

static status run(struct branch *b, const float *pcm, int64_t n, float *out) {
    const struct encoder_distill *d = b->d;
    int64_t c = d->n_embd;
    TRY(run_first(b, pcm, n));
    TRY(run_stages(b, &n));
    TRY(run_transformer(b, &d->fine, n));
    n /= d->down.taps;
    TRY(encoder_multiply(b->e, &d->down, b->x, d->down.taps * c, n, b->y, c));
    swap(b);
    encoder_show(b->e, "distill_down", 0, b->x, n, c);
    TRY(run_transformer(b, &d->coarse, n));
    encoder_show(b->e, "distill_local", 0, b->x, n, c);
    return encoder_multiply(b->e, &d->out, b->x, c, n, out, b->e->encoder->config.n_acoustic);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

status distill_acoustic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out) {
    const struct encoder_distill *d = e->encoder->distill;
    struct branch b = {.e = e, .d = d};
    int64_t n = n_frames * e->encoder->config.hop, rows = 0, t = n;
    int64_t widest = larger(d->conv_1.w.rows + 1, (int64_t)DISTILL_BRANCHES * d->branch_channels);
    for (int i = 0; i < DISTILL_STAGES; i++) {
        const struct distill_stage *stage = &d->stages[i];
        rows = larger(rows, (t + 2 * stage->down.taps) * stage->channels);
        for (int u = 0; u < stage->n_units; u++)
            widest = larger(widest, larger(stage->channels, stage->units[u].in.w.rows));
        if (i < DISTILL_STAGES - 1) t /= stage->down.taps;
    }
    rows = larger(rows, t * d->n_embd);
    status s = alloc_for(&b.x, (size_t)rows, sizeof *b.x, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.y, (size_t)rows, sizeof *b.y, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.wide, (size_t)(TILE * widest), sizeof *b.wide, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.row, (size_t)(TILE * widest), sizeof *b.row, "encoding a recording");
    if (s == UTTER_OK) s = run(&b, pcm, n, out);
    free_aligned(b.x);
    free_aligned(b.y);
    free_aligned(b.wide);
    free_aligned(b.row);
    return s;
}
