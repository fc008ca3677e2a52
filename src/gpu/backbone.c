#include "gpu/backbone.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler_state.h"
#include "base/memory.h"

enum {
    PREFILL_ROWS = 512,  // tokens of a prompt in one pass
    LOGIT_ROWS = 64,     // at most so many positions' logits at once
    CHECK_STEPS = 16,    // steps of a generate call between looks at whether all sequences have ended
    MAX_SLOTS = 1024,
};

/* ---- loading ---- */

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

static status place_state(struct gpu *g, struct gpu_backbone *d, struct device_memory *m) {
    const struct backbone_config *c = &d->config;
    size_t q_width = (size_t)c->n_heads * (size_t)c->head_dim, kv_width = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    size_t cache = (size_t)c->n_layers * (size_t)d->n_slots * (size_t)d->n_ctx * kv_width * sizeof(u16);
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
    TRY(gpu_alloc(g, m, rows * F * f, &d->gate));
    TRY(gpu_alloc(g, m, rows * F * f, &d->up));
    TRY(gpu_alloc(g, m, (size_t)d->logit_rows * (size_t)d->n_head * f, &d->logits));
    TRY(gpu_alloc(g, m, (size_t)d->n_slots * sizeof(struct sequence), &d->sequences));
    return gpu_alloc(g, m, (size_t)d->n_slots * (size_t)(d->n_ctx + 1) * sizeof(int32_t), &d->out);
}

static status place_job(void *context) {
    struct gpu *g = context;
    struct gpu_backbone *d = g->backbone;
    struct device_memory measured = {.measuring = true};
    TRY(place_weights(g, d, &measured));
    TRY(place_state(g, d, &measured));
    d->memory = (struct device_memory){.what = "the language model", .total = measured.n_bytes};
    TRY(gpu_load_formats(g));
    TRY(place_weights(g, d, &d->memory));
    TRY(place_state(g, d, &d->memory));
    // rows that take no part are computed along, so that they should hold numbers
    const struct backbone_config *c = &d->config;
    size_t rows = (size_t)d->max_rows * sizeof(float);
    float *buffers[] = {d->x, d->att};
    size_t widths[] = {(size_t)c->n_embd, (size_t)c->n_heads * (size_t)c->head_dim};
    for (int i = 0; i < 2; i++) TRY(gpu_clear(g, (device_address)(uintptr_t)buffers[i], rows * widths[i]));
    return gpu_wait(g, gpu_limit(g, 0, 0), "taking memory for the language model");
}

static status free_job(void *context) {
    gpu_free_backbone(context);
    return UTTER_OK;
}

void gpu_free_backbone(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
    if (!d) return;
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

static status upload(struct gpu *g, const struct backbone *b, const struct gpu_backbone *d, const int32_t *head_rows) {
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
        int64_t compile = 60 * (int64_t)1000000000;  // of kernels that the driver has not seen yet
        s = gpu_call(g, place_job, NO_DEADLINE, gpu_limit(g, 0, 0) + compile);
        if (s == UTTER_OK) s = upload(g, b, g->backbone, head_rows);
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

/* ---- the forward pass ---- */

static status norm(struct gpu *g, const float *x, const float *weight, float *y, const int32_t *out_rows, int n) {
    const struct backbone_config *c = &g->backbone->config;
    struct norm_args args = {
        .x = x, .weight = weight, .y = y, .out_rows = out_rows, .width = c->n_embd, .eps = c->norm_eps};
    return gpu_launch(g, KERNEL_norm_rows, n, 1, &args);
}

static status multiply(struct gpu *g, const struct gpu_matrix *m, const float *x, const float *bias, float *y, int n,
                       bool accumulate) {
    struct matmul_args args = {
        .x = x, .bias = bias, .y = y, .x_stride = m->w.cols, .y_stride = m->w.rows, .n = n, .accumulate = accumulate};
    return gpu_matmul(g, m, args);
}

/* tokens[n], slots[n] and positions[n] of the device through all layers, to x. Job. */
static status forward(struct gpu *g, int n) {
    struct gpu_backbone *d = g->backbone;
    const struct backbone_config *c = &d->config;
    size_t kv_width = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    size_t layer_cache = (size_t)d->n_slots * (size_t)d->n_ctx * kv_width;
    TRY(gpu_embed(g, &d->token_embd, d->tokens, n, d->x));
    for (int i = 0; i < c->n_layers; i++) {
        const struct gpu_layer *l = &d->layers[i];
        u16 *k_cache = d->k_cache + (size_t)i * layer_cache, *v_cache = d->v_cache + (size_t)i * layer_cache;
        TRY(norm(g, d->x, l->attn_norm, d->normed, NULL, n));
        TRY(multiply(g, &l->q, d->normed, l->q_bias, d->q, n, false));
        TRY(multiply(g, &l->k, d->normed, l->k_bias, d->k, n, false));
        TRY(multiply(g, &l->v, d->normed, l->v_bias, d->v, n, false));
        struct rope_args rope = {.q = d->q,
                                 .k = d->k,
                                 .v = d->v,
                                 .q_norm = l->q_norm,
                                 .k_norm = l->k_norm,
                                 .angles = d->angles,
                                 .k_cache = k_cache,
                                 .v_cache = v_cache,
                                 .slots = d->slots,
                                 .positions = d->positions,
                                 .n_ctx = d->n_ctx,
                                 .n_heads = c->n_heads,
                                 .n_kv_heads = c->n_kv_heads,
                                 .head_dim = c->head_dim,
                                 .interleaved = c->rope_interleaved,
                                 .eps = c->norm_eps};
        TRY(gpu_launch(g, KERNEL_rope_store, n, 1, &rope));
        struct attention_args attention = {.q = d->q,
                                           .out = d->att,
                                           .k = k_cache,
                                           .v = v_cache,
                                           .slots = d->slots,
                                           .positions = d->positions,
                                           .q_stride = (i64)c->n_heads * c->head_dim,
                                           .kv_stride = (i64)kv_width,
                                           .n = n,
                                           .n_ctx = d->n_ctx,
                                           .n_heads = c->n_heads,
                                           .n_kv_heads = c->n_kv_heads,
                                           .head_dim = c->head_dim,
                                           .scale = 1 / sqrtf((float)c->head_dim)};
        TRY(gpu_launch(g, KERNEL_attention_cache, c->n_heads, n, &attention));
        TRY(multiply(g, &l->attn_out, d->att, NULL, d->x, n, true));
        TRY(norm(g, d->x, l->ffn_norm, d->normed, NULL, n));
        TRY(multiply(g, &l->gate, d->normed, NULL, d->gate, n, false));
        TRY(multiply(g, &l->up, d->normed, NULL, d->up, n, false));
        struct swiglu_args swiglu = {.gate = d->gate, .up = d->up, .n = (i64)n * c->n_ffn};
        TRY(gpu_launch(g, KERNEL_swiglu, (swiglu.n + 255) / 256, 1, &swiglu));
        TRY(multiply(g, &l->down, d->gate, NULL, d->x, n, true));
    }
    return UTTER_OK;
}

/* How long n tokens through the model may take at most. */
static int64_t forward_limit(const struct gpu *g, double n) {
    const struct gpu_backbone *d = g->backbone;
    double attention = (double)d->config.n_layers * d->config.n_heads * d->config.head_dim * d->n_ctx * 2;
    return gpu_limit(g, 0, n * (d->n_weights + attention));
}

/* ---- prefill ---- */

void gpu_reset(struct device *device, int slot) {
    struct gpu_backbone *d = ((struct gpu *)device)->backbone;
    if (!d || slot < 0 || slot >= d->n_slots) return;
    d->n_past[slot] = 0;
    d->ready[slot] = false;
}

/* n rows, whose tokens, slots and positions lie in staging, one after another. */
static status prefill_job(void *context) {
    struct gpu *g = context;
    struct gpu_backbone *d = g->backbone;
    size_t bytes = (size_t)d->n * sizeof(int32_t);
    const int32_t *rows[] = {d->tokens, d->slots, d->positions};
    for (int i = 0; i < 3; i++)
        TRY(gpu_upload(g, (device_address)(uintptr_t)rows[i], g->staging + (size_t)i * bytes, bytes));
    TRY(forward(g, d->n));
    if (d->wants_hidden) {
        int last = d->n - 1;
        TRY(norm(g, d->x + (size_t)last * (size_t)d->config.n_embd, d->output_norm, d->hidden, d->slots + last, 1));
    }
    return gpu_wait(g, forward_limit(g, d->n), "reading the prompt");
}

/* Logits of rows first_row .. + n of the pass before, to staging. */
static status logits_job(void *context) {
    struct gpu *g = context;
    struct gpu_backbone *d = g->backbone;
    const float *x = d->x + (size_t)d->first_row * (size_t)d->config.n_embd;
    TRY(norm(g, x, d->output_norm, d->normed, NULL, d->n));
    TRY(multiply(g, &d->head, d->normed, NULL, d->logits, d->n, false));
    TRY(gpu_download(g, g->staging, (device_address)(uintptr_t)d->logits,
                     (size_t)d->n * (size_t)d->n_head * sizeof(float)));
    return gpu_wait(g, forward_limit(g, d->n), "computing logits");
}

static status check_slot(const struct gpu *g, int slot) {
    if (!g->backbone) return fail(UTTER_INTERNAL, "no language model is loaded on the GPU");
    if (slot < 0 || slot >= g->backbone->n_slots)
        return fail(UTTER_INTERNAL, "slot %d of the GPU was asked for, which has %d", slot, g->backbone->n_slots);
    return UTTER_OK;
}

/* Logits of the n rows just computed. */
static status fetch_logits(struct gpu *g, int n, float *logits, int64_t deadline) {
    struct gpu_backbone *d = g->backbone;
    int at_once = (int)(STAGING_BYTES / sizeof(float)) / d->n_head;
    if (at_once > d->logit_rows) at_once = d->logit_rows;
    for (int row = 0; row < n; row += at_once) {
        int n_rows = n - row < at_once ? n - row : at_once;
        d->first_row = row;
        d->n = n_rows;
        TRY(gpu_call(g, logits_job, deadline, forward_limit(g, n_rows)));
        memcpy(logits + (size_t)row * (size_t)d->n_head, g->staging,
               (size_t)n_rows * (size_t)d->n_head * sizeof(float));
    }
    return UTTER_OK;
}

status gpu_prefill(struct device *device, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline) {
    struct gpu *g = (struct gpu *)device;
    struct gpu_backbone *d = g->backbone;
    TRY(check_slot(g, slot));
    if (n < 1) return UTTER_OK;
    TRY(worker_ready(g->worker, deadline));
    if (n > d->n_ctx - d->n_past[slot])
        return fail(UTTER_LIMIT,
                    "%d tokens after %d do not fit into the %d positions there are; use a shorter text or reference", n,
                    d->n_past[slot], d->n_ctx);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= d->config.n_vocab)
            return fail(UTTER_INVALID, "token %d is not one of the model's %d", tokens[i], d->config.n_vocab);
    d->ready[slot] = false;
    int past = d->n_past[slot];
    for (int first = 0; first < n; first += d->max_rows) {
        int rows = n - first < d->max_rows ? n - first : d->max_rows;
        int32_t *staged = (int32_t *)(void *)g->staging;  // [3, rows]
        for (int i = 0; i < rows; i++) {
            staged[i] = tokens[first + i];
            staged[rows + i] = slot;
            staged[2 * rows + i] = past + first + i;
        }
        d->n = rows;
        d->wants_hidden = first + rows == n;
        TRY(gpu_call(g, prefill_job, deadline, forward_limit(g, rows)));
        if (logits) TRY(fetch_logits(g, rows, logits + (size_t)first * (size_t)d->n_head, deadline));
    }
    d->n_past[slot] = past + n;
    d->ready[slot] = true;
    return UTTER_OK;
}

/* ---- generate ---- */

/* Room for sorting all logits of every row. */
static status place_sorting(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
    if (d->keys) return UTTER_OK;
    size_t n = (size_t)d->n_slots * (size_t)d->n_sort;
    d->sorting = (struct device_memory){.what = "sampling without a small top-k", .total = n * 20};
    status s = gpu_alloc(g, &d->sorting, n * sizeof *d->order, &d->order);
    if (s == UTTER_OK) s = gpu_alloc(g, &d->sorting, n * sizeof *d->p, &d->p);
    if (s == UTTER_OK) s = gpu_alloc(g, &d->sorting, n * sizeof *d->keys, &d->keys);
    if (s == UTTER_OK) return s;
    gpu_free(g, &d->sorting);
    d->keys = NULL;
    return s;
}

/* sequences[n], then slots[n], lie in staging and come back there, followed by out[n, steps]. */
static status generate_job(void *context) {
    struct gpu *g = context;
    struct gpu_backbone *d = g->backbone;
    struct sequence *sequences = (struct sequence *)(void *)g->staging;
    size_t bytes = (size_t)d->n * sizeof *sequences;
    if (d->wants_sorting) TRY(place_sorting(g));
    TRY(gpu_upload(g, (device_address)(uintptr_t)d->sequences, g->staging, bytes));
    TRY(gpu_upload(g, (device_address)(uintptr_t)d->slots, g->staging + bytes, (size_t)d->n * sizeof(int32_t)));
    struct gather_args gather = {.x = d->hidden, .rows = d->slots, .y = d->normed, .width = d->config.n_embd};
    struct sample_args sample = {.sequences = d->sequences,
                                 .logits = d->logits,
                                 .head_rows = d->head_rows,
                                 .tokens = d->tokens,
                                 .slots = d->slots,
                                 .positions = d->positions,
                                 .out = d->out,
                                 .keys = d->keys,
                                 .order = d->order,
                                 .p = d->p,
                                 .n_logits = d->n_head,
                                 .n_sort = d->n_sort,
                                 .n_ctx = d->n_ctx,
                                 .steps = d->steps};
    for (int step = 1; step <= d->steps; step++) {
        TRY(gpu_launch(g, KERNEL_gather_rows, d->n, 1, &gather));
        TRY(multiply(g, &d->head, d->normed, NULL, d->logits, d->n, false));
        TRY(gpu_launch(g, KERNEL_sample, d->n, 1, &sample));
        TRY(forward(g, d->n));
        TRY(norm(g, d->x, d->output_norm, d->hidden, d->slots, d->n));
        if (step % CHECK_STEPS != 0 && step != d->steps) continue;
        if (step == d->steps)
            TRY(gpu_download(g, g->staging + bytes, (device_address)(uintptr_t)d->out,
                             (size_t)d->n * (size_t)d->steps * sizeof(int32_t)));
        TRY(gpu_download(g, g->staging, (device_address)(uintptr_t)d->sequences, bytes));
        TRY(gpu_wait(g, g->job_limit, "generating"));
        worker_extend(g->worker, 2 * g->job_limit);
        bool active = false;
        for (int i = 0; i < d->n; i++) active = active || sequences[i].active;
        if (active || step == d->steps) continue;
        TRY(gpu_download(g, g->staging + bytes, (device_address)(uintptr_t)d->out,
                         (size_t)d->n * (size_t)d->steps * sizeof(int32_t)));
        return gpu_wait(g, gpu_limit(g, 0, 0), "generating");
    }
    return UTTER_OK;
}

/* A sequence as it came back; what cannot be right means that the card computes wrongly. */
static status take_result(struct gpu *g, const struct sequence *s, const int32_t *out, int steps,
                          struct generation *to) {
    struct gpu_backbone *d = g->backbone;
    bool sound = s->n_out >= 0 && s->n_out <= steps && s->n_past >= d->n_past[to->slot] && s->n_past <= d->n_ctx;
    for (int i = 0; sound && i < s->n_out; i++) sound = out[i] >= 0 && out[i] < d->n_head;
    if (!sound)
        return fail(UTTER_DEVICE,
                    "GPU %d (%.100s) returned tokens that cannot be right; its memory or the driver may "
                    "be at fault",
                    g->options.index, g->info.name);
    if (s->fault)
        return fail(
            UTTER_SPEECH,
            "none of the %d logits is a finite number, or they are too large for the temperature: the model file "
            "is damaged, or GPU %d (%.100s) failed",
            d->n_head, g->options.index, g->info.name);
    to->n = s->n_out;
    to->ended = s->ended;
    memcpy(to->indices, out, (size_t)s->n_out * sizeof *out);
    gpu_sampler_of_sequence(s, to->sampler);
    d->n_past[to->slot] = s->n_past;
    d->ready[to->slot] = true;
    return UTTER_OK;
}

status gpu_generate(struct device *device, struct generation *generations, int n, int steps, int64_t deadline) {
    struct gpu *g = (struct gpu *)device;
    struct gpu_backbone *d = g->backbone;
    if (!d) return fail(UTTER_INTERNAL, "no language model is loaded on the GPU");
    if (n < 1 || n > d->n_slots || steps < 0)
        return fail(UTTER_INTERNAL, "%d sequences and %d steps were asked of a GPU with %d slots", n, steps,
                    d->n_slots);
    TRY(worker_ready(g->worker, deadline));
    if (steps > d->n_ctx + 1) steps = d->n_ctx + 1;
    struct sequence *sequences = (struct sequence *)(void *)g->staging;
    int32_t *slots = (int32_t *)(void *)(sequences + n);
    bool any = false;
    d->wants_sorting = false;
    for (int i = 0; i < n; i++) {
        struct generation *each = &generations[i];
        each->n = 0;
        each->ended = false;
        TRY(check_slot(g, each->slot));
        for (int j = 0; j < i; j++)
            if (generations[j].slot == each->slot)
                return fail(UTTER_INTERNAL, "slot %d stands twice in one call to the GPU", each->slot);
        if (each->sampler->n_logits != d->n_head)
            return fail(UTTER_INTERNAL, "a sampler for %d logits was given to a GPU with %d", each->sampler->n_logits,
                        d->n_head);
        if (!d->ready[each->slot])
            return fail(UTTER_INVALID, "slot %d of the GPU has no prompt to go on from", each->slot);
        memset(&sequences[i], 0, sizeof sequences[i]);
        gpu_sequence_of_sampler(each->sampler, &sequences[i]);
        sequences[i].active = d->n_past[each->slot] < d->n_ctx;
        sequences[i].n_past = d->n_past[each->slot];
        sequences[i].end_index = each->end_index;
        slots[i] = sequences[i].active ? each->slot : -1;
        any = any || sequences[i].active;
        if (sequences[i].temperature != 0 && (sequences[i].top_k == 0 || sequences[i].top_k > SAMPLE_LIST))
            d->wants_sorting = true;
    }
    if (!any || steps == 0) return UTTER_OK;
    for (int i = 0; i < n; i++) d->ready[generations[i].slot] = false;  // until the call has succeeded
    d->n = n;
    d->steps = steps;
    TRY(gpu_call(g, generate_job, deadline, forward_limit(g, (double)n * CHECK_STEPS)));
    const int32_t *out = slots;
    for (int i = 0; i < n; i++)
        TRY(take_result(g, &sequences[i], out + (size_t)i * (size_t)steps, steps, &generations[i]));
    return UTTER_OK;
}
