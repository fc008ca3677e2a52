#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "gpu/internal.h"

enum {
    FIRST_FRAMES = 256,  // room at load; more is taken when a call needs it
    MAX_FRAMES = 65535,  // rows of a launch
};

struct gpu_resnet {
    float *norm1, *norm1_bias, *norm2, *norm2_bias, *conv1_bias, *conv2_bias;  // [C]
    struct gpu_matrix conv1, conv2;
};

struct gpu_codec_block {
    float *att_norm, *ffn_norm;  // [C]
    struct gpu_matrix c_attn, c_proj, fc1, fc2;
};

/* Every pointer but `blocks` is a device address. */
struct gpu_codec {
    struct codec_config config;
    const struct codec *file;  // while loading
    double n_weights;          // that a frame is multiplied with
    struct device_memory memory, work;

    struct gpu_matrix project_out, fc_post_a, embed, head;
    float *project_out_bias, *fc_post_a_bias, *embed_bias, *head_bias;
    struct gpu_resnet resnets[CODEC_RESNETS];
    struct gpu_codec_block *blocks;  // host [n_blocks]
    float *final_norm, *final_norm_bias;
    struct gpu_matrix inverse;  // [n_fft, n_fft + 2] spectrum to windowed frame
    float *window;              // [n_fft]

    /* Of a pass of up to max_frames frames (T). */
    int max_frames, pad;  // pad: rows of zeros before and after `padded`
    int32_t *codes;       // [T]
    float *values;        // [T, n_fsq]
    float *latent;        // [T, Q]
    float *padded;        // [pad + T + pad, C]
    float *x, *y, *att;   // [T, C]
    float *qkv;           // [T, 3 C]
    float *ffn;           // [T, F]
    float *spectra;       // [T, n_fft + 2]
    float *frames;        // [T, n_fft]
    float *pcm;           // [T * hop]

    int n;                           // frames of the job in hand
    size_t first_sample, n_samples;  // that it downloads
};

/* ---- loading ---- */

static status place_floats(struct gpu *g, struct device_memory *m, int64_t n, float **out) {
    return gpu_alloc(g, m, (size_t)n * sizeof(float), out);
}

static status place_weights(struct gpu *g, struct gpu_codec *d, struct device_memory *m) {
    const struct codec *c = d->file;
    const struct codec_config *k = &d->config;
    int64_t C = k->n_embd;
    TRY(gpu_place_matrix(g, m, &c->project_out, k->vq_dim, &d->project_out));
    TRY(place_floats(g, m, k->vq_dim, &d->project_out_bias));
    TRY(gpu_place_matrix(g, m, &c->fc_post_a, C, &d->fc_post_a));
    TRY(place_floats(g, m, C, &d->fc_post_a_bias));
    TRY(gpu_place_matrix(g, m, &c->embed, C, &d->embed));
    TRY(place_floats(g, m, C, &d->embed_bias));
    for (int i = 0; i < CODEC_RESNETS; i++) {
        struct gpu_resnet *r = &d->resnets[i];
        float **vectors[] = {&r->norm1, &r->norm1_bias, &r->norm2, &r->norm2_bias, &r->conv1_bias, &r->conv2_bias};
        for (int v = 0; v < 6; v++) TRY(place_floats(g, m, C, vectors[v]));
        TRY(gpu_place_matrix(g, m, &c->resnets[i].conv1, C, &r->conv1));
        TRY(gpu_place_matrix(g, m, &c->resnets[i].conv2, C, &r->conv2));
    }
    for (int i = 0; i < k->n_blocks; i++) {
        const struct codec_block *from = &c->blocks[i];
        struct gpu_codec_block *to = &d->blocks[i];
        TRY(place_floats(g, m, C, &to->att_norm));
        TRY(place_floats(g, m, C, &to->ffn_norm));
        TRY(gpu_place_matrix(g, m, &from->c_attn, 3 * C, &to->c_attn));
        TRY(gpu_place_matrix(g, m, &from->c_proj, C, &to->c_proj));
        TRY(gpu_place_matrix(g, m, &from->fc1, k->n_ffn, &to->fc1));
        TRY(gpu_place_matrix(g, m, &from->fc2, C, &to->fc2));
    }
    TRY(place_floats(g, m, C, &d->final_norm));
    TRY(place_floats(g, m, C, &d->final_norm_bias));
    TRY(gpu_place_matrix(g, m, &c->head, k->n_fft + 2, &d->head));
    TRY(place_floats(g, m, k->n_fft + 2, &d->head_bias));
    struct matrix inverse = {.type = BLOCK_F32, .rows = k->n_fft, .cols = k->n_fft + 2};
    TRY(gpu_place_matrix(g, m, &inverse, k->n_fft, &d->inverse));
    return place_floats(g, m, k->n_fft, &d->window);
}

static status place_work(struct gpu *g, struct gpu_codec *d, struct device_memory *m, int64_t T) {
    const struct codec_config *k = &d->config;
    int64_t C = k->n_embd;
    TRY(gpu_alloc(g, m, (size_t)T * sizeof(int32_t), &d->codes));
    TRY(place_floats(g, m, T * k->n_fsq, &d->values));
    TRY(place_floats(g, m, T * k->vq_dim, &d->latent));
    TRY(place_floats(g, m, (T + 2 * d->pad) * C, &d->padded));
    TRY(place_floats(g, m, T * C, &d->x));
    TRY(place_floats(g, m, T * C, &d->y));
    TRY(place_floats(g, m, T * C, &d->att));
    TRY(place_floats(g, m, T * 3 * C, &d->qkv));
    TRY(place_floats(g, m, T * k->n_ffn, &d->ffn));
    TRY(place_floats(g, m, T * (k->n_fft + 2), &d->spectra));
    TRY(place_floats(g, m, T * k->n_fft, &d->frames));
    return place_floats(g, m, T * k->hop, &d->pcm);
}

/* Room for T frames. Job. */
static status reserve(struct gpu *g, struct gpu_codec *d, int T) {
    if (T <= d->max_frames) return UTTER_OK;
    gpu_free(g, &d->work);
    d->max_frames = 0;
    struct device_memory measured = {.measuring = true};
    TRY(place_work(g, d, &measured, T));
    d->work = (struct device_memory){.what = "the codec's work", .total = measured.n_bytes};
    TRY(place_work(g, d, &d->work, T));
    d->max_frames = T;
    return UTTER_OK;
}

static status place_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    struct device_memory measured = {.measuring = true};
    TRY(place_weights(g, d, &measured));
    d->memory = (struct device_memory){.what = "the codec", .total = measured.n_bytes};
    TRY(gpu_load_formats(g));
    TRY(place_weights(g, d, &d->memory));
    return reserve(g, d, FIRST_FRAMES);
}

static status free_job(void *context) {
    gpu_free_codec(context);
    return UTTER_OK;
}

void gpu_free_codec(struct gpu *g) {
    struct gpu_codec *d = g->codec;
    if (!d) return;
    gpu_free(g, &d->memory);
    gpu_free(g, &d->work);
    free(d->blocks);
    free(d);
    g->codec = NULL;
}

/* The inverse transform as a matrix: of a row of real parts 0..n/2, then imaginary parts 0..n/2, the frame of n samples
   times the window. The imaginary parts of both ends count nothing. */
static status inverse_transform(int n, const float *window, float **out) {
    int bins = n / 2 + 1;
    float *m;
    TRY(alloc_for(&m, (size_t)n * (size_t)bins, 2 * sizeof *m, "the codec's inverse transform"));
    double *turn;  // [n, 2]: cosine and sine of 2 pi i / n
    status s = alloc_for(&turn, (size_t)n, 2 * sizeof *turn, "the codec's inverse transform");
    if (s != UTTER_OK) {
        free_aligned(m);
        return s;
    }
    for (int i = 0; i < n; i++) {
        double angle = 2 * 3.14159265358979323846 * i / n;
        turn[2 * i] = cos(angle);
        turn[2 * i + 1] = sin(angle);
    }
    for (int t = 0; t < n; t++) {
        float *row = m + (size_t)t * (size_t)bins * 2;
        for (int k = 0; k < bins; k++) {
            const double *at = turn + 2 * ((int64_t)k * t % n);
            bool end = k == 0 || k == n / 2;
            double scale = (end ? 1.0 : 2.0) / n * (double)window[t];
            row[k] = (float)(scale * at[0]);
            row[bins + k] = end ? 0 : (float)(-scale * at[1]);
        }
    }
    free_aligned(turn);
    *out = m;
    return UTTER_OK;
}

static status upload_floats(struct gpu *g, const float *from, int64_t n, const float *to) {
    return gpu_upload_bytes(g, from, (size_t)n * sizeof *from, to);
}

static status upload_inverse(struct gpu *g, const struct gpu_codec *d) {
    const struct codec_config *k = &d->config;
    float *window, *m;
    TRY(alloc_for(&window, (size_t)k->n_fft, sizeof *window, "the codec's window"));
    codec_istft_window(k, window);
    status s = inverse_transform(k->n_fft, window, &m);
    if (s == UTTER_OK) {
        struct matrix inverse = {.data = m, .type = BLOCK_F32, .rows = k->n_fft, .cols = k->n_fft + 2};
        s = upload_floats(g, window, k->n_fft, d->window);
        if (s == UTTER_OK) s = gpu_upload_matrix(g, &inverse, NULL, &d->inverse);
        free_aligned(m);
    }
    free_aligned(window);
    return s;
}

static status upload(struct gpu *g, const struct codec *c, const struct gpu_codec *d) {
    const struct codec_config *k = &d->config;
    int64_t C = k->n_embd;
    TRY(gpu_upload_matrix(g, &c->project_out, NULL, &d->project_out));
    TRY(upload_floats(g, c->project_out_bias, k->vq_dim, d->project_out_bias));
    TRY(gpu_upload_matrix(g, &c->fc_post_a, NULL, &d->fc_post_a));
    TRY(upload_floats(g, c->fc_post_a_bias, C, d->fc_post_a_bias));
    TRY(gpu_upload_matrix(g, &c->embed, NULL, &d->embed));
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
        TRY(gpu_upload_matrix(g, &r->conv1, NULL, &to->conv1));
        TRY(gpu_upload_matrix(g, &r->conv2, NULL, &to->conv2));
    }
    for (int i = 0; i < k->n_blocks; i++) {
        const struct codec_block *b = &c->blocks[i];
        const struct gpu_codec_block *to = &d->blocks[i];
        TRY(upload_floats(g, b->att_norm, C, to->att_norm));
        TRY(upload_floats(g, b->ffn_norm, C, to->ffn_norm));
        TRY(gpu_upload_matrix(g, &b->c_attn, NULL, &to->c_attn));
        TRY(gpu_upload_matrix(g, &b->c_proj, NULL, &to->c_proj));
        TRY(gpu_upload_matrix(g, &b->fc1, NULL, &to->fc1));
        TRY(gpu_upload_matrix(g, &b->fc2, NULL, &to->fc2));
    }
    TRY(upload_floats(g, c->final_norm, C, d->final_norm));
    TRY(upload_floats(g, c->final_norm_bias, C, d->final_norm_bias));
    TRY(gpu_upload_matrix(g, &c->head, NULL, &d->head));
    TRY(upload_floats(g, c->head_bias, k->n_fft + 2, d->head_bias));
    TRY(upload_inverse(g, d));
    return gpu_flush(g);
}

static status check_geometry(const struct codec *c) {
    const struct codec_config *k = &c->config;
    if (k->n_embd / k->n_heads > MAX_HEAD_DIM)
        return fail(UTTER_UNSUPPORTED, "%s: heads of %d dimensions are too large for the GPU, which takes up to %d",
                    c->label, k->n_embd / k->n_heads, MAX_HEAD_DIM);
    return UTTER_OK;
}

status gpu_load_codec(struct device *device, const struct codec *c) {
    struct gpu *g = (struct gpu *)device;
    if (g->codec) return fail(UTTER_INTERNAL, "a second codec was to be loaded onto the GPU");
    TRY(check_geometry(c));
    TRY(worker_ready(g->worker, NO_DEADLINE));
    struct gpu_codec *d = calloc(1, sizeof *d);
    if (d) d->blocks = calloc((size_t)c->config.n_blocks + 1, sizeof *d->blocks);
    if (!d || !d->blocks) {
        free(d);
        return fail_memory(sizeof *d, "a codec on the GPU");
    }
    const struct codec_config *k = &c->config;
    d->config = *k;
    d->file = c;
    d->pad = (k->embed_kernel > k->resnet_kernel ? k->embed_kernel : k->resnet_kernel) / 2;
    double C = k->n_embd;
    d->n_weights = C * C * (k->embed_kernel + 2.0 * CODEC_RESNETS * k->resnet_kernel) +
                   k->n_blocks * C * (4 * C + 2.0 * k->n_ffn) + C * k->vq_dim + (C + k->n_fft) * (k->n_fft + 2.0);
    g->codec = d;
    int64_t compile = 60 * (int64_t)1000000000;  // of kernels that the driver has not seen yet
    status s = gpu_call(g, place_job, NO_DEADLINE, gpu_limit(g, 0, 0) + compile);
    if (s == UTTER_OK) s = upload(g, c, d);
    if (s == UTTER_OK) {
        d->file = NULL;
        gpu_describe(g);
        return UTTER_OK;
    }
    if (worker_lost(g->worker)) return s;
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

/* ---- synthesis ---- */

static status multiply(struct gpu *g, const struct gpu_matrix *m, const float *x, const float *bias, float *y,
                       enum activation activation, bool accumulate) {
    struct matmul_args args = {.x = x,
                               .bias = bias,
                               .y = y,
                               .x_stride = m->w.cols,
                               .y_stride = m->w.rows,
                               .n = g->codec->n,
                               .activation = activation,
                               .accumulate = accumulate};
    return gpu_matmul(g, m, args);
}

/* A convolution over the rows of `padded`: a row times k consecutive frames. */
static status convolve(struct gpu *g, const struct gpu_matrix *m, int k, const float *bias, float *y, bool accumulate) {
    struct gpu_codec *d = g->codec;
    int C = d->config.n_embd;
    struct matmul_args args = {.x = d->padded + (size_t)(d->pad - k / 2) * (size_t)C,
                               .bias = bias,
                               .y = y,
                               .x_stride = C,
                               .y_stride = C,
                               .n = d->n,
                               .accumulate = accumulate};
    return gpu_matmul(g, m, args);
}

static status norm(struct gpu *g, const float *x, const float *weight, const float *bias, float *y) {
    struct norm_args args = {
        .x = x, .weight = weight, .bias = bias, .y = y, .width = g->codec->config.n_embd, .eps = CODEC_NORM_EPS};
    return gpu_launch(g, KERNEL_norm_rows, g->codec->n, 1, &args);
}

/* silu(groupnorm(x)) to `padded`. */
static status group_norm(struct gpu *g, const float *x, const float *weight, const float *bias) {
    struct gpu_codec *d = g->codec;
    struct group_norm_args args = {.x = x,
                                   .weight = weight,
                                   .bias = bias,
                                   .y = d->padded + (size_t)d->pad * (size_t)d->config.n_embd,
                                   .n = d->n,
                                   .width = d->config.n_embd,
                                   .n_groups = d->config.n_groups,
                                   .eps = CODEC_NORM_EPS};
    return gpu_launch(g, KERNEL_group_norm_silu, d->config.n_groups, 1, &args);
}

static status resnet(struct gpu *g, const struct gpu_resnet *r) {
    struct gpu_codec *d = g->codec;
    int k = d->config.resnet_kernel;
    TRY(group_norm(g, d->x, r->norm1, r->norm1_bias));
    TRY(convolve(g, &r->conv1, k, r->conv1_bias, d->y, false));
    TRY(group_norm(g, d->y, r->norm2, r->norm2_bias));
    return convolve(g, &r->conv2, k, r->conv2_bias, d->x, true);
}

static status transformer(struct gpu *g, const struct gpu_codec_block *b) {
    struct gpu_codec *d = g->codec;
    int C = d->config.n_embd, head_dim = C / d->config.n_heads;
    TRY(norm(g, d->x, b->att_norm, NULL, d->y));
    TRY(multiply(g, &b->c_attn, d->y, NULL, d->qkv, ACTIVATION_NONE, false));
    struct attention_args attention = {.q = d->qkv,
                                       .out = d->att,
                                       .k = d->qkv + C,
                                       .v = d->qkv + 2 * (size_t)C,
                                       .q_stride = 3 * (i64)C,
                                       .kv_stride = 3 * (i64)C,
                                       .n = d->n,
                                       .n_heads = d->config.n_heads,
                                       .n_kv_heads = d->config.n_heads,
                                       .head_dim = head_dim,
                                       .scale = 1 / sqrtf((float)head_dim)};
    TRY(gpu_launch(g, KERNEL_attention_full, d->config.n_heads, d->n, &attention));
    TRY(multiply(g, &b->c_proj, d->att, NULL, d->x, ACTIVATION_NONE, true));
    TRY(norm(g, d->x, b->ffn_norm, NULL, d->y));
    TRY(multiply(g, &b->fc1, d->y, NULL, d->ffn, ACTIVATION_SILU, false));
    return multiply(g, &b->fc2, d->ffn, NULL, d->x, ACTIVATION_NONE, true);
}

static int64_t synthesis_limit(const struct gpu *g, double n) {
    const struct codec_config *k = &g->codec->config;
    return gpu_limit(g, n * k->hop * sizeof(float), n * (g->codec->n_weights + 2.0 * n * k->n_embd * k->n_blocks));
}

/* Of codes[n] in staging, the samples; the first of them to staging. */
static status synthesize_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    const struct codec_config *k = &d->config;
    size_t row = (size_t)k->n_embd * sizeof(float), pad_bytes = (size_t)d->pad * row;
    TRY(reserve(g, d, d->n));
    TRY(gpu_upload(g, (device_address)(uintptr_t)d->codes, g->staging, (size_t)d->n * sizeof(int32_t)));
    device_address padded = (device_address)(uintptr_t)d->padded;
    if (pad_bytes > 0) {
        TRY(gpu_clear(g, padded, pad_bytes));
        TRY(gpu_clear(g, padded + pad_bytes + (size_t)d->n * row, pad_bytes));
    }
    struct fsq_args fsq = {.codes = d->codes, .values = d->values, .n = d->n, .n_digits = k->n_fsq};
    for (int i = 0; i < k->n_fsq; i++) fsq.levels[i] = k->fsq_levels[i];
    TRY(gpu_launch(g, KERNEL_fsq_values, (d->n + 255) / 256, 1, &fsq));
    TRY(multiply(g, &d->project_out, d->values, d->project_out_bias, d->latent, ACTIVATION_NONE, false));
    TRY(multiply(g, &d->fc_post_a, d->latent, d->fc_post_a_bias, d->padded + (size_t)d->pad * (size_t)k->n_embd,
                 ACTIVATION_NONE, false));
    TRY(convolve(g, &d->embed, k->embed_kernel, d->embed_bias, d->x, false));
    TRY(resnet(g, &d->resnets[0]));
    TRY(resnet(g, &d->resnets[1]));
    for (int i = 0; i < k->n_blocks; i++) TRY(transformer(g, &d->blocks[i]));
    TRY(resnet(g, &d->resnets[2]));
    TRY(resnet(g, &d->resnets[3]));
    TRY(norm(g, d->x, d->final_norm, d->final_norm_bias, d->y));
    TRY(multiply(g, &d->head, d->y, d->head_bias, d->spectra, ACTIVATION_NONE, false));
    struct spectrum_args spectrum = {
        .x = d->spectra, .n = d->n, .bins = k->n_fft / 2 + 1, .max_magnitude = CODEC_MAX_MAGNITUDE};
    TRY(gpu_launch(g, KERNEL_spectrum, ((int64_t)d->n * spectrum.bins + 255) / 256, 1, &spectrum));
    TRY(multiply(g, &d->inverse, d->spectra, NULL, d->frames, ACTIVATION_NONE, false));
    struct overlap_args overlap = {
        .frames = d->frames, .window = d->window, .pcm = d->pcm, .n = d->n, .n_fft = k->n_fft, .hop = k->hop};
    TRY(gpu_launch(g, KERNEL_overlap_add, ((int64_t)d->n * k->hop + 255) / 256, 1, &overlap));
    TRY(gpu_download(g, g->staging, (device_address)(uintptr_t)d->pcm, d->n_samples * sizeof(float)));
    return gpu_wait(g, synthesis_limit(g, d->n), "turning codes into sound");
}

static status samples_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    TRY(gpu_download(g, g->staging, (device_address)(uintptr_t)(d->pcm + d->first_sample),
                     d->n_samples * sizeof(float)));
    return gpu_wait(g, gpu_limit(g, STAGING_BYTES, 0), "copying sound back");
}

static status synthesize(struct gpu *g, const int32_t *codes, int n, float *pcm, int64_t deadline) {
    struct gpu_codec *d = g->codec;
    if (n < 1) return fail(UTTER_INVALID, "%d codes were given to the GPU's codec", n);
    if (n > MAX_FRAMES)
        return fail(UTTER_LIMIT, "%d codes at once are more than the %d that the GPU takes; decode them in parts", n,
                    MAX_FRAMES);
    for (int i = 0; i < n; i++)
        if (codes[i] < 0 || codes[i] >= d->config.n_codes)
            return fail(UTTER_INVALID, "code %d (number %d) is outside the codec's range 0..%d", codes[i], i,
                        d->config.n_codes - 1);
    TRY(worker_ready(g->worker, deadline));
    memcpy(g->staging, codes, (size_t)n * sizeof *codes);
    size_t all = (size_t)n * (size_t)d->config.hop, at_once = STAGING_BYTES / sizeof(float);
    d->n = n;
    for (size_t first = 0; first < all; first += at_once) {
        d->first_sample = first;
        d->n_samples = all - first < at_once ? all - first : at_once;
        job_fn *job = first == 0 ? synthesize_job : samples_job;
        TRY(gpu_call(g, job, deadline, synthesis_limit(g, n)));
        memcpy(pcm + first, g->staging, d->n_samples * sizeof *pcm);
    }
    for (size_t i = 0; i < all; i++)
        if (!isfinite(pcm[i]))
            return fail(UTTER_DEVICE,
                        "GPU %d (%.100s) returned sound that holds no numbers; its memory or the driver "
                        "may be at fault",
                        g->options.index, g->info.name);
    return UTTER_OK;
}

status gpu_synthesize(struct device *device, const struct synthesis *pieces, int n, int64_t deadline) {
    struct gpu *g = (struct gpu *)device;
    if (!g->codec) return fail(UTTER_INTERNAL, "no codec is loaded on the GPU");
    for (int i = 0; i < n; i++) TRY(synthesize(g, pieces[i].codes, pieces[i].n, pieces[i].pcm, deadline));
    return UTTER_OK;
}
