/* Loading the backbone: memory on the device, and the weights into it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "gpu/backbone.h"

enum {
    PREFILL_ROWS = 512,  // tokens of a prompt in one pass
    LOGIT_ROWS = 64,     // at most so many positions' logits at once
    MAX_SLOTS = 1024,
};

static status check_geometry(const struct backbone *b, int n_slots, int n_ctx) {
    const struct backbone_config *c = &b->config;
    if (c->head_dim > MAX_HEAD_DIM)
        return fail(UTTER_UNSUPPORTED, "%s: heads of %d dimensions are too large for the GPU, which takes up to %d",
                    b->label, c->head_dim, MAX_HEAD_DIM);
    if (n_slots < 1 || n_slots > MAX_SLOTS || n_ctx < 1)
        return fail(UTTER_INVALID, "%d sequences of %d positions were asked for; the GPU takes 1 to %d sequences",
                    n_slots, n_ctx, MAX_SLOTS);
    return UTTER_OK;
}

static status place_floats(struct gpu *g, struct device_memory *m, const float *present, int64_t n, float **out) {
    return present ? gpu_alloc(g, m, (size_t)n * sizeof(float), out) : UTTER_OK;
}

static status place_weights(struct gpu *g, struct gpu_backbone *d, struct device_memory *m) {
    const struct backbone_config *c = &d->config;
    const struct backbone_weights *w = &d->file->weights;
    int64_t q_width = (int64_t)c->n_heads * c->head_dim, kv_width = (int64_t)c->n_kv_heads * c->head_dim;
    for (int i = 0; i < c->n_layers; i++) {
        const struct backbone_layer *l = &w->layers[i];
        struct gpu_layer *to = &d->layers[i];
        TRY(place_floats(g, m, l->attn_norm, c->n_embd, &to->attn_norm));
        TRY(gpu_place_matrix(g, m, &l->q, q_width, &to->q));
        TRY(gpu_place_matrix(g, m, &l->k, kv_width, &to->k));
        TRY(gpu_place_matrix(g, m, &l->v, kv_width, &to->v));
        TRY(place_floats(g, m, l->q_bias, q_width, &to->q_bias));
        TRY(place_floats(g, m, l->k_bias, kv_width, &to->k_bias));
        TRY(place_floats(g, m, l->v_bias, kv_width, &to->v_bias));
        TRY(place_floats(g, m, l->q_norm, c->head_dim, &to->q_norm));
        TRY(place_floats(g, m, l->k_norm, c->head_dim, &to->k_norm));
        TRY(gpu_place_matrix(g, m, &l->attn_out, c->n_embd, &to->attn_out));
        TRY(place_floats(g, m, l->ffn_norm, c->n_embd, &to->ffn_norm));
        TRY(gpu_place_matrix(g, m, &l->gate, c->n_ffn, &to->gate));
        TRY(gpu_place_matrix(g, m, &l->up, c->n_ffn, &to->up));
        TRY(gpu_place_matrix(g, m, &l->down, c->n_embd, &to->down));
    }
    TRY(gpu_place_matrix(g, m, &w->token_embd, c->n_vocab, &d->token_embd));
    TRY(gpu_place_matrix(g, m, &w->output, d->n_head, &d->head));
    TRY(place_floats(g, m, w->output_norm, c->n_embd, &d->output_norm));
    TRY(gpu_alloc(g, m, (size_t)d->n_head * sizeof(int32_t), &d->head_rows));
    return gpu_alloc(g, m, (size_t)d->n_ctx * (size_t)c->head_dim * sizeof(float), &d->angles);
}

size_t gpu_cache_bytes(const struct gpu_backbone *d) {
    const struct backbone_config *c = &d->config;
    return (size_t)c->n_layers * (size_t)d->n_slots * (size_t)d->stride * (size_t)c->n_kv_heads * (size_t)c->head_dim *
           sizeof(u16);
}

static status place_state(struct gpu *g, struct gpu_backbone *d, struct device_memory *m) {
    const struct backbone_config *c = &d->config;
    size_t q_width = (size_t)c->n_heads * (size_t)c->head_dim, kv_width = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    size_t cache = gpu_cache_bytes(d);
    size_t rows = (size_t)d->max_rows, E = (size_t)c->n_embd, F = (size_t)c->n_ffn, f = sizeof(float);
    TRY(gpu_alloc(g, m, cache, &d->k_cache));
    TRY(gpu_alloc(g, m, cache, &d->v_cache));
    TRY(gpu_alloc(g, m, (size_t)d->n_slots * E * f, &d->hidden));
    TRY(gpu_alloc(g, m, rows * sizeof(int32_t), &d->tokens));
    TRY(gpu_alloc(g, m, rows * sizeof(int32_t), &d->slots));
    TRY(gpu_alloc(g, m, rows * sizeof(int32_t), &d->positions));
    TRY(gpu_alloc(g, m, rows * E * f, &d->x));
    TRY(gpu_alloc(g, m, rows * E * f, &d->normed));
    TRY(gpu_alloc(g, m, rows * q_width * f, &d->q));
    TRY(gpu_alloc(g, m, rows * kv_width * f, &d->k));
    TRY(gpu_alloc(g, m, rows * kv_width * f, &d->v));
    TRY(gpu_alloc(g, m, rows * q_width * f, &d->att));
    d->n_partial = (int64_t)(rows * (2 * F > E ? 2 * F : E));
    TRY(gpu_alloc(g, m, (size_t)d->n_partial * f, &d->gate));
    d->up = d->gate + rows * F;
    struct {
        size_t width;
        int64_t *stride;
        u16 **to;
    } halves[] = {{E, &d->normed_stride, &d->normed_halves},
                  {q_width, &d->att_stride, &d->att_halves},
                  {F, &d->inner_stride, &d->inner_halves}};
    for (int i = 0; i < 3 && d->products; i++) {
        size_t stride = (halves[i].width + 127) / 128 * 128, bytes = rows * stride * sizeof(u16);
        *halves[i].stride = (int64_t)stride;
        TRY(gpu_alloc(g, m, bytes, halves[i].to));
        if (!m->measuring) TRY(gpu_clear(g, (device_address)(uintptr_t)*halves[i].to, bytes));
    }
    TRY(gpu_alloc(g, m, (size_t)d->logit_rows * (size_t)d->n_head * f, &d->logits));
    TRY(gpu_alloc(g, m, (size_t)d->n_slots * sizeof(struct sequence), &d->sequences));
    return gpu_alloc(g, m, (size_t)d->n_slots * (size_t)(d->n_ctx + 1) * sizeof(int32_t), &d->out);
}

/* The formats of the matrices that a token is multiplied with. */
static void formats_of(const struct backbone *b, bool formats[N_GPU_FORMATS]) {
    formats[gpu_format_of(b->weights.output.type)] = true;
    for (int i = 0; i < b->config.n_layers; i++) {
        const struct backbone_layer *l = &b->weights.layers[i];
        const struct matrix *all[] = {&l->q, &l->k, &l->v, &l->attn_out, &l->gate, &l->up, &l->down};
        for (int j = 0; j < 7; j++) formats[gpu_format_of(all[j]->type)] = true;
    }
}

/* Marks what multiplies. Whether product.c takes every matrix. */
static bool want_products(const struct backbone *b, bool wanted[N_MODULES]) {
    bool formats[N_GPU_FORMATS] = {0}, marks[N_MODULES] = {0}, made = true;
    formats_of(b, formats);
    for (int f = 0; f < N_GPU_FORMATS; f++)
        if (formats[f]) made = gpu_want_product(f, marks) && made;
    for (int i = 0; i < N_MODULES && made; i++) wanted[i] = wanted[i] || marks[i];
    for (int f = 0; f < N_GPU_FORMATS && !made; f++)
        if (formats[f]) gpu_want_matmul(f, wanted);
    return made;
}

void gpu_modules_of_backbone(const struct gpu *g, const struct backbone *b, int n_head, bool wanted[N_MODULES]) {
    wanted[MODULE_backbone] = wanted[MODULE_sample] = true;
    gpu_want_embed(gpu_format_of(b->weights.token_embd.type), wanted);
    gpu_want_attention(&b->config, want_products(b, wanted), wanted);
    gpu_want_decode(g, b, n_head, wanted);
}

static status want_modules(struct gpu *g, const struct backbone *b, int n_head) {
    bool wanted[N_MODULES] = {0};
    gpu_modules_of_backbone(g, b, n_head, wanted);
    return gpu_want_modules(g, wanted);
}

static status place_job(void *context) {
    struct gpu *g = context;
    struct gpu_backbone *d = g->backbone;
    struct device_memory measured = {.measuring = true};
    TRY(place_weights(g, d, &measured));
    d->products = want_products(d->file, (bool[N_MODULES]){0});
    TRY(place_state(g, d, &measured));
    gpu_decode_prepare(g, d);
    TRY(gpu_decode_place(g, d, &measured));
    d->memory = (struct device_memory){.what = "the language model", .total = measured.n_bytes};
    TRY(place_weights(g, d, &d->memory));
    TRY(place_state(g, d, &d->memory));
    TRY(gpu_decode_place(g, d, &d->memory));
    // rows and positions that take no part are computed along, so that they should hold numbers
    TRY(gpu_clear(g, (device_address)(uintptr_t)d->k_cache, gpu_cache_bytes(d)));
    TRY(gpu_clear(g, (device_address)(uintptr_t)d->v_cache, gpu_cache_bytes(d)));
    const struct backbone_config *c = &d->config;
    size_t rows = (size_t)d->max_rows * sizeof(float);
    float *buffers[] = {d->x, d->att};
    size_t widths[] = {(size_t)c->n_embd, (size_t)c->n_heads * (size_t)c->head_dim};
    for (int i = 0; i < 2; i++) TRY(gpu_clear(g, (device_address)(uintptr_t)buffers[i], rows * widths[i]));
    return gpu_wait(g, gpu_limit(g, 0, 0), "taking memory for the language model");
}

/* The weights are there; so must be the kernels. */
static status kernels_job(void *context) {
    struct gpu *g = context;
    bool wanted[N_MODULES] = {0};
    gpu_modules_of_backbone(g, g->backbone->file, g->backbone->n_head, wanted);
    TRY(gpu_wait_modules(g, wanted));
    TRY(gpu_prepare_products(g));
    return gpu_decode_ready(g, g->backbone);
}

static status free_job(void *context) {
    gpu_free_backbone(context);
    return UTTER_OK;
}

void gpu_free_backbone(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
    if (!d) return;
    gpu_drop_graphs(g, &d->graphs);
    gpu_free(g, &d->memory);
    gpu_free(g, &d->sorting);
    free(d->layers);
    free(d->n_past);
    free(d->ready);
    free(d);
    g->backbone = NULL;
}

static status upload_floats(struct gpu *g, const float *from, int64_t n, const float *to) {
    return from ? gpu_upload_bytes(g, from, (size_t)n * sizeof *from, to) : UTTER_OK;
}

static status upload_angles(struct gpu *g, const struct gpu_backbone *d) {
    const struct backbone_config *c = &d->config;
    int pairs = c->head_dim / 2;
    float *row;  // [pairs, 2]
    TRY(alloc_for(&row, (size_t)c->head_dim, sizeof *row, "rotary angles"));
    status s = UTTER_OK;
    for (int position = 0; position < d->n_ctx && s == UTTER_OK; position++) {
        for (int i = 0; i < pairs; i++) {
            double angle = position * pow((double)c->rope_base, -2.0 * i / c->head_dim);
            row[2 * i] = (float)cos(angle);
            row[2 * i + 1] = (float)sin(angle);
        }
        s = gpu_upload_bytes(g, row, (size_t)c->head_dim * sizeof *row,
                             d->angles + (size_t)position * (size_t)c->head_dim);
    }
    free_aligned(row);
    return s;
}

static status upload(struct gpu *g, const struct backbone *b, struct gpu_backbone *d, const int32_t *head_rows) {
    const struct backbone_config *c = &d->config;
    int64_t q_width = (int64_t)c->n_heads * c->head_dim, kv_width = (int64_t)c->n_kv_heads * c->head_dim;
    for (int i = 0; i < c->n_layers; i++) {
        const struct backbone_layer *l = &b->weights.layers[i];
        const struct gpu_layer *to = &d->layers[i];
        TRY(upload_floats(g, l->attn_norm, c->n_embd, to->attn_norm));
        TRY(gpu_upload_matrix(g, &l->q, NULL, &to->q));
        TRY(gpu_upload_matrix(g, &l->k, NULL, &to->k));
        TRY(gpu_upload_matrix(g, &l->v, NULL, &to->v));
        TRY(upload_floats(g, l->q_bias, q_width, to->q_bias));
        TRY(upload_floats(g, l->k_bias, kv_width, to->k_bias));
        TRY(upload_floats(g, l->v_bias, kv_width, to->v_bias));
        TRY(upload_floats(g, l->q_norm, c->head_dim, to->q_norm));
        TRY(upload_floats(g, l->k_norm, c->head_dim, to->k_norm));
        TRY(gpu_upload_matrix(g, &l->attn_out, NULL, &to->attn_out));
        TRY(upload_floats(g, l->ffn_norm, c->n_embd, to->ffn_norm));
        TRY(gpu_upload_matrix(g, &l->gate, NULL, &to->gate));
        TRY(gpu_upload_matrix(g, &l->up, NULL, &to->up));
        TRY(gpu_upload_matrix(g, &l->down, NULL, &to->down));
    }
    TRY(gpu_upload_matrix(g, &b->weights.token_embd, NULL, &d->token_embd));
    TRY(gpu_upload_matrix(g, &b->weights.output, head_rows, &d->head));
    TRY(upload_floats(g, b->weights.output_norm, c->n_embd, d->output_norm));
    TRY(gpu_upload_bytes(g, head_rows, (size_t)d->n_head * sizeof *head_rows, d->head_rows));
    TRY(upload_angles(g, d));
    TRY(gpu_decode_upload(g, d));
    return gpu_flush(g);
}

static status new_backbone(const struct backbone *b, int n_head, int n_slots, int n_ctx, struct gpu_backbone **out) {
    struct gpu_backbone *d = calloc(1, sizeof *d);
    if (!d) return fail_memory(sizeof *d, "a model on the GPU");
    const struct backbone_config *c = &b->config;
    d->config = *c;
    d->file = b;
    d->n_slots = n_slots;
    d->n_ctx = n_ctx;
    d->stride = (n_ctx + 31) / 32 * 32;
    d->n_head = n_head;
    d->max_rows = n_ctx < PREFILL_ROWS ? n_ctx : PREFILL_ROWS;
    if (d->max_rows < n_slots) d->max_rows = n_slots;
    d->logit_rows = (int)(STAGING_BYTES / sizeof(float)) / n_head;
    if (d->logit_rows > LOGIT_ROWS) d->logit_rows = LOGIT_ROWS;
    if (d->logit_rows < n_slots) d->logit_rows = n_slots;
    d->n_sort = 1;
    while (d->n_sort < n_head) d->n_sort *= 2;
    double width = c->n_embd, q_width = (double)c->n_heads * c->head_dim,
           kv_width = (double)c->n_kv_heads * c->head_dim;
    d->n_weights = c->n_layers * width * (2 * q_width + 2 * kv_width + 3.0 * c->n_ffn) + width * n_head;
    d->layers = calloc((size_t)c->n_layers, sizeof *d->layers);
    d->n_past = calloc((size_t)n_slots, sizeof *d->n_past);
    d->ready = calloc((size_t)n_slots, sizeof *d->ready);
    if (!d->layers || !d->n_past || !d->ready) {
        free(d->layers);
        free(d->n_past);
        free(d->ready);
        free(d);
        return fail_memory((size_t)c->n_layers * sizeof *d->layers, "a model on the GPU");
    }
    *out = d;
    return UTTER_OK;
}

status gpu_load_backbone(struct device *device, const struct backbone *b, bool speech_only, int n_slots, int n_ctx) {
    struct gpu *g = (struct gpu *)device;
    if (g->backbone) return fail(UTTER_INTERNAL, "a second language model was to be loaded onto the GPU");
    TRY(check_geometry(b, n_slots, n_ctx));
    TRY(worker_ready(g->worker, NO_DEADLINE));
    int32_t *head_rows;
    int n_head;
    TRY(backbone_head_rows(b, speech_only, &head_rows, &n_head));
    size_t largest_call = (size_t)n_slots * (sizeof(struct sequence) + (size_t)(n_ctx + 1) * sizeof(int32_t));
    status s = UTTER_OK;
    if ((size_t)n_head * sizeof(float) > STAGING_BYTES || largest_call > STAGING_BYTES)
        s = fail(UTTER_LIMIT,
                 "%d sequences of %d positions over %d tokens are more than the GPU device hands over at "
                 "once; ask for fewer streams",
                 n_slots, n_ctx, n_head);
    if (s == UTTER_OK) s = new_backbone(b, n_head, n_slots, n_ctx, &g->backbone);
    if (s == UTTER_OK) {
        s = want_modules(g, b, n_head);
        if (s == UTTER_OK) s = gpu_call(g, place_job, NO_DEADLINE, gpu_limit(g, 0, 0));
        if (s == UTTER_OK) s = upload(g, b, g->backbone, head_rows);
        if (s == UTTER_OK) s = gpu_call(g, kernels_job, NO_DEADLINE, gpu_limit(g, 0, 0) + g->compile_ns);
        if (s == UTTER_OK) {
            g->backbone->file = NULL;
            gpu_describe(g);
        } else if (!worker_lost(g->worker)) {
            char sentence[1024];
            snprintf(sentence, sizeof sentence, "%s", fail_message());
            g->n_copies = 0;
            g->staged = 0;
            gpu_call(g, free_job, NO_DEADLINE, gpu_limit(g, 0, 0));
            s = fail(s, "%s", sentence);
        }
    }
    free_aligned(head_rows);
    return s;
}

size_t gpu_bytes_of_backbone(const struct gpu *g) {
    return g->backbone ? g->backbone->memory.n_bytes + g->backbone->sorting.n_bytes : 0;
}
