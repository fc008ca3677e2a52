/* The semantic branch of a distilled encoder: HuBERT, from the samples themselves. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "codec/encoder_distill.h"
#include "cpu/encoder_parts.h"

/* Samples of silence at both ends, so that the convolutions make a frame of every 320. */
enum { MARGIN = 160 };

struct branch {
    struct cpu_encoder *e;
    const struct encoder_distill *d;
    int64_t n;         // frames
    float *x, *y, *z;  // [n, C]
    float *wide;       // [n, 3 C or ffn]
};

/* ---- convolutions ---- */

static void normalize(float *pcm, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += pcm[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (pcm[i] - mean) * (pcm[i] - mean);
    double scale = 1 / sqrt(squares / (double)n + 1e-7);
    for (int64_t i = 0; i < n; i++) pcm[i] = (float)((pcm[i] - mean) * scale);
}

struct norm_job {
    const struct encoder_norm *norm;
    float *x;
    int64_t n, width;
};

/* Every channel for itself, over time. Two passes over the rows for the channels of this thread. */
static void time_norm_job(void *argument, int thread, int n_threads) {
    enum { MOST = 64 };
    const struct norm_job *job = argument;
    int64_t begin, end, width = job->width;
    pool_share(width, 16, thread, n_threads, &begin, &end);
    for (int64_t c0 = begin; c0 < end; c0 += MOST) {
        double sum[MOST] = {0}, squares[MOST] = {0};
        float scale[MOST], shift[MOST];
        int64_t n = end - c0 < MOST ? end - c0 : MOST;
        for (int64_t t = 0; t < job->n; t++)
            for (int64_t c = 0; c < n; c++) sum[c] += job->x[t * width + c0 + c];
        for (int64_t c = 0; c < n; c++) sum[c] /= (double)job->n;
        for (int64_t t = 0; t < job->n; t++)
            for (int64_t c = 0; c < n; c++) {
                double difference = job->x[t * width + c0 + c] - sum[c];
                squares[c] += difference * difference;
            }
        for (int64_t c = 0; c < n; c++) {
            double s = job->norm->weight[c0 + c] / sqrt(squares[c] / (double)job->n + (double)ENCODER_NORM_EPS);
            scale[c] = (float)s;
            shift[c] = (float)(job->norm->bias[c0 + c] - sum[c] * s);
        }
        for (int64_t t = 0; t < job->n; t++)
            for (int64_t c = 0; c < n; c++) {
                float *x = &job->x[t * width + c0 + c];
                *x = *x * scale[c] + shift[c];
            }
    }
}

/* pcm[n] -> *out, new memory [*n_frames, conv_channels] */
static status convolve(struct cpu_encoder *e, const float *pcm, int64_t n, float **out, int64_t *n_frames) {
    const struct encoder_distill *d = e->encoder->distill;
    int64_t width = d->conv_channels;
    const float *in = pcm;
    float *last = NULL;
    for (int i = 0; i < HUBERT_CONVS; i++) {
        int64_t n_out = (n - d->convs[i].taps) / hubert_strides[i] + 1;
        float *next;
        status s = alloc_for(&next, (size_t)(n_out * width), sizeof *next, "encoding a recording");
        if (s == UTTER_OK)
            s = encoder_multiply(e, &d->convs[i], in, hubert_strides[i] * (i ? width : 1), n_out, next, width);
        free_aligned(last);
        if (s != UTTER_OK) {
            free_aligned(next);
            return s;
        }
        in = last = next;
        n = n_out;
        struct norm_job job = {&d->conv_norm, next, n, width};
        if (i == 0) pool_run(e->pool, time_norm_job, &job);
        encoder_gelu(e, next, n * width);
    }
    *out = last;
    *n_frames = n;
    return UTTER_OK;
}

/* ---- transformer ---- */

/* y = what a frame's neighbourhood says of its place, a product for each group of channels. */
static status position(struct branch *b) {
    const struct encoder_distill *d = b->d;
    int64_t c = b->e->encoder->config.n_embd, group = c / d->n_groups, pad = d->position_taps / 2;
    float *rows;  // of one group, with zeros before and behind
    TRY(alloc_for(&rows, (size_t)((b->n + d->position_taps) * group), sizeof *rows, "encoding a recording"));
    status s = UTTER_OK;
    for (int g = 0; g < d->n_groups && s == UTTER_OK; g++) {
        for (int64_t t = 0; t < b->n; t++)
            memcpy(rows + (pad + t) * group, b->x + t * c + g * group, (size_t)group * sizeof *rows);
        s = encoder_multiply(b->e, &d->position[g], rows, group, b->n, b->y + g * group, c);
    }
    free_aligned(rows);
    for (int64_t t = 0; t < b->n; t++)
        for (int64_t i = 0; i < c; i++) b->y[t * c + i] += d->position_bias[i];
    encoder_gelu(b->e, b->y, b->n * c);
    return s;
}

static status run_layer(struct branch *b, const struct hubert_layer *l) {
    const struct encoder_config *config = &b->e->encoder->config;
    int64_t c = config->n_embd, ffn = b->d->n_ffn_semantic;
    const struct encoder_linear *qkv[] = {&l->q, &l->k, &l->v};
    for (int i = 0; i < 3; i++) TRY(encoder_multiply(b->e, qkv[i], b->x, c, b->n, b->wide + i * c, 3 * c));
    const struct encoder_attention attention = {.q = b->wide,
                                                .k = b->wide + c,
                                                .v = b->wide + 2 * c,
                                                .stride = 3 * c,
                                                .out = b->y,
                                                .n = b->n,
                                                .n_heads = config->n_heads,
                                                .head_dim = config->n_embd / config->n_heads};
    TRY(encoder_attend(b->e, &attention));
    TRY(encoder_multiply(b->e, &l->out, b->y, c, b->n, b->z, c));
    encoder_add(b->e, b->x, b->z, 1, b->n * c);
    encoder_layer_norm(b->e, &l->attention_norm, b->x, b->n, c, b->x);
    TRY(encoder_multiply(b->e, &l->ffn_in, b->x, c, b->n, b->wide, ffn));
    encoder_gelu(b->e, b->wide, b->n * ffn);
    TRY(encoder_multiply(b->e, &l->ffn_out, b->wide, ffn, b->n, b->z, c));
    encoder_add(b->e, b->x, b->z, 1, b->n * c);
    encoder_layer_norm(b->e, &l->final_norm, b->x, b->n, c, b->x);
    return UTTER_OK;
}

static status run(struct branch *b, float *convolved, float *out) {
    const struct encoder_distill *d = b->d;
    int64_t c = b->e->encoder->config.n_embd;
    if (d->projection_norm.weight)
        encoder_layer_norm(b->e, &d->projection_norm, convolved, b->n, d->conv_channels, convolved);
    TRY(encoder_multiply(b->e, &d->projection, convolved, d->conv_channels, b->n, b->x, c));
    TRY(position(b));
    encoder_add(b->e, b->x, b->y, 1, b->n * c);
    encoder_layer_norm(b->e, &d->position_norm, b->x, b->n, c, b->x);
    for (int i = 0; i < b->e->encoder->config.n_layers; i++) TRY(run_layer(b, &d->layers[i]));
    encoder_show(b->e, "hubert", 0, b->x, b->n, c);
    return encoder_semantic_end(b->e, b->x, b->n, out);
}

status distill_semantic(struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out) {
    const struct encoder_distill *d = e->encoder->distill;
    int64_t n = n_frames * e->encoder->config.hop, c = e->encoder->config.n_embd;
    int64_t wide = 3 * c > d->n_ffn_semantic ? 3 * c : d->n_ffn_semantic;
    struct branch b = {.e = e, .d = d};
    float *padded, *convolved = NULL;
    TRY(alloc_for(&padded, (size_t)(n + 2 * MARGIN), sizeof *padded, "the recording"));
    memcpy(padded + MARGIN, pcm, (size_t)n * sizeof *pcm);
    if (d->normalize) normalize(padded, n + 2 * MARGIN);
    status s = convolve(e, padded, n + 2 * MARGIN, &convolved, &b.n);
    free_aligned(padded);
    if (s == UTTER_OK && b.n != n_frames)
        s = fail(UTTER_INTERNAL, "%lld frames of HuBERT for %lld of the recording", (long long)b.n,
                 (long long)n_frames);
    if (s == UTTER_OK) encoder_show(e, "hubert_conv", 0, convolved, b.n, d->conv_channels);
    if (s == UTTER_OK) s = alloc_for(&b.x, (size_t)(b.n * c), sizeof *b.x, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.y, (size_t)(b.n * c), sizeof *b.y, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.z, (size_t)(b.n * c), sizeof *b.z, "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.wide, (size_t)(b.n * wide), sizeof *b.wide, "encoding a recording");
    if (s == UTTER_OK) s = run(&b, convolved, out);
    free_aligned(convolved);
    free_aligned(b.x);
    free_aligned(b.y);
    free_aligned(b.z);
    free_aligned(b.wide);
    return s;
}
