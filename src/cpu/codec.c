#include "cpu/codec.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cpu/codec_istft.h"
#include "cpu/layer_norm.h"

struct resnet {
    struct packed conv1, conv2;  // [C, k*C]
};

struct block {
    struct packed c_attn, c_proj, fc1, fc2;
};

/* Arrays for up to n_room frames; they are replaced by larger ones when more come. C: channels. */
struct room {
    int64_t n_room;
    float *x;        // [n, C] what runs through the network
    float *padded;   // [n_padding + n + n_padding, C] input of a convolution: zeros around it
    float *inner;    // [n, C] the rows of `padded` between the zeros
    float *y;        // [n, C], and the values of codes before the network begins
    float *wide;     // [n, widest] queries, keys and values; the feed-forward's middle; the head
    float *threads;  // [n_threads][thread_size] keys, values and scores of attention
};

struct cpu_codec {
    const struct codec *codec;
    const struct kernels *kernels;
    struct pool *pool;
    int n_threads;
    struct matmul_scratch *scratch;

    struct pages weights;  // packed
    struct packed project_out, fc_post_a, embed, head;
    struct resnet resnets[CODEC_RESNETS];
    struct block *blocks;  // [n_blocks]
    struct istft *istft;

    int64_t n_padding;  // rows
    int64_t widest;
    double *sums;  // [2 * C] of GroupNorm
    struct room room;
    atomic_size_t room_bytes;  // asked for while a call is under way

    cpu_codec_observer *observer;
    void *user;
};

static status pack_weights(struct cpu_codec *c);
static status make_room(struct cpu_codec *c, int64_t n);
static void room_free(struct room *r);
static status embed(struct cpu_codec *c, const int32_t *codes, int64_t n);
static status run_resnet(struct cpu_codec *c, int i, int64_t n);
static status run_block(struct cpu_codec *c, int i, int64_t n);
static status run_head(struct cpu_codec *c, int64_t n, float *pcm);
static void show(struct cpu_codec *c, const char *stage, int index, const float *rows, int64_t n_rows, int64_t n_cols);

status cpu_codec_new(const struct codec *codec, const struct kernels *kernels, struct pool *pool,
                     struct cpu_codec **out) {
    *out = NULL;
    struct cpu_codec *c = calloc(1, sizeof *c);
    if (!c) return fail_memory(sizeof *c, "the codec");
    const struct codec_config *config = &codec->config;
    c->codec = codec;
    c->kernels = kernels;
    c->pool = pool;
    c->n_threads = pool_n_threads(pool);
    int taps = config->embed_kernel > config->resnet_kernel ? config->embed_kernel : config->resnet_kernel;
    c->n_padding = taps / 2;
    const int64_t widths[] = {3 * (int64_t)config->n_embd, config->n_ffn, config->vq_dim, config->n_fft + 2};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > c->widest) c->widest = widths[i];

    status s = pack_weights(c);
    if (s == UTTER_OK) s = alloc_for(&c->sums, 2 * (size_t)config->n_embd, sizeof *c->sums, "the codec's sums");
    if (s == UTTER_OK) s = matmul_scratch_new(&c->scratch);
    if (s == UTTER_OK) s = istft_new(config, c->n_threads, &c->istft);
    if (s != UTTER_OK) {
        cpu_codec_free(c);
        return s;
    }
    *out = c;
    return UTTER_OK;
}

void cpu_codec_free(struct cpu_codec *c) {
    if (!c) return;
    pages_free(&c->weights);
    free(c->blocks);
    free_aligned(c->sums);
    matmul_scratch_free(c->scratch);
    istft_free(c->istft);
    room_free(&c->room);
    free(c);
}

static status in_time(int64_t deadline, int n) {
    if (deadline == NO_DEADLINE || clock_ns() <= deadline) return UTTER_OK;
    return fail(UTTER_DEADLINE, "the codec could not decode %d codes in the time allowed", n);
}

status cpu_codec_decode(struct cpu_codec *c, const int32_t *codes, int n, float *pcm, int64_t deadline) {
    if (n < 1) return fail(UTTER_INVALID, "there are no codes to decode");
    if (n > CPU_CODEC_MAX_FRAMES)
        return fail(UTTER_LIMIT, "%d codes are more than the %d that can be decoded at once", n, CPU_CODEC_MAX_FRAMES);
    TRY(in_time(deadline, n));
    TRY(make_room(c, n));
    TRY(embed(c, codes, n));
    for (int i = 0; i < 2; i++) {
        TRY(in_time(deadline, n));
        TRY(run_resnet(c, i, n));
    }
    for (int i = 0; i < c->codec->config.n_blocks; i++) {
        TRY(in_time(deadline, n));
        TRY(run_block(c, i, n));
    }
    for (int i = 2; i < CODEC_RESNETS; i++) {
        TRY(in_time(deadline, n));
        TRY(run_resnet(c, i, n));
    }
    TRY(in_time(deadline, n));
    return run_head(c, n, pcm);
}

size_t cpu_codec_bytes(const struct cpu_codec *c) {
    return sizeof *c + atomic_load(&c->room_bytes) + istft_bytes(c->istft) + c->weights.n_bytes;
}

void cpu_codec_observe(struct cpu_codec *c, cpu_codec_observer *observer, void *user) {
    c->observer = observer;
    c->user = user;
}

static void show(struct cpu_codec *c, const char *stage, int index, const float *rows, int64_t n_rows, int64_t n_cols) {
    if (c->observer) c->observer(c->user, stage, index, rows, n_rows, n_cols);
}

/* ---- memory ---- */

static void add(struct to_pack **end, const struct matrix *m, struct packed *out) {
    *(*end)++ = (struct to_pack){.m = m, .out = out, .quarters = true};
}

/* All matrices in the order of a decode. */
static void list_matrices(struct cpu_codec *c, struct to_pack *end) {
    const struct codec *codec = c->codec;
    add(&end, &codec->project_out, &c->project_out);
    add(&end, &codec->fc_post_a, &c->fc_post_a);
    add(&end, &codec->embed, &c->embed);
    for (int i = 0; i < CODEC_RESNETS; i++) {
        add(&end, &codec->resnets[i].conv1, &c->resnets[i].conv1);
        add(&end, &codec->resnets[i].conv2, &c->resnets[i].conv2);
    }
    for (int i = 0; i < codec->config.n_blocks; i++) {
        add(&end, &codec->blocks[i].c_attn, &c->blocks[i].c_attn);
        add(&end, &codec->blocks[i].c_proj, &c->blocks[i].c_proj);
        add(&end, &codec->blocks[i].fc1, &c->blocks[i].fc1);
        add(&end, &codec->blocks[i].fc2, &c->blocks[i].fc2);
    }
    add(&end, &codec->head, &c->head);
}

static status pack_weights(struct cpu_codec *c) {
    const size_t n_blocks = (size_t)c->codec->config.n_blocks, n = 4 + 2 * CODEC_RESNETS + 4 * n_blocks;
    c->blocks = calloc(n_blocks, sizeof *c->blocks);
    if (!c->blocks) return fail_memory(n_blocks * sizeof *c->blocks, "the codec's blocks");
    struct to_pack *list;
    TRY(alloc_for(&list, n, sizeof *list, "the codec's matrices"));
    list_matrices(c, list);
    status s = pack_all(c->kernels, c->pool, list, (int)n, "the weights of the codec", &c->weights);
    free_aligned(list);
    return s;
}

static int head_dim(const struct cpu_codec *c) { return c->codec->config.n_embd / c->codec->config.n_heads; }

/* A thread's keys, values and scores, in floats. */
static int64_t n_keys(const struct cpu_codec *c, int64_t n) { return round_up(n, c->kernels->lanes) * head_dim(c); }
static int64_t n_values(const struct cpu_codec *c, int64_t n) { return n * round_up(head_dim(c), c->kernels->lanes); }
static int64_t thread_size(const struct cpu_codec *c, int64_t n) {
    return n_keys(c, n) + n_values(c, n) + attention_room(c->kernels->lanes, (int)n);
}

/* Everything for n frames; also sets the zeros that follow the inner rows. */
static status make_room(struct cpu_codec *c, int64_t n) {
    struct room *r = &c->room;
    int64_t width = c->codec->config.n_embd, n_fsq = c->codec->config.n_fsq;
    if (n > r->n_room) {
        size_t n_bytes = 0;
        room_free(r);
        atomic_store(&c->room_bytes, 0);
        struct {
            float **array;
            uint64_t count;
        } arrays[] = {
            {&r->x, (uint64_t)(n * width)},
            {&r->padded, (uint64_t)((n + 2 * c->n_padding) * width)},
            {&r->y, (uint64_t)(n * (width > n_fsq ? width : n_fsq))},
            {&r->wide, (uint64_t)(n * c->widest)},
            {&r->threads, (uint64_t)(c->n_threads * thread_size(c, n))},
        };
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
            status s = alloc_for(arrays[i].array, arrays[i].count, sizeof(float), "decoding codes");
            if (s != UTTER_OK) {
                room_free(r);
                return s;
            }
            n_bytes += arrays[i].count * sizeof(float);
        }
        r->inner = r->padded + c->n_padding * width;
        r->n_room = n;
        atomic_store(&c->room_bytes, n_bytes);
    }
    memset(r->inner + n * width, 0, (size_t)(c->n_padding * width) * sizeof(float));
    return UTTER_OK;
}

static void room_free(struct room *r) {
    free_aligned(r->x);
    free_aligned(r->padded);
    free_aligned(r->y);
    free_aligned(r->wide);
    free_aligned(r->threads);
    *r = (struct room){0};
}

/* ---- work on rows, shared among the threads ---- */

/* Bounds of a share, in floats: whole cache lines. */
enum { GRAIN = 16 };

struct row_job {
    struct cpu_codec *c;
    const float *in;
    float *out;
    int64_t n, width;
    const float *weight, *bias;
};

static void add_job(void *argument, int thread, int n_threads) {
    struct row_job *job = argument;
    int64_t begin, end;
    pool_share(job->n * job->width, GRAIN, thread, n_threads, &begin, &end);
    job->c->kernels->add(job->out + begin, job->in + begin, end - begin);
}

/* out += in */
static void add_rows(struct cpu_codec *c, const float *in, float *out, int64_t n, int64_t width) {
    struct row_job job = {.c = c, .in = in, .out = out, .n = n, .width = width};
    pool_run(c->pool, add_job, &job);
}

static void silu_job(void *argument, int thread, int n_threads) {
    struct row_job *job = argument;
    int64_t begin, end;
    pool_share(job->n * job->width, GRAIN, thread, n_threads, &begin, &end);
    job->c->kernels->silu(job->out + begin, NULL, end - begin);
}

static void silu_rows(struct cpu_codec *c, float *x, int64_t n, int64_t width) {
    struct row_job job = {.c = c, .out = x, .n = n, .width = width};
    pool_run(c->pool, silu_job, &job);
}

static void rms_norm_job(void *argument, int thread, int n_threads) {
    struct row_job *job = argument;
    int64_t begin, end;
    pool_share(job->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        job->c->kernels->rms_norm(job->in + t * job->width, job->weight, CODEC_NORM_EPS, job->width,
                                  job->out + t * job->width);
}

static void rms_norm_rows(struct cpu_codec *c, const float *in, const float *weight, float *out, int64_t n,
                          int64_t width) {
    struct row_job job = {.c = c, .in = in, .out = out, .n = n, .width = width, .weight = weight};
    pool_run(c->pool, rms_norm_job, &job);
}

/* GroupNorm, then SiLU. A thread has whole groups of channels, over all rows. The sums run over thousands of values, so
   they are kept in double, a pair for each channel. */
static void group_norm_job(void *argument, int thread, int n_threads) {
    struct row_job *job = argument;
    const struct codec_config *config = &job->c->codec->config;
    int64_t begin, end, group = config->n_embd / config->n_groups, width = job->width;
    pool_share(width, group, thread, n_threads, &begin, &end);
    int64_t n_channels = end - begin;
    double *restrict sums = job->c->sums + 2 * begin, *restrict squares = sums + n_channels;
    memset(sums, 0, (size_t)(2 * n_channels) * sizeof *sums);
    for (int64_t t = 0; t < job->n; t++) {
        const float *in = job->in + t * width + begin;
        for (int64_t i = 0; i < n_channels; i++) {
            double v = in[i];
            sums[i] += v;
            squares[i] += v * v;
        }
    }
    double count = (double)job->n * (double)group;
    for (int64_t g = 0; g < n_channels; g += group) {
        double sum = 0, sum_squares = 0;
        for (int64_t i = g; i < g + group; i++) {
            sum += sums[i];
            sum_squares += squares[i];
        }
        double mean = sum / count, variance = sum_squares / count - mean * mean;
        double scale = 1 / sqrt((variance > 0 ? variance : 0) + (double)CODEC_NORM_EPS);
        for (int64_t i = g; i < g + group; i++) {  // the sums make room for each channel's factor and offset
            sums[i] = scale * job->weight[begin + i];
            squares[i] = job->bias[begin + i] - mean * sums[i];
        }
    }
    for (int64_t t = 0; t < job->n; t++) {
        const float *in = job->in + t * width + begin;
        float *restrict out = job->out + t * width + begin;
        for (int64_t i = 0; i < n_channels; i++) out[i] = in[i] * (float)sums[i] + (float)squares[i];
        job->c->kernels->silu(out, NULL, n_channels);
    }
}

static void group_norm_silu_rows(struct cpu_codec *c, const float *in, const float *weight, const float *bias,
                                 float *out, int64_t n, int64_t width) {
    struct row_job job = {.c = c, .in = in, .out = out, .n = n, .width = width, .weight = weight, .bias = bias};
    pool_run(c->pool, group_norm_job, &job);
}

/* ---- attention ---- */

/* Lays a head's keys and values out as the kernels want them: qkv is [n, 3 * width]. */
static void gather_head(const struct cpu_codec *c, const float *qkv, int64_t n, int head, float *keys, float *values) {
    int lanes = c->kernels->lanes, dim = head_dim(c);
    int64_t width = c->codec->config.n_embd, row = round_up(dim, lanes);
    const float *k = qkv + width + (int64_t)head * dim, *v = k + width;
    for (int64_t t = 0; t < n; t++, k += 3 * width, v += 3 * width) {
        for (int d = 0; d < dim; d++) keys[key_index(lanes, dim, t, d)] = k[d];
        memcpy(values + t * row, v, (size_t)dim * sizeof *values);
        for (int64_t d = dim; d < row; d++) values[t * row + d] = 0;
    }
    for (int64_t t = n; t < round_up(n, lanes); t++)
        for (int d = 0; d < dim; d++) keys[key_index(lanes, dim, t, d)] = 0;
}

/* The work is heads times queries; a thread's share may begin and end inside a head. */
static void attention_job(void *argument, int thread, int n_threads) {
    struct row_job *job = argument;
    struct cpu_codec *c = job->c;
    const struct kernels *kernels = c->kernels;
    int64_t n = job->n, width = job->width, dim = head_dim(c);
    float *keys = c->room.threads + thread * thread_size(c, c->room.n_room);
    float *values = keys + n_keys(c, n), *scores = values + n_values(c, n);
    int64_t begin, end;
    pool_share(n * c->codec->config.n_heads, TILE_MAX, thread, n_threads, &begin, &end);
    while (begin < end) {
        int64_t head = begin / n, query = begin % n;
        int64_t n_queries = n - query < end - begin ? n - query : end - begin;
        gather_head(c, job->in, n, (int)head, keys, values);
        struct attention a = {
            .head_dim = (int)dim,
            .n_keys = (int)n,
            .half = false,
            .keys = keys,
            .values = values,
            .scale = (float)(1 / sqrt((double)dim)),
            .n_queries = (int)n_queries,
            .queries = job->in + query * 3 * width + head * dim,
            .q_stride = 3 * width,
            .out = job->out + query * width + head * dim,
            .out_stride = width,
            .scores = scores,
        };
        kernels->attend(&a);
        begin += n_queries;
    }
}

static void attention_rows(struct cpu_codec *c, const float *qkv, float *out, int64_t n, int64_t width) {
    struct row_job job = {.c = c, .in = qkv, .out = out, .n = n, .width = width};
    pool_run(c->pool, attention_job, &job);
}

/* ---- layers ---- */

static status linear(struct cpu_codec *c, const struct packed *w, const float *x, int64_t x_stride, int64_t n,
                     const float *bias, float *y) {
    return matmul(c->kernels, c->pool, c->scratch, w, x, x_stride, n, bias, y, w->rows);
}

/* A convolution over the inner rows: every output row is a product with `taps` rows one after another. */
static status convolve(struct cpu_codec *c, const struct packed *w, int taps, int64_t n, const float *bias, float *y) {
    int64_t width = c->codec->config.n_embd;
    return linear(c, w, c->room.inner - taps / 2 * width, width, n, bias, y);
}

static status embed(struct cpu_codec *c, const int32_t *codes, int64_t n) {
    const struct codec *codec = c->codec;
    const struct codec_config *config = &codec->config;
    struct room *r = &c->room;
    float *values = r->y;  // [n, n_fsq]
    for (int64_t t = 0; t < n; t++) TRY(codec_fsq_values(config, codes[t], values + t * config->n_fsq));
    show(c, "fsq_values", 0, values, n, config->n_fsq);
    TRY(linear(c, &c->project_out, values, config->n_fsq, n, codec->project_out_bias, r->wide));
    show(c, "fsq_project_out", 0, r->wide, n, config->vq_dim);
    TRY(linear(c, &c->fc_post_a, r->wide, config->vq_dim, n, codec->fc_post_a_bias, r->inner));
    show(c, "fc_post_a", 0, r->inner, n, config->n_embd);
    TRY(convolve(c, &c->embed, config->embed_kernel, n, codec->embed_bias, r->x));
    show(c, "embed", 0, r->x, n, config->n_embd);
    return UTTER_OK;
}

static status run_resnet(struct cpu_codec *c, int i, int64_t n) {
    const struct codec_resnet *weights = &c->codec->resnets[i];
    struct room *r = &c->room;
    int taps = c->codec->config.resnet_kernel;
    int64_t width = c->codec->config.n_embd;
    group_norm_silu_rows(c, r->x, weights->norm1, weights->norm1_bias, r->inner, n, width);
    TRY(convolve(c, &c->resnets[i].conv1, taps, n, weights->conv1_bias, r->y));
    group_norm_silu_rows(c, r->y, weights->norm2, weights->norm2_bias, r->inner, n, width);
    TRY(convolve(c, &c->resnets[i].conv2, taps, n, weights->conv2_bias, r->y));
    add_rows(c, r->y, r->x, n, width);
    show(c, "resnet", i, r->x, n, width);
    return UTTER_OK;
}

static status run_block(struct cpu_codec *c, int i, int64_t n) {
    const struct codec_block *weights = &c->codec->blocks[i];
    const struct block *b = &c->blocks[i];
    struct room *r = &c->room;
    int64_t width = c->codec->config.n_embd, ffn = c->codec->config.n_ffn;
    rms_norm_rows(c, r->x, weights->att_norm, r->y, n, width);
    show(c, "att_norm", i, r->y, n, width);
    TRY(linear(c, &b->c_attn, r->y, width, n, NULL, r->wide));
    show(c, "c_attn", i, r->wide, n, 3 * width);
    attention_rows(c, r->wide, r->y, n, width);
    TRY(linear(c, &b->c_proj, r->y, width, n, NULL, r->inner));
    show(c, "att", i, r->inner, n, width);
    add_rows(c, r->inner, r->x, n, width);

    rms_norm_rows(c, r->x, weights->ffn_norm, r->y, n, width);
    TRY(linear(c, &b->fc1, r->y, width, n, NULL, r->wide));
    silu_rows(c, r->wide, n, ffn);
    TRY(linear(c, &b->fc2, r->wide, ffn, n, NULL, r->inner));
    show(c, "mlp", i, r->inner, n, width);
    add_rows(c, r->inner, r->x, n, width);
    show(c, "block", i, r->x, n, width);
    return UTTER_OK;
}

static status run_head(struct cpu_codec *c, int64_t n, float *pcm) {
    const struct codec *codec = c->codec;
    struct room *r = &c->room;
    int64_t width = codec->config.n_embd;
    layer_norm_rows(c->pool, r->x, codec->final_norm, codec->final_norm_bias, CODEC_NORM_EPS, n, width, r->y);
    show(c, "final_layer_norm", 0, r->y, n, width);
    TRY(linear(c, &c->head, r->y, width, n, codec->head_bias, r->wide));
    show(c, "head_out", 0, r->wide, n, codec->config.n_fft + 2);
    istft_run(c->istft, c->pool, r->wide, n, pcm);
    show(c, "waveform", 0, pcm, n * codec->config.hop, 1);
    return UTTER_OK;
}
