/* The semantic branch: the lower layers of w2v-bert-2.0, a conformer whose attention knows how far apart two frames
   are, and the convolutions that NeuCodec puts behind them. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "codec/encoder_parts.h"
#include "cpu/encoder_parts.h"

struct branch {
    struct cpu_encoder *e;
    int64_t n;       // frames
    float *x;        // [n, C] what runs through the layers
    float *y, *z;    // [n, C or n_mid]
    float *wide;     // [n, widest]
    float *padded;   // [n + padding, C or n_mid] input of a convolution: zeros around it
    float *threads;  // [n_threads][thread_floats] keys and scores, of all and of the distances
    int64_t thread_floats;
};

struct job {
    const struct branch *b;
    const float *in;
    float *out;
    int64_t width;
    const struct encoder_layer *layer;
};

/* ---- work on rows, shared among the threads ---- */

/* out may be in */
static void layer_norm(const struct branch *b, const struct encoder_norm *norm, const float *in, int64_t width,
                       float *out) {
    encoder_layer_norm(b->e, norm, in, b->n, width, out);
}

static void silu_job(void *argument, int thread, int n_threads) {
    const struct job *job = argument;
    int64_t begin, end;
    pool_share(job->b->n * job->width, 16, thread, n_threads, &begin, &end);
    job->b->e->kernels->silu(job->out + begin, NULL, end - begin);
}

static void silu(const struct branch *b, float *x, int64_t width) {
    struct job job = {.b = b, .out = x, .width = width};
    pool_run(b->e->pool, silu_job, &job);
}

static void relu(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = x[i] < 0 ? 0 : x[i];
}

/* in [n, 2 * width] -> out [n, width]: the first half, as far as the second one lets it through. */
static void gate_job(void *argument, int thread, int n_threads) {
    const struct job *job = argument;
    int64_t begin, end, width = job->width;
    pool_share(job->b->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *in = job->in + t * 2 * width;
        float *out = job->out + t * width;
        for (int64_t i = 0; i < width; i++) out[i] = in[i] / (1 + expf(-in[width + i]));
    }
}

/* in: rows that have `taps - 1` rows of zeros before them; a frame sees itself and those before it. */
static WIDE void depthwise_job(void *argument, int thread, int n_threads) {
    const struct job *job = argument;
    int64_t begin, end, width = job->width;
    int taps = job->b->e->encoder->config.depthwise_taps;
    pool_share(job->b->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *restrict out = job->out + t * width;
        memset(out, 0, (size_t)width * sizeof *out);
        for (int k = 0; k < taps; k++) {
            const float *restrict in = job->in + (t - (taps - 1) + k) * width;
            const float *restrict weight = job->layer->depthwise + k * width;
            for (int64_t i = 0; i < width; i++) out[i] += weight[i] * in[i];
        }
    }
}

/* ---- attention ---- */

static int head_dim(const struct branch *b) { return b->e->encoder->config.n_embd / b->e->encoder->config.n_heads; }

static int n_distances(const struct branch *b) { return b->e->encoder->config.left + 1 + b->e->encoder->config.right; }

/* Keys of a head, transposed so that a query meets many keys at once: [dim, n] */
static void gather_keys(const struct branch *b, const float *keys, float *out) {
    int64_t stride = 3 * (int64_t)b->e->encoder->config.n_embd;
    for (int64_t t = 0; t < b->n; t++)
        for (int d = 0; d < head_dim(b); d++) out[d * b->n + t] = keys[t * stride + d];
}

/* The embeddings of distances, transposed for the same reason: [dim, n_distances] */
static void gather_distances(const struct branch *b, const float *distances, float *out) {
    const int n = n_distances(b);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < head_dim(b); d++) out[d * n + i] = distances[i * head_dim(b) + d];
}

/* scores[n]: the query's product with every key and with the embedding of its distance. */
INLINE void score(const struct branch *b, const float *query, const float *keys, const float *distances, int64_t at,
                  float *restrict near, float *restrict scores) {
    const struct encoder_config *config = &b->e->encoder->config;
    int dim = head_dim(b), d = 0;
    int64_t n = b->n;
    memset(scores, 0, (size_t)n * sizeof *scores);
    for (; d + 4 <= dim; d += 4) {
        const float *restrict k = keys + d * n;
        float q0 = query[d], q1 = query[d + 1], q2 = query[d + 2], q3 = query[d + 3];
        for (int64_t t = 0; t < n; t++)
            scores[t] += (q0 * k[t] + q1 * k[n + t]) + (q2 * k[2 * n + t] + q3 * k[3 * n + t]);
    }
    for (; d < dim; d++)
        for (int64_t t = 0; t < n; t++) scores[t] += query[d] * keys[d * n + t];
    const int n_near = n_distances(b);
    memset(near, 0, (size_t)n_near * sizeof *near);
    for (d = 0; d < dim; d++)
        for (int i = 0; i < n_near; i++) near[i] += query[d] * distances[d * n_near + i];
    float scale = (float)(1 / sqrt((double)dim));
    for (int64_t t = 0; t < n; t++) {
        int64_t distance = t - at;
        if (distance < -config->left) distance = -config->left;
        if (distance > config->right) distance = config->right;
        scores[t] = (scores[t] + near[distance + config->left]) * scale;
    }
}

/* in: queries, keys and values [n, 3 * C]. The work is heads times queries; a share may begin inside a head. */
static WIDE void attention_job(void *argument, int thread, int n_threads) {
    const struct job *job = argument;
    const struct branch *b = job->b;
    int64_t n = b->n, width = job->width, stride = 3 * width, begin, end, gathered = -1;
    int dim = head_dim(b);
    float *keys = b->threads + thread * b->thread_floats, *scores = keys + n * dim, *near = scores + n;
    float *distances = near + n_distances(b);
    gather_distances(b, job->layer->distances, distances);
    pool_share(n * b->e->encoder->config.n_heads, 1, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i / n, at = i % n;
        const float *start = job->in + head * dim;
        if (head != gathered) gather_keys(b, start + width, keys);
        gathered = head;
        score(b, start + at * stride, keys, distances, at, near, scores);
        encoder_soft_max(scores, n);
        float *restrict out = job->out + at * width + head * dim;
        memset(out, 0, (size_t)dim * sizeof *out);
        for (int64_t t = 0; t < n; t++) {
            const float *restrict value = start + 2 * width + t * stride;
            for (int d = 0; d < dim; d++) out[d] += scores[t] * value[d];
        }
    }
}

/* ---- layers ---- */

static status run_ffn(struct branch *b, const struct encoder_norm *norm, const struct encoder_linear *in,
                      const struct encoder_linear *out, const char *stage, int layer) {
    int64_t width = b->e->encoder->config.n_embd, ffn = b->e->encoder->config.n_ffn;
    layer_norm(b, norm, b->x, width, b->y);
    TRY(encoder_multiply(b->e, in, b->y, width, b->n, b->wide, ffn));
    silu(b, b->wide, ffn);
    TRY(encoder_multiply(b->e, out, b->wide, ffn, b->n, b->z, width));
    encoder_show(b->e, stage, layer, b->z, b->n, width);
    encoder_add(b->e, b->x, b->z, 0.5f, b->n * width);
    return UTTER_OK;
}

static status run_attention(struct branch *b, const struct encoder_layer *l, int layer) {
    int64_t width = b->e->encoder->config.n_embd;
    const struct encoder_linear *qkv[] = {&l->q, &l->k, &l->v};
    layer_norm(b, &l->attention_norm, b->x, width, b->y);
    for (int i = 0; i < 3; i++) TRY(encoder_multiply(b->e, qkv[i], b->y, width, b->n, b->wide + i * width, 3 * width));
    struct job job = {.b = b, .in = b->wide, .out = b->y, .width = width, .layer = l};
    pool_run(b->e->pool, attention_job, &job);
    TRY(encoder_multiply(b->e, &l->out, b->y, width, b->n, b->z, width));
    encoder_show(b->e, "attention", layer, b->z, b->n, width);
    encoder_add(b->e, b->x, b->z, 1, b->n * width);
    return UTTER_OK;
}

static status run_convolution(struct branch *b, const struct encoder_layer *l, int layer) {
    int64_t width = b->e->encoder->config.n_embd;
    int taps = b->e->encoder->config.depthwise_taps;
    float *inner = b->padded + (taps - 1) * width;
    layer_norm(b, &l->conv_norm, b->x, width, b->y);
    TRY(encoder_multiply(b->e, &l->pointwise1, b->y, width, b->n, b->wide, 2 * width));
    memset(b->padded, 0, (size_t)((taps - 1) * width) * sizeof *b->padded);
    struct job gate = {.b = b, .in = b->wide, .out = inner, .width = width};
    pool_run(b->e->pool, gate_job, &gate);
    struct job depthwise = {.b = b, .in = inner, .out = b->y, .width = width, .layer = l};
    pool_run(b->e->pool, depthwise_job, &depthwise);
    layer_norm(b, &l->depthwise_norm, b->y, width, b->y);
    silu(b, b->y, width);
    TRY(encoder_multiply(b->e, &l->pointwise2, b->y, width, b->n, b->z, width));
    encoder_show(b->e, "convolution", layer, b->z, b->n, width);
    encoder_add(b->e, b->x, b->z, 1, b->n * width);
    return UTTER_OK;
}

static status run_layer(struct branch *b, int i) {
    const struct encoder_layer *l = &b->e->encoder->layers[i];
    TRY(run_ffn(b, &l->ffn1_norm, &l->ffn1_in, &l->ffn1_out, "ffn1", i));
    TRY(run_attention(b, l, i));
    TRY(run_convolution(b, l, i));
    TRY(run_ffn(b, &l->ffn2_norm, &l->ffn2_in, &l->ffn2_out, "ffn2", i));
    layer_norm(b, &l->final_norm, b->x, b->e->encoder->config.n_embd, b->x);
    encoder_show(b->e, "layer", i, b->x, b->n, b->e->encoder->config.n_embd);
    return encoder_in_time(b->e);
}

/* x [n, width] -> y, with zeros beyond both ends. */
static status convolve(struct branch *b, const struct encoder_linear *l, const float *x, int64_t width, float *y) {
    int64_t pad = l->taps / 2 * width, n = b->n * width;
    memset(b->padded, 0, (size_t)pad * sizeof *x);
    memcpy(b->padded + pad, x, (size_t)n * sizeof *x);
    memset(b->padded + pad + n, 0, (size_t)pad * sizeof *x);
    return encoder_multiply(b->e, l, b->padded, width, b->n, y, l->w.rows);
}

static status run_end(struct branch *b, float *out) {
    const struct codec_encoder *encoder = b->e->encoder;
    int64_t mid = encoder->config.n_mid, n_mid = b->n * mid;
    TRY(convolve(b, &encoder->initial_conv, b->x, encoder->config.n_embd, b->y));
    encoder_show(b->e, "initial_conv", 0, b->y, b->n, mid);
    relu(b->y, n_mid);  // the official one works in place: what is added below has gone through it too
    TRY(convolve(b, &encoder->residual1, b->y, mid, b->z));
    relu(b->z, n_mid);
    TRY(convolve(b, &encoder->residual3, b->z, mid, b->z));
    encoder_add(b->e, b->y, b->z, 1, n_mid);
    TRY(convolve(b, &encoder->final_conv, b->y, mid, out));
    encoder_show(b->e, "semantic", 0, out, b->n, encoder->config.n_semantic);
    return UTTER_OK;
}

static status run(struct branch *b, const float *features, float *out) {
    const struct codec_encoder *encoder = b->e->encoder;
    layer_norm(b, &encoder->features_norm, features, ENCODER_FEATURES, b->wide);
    TRY(encoder_multiply(b->e, &encoder->features, b->wide, ENCODER_FEATURES, b->n, b->x, encoder->config.n_embd));
    encoder_show(b->e, "feature_projection", 0, b->x, b->n, encoder->config.n_embd);
    for (int i = 0; i < encoder->config.n_layers; i++) TRY(run_layer(b, i));
    return run_end(b, out);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

status encoder_semantic(struct cpu_encoder *e, const float *features, int64_t n, float *out) {
    const struct encoder_config *config = &e->encoder->config;
    struct branch b = {.e = e, .n = n};
    int64_t width = larger(config->n_embd, config->n_mid), padding = config->depthwise_taps;
    for (int i = 0; i < 4; i++) {
        const struct encoder_linear *convs[] = {&e->encoder->initial_conv, &e->encoder->residual1,
                                                &e->encoder->residual3, &e->encoder->final_conv};
        padding = larger(padding, convs[i]->taps);
    }
    int64_t widest = larger(larger(3 * (int64_t)config->n_embd, config->n_ffn), ENCODER_FEATURES);
    b.thread_floats = round_up((n + n_distances(&b)) * (head_dim(&b) + 1), 16);
    struct {
        float **array;
        int64_t count;
    } arrays[] = {
        {&b.x, n * config->n_embd},
        {&b.y, n * width},
        {&b.z, n * width},
        {&b.wide, n * widest},
        {&b.padded, (n + padding) * width},
        {&b.threads, b.thread_floats * pool_n_threads(e->pool)},
    };
    status s = UTTER_OK;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && s == UTTER_OK; i++)
        s = alloc_for(arrays[i].array, (size_t)arrays[i].count, sizeof(float), "encoding a recording");
    if (s == UTTER_OK) s = run(&b, features, out);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free_aligned(*arrays[i].array);
    return s;
}

status encoder_semantic_end(struct cpu_encoder *e, float *x, int64_t n, float *out) {
    int64_t width = larger(e->encoder->config.n_embd, e->encoder->config.n_mid);
    struct branch b = {.e = e, .n = n, .x = x};
    status s = alloc_for(&b.y, (size_t)(n * width), sizeof(float), "encoding a recording");
    if (s == UTTER_OK) s = alloc_for(&b.z, (size_t)(n * width), sizeof(float), "encoding a recording");
    if (s == UTTER_OK)
        s = alloc_for(&b.padded, (size_t)((n + ENCODER_MAX_TAPS) * width), sizeof(float), "encoding a recording");
    if (s == UTTER_OK) s = run_end(&b, out);
    free_aligned(b.y);
    free_aligned(b.z);
    free_aligned(b.padded);
    return s;
}
