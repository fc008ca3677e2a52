/* One sequence at a time by the kernel of kernels/decode.c, where the model and the card fit it. */
#include "gpu/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gpu/backbone.h"

enum { LAUNCH_STEPS = 64 };  // tokens of a launch: between launches it is seen whether anybody still waits

static int div_up(int a, int b) { return (a + b - 1) / b; }
static int largest(int a, int b) { return a > b ? a : b; }

static bool is_usual(block_type type, block_type layers) { return type == layers || type == BLOCK_Q8_0; }

/* Whether decode.c is made for the model, but for its format. */
static bool fits(const struct backbone *b) {
    const struct backbone_config *c = &b->config;
    block_type type = b->weights.layers[0].q.type;
    if (!is_usual(b->weights.token_embd.type, type) || !is_usual(b->weights.output.type, type)) return false;
    for (int i = 0; i < c->n_layers; i++) {
        const struct backbone_layer *l = &b->weights.layers[i];
        const struct matrix *all[] = {&l->q, &l->k, &l->v, &l->attn_out, &l->gate, &l->up, &l->down};
        for (int j = 0; j < 7; j++)
            if (all[j]->type != type) return false;
    }
    return c->head_dim == DECODE_HEAD_DIM && c->n_heads / c->n_kv_heads <= DECODE_GROUP &&
           c->n_embd <= DECODE_MAX_WIDTH && c->n_embd % 8 == 0 && c->n_ffn % 8 == 0;
}

static const struct {
    block_type type;
    enum gpu_kernel kernel[2];  // staged: the second
} made[] = {
#define MEMBER(name, type) {type, {KERNEL_decode_##name, KERNEL_decode_staged_##name}},
    GPU_DECODE_FORMATS(MEMBER)
#undef MEMBER
};

/* Places in shared memory, with those of the weights if staged; returns how many bytes in all. */
static int lay_out(const struct backbone *b, int n_head, int n_blocks, bool staged, struct decode_args *a) {
    const struct backbone_config *c = &b->config;
    int q_width = c->n_heads * c->head_dim, kv_width = c->n_kv_heads * c->head_dim, step = 4 * GROUP;
    int width_tiles = div_up(c->n_embd / 8, n_blocks), inner_tiles = div_up(c->n_ffn / 8, n_blocks);
    int qkv_tiles = div_up((q_width + 2 * kv_width) / 8, n_blocks);
    int width_steps = div_up(c->n_embd, step), deepest = largest(c->n_ffn, largest(c->n_embd, q_width));
    const int units[DECODE_PRODUCTS] = {
        // as enum decode_product
        qkv_tiles * div_up(width_steps, 2), width_tiles * div_up(div_up(q_width, step), 2), inner_tiles * width_steps,
        width_tiles * div_up(div_up(c->n_ffn, step), 2)};
    int most_units = 0;
    for (int i = 0; i < DECODE_PRODUCTS; i++) most_units = largest(most_units, units[i]);
    int groups = div_up(div_up(deepest, step), 2) * 2 * 4;
    int rows = div_up(div_up(n_head, 16), n_blocks) * 16;
    a->at_layers = DECODE_STATIC_BYTES;
    a->at_residual = a->at_layers + (c->n_layers * (int)sizeof(struct decode_layer) + 15) / 16 * 16;
    a->at_part = a->at_residual + width_tiles * 8 * (int)sizeof(float);
    a->at_activations = a->at_part + most_units * 16 * (int)sizeof(float);
    a->at_logits = a->at_activations + groups * (GROUP + 8) * (int)sizeof(u16);
    int end = a->at_logits + rows * (int)sizeof(float);
    int unit_bytes = DECODE_UNIT_BYTES(b->weights.layers[0].q.type == BLOCK_Q8_0 ? 2 : 1);
    for (int i = 0; staged && i < DECODE_PRODUCTS; i++) {
        a->at_staged[i] = end;
        end += units[i] * unit_bytes;
    }
    return end;
}

/* How the kernel runs on the card; k->usable tells whether. */
static void plan(const struct gpu *g, const struct backbone *b, int n_head, struct gpu_decode *k) {
    const struct backbone_config *c = &b->config;
    *k = (struct gpu_decode){.n_blocks = g->info.multiprocessors};
    if (!g->info.cooperative || !fits(b)) return;
    if (k->n_blocks > c->n_ffn / 8) k->n_blocks = c->n_ffn / 8;  // every block must have work in every layer
    if (k->n_blocks > SAMPLE_LIST / 2) k->n_blocks = SAMPLE_LIST / 2;
    // copies take the scales of two groups at once
    bool even =
        c->n_embd % (2 * GROUP) == 0 && c->n_ffn % (2 * GROUP) == 0 && c->n_heads * c->head_dim % (2 * GROUP) == 0;
    bool staged = even && lay_out(b, n_head, k->n_blocks, true, &k->args) <= g->info.shared_bytes;
    k->shared_bytes = lay_out(b, n_head, k->n_blocks, staged, &k->args);
    if (k->shared_bytes > g->info.shared_bytes) return;
    // the kernel's way of dividing by the units of a tile is exact up to here
    int most = (k->args.at_activations - k->args.at_part) / (16 * (int)sizeof(float));
    if (most * div_up(c->n_ffn, 4 * GROUP) >= 65536 || most * div_up(c->n_embd, 4 * GROUP) >= 65536) return;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        if (made[i].type != b->weights.layers[0].q.type) continue;
        k->kernel = made[i].kernel[staged];
        k->usable = true;
    }
}

void gpu_want_decode(const struct gpu *g, const struct backbone *b, int n_head, bool wanted[N_MODULES]) {
    struct gpu_decode k;
    plan(g, b, n_head, &k);
    if (k.usable) wanted[gpu_module_of(k.kernel)] = true;
}

void gpu_decode_prepare(struct gpu *g, struct gpu_backbone *d) {
    struct gpu_decode *k = &d->decode;
    plan(g, d->file, d->n_head, k);
    k->args.n_splits = div_up(d->n_ctx, DECODE_SPLIT);
    if (k->args.n_splits > DECODE_SPLITS) k->args.n_splits = DECODE_SPLITS;
}

status gpu_decode_place(struct gpu *g, struct gpu_backbone *d, struct device_memory *m) {
    struct gpu_decode *k = &d->decode;
    if (!k->usable) return UTTER_OK;
    const struct backbone_config *c = &d->config;
    struct decode_args *a = &k->args;
    size_t heads = (size_t)c->n_heads, D = (size_t)c->head_dim, splits = (size_t)a->n_splits;
    struct {
        size_t n;
        u32x4 **to;
    } packets[] = {
        {(heads + 2 * (size_t)c->n_kv_heads) * D / 4, &a->qkv_packets},
        {(size_t)c->n_embd / 4, &a->out_packets},
        {(size_t)c->n_ffn / 8, &a->inner_packets},
        {(size_t)c->n_embd / 4, &a->down_packets},
        {splits * heads * D / 8, &a->mixed_packets},
        {2 * SAMPLE_LIST, &a->largest_packets},
        {2 * (size_t)k->n_blocks * SAMPLE_LIST, &a->candidate_packets},
    };
    for (size_t i = 0; i < sizeof packets / sizeof *packets; i++) {
        TRY(gpu_alloc(g, m, packets[i].n * sizeof(u32x4), packets[i].to));
        if (!m->measuring) TRY(gpu_clear(g, (device_address)(uintptr_t)*packets[i].to, packets[i].n * sizeof(u32x4)));
    }
    TRY(gpu_alloc(g, m, splits * heads * sizeof(u32), &a->weights_of_mixed));
    TRY(gpu_alloc(g, m, sizeof *a->state, &a->state));
    TRY(gpu_alloc(g, m, (size_t)c->n_layers * sizeof *a->layers, &a->layers));
    if (m->measuring) return UTTER_OK;
    TRY(gpu_clear(g, (device_address)(uintptr_t)a->weights_of_mixed, splits * heads * sizeof(u32)));
    return gpu_clear(g, (device_address)(uintptr_t)a->state, sizeof *a->state);
}

status gpu_decode_upload(struct gpu *g, struct gpu_backbone *d) {
    struct gpu_decode *k = &d->decode;
    if (!k->usable) return UTTER_OK;
    const struct backbone_config *c = &d->config;
    size_t layer_cache = gpu_cache_bytes(d) / sizeof(u16) / (size_t)c->n_layers;
    for (int i = 0; i < c->n_layers; i++) {
        const struct gpu_layer *l = &d->layers[i];
        struct decode_layer layer = {.q = l->q.w,
                                     .k = l->k.w,
                                     .v = l->v.w,
                                     .attn_out = l->attn_out.w,
                                     .gate = l->gate.w,
                                     .up = l->up.w,
                                     .down = l->down.w,
                                     .attn_norm = l->attn_norm,
                                     .ffn_norm = l->ffn_norm,
                                     .q_bias = l->q_bias,
                                     .k_bias = l->k_bias,
                                     .v_bias = l->v_bias,
                                     .q_norm = l->q_norm,
                                     .k_norm = l->k_norm,
                                     .k_cache = d->k_cache + (size_t)i * layer_cache,
                                     .v_cache = d->v_cache + (size_t)i * layer_cache};
        TRY(gpu_upload_bytes(g, &layer, sizeof layer, k->args.layers + i));
    }
    struct decode_args *a = &k->args;
    a->embedding = d->token_embd.w;
    a->head = d->head.w;
    a->embedding_is_q8 = d->token_embd.format == GPU_FORMAT_q8_0;
    a->head_is_q8 = d->head.format == GPU_FORMAT_q8_0;
    a->output_norm = d->output_norm;
    a->angles = d->angles;
    a->head_rows = d->head_rows;
    a->hidden = d->hidden;
    a->sequence = d->sequences;
    a->out = d->out;
    a->n_layers = c->n_layers;
    a->width = c->n_embd;
    a->n_heads = c->n_heads;
    a->n_kv_heads = c->n_kv_heads;
    a->inner = c->n_ffn;
    a->n_ctx = d->n_ctx;
    a->stride = d->stride;
    a->interleaved = c->rope_interleaved;
    a->eps = c->norm_eps;
    a->scale = 1 / sqrtf((float)c->head_dim);
    return UTTER_OK;
}

status gpu_decode_ready(struct gpu *g, struct gpu_backbone *d) {
    struct gpu_decode *k = &d->decode;
    if (!k->usable) return UTTER_OK;
    int resident = 0;
    TRY(gpu_resident_blocks(g, k->kernel, DECODE_THREADS, k->shared_bytes, &resident));
    k->usable = resident > 0;
    return UTTER_OK;
}

bool gpu_decode_takes(const struct gpu_backbone *d, const struct sequence *s) {
    return d->decode.usable && (s->temperature == 0 || (s->top_k > 0 && s->top_k + d->decode.n_blocks <= SAMPLE_LIST));
}

/* The sequence lies in staging and comes back there, after it d->out[steps], after that the state. Job. */
status gpu_decode_job(struct gpu *g) {
    struct gpu_backbone *d = g->backbone;
    struct gpu_decode *k = &d->decode;
    struct sequence *sequence = (struct sequence *)(void *)g->staging;
    size_t out_bytes = (size_t)d->steps * sizeof(int32_t);
    int32_t *out = (int32_t *)(void *)(g->staging + sizeof *sequence);
    struct decode_state *state = (struct decode_state *)(void *)(out + d->steps);
    device_address sequences = (device_address)(uintptr_t)d->sequences;
    TRY(gpu_upload(g, sequences, sequence, sizeof *sequence));
    k->args.slot = d->first_slot;
    for (int done = 0; done < d->steps;) {
        k->args.steps = d->steps - done < LAUNCH_STEPS ? d->steps - done : LAUNCH_STEPS;
        k->args.limit_ns = g->job_limit;
        TRY(gpu_launch_decode(g, k->kernel, k->n_blocks, k->shared_bytes, &k->args));
        done += k->args.steps;
        TRY(gpu_download(g, sequence, sequences, sizeof *sequence));
        TRY(gpu_download(g, state, (device_address)(uintptr_t)k->args.state, sizeof *state));
        if (done >= d->steps) TRY(gpu_download(g, out, (device_address)(uintptr_t)d->out, out_bytes));
        TRY(gpu_wait(g, 2 * g->job_limit, "generating"));
        worker_extend(g->worker, 3 * g->job_limit);
        if (state->fault == 1) {
            fail(UTTER_DEVICE,
                 "GPU %d (%.100s), generating: its multiprocessors waited for each other in vain; it is not used any "
                 "more. See `nvidia-smi` and the system log",
                 g->options.index, g->info.name);
            worker_lose(g->worker);
            return UTTER_DEVICE;
        }
        if (sequence->active || done >= d->steps) continue;
        TRY(gpu_download(g, out, (device_address)(uintptr_t)d->out, out_bytes));
        return gpu_wait(g, gpu_limit(g, 0, 0), "generating");
    }
    return UTTER_OK;
}
