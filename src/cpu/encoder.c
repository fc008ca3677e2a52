#include "cpu/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cpu/encoder_parts.h"

/* Activations of a product are laid out anew in the scratch: no more than this many floats at once. */
enum { SLICE_FLOATS = 4 << 20 };

static status encode(struct cpu_encoder *e, const float *padded, int64_t n, int32_t *codes);

static status pack_weights(struct cpu_encoder *e) {
    const int n = e->encoder->n_linears;
    struct to_pack *list;
    TRY(alloc_for(&e->packed, (size_t)n, sizeof *e->packed, "the encoder"));
    TRY(alloc_for(&list, (size_t)n, sizeof *list, "the encoder"));
    for (int i = 0; i < n; i++) list[i] = (struct to_pack){.m = &e->encoder->linears[i]->w, .out = &e->packed[i]};
    status s = pack_all(e->kernels, e->pool, list, n, "the weights of the encoder", &e->weights);
    free_aligned(list);
    gguf_rest(e->encoder->file);  // it is as large again
    return s;
}

status cpu_encoder_new(const struct codec_encoder *encoder, const struct kernels *kernels, struct pool *pool,
                       struct cpu_encoder **out) {
    *out = NULL;
    struct cpu_encoder *e = calloc(1, sizeof *e);
    if (!e) return fail_memory(sizeof *e, "the encoder");
    e->encoder = encoder;
    e->kernels = kernels;
    e->pool = pool;
    status s = matmul_scratch_new(&e->scratch);
    if (s == UTTER_OK) s = pack_weights(e);
    if (s != UTTER_OK) {
        cpu_encoder_free(e);
        return s;
    }
    *out = e;
    return UTTER_OK;
}

void cpu_encoder_free(struct cpu_encoder *e) {
    if (!e) return;
    pages_free(&e->weights);
    free_aligned(e->packed);
    matmul_scratch_free(e->scratch);
    free(e);
}

size_t cpu_encoder_bytes(const struct cpu_encoder *e) { return sizeof *e + e->weights.n_bytes; }

void cpu_encoder_observe(struct cpu_encoder *e, cpu_codec_observer *observer, void *user) {
    e->observer = observer;
    e->user = user;
}

status cpu_encoder_encode(struct cpu_encoder *e, const float *pcm, int64_t n, int32_t *codes, int *n_codes,
                          int64_t deadline) {
    int64_t hop = e->encoder->config.hop, n_frames = n / hop;
    *n_codes = 0;
    if (n_frames < 1)
        return fail(UTTER_INVALID, "%lld samples are too few to encode; a code takes %d", (long long)n, (int)hop);
    if (n_frames > CPU_ENCODER_MAX_FRAMES)
        return fail(UTTER_LIMIT, "a recording of %.0f s is longer than the %d s that can be encoded",
                    (double)n / e->encoder->config.sample_rate, CPU_ENCODER_MAX_FRAMES / 50);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(pcm[i])) return fail(UTTER_INVALID, "sample %lld is not a number", (long long)i);
    e->deadline = deadline;

    /* Whole frames and one more: a recording of whole frames gets one of silence. */
    float *padded;
    TRY(alloc_for(&padded, (size_t)((n_frames + 1) * hop), sizeof *padded, "the recording"));
    memcpy(padded, pcm, (size_t)n * sizeof *pcm);
    int64_t n_out = e->encoder->distill ? n_frames + 1 : n_frames;
    status s = encode(e, padded, n_out, codes);
    if (s == UTTER_OK) *n_codes = (int)n_out;
    free_aligned(padded);
    return s;
}

static void copy_rows(const float *from, int64_t width, int64_t n, float *to, int64_t stride) {
    for (int64_t t = 0; t < n; t++) memcpy(to + t * stride, from + t * width, (size_t)width * sizeof *to);
}

static void show_bounds(const struct cpu_encoder *e, float *z, int64_t n) {
    const struct encoder_config *config = &e->encoder->config;
    static const char *const stages[] = {"bound1", "bound2"};
    for (int pass = 0; pass < 2 && e->observer; pass++) {
        for (int64_t i = 0; i < n * config->n_fsq; i++)
            z[i] = codec_encoder_bound(z[i], config->fsq_levels[i % config->n_fsq]);
        encoder_show(e, stages[pass], 0, z, n, config->n_fsq);
    }
}

static status run_distilled(struct cpu_encoder *e, const float *padded, int64_t n, float *acoustic, float *semantic) {
    TRY(distill_acoustic(e, padded, n, acoustic));
    return distill_semantic(e, padded, n, semantic);
}

/* The acoustic branch makes a frame more than the semantic one, which is dropped. */
static status run_branches(struct cpu_encoder *e, const float *padded, int64_t n, float *acoustic, float *semantic) {
    float *features;
    TRY(encoder_acoustic(e, padded, n + 1, acoustic));
    TRY(alloc_for(&features, (size_t)(n * ENCODER_FEATURES), sizeof *features, "encoding"));
    status s = encoder_features(e, padded, n, features);
    if (s == UTTER_OK) s = encoder_semantic(e, features, n, semantic);
    free_aligned(features);
    return s;
}

/* padded: [(n + 1) * hop]; of a distilled encoder, [n * hop]. */
static status encode(struct cpu_encoder *e, const float *padded, int64_t n, int32_t *codes) {
    const struct encoder_config *config = &e->encoder->config;
    int64_t width = config->n_semantic + config->n_acoustic;
    float *acoustic = NULL, *semantic = NULL, *both = NULL, *prior = NULL, *z = NULL;
    status s = alloc_for(&acoustic, (size_t)((n + 1) * config->n_acoustic), sizeof *acoustic, "encoding");
    if (s == UTTER_OK) s = alloc_for(&semantic, (size_t)(n * config->n_semantic), sizeof *semantic, "encoding");
    if (s == UTTER_OK) s = alloc_for(&both, (size_t)(n * width), sizeof *both, "encoding");
    if (s == UTTER_OK) s = alloc_for(&prior, (size_t)(n * config->vq_dim), sizeof *prior, "encoding");
    if (s == UTTER_OK) s = alloc_for(&z, (size_t)(n * config->n_fsq), sizeof *z, "encoding");
    if (s == UTTER_OK) s = (e->encoder->distill ? run_distilled : run_branches)(e, padded, n, acoustic, semantic);
    if (s == UTTER_OK) {
        copy_rows(semantic, config->n_semantic, n, both, width);
        copy_rows(acoustic, config->n_acoustic, n, both + config->n_semantic, width);
        s = encoder_multiply(e, &e->encoder->fc_prior, both, width, n, prior, config->vq_dim);
    }
    if (s == UTTER_OK) {
        encoder_show(e, "fc_prior", 0, prior, n, config->vq_dim);
        s = encoder_multiply(e, &e->encoder->project_in, prior, config->vq_dim, n, z, config->n_fsq);
    }
    if (s == UTTER_OK) encoder_show(e, "project_in", 0, z, n, config->n_fsq);
    for (int64_t t = 0; t < n && s == UTTER_OK; t++)
        s = codec_encoder_code(e->encoder, z + t * config->n_fsq, &codes[t]);
    if (s == UTTER_OK) show_bounds(e, z, n);
    free_aligned(acoustic);
    free_aligned(semantic);
    free_aligned(both);
    free_aligned(prior);
    free_aligned(z);
    return s;
}

/* ---- what the branches share ---- */

status encoder_in_time(const struct cpu_encoder *e) {
    if (e->deadline == NO_DEADLINE || clock_ns() <= e->deadline) return UTTER_OK;
    return fail(UTTER_DEADLINE, "the recording could not be encoded in the time allowed");
}

void encoder_show(const struct cpu_encoder *e, const char *stage, int index, const float *rows, int64_t n_rows,
                  int64_t n_cols) {
    if (e->observer) e->observer(e->user, stage, index, rows, n_rows, n_cols);
}

status encoder_multiply(struct cpu_encoder *e, const struct encoder_linear *l, const float *x, int64_t x_stride,
                        int64_t n, float *y, int64_t y_stride) {
    int64_t slice = SLICE_FLOATS / l->w.cols + 1;
    for (int64_t t = 0; t < n; t += slice) {
        TRY(encoder_in_time(e));
        TRY(matmul(e->kernels, e->pool, e->scratch, &e->packed[l->index], x + t * x_stride, x_stride,
                   n - t < slice ? n - t : slice, l->bias, y + t * y_stride, y_stride));
    }
    return UTTER_OK;
}

struct addition {
    float *x;
    const float *y;
    float scale;
    int64_t n;
};

static void add_job(void *argument, int thread, int n_threads) {
    const struct addition *a = argument;
    int64_t begin, end;
    pool_share(a->n, 16, thread, n_threads, &begin, &end);
    float *restrict x = a->x;
    const float *restrict y = a->y;
    for (int64_t i = begin; i < end; i++) x[i] += a->scale * y[i];
}

void encoder_add(struct cpu_encoder *e, float *x, const float *y, float scale, int64_t n) {
    struct addition a = {x, y, scale, n};
    pool_run(e->pool, add_job, &a);
}
