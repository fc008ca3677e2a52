/* The codec's weights: they go to the card as they are in the file, some rows at a time, and become halves there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "gpu/codec.h"

enum {
    FIRST_ROWS = 256,               // room at load; more is taken when a call needs it
    FLOATS_AT_ONCE = 4 << 20,       // of weights on their way
    ROWS_AT_ONCE = 8192,            // likewise
    KINDS = 9 + 2 * CODEC_RESNETS,  // of sources that are not a block's
};

/* Where a matrix of the file goes. */
struct source {
    const struct matrix *from;
    struct half_matrix *to;  // NULL: as the use says
    int64_t n_channels;      // columns of a tap
    enum use { AS_HALVES, AS_VALUES, AS_COLUMNS } use;
};

struct loading {
    const struct codec *file;
    struct source *sources;  // [n_sources]
    int n_sources;
    struct matrix inverse;
    float *window;  // [n_fft]

    struct device_memory memory;  // of all below, which are device addresses
    int32_t *tokens;              // [ROWS_AT_ONCE] 0..
    float *floats;                // [floats_room] rows as floats
    float *values, *values_bias;  // [Q, n_fsq], [Q] project_out
    float *post_bias;             // [C] of fc_post_a
    size_t floats_room;

    struct device_memory raw_memory;
    struct gpu_matrix raw;  // rows as in the file
    block_type raw_type;
    const struct source *source;  // in hand
    int64_t first, n;             // its rows
};

/* ---- what there is ---- */

static void list_sources(struct gpu_codec *d, struct loading *l) {
    const struct codec *c = l->file;
    int64_t C = d->config.n_embd;
    struct source *s = l->sources;
    *s++ = (struct source){&c->project_out, NULL, d->config.n_fsq, AS_VALUES};
    *s++ = (struct source){&c->fc_post_a, NULL, d->config.vq_dim, AS_COLUMNS};
    *s++ = (struct source){&c->embed, &d->embed, C, AS_HALVES};
    for (int i = 0; i < CODEC_RESNETS; i++) {
        *s++ = (struct source){&c->resnets[i].conv1, &d->resnets[i].conv1, C, AS_HALVES};
        *s++ = (struct source){&c->resnets[i].conv2, &d->resnets[i].conv2, C, AS_HALVES};
    }
    // those of one shape one after another
    for (int i = 0; i < d->config.n_blocks; i++) {
        *s++ = (struct source){&c->blocks[i].c_attn, &d->blocks[i].c_attn, C, AS_HALVES};
        *s++ = (struct source){&c->blocks[i].c_proj, &d->blocks[i].c_proj, C, AS_HALVES};
        *s++ = (struct source){&c->blocks[i].fc1, &d->blocks[i].fc1, C, AS_HALVES};
    }
    *s++ = (struct source){&c->head, &d->head, C, AS_HALVES};
    for (int i = 0; i < d->config.n_blocks; i++)
        *s++ = (struct source){&c->blocks[i].fc2, &d->blocks[i].fc2, d->config.n_ffn, AS_HALVES};
    *s++ = (struct source){&l->inverse, &d->inverse, l->inverse.cols / 2, AS_HALVES};
    l->n_sources = (int)(s - l->sources);
}

/* The formats of the matrices that become halves. */
static void formats_of(const struct codec *c, bool formats[N_GPU_FORMATS]) {
    formats[gpu_format_of(c->embed.type)] = formats[gpu_format_of(c->head.type)] = true;
    for (int i = 0; i < CODEC_RESNETS; i++)
        formats[gpu_format_of(c->resnets[i].conv1.type)] = formats[gpu_format_of(c->resnets[i].conv2.type)] = true;
    for (int i = 0; i < c->config.n_blocks; i++) {
        const struct codec_block *b = &c->blocks[i];
        const struct matrix *all[] = {&b->c_attn, &b->c_proj, &b->fc1, &b->fc2};
        for (int j = 0; j < 4; j++) formats[gpu_format_of(all[j]->type)] = true;
    }
}

/* With floats in the file, sums are to be as good as with floats. */
static bool wants_exact(const struct codec *c) {
    bool formats[N_GPU_FORMATS] = {0};
    formats_of(c, formats);
    return formats[GPU_FORMAT_f32];
}

/* ---- kernels ---- */

static bool has_tiles(const struct gpu *g) { return g->info.shared_bytes >= CODEC_TILE_BYTES; }

static enum gpu_kernel attention_kernel(const struct codec_config *k, bool exact) {
    int head_dim = k->n_embd / k->n_heads;
    return head_dim % 8 || head_dim > CODEC_HEAD_DIM ? KERNEL_codec_attention_any
           : exact                                   ? KERNEL_codec_attention_exact
                                                     : KERNEL_codec_attention;
}

/* Those that the weights pass through. */
static void want_loading(const struct codec *c, bool wanted[N_MODULES]) {
    bool formats[N_GPU_FORMATS] = {[GPU_FORMAT_f32] = true};  // of the inverse transform
    formats_of(c, formats);
    formats[gpu_format_of(c->project_out.type)] = formats[gpu_format_of(c->fc_post_a.type)] = true;
    for (int f = 0; f < N_GPU_FORMATS; f++)
        if (formats[f]) gpu_want_embed(f, wanted);
    wanted[MODULE_codec_load] = true;
}

void gpu_modules_of_codec(const struct gpu *g, const struct codec *c, bool wanted[N_MODULES]) {
    want_loading(c, wanted);
    wanted[MODULE_codec] = wanted[MODULE_codec_strip] = true;
    if (has_tiles(g)) wanted[MODULE_codec_tile] = true;
    enum gpu_kernel attention = attention_kernel(&c->config, wants_exact(c));
    wanted[attention == KERNEL_codec_attention_any     ? MODULE_codec_attention_any
           : attention == KERNEL_codec_attention_exact ? MODULE_codec_attention_exact
                                                       : MODULE_codec_attention] = true;
}

static status want_modules(struct gpu *g, const struct codec *c) {
    bool wanted[N_MODULES] = {0};
    gpu_modules_of_codec(g, c, wanted);
    return gpu_want_modules(g, wanted);
}

/* ---- memory ---- */

static status place_floats(struct gpu *g, struct device_memory *m, int64_t n, float **out) {
    return gpu_alloc(g, m, (size_t)n * sizeof(float), out);
}

/* Zeros, since padding has to be zero. */
static status place_halves(struct gpu *g, struct device_memory *m, int64_t n, bool wanted, u16 **out) {
    if (!wanted) {
        *out = NULL;
        return UTTER_OK;
    }
    TRY(gpu_alloc(g, m, (size_t)n * sizeof(u16), out));
    return m->measuring ? UTTER_OK : gpu_clear(g, (device_address)(uintptr_t)*out, (size_t)n * sizeof(u16));
}

static status place_matrix(struct gpu *g, struct gpu_codec *d, struct device_memory *m, const struct source *s) {
    struct half_matrix *to = s->to;
    int64_t taps = s->from->cols / s->n_channels;
    to->n_channels = (int)s->from->rows;
    to->depth = (int)(taps * codec_padded(s->n_channels, CODEC_DEPTH));
    int64_t n = codec_padded(to->n_channels, CODEC_TILE) * to->depth;
    TRY(place_halves(g, m, n, true, &to->high));
    TRY(place_halves(g, m, n, d->exact, &to->low));
    to->unscale = NULL;
    return s->from->type == BLOCK_F16 ? UTTER_OK : place_floats(g, m, codec_padded(to->n_channels, 2), &to->unscale);
}

static status place_weights(struct gpu *g, struct gpu_codec *d, const struct loading *l, struct device_memory *m) {
    const struct codec_config *k = &d->config;
    int64_t C = k->n_embd;
    for (int i = 0; i < l->n_sources; i++)
        if (l->sources[i].to) TRY(place_matrix(g, d, m, &l->sources[i]));
    TRY(place_floats(g, m, k->n_fsq * C, &d->columns));
    TRY(place_floats(g, m, C, &d->columns_bias));
    TRY(place_floats(g, m, C, &d->embed_bias));
    for (int i = 0; i < CODEC_RESNETS; i++) {
        struct gpu_resnet *r = &d->resnets[i];
        float **vectors[] = {&r->norm1, &r->norm1_bias, &r->norm2, &r->norm2_bias, &r->conv1_bias, &r->conv2_bias};
        for (int v = 0; v < 6; v++) TRY(place_floats(g, m, C, vectors[v]));
    }
    for (int i = 0; i < k->n_blocks; i++) {
        TRY(place_floats(g, m, C, &d->blocks[i].att_norm));
        TRY(place_floats(g, m, C, &d->blocks[i].ffn_norm));
    }
    TRY(place_floats(g, m, C, &d->final_norm));
    TRY(place_floats(g, m, C, &d->final_norm_bias));
    TRY(place_floats(g, m, k->n_fft + 2, &d->head_bias));
    return place_floats(g, m, k->n_fft, &d->window);
}

static status place_rows(struct gpu *g, struct gpu_codec *d, struct device_memory *m, int64_t n_rows, int64_t n,
                         int64_t before, struct half_rows *out) {
    out->stride = codec_padded(n, CODEC_DEPTH);
    int64_t all = (before + n_rows + CODEC_TILE + before) * out->stride;  // what a block reads beyond the last row
    TRY(place_halves(g, m, all, true, &out->high));
    TRY(place_halves(g, m, all, d->exact, &out->low));
    if (m->measuring) return UTTER_OK;
    out->high += before * out->stride;
    if (out->low) out->low += before * out->stride;
    return UTTER_OK;
}

size_t codec_plan_room(int64_t n_rows) {
    // a pass of many pieces has at most CODEC_PASS_ROWS rows; one of a single piece has tiles of 64 rows
    size_t pieces = 9 * (size_t)(n_rows < CODEC_PASS_ROWS ? n_rows : CODEC_PASS_ROWS);
    return 2 * (size_t)n_rows + 3 * ((size_t)n_rows / CODEC_QUERIES + 2) + pieces;
}

int codec_blocks_wanted(const struct gpu *g) { return g->info.multiprocessors; }

static status place_work(struct gpu *g, struct gpu_codec *d, struct device_memory *m, int64_t n) {
    const struct codec_config *k = &d->config;
    int64_t C = k->n_embd;
    TRY(gpu_alloc(g, m, codec_plan_room(n) * sizeof(int32_t), &d->plan));
    TRY(place_floats(g, m, n * C, &d->x));
    TRY(place_floats(g, m, n * C, &d->y));
    // sums of a matrix, or of its parts: those are for few blocks only
    int64_t widest = codec_padded(k->n_fft + 2 > C ? k->n_fft + 2 : C, CODEC_STRIP_CHANNELS);
    int64_t blocks = 2 * codec_blocks_wanted(g) + widest / CODEC_STRIP_CHANNELS;
    TRY(place_floats(g, m, n * widest + blocks * CODEC_STRIP_ROWS * CODEC_STRIP_CHANNELS, &d->parts));
    TRY(place_rows(g, d, m, n, C, d->pad, &d->in));
    TRY(place_rows(g, d, m, n, 3 * C, 0, &d->qkv));
    TRY(place_rows(g, d, m, n, C, 0, &d->att));
    TRY(place_rows(g, d, m, n, k->n_ffn, 0, &d->ffn));
    TRY(place_rows(g, d, m, n, 2 * codec_padded(k->n_fft / 2 + 1, CODEC_DEPTH), 0, &d->spectra));
    return place_floats(g, m, n * k->hop, &d->pcm);
}

status codec_reserve(struct gpu *g, struct gpu_codec *d, int64_t n_rows) {
    if (n_rows <= d->max_rows) return UTTER_OK;
    gpu_drop_graphs(g, &d->graphs);
    gpu_free(g, &d->work);
    d->max_rows = 0;
    struct device_memory measured = {.measuring = true};
    TRY(place_work(g, d, &measured, n_rows));
    d->work = (struct device_memory){.what = "the codec's work", .total = measured.n_bytes};
    TRY(place_work(g, d, &d->work, n_rows));
    d->max_rows = (int)n_rows;
    return UTTER_OK;
}

/* The host's memory for both halves. */
static status place_host(struct gpu *g, struct gpu_codec *d) {
    size_t plan = codec_plan_room(CODEC_MAX_FRAMES + 2 * d->pad) * sizeof(int32_t);
    size_t pcm = CODEC_PART_SAMPLES * sizeof(float);
    cuda_result r = g->driver.host_alloc(&d->host, 2 * (plan + pcm), 0);
    if (r != CUDA_SUCCESS) d->host = NULL;
    for (int i = 0; i < 2 && r == CUDA_SUCCESS; i++) {
        unsigned char *at = (unsigned char *)d->host + (size_t)i * (plan + pcm);
        d->halves[i].pcm = (float *)(void *)at;
        d->halves[i].plan = (int32_t *)(void *)(at + pcm);
        r = g->driver.event_create(&d->halves[i].done, CUDA_EVENT_NO_TIMING);
        if (r != CUDA_SUCCESS) d->halves[i].done = NULL;
    }
    return r == CUDA_SUCCESS ? UTTER_OK : gpu_failed(g, r, "taking memory of the machine for the codec");
}

static status place_loading(struct gpu *g, const struct gpu_codec *d, struct loading *l, struct device_memory *m) {
    const struct codec_config *k = &d->config;
    TRY(gpu_alloc(g, m, ROWS_AT_ONCE * sizeof(int32_t), &l->tokens));
    TRY(place_floats(g, m, (int64_t)l->floats_room, &l->floats));
    TRY(place_floats(g, m, (int64_t)k->vq_dim * k->n_fsq, &l->values));
    TRY(place_floats(g, m, k->vq_dim, &l->values_bias));
    return place_floats(g, m, k->n_embd, &l->post_bias);
}

static int64_t rows_at_once(int64_t cols) {
    int64_t n = FLOATS_AT_ONCE / cols;
    return n < 1 ? 1 : n > ROWS_AT_ONCE ? ROWS_AT_ONCE : n;
}

static void free_prepared(struct loading *l) {
    free_aligned(l->window);
    free_aligned((void *)(uintptr_t)l->inverse.data);
    free_aligned(l->sources);
    free(l);
}

/* ---- jobs ---- */

static status place_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    struct loading *l = d->loading;
    d->tiles = has_tiles(g);
    if (g->info.shared_bytes < CODEC_STRIP_BYTES)
        return fail(UTTER_DEVICE, "GPU %d (%.100s) gives a block less shared memory than the codec needs",
                    g->options.index, g->info.name);
    struct device_memory measured = {.measuring = true};
    TRY(place_weights(g, d, l, &measured));
    d->memory = (struct device_memory){.what = "the codec", .total = measured.n_bytes};
    TRY(place_weights(g, d, l, &d->memory));
    TRY(codec_reserve(g, d, FIRST_ROWS));
    TRY(place_host(g, d));
    l->memory.what = l->raw_memory.what = "loading the codec";
    TRY(place_loading(g, d, l, &l->memory));
    bool wanted[N_MODULES] = {0};
    want_loading(l->file, wanted);
    TRY(gpu_wait_modules(g, wanted));
    return gpu_wait(g, gpu_limit(g, (double)d->memory.n_bytes, 0), "clearing memory");
}

/* Room for rows of the source in hand. */
static status place_raw_job(void *context) {
    struct gpu *g = context;
    struct loading *l = g->codec->loading;
    const struct matrix *m = l->source->from;
    gpu_free(g, &l->raw_memory);
    l->raw_memory.what = "loading the codec";
    l->raw_type = m->type;
    return gpu_place_matrix(g, &l->raw_memory, m, rows_at_once(m->cols), &l->raw);
}

/* What becomes of the rows that are in `raw`. */
static status convert_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    struct loading *l = d->loading;
    const struct source *s = l->source;
    int64_t cols = s->from->cols;
    float *floats = s->use == AS_VALUES ? l->values + l->first * cols : l->floats;
    TRY(gpu_embed(g, &l->raw, l->tokens, (int)l->n, floats));
    if (s->use == AS_HALVES) {
        struct codec_weights_args args = {.w = floats,
                                          .unscale = s->to->unscale,
                                          .high = s->to->high,
                                          .low = s->to->low,
                                          .depth = s->to->depth,
                                          .channel_stride = codec_padded(s->n_channels, CODEC_DEPTH),
                                          .first_row = (i32)l->first,
                                          .n_cols = (i32)cols,
                                          .n_channels = (i32)s->n_channels};
        TRY(gpu_launch(g, KERNEL_codec_halves, l->n, 1, &args));
    } else if (s->use == AS_COLUMNS) {
        struct codec_fold_args args = {.w = floats,
                                       .bias = l->post_bias,
                                       .values = l->values,
                                       .values_bias = l->values_bias,
                                       .columns = d->columns,
                                       .columns_bias = d->columns_bias,
                                       .first_row = (i32)l->first,
                                       .inner = (i32)cols,
                                       .width = d->config.n_embd,
                                       .n_digits = d->config.n_fsq};
        TRY(gpu_launch(g, KERNEL_codec_fold, l->n, 1, &args));
    }
    return gpu_wait(g, gpu_limit(g, (double)l->n * (double)cols, 0), "loading the codec");
}

static void free_loading_memory(struct gpu *g, struct loading *l) {
    gpu_free(g, &l->memory);
    gpu_free(g, &l->raw_memory);
}

/* The weights are there; so must be the kernels. */
static status loaded_job(void *context) {
    struct gpu *g = context;
    bool wanted[N_MODULES] = {0};
    gpu_modules_of_codec(g, g->codec->loading->file, wanted);
    TRY(gpu_wait_modules(g, wanted));
    if (g->codec->tiles) TRY(gpu_allow_shared(g, KERNEL_codec_matmul_tile, CODEC_TILE_BYTES));
    TRY(gpu_allow_shared(g, KERNEL_codec_matmul_strip, CODEC_STRIP_BYTES));
    free_loading_memory(g, g->codec->loading);
    return UTTER_OK;
}

static status free_job(void *context) {
    gpu_free_codec(context);
    return UTTER_OK;
}

void gpu_free_codec(struct gpu *g) {
    struct gpu_codec *d = g->codec;
    if (!d) return;
    if (d->loading) {
        free_loading_memory(g, d->loading);
        free_prepared(d->loading);
    }
    gpu_drop_graphs(g, &d->graphs);
    gpu_free(g, &d->memory);
    gpu_free(g, &d->work);
    if (!worker_lost(g->worker)) {
        for (int i = 0; i < 2; i++)
            if (d->halves[i].done) g->driver.event_destroy(d->halves[i].done);
        if (d->host) g->driver.host_free(d->host);
    }
    free(d->blocks);
    free(d);
    g->codec = NULL;
}

/* ---- the inverse transform ---- */

/* As a matrix: of a row of real parts 0..n/2, then imaginary parts 0..n/2, the frame of n samples times the window. The
   imaginary parts of both ends count nothing. */
static status inverse_transform(int n, const float *window, float **out) {
    int bins = n / 2 + 1;
    float *m;
    TRY(alloc_for(&m, (size_t)n * (size_t)bins, 2 * sizeof *m, "the codec's inverse transform"));
    float *turn;  // [n, 2]: cosine and sine of 2 pi i / n, times 2 / n
    status s = alloc_for(&turn, (size_t)n, 2 * sizeof *turn, "the codec's inverse transform");
    if (s != UTTER_OK) {
        free_aligned(m);
        return s;
    }
    for (int i = 0; i < n; i++) {
        double angle = 2 * 3.14159265358979323846 * i / n;
        turn[2 * i] = (float)(cos(angle) * 2 / n);
        turn[2 * i + 1] = (float)(sin(angle) * 2 / n);
    }
    for (int t = 0; t < n; t++) {
        float *row = m + (size_t)t * (size_t)bins * 2;
        for (int k = 0, at = 0; k < bins; k++) {
            row[k] = turn[2 * at] * window[t];
            row[bins + k] = -turn[2 * at + 1] * window[t];
            at += t;
            if (at >= n) at -= n;
        }
        row[0] /= 2;
        row[bins - 1] /= 2;
        row[bins] = row[2 * bins - 1] = 0;
    }
    free_aligned(turn);
    *out = m;
    return UTTER_OK;
}

/* ---- on the caller's thread ---- */

static status upload_floats(struct gpu *g, const float *from, int64_t n, const float *to) {
    return gpu_upload_bytes(g, from, (size_t)n * sizeof *from, to);
}

static status upload_vectors(struct gpu *g, const struct gpu_codec *d) {
    const struct codec_config *k = &d->config;
    const struct loading *l = d->loading;
    const struct codec *c = l->file;
    int64_t C = k->n_embd;
    int32_t *tokens;
    TRY(alloc_for(&tokens, ROWS_AT_ONCE, sizeof *tokens, "numbers of rows"));
    for (int i = 0; i < ROWS_AT_ONCE; i++) tokens[i] = i;
    status s = gpu_upload_bytes(g, tokens, ROWS_AT_ONCE * sizeof *tokens, l->tokens);
    free_aligned(tokens);
    TRY(s);
    TRY(upload_floats(g, c->project_out_bias, k->vq_dim, l->values_bias));
    TRY(upload_floats(g, c->fc_post_a_bias, C, l->post_bias));
    TRY(upload_floats(g, c->embed_bias, C, d->embed_bias));
    for (int i = 0; i < CODEC_RESNETS; i++) {
        const struct codec_resnet *r = &c->resnets[i];
        const struct gpu_resnet *to = &d->resnets[i];
        TRY(upload_floats(g, r->norm1, C, to->norm1));
        TRY(upload_floats(g, r->norm1_bias, C, to->norm1_bias));
        TRY(upload_floats(g, r->norm2, C, to->norm2));
        TRY(upload_floats(g, r->norm2_bias, C, to->norm2_bias));
        TRY(upload_floats(g, r->conv1_bias, C, to->conv1_bias));
        TRY(upload_floats(g, r->conv2_bias, C, to->conv2_bias));
    }
    for (int i = 0; i < k->n_blocks; i++) {
        TRY(upload_floats(g, c->blocks[i].att_norm, C, d->blocks[i].att_norm));
        TRY(upload_floats(g, c->blocks[i].ffn_norm, C, d->blocks[i].ffn_norm));
    }
    TRY(upload_floats(g, c->final_norm, C, d->final_norm));
    TRY(upload_floats(g, c->final_norm_bias, C, d->final_norm_bias));
    TRY(upload_floats(g, c->head_bias, k->n_fft + 2, d->head_bias));
    return upload_floats(g, l->window, k->n_fft, d->window);
}

/* Rows first..first + n - 1 of the file's matrix to `raw`. */
static status upload_rows(struct gpu *g, const struct matrix *m, int64_t first, int64_t n,
                          const struct gpu_matrix *raw) {
    size_t row = block_row_bytes(m->type, m->cols);
    struct matrix part = {
        .data = (const unsigned char *)m->data + (size_t)first * row, .type = m->type, .rows = n, .cols = m->cols};
    bool as_in_file = (m->type == BLOCK_F32 || m->type == BLOCK_F16 || m->type == BLOCK_BF16) && m->cols % GROUP == 0;
    if (as_in_file) return gpu_upload_bytes(g, part.data, (size_t)n * row, raw->w.quants);
    struct gpu_matrix to = *raw;
    to.w.rows = (i32)n;
    return gpu_upload_matrix(g, &part, NULL, &to);
}

static status upload_source(struct gpu *g, struct loading *l, const struct source *s) {
    const struct matrix *m = s->from;
    int64_t limit = gpu_limit(g, 4.0 * FLOATS_AT_ONCE, 0);
    l->source = s;
    if (l->raw.w.cols != m->cols || l->raw_type != m->type) TRY(gpu_call(g, place_raw_job, NO_DEADLINE, limit));
    int64_t at_once = rows_at_once(m->cols);
    for (l->first = 0; l->first < m->rows; l->first += l->n) {
        l->n = m->rows - l->first < at_once ? m->rows - l->first : at_once;
        TRY(upload_rows(g, m, l->first, l->n, &l->raw));
        TRY(gpu_flush(g));
        TRY(gpu_call(g, convert_job, NO_DEADLINE, limit));
    }
    return UTTER_OK;
}

static status upload(struct gpu *g, const struct gpu_codec *d) {
    struct loading *l = d->loading;
    TRY(upload_vectors(g, d));
    TRY(gpu_flush(g));
    for (int i = 0; i < l->n_sources; i++) TRY(upload_source(g, l, &l->sources[i]));
    return gpu_call(g, loaded_job, NO_DEADLINE, gpu_limit(g, 0, 0) + g->compile_ns);
}

static status prepare(struct gpu_codec *d, struct loading *l) {
    const struct codec_config *k = &d->config;
    TRY(alloc_for(&l->window, (size_t)k->n_fft, sizeof *l->window, "the codec's window"));
    codec_istft_window(k, l->window);
    float *inverse;
    TRY(inverse_transform(k->n_fft, l->window, &inverse));
    l->inverse = (struct matrix){.data = inverse, .type = BLOCK_F32, .rows = k->n_fft, .cols = k->n_fft + 2};
    TRY(alloc_for(&l->sources, (size_t)(KINDS + 4 * k->n_blocks), sizeof *l->sources, "a list of matrices"));
    list_sources(d, l);
    d->exact = wants_exact(l->file);
    d->attention = attention_kernel(k, d->exact);
    l->floats_room = FLOATS_AT_ONCE;
    for (int i = 0; i < l->n_sources; i++) {
        size_t cols = (size_t)l->sources[i].from->cols;
        if (cols > l->floats_room) l->floats_room = cols;
    }
    return UTTER_OK;
}

static status check_geometry(const struct codec *c) {
    const struct codec_config *k = &c->config;
    if (k->n_embd / k->n_heads > MAX_HEAD_DIM)
        return fail(UTTER_UNSUPPORTED, "%s: heads of %d dimensions are too large for the GPU, which takes up to %d",
                    c->label, k->n_embd / k->n_heads, MAX_HEAD_DIM);
    return UTTER_OK;
}

static struct gpu_codec *new_codec(const struct codec *c) {
    struct gpu_codec *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->blocks = calloc((size_t)c->config.n_blocks + 1, sizeof *d->blocks);
    d->loading = calloc(1, sizeof *d->loading);
    if (!d->blocks || !d->loading) {
        free(d->blocks);
        free(d->loading);
        free(d);
        return NULL;
    }
    const struct codec_config *k = &c->config;
    d->config = *k;
    d->loading->file = c;
    d->pad = (k->embed_kernel > k->resnet_kernel ? k->embed_kernel : k->resnet_kernel) / 2;
    double C = k->n_embd;
    d->n_weights = C * C * (k->embed_kernel + 2.0 * CODEC_RESNETS * k->resnet_kernel) +
                   k->n_blocks * C * (4 * C + 2.0 * k->n_ffn) + (C + k->n_fft) * (k->n_fft + 2.0);
    return d;
}

status gpu_load_codec(struct device *device, const struct codec *c) {
    struct gpu *g = (struct gpu *)device;
    if (g->codec) return fail(UTTER_INTERNAL, "a second codec was to be loaded onto the GPU");
    TRY(check_geometry(c));
    TRY(worker_ready(g->worker, NO_DEADLINE));
    struct gpu_codec *d = new_codec(c);
    if (!d) return fail_memory(sizeof *d, "a codec on the GPU");
    struct loading *l = d->loading;
    status s = prepare(d, l);
    if (s != UTTER_OK) {
        free_prepared(l);
        free(d->blocks);
        free(d);
        return s;
    }
    g->codec = d;
    s = want_modules(g, c);
    if (s == UTTER_OK) s = gpu_call(g, place_job, NO_DEADLINE, gpu_limit(g, 0, 0) + g->compile_ns);
    if (s == UTTER_OK) s = upload(g, d);
    if (s == UTTER_OK) {
        d->loading = NULL;
        free_prepared(l);
        gpu_describe(g);
        return UTTER_OK;
    }
    if (worker_lost(g->worker)) return s;  // its thread may still be at it
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", fail_message());
    g->n_copies = 0;
    g->staged = 0;
    gpu_call(g, free_job, NO_DEADLINE, gpu_limit(g, 0, 0));
    return fail(s, "%s", sentence);
}

size_t gpu_bytes_of_codec(const struct gpu *g) {
    return g->codec ? g->codec->memory.n_bytes + g->codec->work.n_bytes : 0;
}
