#include "gpu/backbone.h"

#include <math.h>
#include <string.h>

#include "backbone/sampler_state.h"

/* Steps of a generate call between looks at whether all sequences have ended. */
enum { CHECK_STEPS = 16 };

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

/* Adds to x what add_products left; its norm, if a weight is given, to normed_halves, and to hidden if wanted. */
static status add_norm(struct gpu *g, const float *weight, int first, int n, bool to_hidden) {
    struct gpu_backbone *d = g->backbone;
    const struct backbone_config *c = &d->config;
    struct add_norm_args args = {.x = d->x + (size_t)first * (size_t)c->n_embd,
                                 .partial = d->gate,
                                 .weight = weight,
                                 .halves = d->normed_halves,
                                 .y = to_hidden ? d->hidden : NULL,
                                 .out_rows = d->slots,
                                 .stride = d->normed_stride,
                                 .n = n,
                                 .width = c->n_embd,
                                 .slices = d->slices,
                                 .scale = d->sums_scale,
                                 .eps = c->norm_eps};
    d->slices = 0;
    return gpu_launch(g, KERNEL_add_norm, n, 1, &args);
}

/* y[i] = W[i] x + bias[i], those of one format together. */
static status products(struct gpu *g, const struct gpu_matrix *const *m, const float *const *bias, float *const *y,
                       int n_parts, const u16 *x, int64_t x_stride, int n) {
    for (int i = 0, next; i < n_parts; i = next) {
        struct product_args args = {.x = x, .x_stride = x_stride, .n = n};
        for (next = i; next < n_parts && m[next]->format == m[i]->format; next++)
            args.parts[args.n_parts++] = (struct product_part){.bias = bias[next], .y = y[next]};
        TRY(gpu_product(g, m + i, args));
    }
    return UTTER_OK;
}

/* scale * W x, which add_norm then adds. */
static status add_products(struct gpu *g, const struct gpu_matrix *m, const u16 *x, int64_t x_stride, int n,
                           float scale) {
    struct gpu_backbone *d = g->backbone;
    d->slices = gpu_product_slices(g, m, n, d->n_partial);
    d->sums_scale = scale;
    struct product_args args = {
        .x = x, .x_stride = x_stride, .n = n, .n_parts = 1, .partial = d->gate, .slices = d->slices};
    return gpu_product(g, &m, args);
}

/* The feed-forward network's inner numbers. */
static status inner_products(struct gpu *g, const struct gpu_layer *l, int n) {
    struct gpu_backbone *d = g->backbone;
    const struct gpu_matrix *pair[] = {&l->gate, &l->up};
    if (l->gate.format == l->up.format) {
        struct product_args args = {.x = d->normed_halves,
                                    .x_stride = d->normed_stride,
                                    .n = n,
                                    .n_parts = 2,
                                    .inner = d->inner_halves,
                                    .inner_stride = d->inner_stride};
        return gpu_product(g, pair, args);
    }
    TRY(products(g, pair, (const float *[]){NULL, NULL}, (float *[]){d->gate, d->up}, 2, d->normed_halves,
                 d->normed_stride, n));
    struct swiglu_args swiglu = {.gate = d->gate,
                                 .up = d->up,
                                 .halves = d->inner_halves,
                                 .n = (i64)n * d->config.n_ffn,
                                 .stride = d->inner_stride,
                                 .width = d->config.n_ffn};
    return gpu_launch(g, KERNEL_swiglu, (swiglu.n + 255) / 256, 1, &swiglu);
}

static struct rope_args rope_of(const struct gpu_backbone *d, int i) {
    const struct backbone_config *c = &d->config;
    const struct gpu_layer *l = &d->layers[i];
    size_t layer_cache = gpu_cache_bytes(d) / sizeof(u16) / (size_t)c->n_layers;
    return (struct rope_args){.q = d->q,
                              .k = d->k,
                              .v = d->v,
                              .q_norm = l->q_norm,
                              .k_norm = l->k_norm,
                              .angles = d->angles,
                              .k_cache = d->k_cache + (size_t)i * layer_cache,
                              .v_cache = d->v_cache + (size_t)i * layer_cache,
                              .slots = d->slots,
                              .positions = d->positions,
                              .stride = d->stride,
                              .n_heads = c->n_heads,
                              .n_kv_heads = c->n_kv_heads,
                              .head_dim = c->head_dim,
                              .interleaved = c->rope_interleaved,
                              .eps = c->norm_eps};
}

static struct attention_args attention_of(const struct gpu_backbone *d, const struct rope_args *rope, int n) {
    const struct backbone_config *c = &d->config;
    return (struct attention_args){.rope = *rope,
                                   .q = d->q,
                                   .out = d->att,
                                   .halves = d->products ? d->att_halves : NULL,
                                   .out_stride = d->att_stride,
                                   .k = rope->k_cache,
                                   .v = rope->v_cache,
                                   .slots = d->slots,
                                   .positions = d->positions,
                                   .q_stride = (i64)c->n_heads * c->head_dim,
                                   .n = n,
                                   .stride = d->stride,
                                   .n_heads = c->n_heads,
                                   .n_kv_heads = c->n_kv_heads,
                                   .head_dim = c->head_dim,
                                   .scale = 1 / sqrtf((float)c->head_dim)};
}

/* Whether attend.c is made for the heads. */
static bool attends_by_products(const struct backbone_config *c) {
    return c->n_heads / c->n_kv_heads <= 16 && (c->head_dim == 64 || c->head_dim == 128);
}

void gpu_want_attention(const struct backbone_config *c, bool products, bool wanted[N_MODULES]) {
    wanted[!products || !attends_by_products(c) ? MODULE_attention
           : c->head_dim == 64                  ? MODULE_attend_64
                                                : MODULE_attend_128] = true;
}

/* Keys and values into the cache, and what the queries see of it. prompt: the rows are of one slot, one after another.
 */
static status attend(struct gpu *g, const struct rope_args *rope, int n, bool prompt) {
    const struct attention_args args = attention_of(g->backbone, rope, n);
    bool products = args.halves && attends_by_products(&g->backbone->config);
    if (products && !(prompt && n > 1))
        return gpu_launch(g, args.head_dim == 64 ? KERNEL_attend_step_64 : KERNEL_attend_step_128, args.n_kv_heads, n,
                          &args);
    TRY(gpu_launch(g, KERNEL_rope_store, n, 1, rope));
    if (!products) return gpu_launch(g, KERNEL_attention_cache, args.n_heads, n, &args);
    return gpu_launch(g, args.head_dim == 64 ? KERNEL_attend_prompt_64 : KERNEL_attend_prompt_128, args.n_kv_heads,
                      (n + 15) / 16, &args);
}

/* tokens[n], slots[n] and positions[n] of the device through all layers, to x: on tensor cores where product.c takes
   the model, and then the last layer's sums are still to be added; else by kernels that work for everything, in floats.
   Job. */
static status forward(struct gpu *g, int n, bool prompt) {
    struct gpu_backbone *d = g->backbone;
    const struct backbone_config *c = &d->config;
    bool tensor = d->products;
    d->slices = 0;
    TRY(gpu_embed(g, &d->token_embd, d->tokens, n, d->x));
    for (int i = 0; i < c->n_layers; i++) {
        const struct gpu_layer *l = &d->layers[i];
        struct rope_args rope = rope_of(d, i);
        if (tensor) {
            const struct gpu_matrix *qkv[] = {&l->q, &l->k, &l->v};
            TRY(add_norm(g, l->attn_norm, 0, n, false));
            TRY(products(g, qkv, (const float *[]){l->q_bias, l->k_bias, l->v_bias}, (float *[]){d->q, d->k, d->v}, 3,
                         d->normed_halves, d->normed_stride, n));
            TRY(attend(g, &rope, n, prompt));
            TRY(add_products(g, &l->attn_out, d->att_halves, d->att_stride, n, 1));
            TRY(add_norm(g, l->ffn_norm, 0, n, false));
            TRY(inner_products(g, l, n));
            TRY(add_products(g, &l->down, d->inner_halves, d->inner_stride, n, FFN_SCALE));
            continue;
        }
        TRY(norm(g, d->x, l->attn_norm, d->normed, NULL, n));
        TRY(multiply(g, &l->q, d->normed, l->q_bias, d->q, n, false));
        TRY(multiply(g, &l->k, d->normed, l->k_bias, d->k, n, false));
        TRY(multiply(g, &l->v, d->normed, l->v_bias, d->v, n, false));
        TRY(attend(g, &rope, n, prompt));
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

/* Logits of the n rows in normed_halves. */
static status head_products(struct gpu *g, int n) {
    struct gpu_backbone *d = g->backbone;
    const struct gpu_matrix *head = &d->head;
    return products(g, &head, (const float *[]){NULL}, &d->logits, 1, d->normed_halves, d->normed_stride, n);
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
    TRY(forward(g, d->n, true));
    if (d->products) TRY(add_norm(g, NULL, 0, d->n, false));
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
    if (d->products) {
        TRY(add_norm(g, d->output_norm, d->first_row, d->n, false));
        TRY(head_products(g, d->n));
    } else {
        TRY(norm(g, x, d->output_norm, d->normed, NULL, d->n));
        TRY(multiply(g, &d->head, d->normed, NULL, d->logits, d->n, false));
    }
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

/* The rows' last positions, to where the head takes them from. */
static status gather_hidden(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
    struct gather_args gather = {.x = d->hidden, .rows = d->slots, .y = d->normed, .width = d->config.n_embd};
    if (d->products) {
        gather.halves = d->normed_halves;
        gather.stride = d->normed_stride;
    }
    return gpu_launch(g, KERNEL_gather_rows, d->n, 1, &gather);
}

/* Draws a token of each of the n sequences and takes it through the model. */
static status launch_step(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
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
    if (d->products) {
        TRY(head_products(g, d->n));
    } else {
        TRY(multiply(g, &d->head, d->normed, NULL, d->logits, d->n, false));
    }
    TRY(gpu_launch(g, KERNEL_sample, d->n, 1, &sample));
    TRY(forward(g, d->n, false));
    if (d->products) return add_norm(g, d->output_norm, 0, d->n, true);
    TRY(norm(g, d->x, d->output_norm, d->hidden, d->slots, d->n));
    return gather_hidden(g);
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
    TRY(gather_hidden(g));
    const int64_t shape[GRAPH_KEY] = {d->n, d->steps, d->keys != NULL};
    for (int step = 1; step <= d->steps; step++) {
        TRY(gpu_launch_as_one(g, &d->graphs, shape, launch_step, "launching a step of several streams"));
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

static status decode_job(void *context) { return gpu_decode_job(context); }

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
    d->first_slot = generations[0].slot;
    if (n == 1 && gpu_decode_takes(d, &sequences[0])) {
        TRY(gpu_call(g, decode_job, deadline, forward_limit(g, CHECK_STEPS)));
        return take_result(g, &sequences[0], (const int32_t *)(void *)(sequences + 1), steps, &generations[0]);
    }
    TRY(gpu_call(g, generate_job, deadline, forward_limit(g, (double)n * CHECK_STEPS)));
    const int32_t *out = slots;
    for (int i = 0; i < n; i++)
        TRY(take_result(g, &sequences[i], out + (size_t)i * (size_t)steps, steps, &generations[i]));
    return UTTER_OK;
}
