#include "cpu/forward.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* ---- a pass ---- */

/* What the threads share while they work on rows [first, n) of a pass. */
struct pass {
    struct forward *f;
    const struct kernels *kernels;  // for the products
    const struct place *places;
    int first, n;
    int layer;
};

/* Few rows are done sooner than other threads can be asked. */
static void run_rows(struct pass *p, pool_job *job, int worth) {
    if (p->n - p->first >= worth)
        pool_run(p->f->pool, job, p);
    else
        job(p, 0, 1);
}

static void share_rows(const struct pass *p, int thread, int n_threads, int *begin, int *end) {
    int64_t b, e;
    pool_share(p->n - p->first, 1, thread, n_threads, &b, &e);
    *begin = p->first + (int)b;
    *end = p->first + (int)e;
}

static int64_t cache_ctx(const struct forward *f) { return round_up(f->n_ctx, f->kernels->lanes); }
static int64_t value_width(const struct forward *f) { return round_up(f->model->config.head_dim, f->kernels->lanes); }

static uint16_t *keys_of(const struct forward *f, int slot, int layer, int head) {
    const struct backbone_config *c = &f->model->config;
    const int64_t i = ((int64_t)slot * c->n_layers + layer) * c->n_kv_heads + head;
    return (uint16_t *)f->keys.data + i * cache_ctx(f) * c->head_dim;
}

static uint16_t *values_of(const struct forward *f, int slot, int layer, int head) {
    const struct backbone_config *c = &f->model->config;
    const int64_t i = ((int64_t)slot * c->n_layers + layer) * c->n_kv_heads + head;
    return (uint16_t *)f->values.data + i * cache_ctx(f) * value_width(f);
}

static void embed_rows(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    const struct matrix *m = &p->f->model->weights.token_embd;
    int begin, end;
    share_rows(p, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        const size_t row = (size_t)p->places[i].token * block_row_bytes(m->type, m->cols);
        dequantize_row(m->type, (const uint8_t *)m->data + row, p->f->x + (int64_t)i * m->cols, m->cols);
    }
}

/* x += added (nothing was, before the first layer); normed = rms_norm(x). */
static void norm_rows(struct pass *p, const float *gain, bool add, int thread, int n_threads) {
    struct forward *f = p->f;
    const int64_t e = f->model->config.n_embd;
    int begin, end;
    share_rows(p, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        if (add) f->kernels->add(f->x + i * e, f->added + i * e, e);
        f->kernels->rms_norm(f->x + i * e, gain, f->model->config.norm_eps, e, f->normed + i * e);
    }
}

static void norm_for_attention(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    norm_rows(p, p->f->layers[p->layer].weights->attn_norm, p->layer > 0, thread, n_threads);
}

static void norm_for_ffn(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    norm_rows(p, p->f->layers[p->layer].weights->ffn_norm, true, thread, n_threads);
}

static void norm_for_output(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    norm_rows(p, p->f->model->weights.output_norm, true, thread, n_threads);
}

/* Turns the pairs of one head by its position's angles. */
static void rotate(bool interleaved, int head_dim, const float *cosine, const float *sine, float *x) {
    const int half = head_dim / 2, step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;
    for (int i = 0; i < half; i++) {
        float *a = x + i * step, *b = a + apart;
        const float x0 = *a, x1 = *b;
        *a = x0 * cosine[i] - x1 * sine[i];
        *b = x0 * sine[i] + x1 * cosine[i];
    }
}

/* keys[d * lanes] = k[d] */
static void store_key(const struct kernels *kernels, const float *k, int head_dim, uint16_t *keys) {
    uint16_t half[64];
    for (int d = 0; d < head_dim; d += 64) {
        const int n = head_dim - d < 64 ? head_dim - d : 64;
        kernels->to_f16(k + d, n, half);
        for (int i = 0; i < n; i++) keys[(int64_t)(d + i) * kernels->lanes] = half[i];
    }
}

/* Norms and turns the heads of q and k, and puts k and v into the cache. */
static void place_rows(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    struct forward *f = p->f;
    const struct backbone_config *c = &f->model->config;
    const struct backbone_layer *w = f->layers[p->layer].weights;
    const int d = c->head_dim, lanes = f->kernels->lanes;
    int begin, end;
    share_rows(p, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const struct place *at = &p->places[i];
        const float *cosine = f->cos + (int64_t)at->at * d / 2, *sine = f->sin + (int64_t)at->at * d / 2;
        for (int h = 0; h < c->n_heads; h++) {
            float *q = f->q + (i * c->n_heads + h) * d;
            if (w->q_norm) f->kernels->rms_norm(q, w->q_norm, c->norm_eps, d, q);
            rotate(c->rope_interleaved, d, cosine, sine, q);
        }
        for (int g = 0; g < c->n_kv_heads; g++) {
            float *k = f->k + (i * c->n_kv_heads + g) * d;
            if (w->k_norm) f->kernels->rms_norm(k, w->k_norm, c->norm_eps, d, k);
            rotate(c->rope_interleaved, d, cosine, sine, k);
            uint16_t *values = values_of(f, at->slot, p->layer, g) + (int64_t)at->at * value_width(f);
            f->kernels->to_f16(f->v + (i * c->n_kv_heads + g) * d, d, values);
            store_key(f->kernels, k, d, keys_of(f, at->slot, p->layer, g) + key_index(lanes, d, at->at, 0));
        }
    }
}

/* Every (row, head of keys) is a task, or a part of its queries where there are fewer of these than threads; a thread
   takes each n-th, since later rows see more. */
static void attend_rows(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    struct forward *f = p->f;
    const struct backbone_config *c = &f->model->config;
    const int64_t d = c->head_dim, repeat = c->n_heads / c->n_kv_heads;
    const int64_t n_groups = (int64_t)(p->n - p->first) * c->n_kv_heads;
    int64_t parts = (n_threads + n_groups - 1) / n_groups;
    if (parts > repeat) parts = repeat;
    for (int64_t task = thread; task < n_groups * parts; task += n_threads) {
        const int64_t i = p->first + task / parts / c->n_kv_heads, g = task / parts % c->n_kv_heads;
        const int64_t query = repeat * (task % parts) / parts, end = repeat * (task % parts + 1) / parts;
        const int64_t head = i * c->n_heads + g * repeat + query;
        const struct place *at = &p->places[i];
        const struct attention a = {
            .head_dim = c->head_dim,
            .n_keys = at->at + 1,
            .half = true,
            .keys = keys_of(f, at->slot, p->layer, (int)g),
            .values = values_of(f, at->slot, p->layer, (int)g),
            .scale = 1 / sqrtf((float)d),
            .n_queries = (int)(end - query),
            .queries = f->q + head * d,
            .q_stride = d,
            .out = f->attended + head * d,
            .out_stride = d,
            .scores = (float *)f->scores.data + thread * attention_room(f->kernels->lanes, f->n_ctx),
        };
        f->kernels->attend(&a);
    }
}

static void activate_rows(void *argument, int thread, int n_threads) {
    struct pass *p = argument;
    const int64_t n = p->f->model->config.n_ffn;
    int begin, end;
    share_rows(p, thread, n_threads, &begin, &end);
    p->f->kernels->silu(p->f->gate + begin * n, p->f->up + begin * n, (end - begin) * n);
}

/* x [rows, cols] of the pass's rows times matrices. */
static status multiply_rows(const struct pass *p, const struct product *products, int n_products, const float *x) {
    struct product at[3];
    const int64_t cols = products[0].w->cols;
    for (int i = 0; i < n_products; i++) {
        at[i] = products[i];
        at[i].y += p->first * at[i].y_stride;
    }
    return matmul_group(p->kernels, p->f->pool, p->f->scratch, at, n_products, x + p->first * cols, cols,
                        p->n - p->first);
}

/* One layer; x + added is its input and its output. Rows from n - n_keep on are all that is wanted behind it. */
static status run_layer(struct pass *p, int n_keep) {
    struct forward *f = p->f;
    const struct backbone_config *c = &f->model->config;
    const struct layer *l = &f->layers[p->layer];
    const struct backbone_layer *w = l->weights;
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct product qkv[] = {
        {&l->q, w->q_bias, f->q, q}, {&l->k, w->k_bias, f->k, kv}, {&l->v, w->v_bias, f->v, kv}};
    const struct product attn_out = {&l->attn_out, NULL, f->added, c->n_embd};
    const struct product gate_up[] = {{&l->gate, NULL, f->gate, c->n_ffn}, {&l->up, NULL, f->up, c->n_ffn}};
    const struct product down = {&l->down, NULL, f->added, c->n_embd};

    run_rows(p, norm_for_attention, 8);
    TRY(multiply_rows(p, qkv, 3, f->normed));
    run_rows(p, place_rows, 4);
    p->first = p->n - n_keep;
    if (n_keep == 0) return UTTER_OK;
    pool_run(f->pool, attend_rows, p);
    TRY(multiply_rows(p, &attn_out, 1, f->attended));
    run_rows(p, norm_for_ffn, 8);
    TRY(multiply_rows(p, gate_up, 2, f->normed));
    run_rows(p, activate_rows, 4);
    return multiply_rows(p, &down, 1, f->gate);
}

const struct kernels *forward_step_kernels(const struct forward *f) {
    return f->kernels->for_steps ? f->kernels->for_steps : f->kernels;
}

status forward_run(struct forward *f, bool prompt, const struct place *places, int n, int n_keep) {
    const struct backbone_config *c = &f->model->config;
    struct pass p = {.f = f, .kernels = prompt ? f->kernels : forward_step_kernels(f), .places = places, .n = n};
    run_rows(&p, embed_rows, 4);
    for (p.layer = 0; p.layer < c->n_layers; p.layer++) TRY(run_layer(&p, p.layer == c->n_layers - 1 ? n_keep : n));
    run_rows(&p, norm_for_output, 8);
    if (p.first > 0)
        memmove(f->normed, f->normed + (int64_t)p.first * c->n_embd,
                (size_t)n_keep * (size_t)c->n_embd * sizeof(float));
    return UTTER_OK;
}

/* ---- load ---- */

enum { N_MATRICES = 7 };

/* The matrices of layer i, in the order in which a pass reads them. */
static void list_matrices(struct forward *f, int i, struct to_pack list[N_MATRICES]) {
    const struct backbone_layer *w = &f->model->weights.layers[i];
    struct layer *l = &f->layers[i];
    const struct to_pack all[N_MATRICES] = {
        {.m = &w->q, .out = &l->q},       {.m = &w->k, .out = &l->k},
        {.m = &w->v, .out = &l->v},       {.m = &w->attn_out, .out = &l->attn_out},
        {.m = &w->gate, .out = &l->gate}, {.m = &w->up, .out = &l->up},
        {.m = &w->down, .out = &l->down},
    };
    memcpy(list, all, sizeof all);
}

static status pack_layers(struct forward *f) {
    const int n_layers = f->model->config.n_layers, n = n_layers * N_MATRICES;
    struct to_pack *list;
    TRY(alloc_for(&f->layers, (size_t)n_layers, sizeof *f->layers, "the layers of the backbone"));
    TRY(alloc_for(&list, (size_t)n, sizeof *list, "the layers of the backbone"));
    for (int i = 0; i < n_layers; i++) list_matrices(f, i, list + i * N_MATRICES);
    status s = pack_all(f->kernels, f->pool, list, n, "the weights of the backbone", &f->weights);
    free_aligned(list);
    for (int i = 0; i < n_layers; i++) {
        struct layer *l = &f->layers[i];
        l->weights = &f->model->weights.layers[i];
        l->gate.coarse = l->up.coarse = l->down.coarse = true;
    }
    return s;
}

/* Pair i of position t turns by t * base^(-2i / D). */
static status make_angles(struct forward *f) {
    const struct backbone_config *c = &f->model->config;
    const int half = c->head_dim / 2;
    TRY(alloc_for(&f->cos, (size_t)f->n_ctx, (size_t)half * sizeof *f->cos, "rotary positions"));
    TRY(alloc_for(&f->sin, (size_t)f->n_ctx, (size_t)half * sizeof *f->sin, "rotary positions"));
    for (int i = 0; i < half; i++) {
        const double step = pow(c->rope_base, -2.0 * i / c->head_dim);
        for (int64_t t = 0; t < f->n_ctx; t++) {
            f->cos[t * half + i] = (float)cos((double)t * step);
            f->sin[t * half + i] = (float)sin((double)t * step);
        }
    }
    return UTTER_OK;
}

static status make_cache(struct forward *f) {
    const struct backbone_config *c = &f->model->config;
    const uint64_t heads = (uint64_t)f->n_slots * (uint64_t)c->n_layers * (uint64_t)c->n_kv_heads;
    uint64_t positions, n_keys, n_values;
    if (!size_mul(heads, (uint64_t)cache_ctx(f), &positions) ||
        !size_mul(positions, (uint64_t)c->head_dim * sizeof(uint16_t), &n_keys) ||
        !size_mul(positions, (uint64_t)value_width(f) * sizeof(uint16_t), &n_values) || n_values > SIZE_MAX / 2)
        return fail_memory(SIZE_MAX, "the cache of keys and values");
    TRY(pages_new((size_t)n_keys, "the cache of keys", &f->keys));
    TRY(pages_new((size_t)n_values, "the cache of values", &f->values));
    const size_t room = (size_t)attention_room(f->kernels->lanes, f->n_ctx) * sizeof(float);
    return pages_new((size_t)pool_n_threads(f->pool) * room, "the scores of attention", &f->scores);
}

static status make_rows(struct forward *f) {
    const struct backbone_config *c = &f->model->config;
    const size_t e = (size_t)c->n_embd, q = (size_t)c->n_heads * (size_t)c->head_dim,
                 kv = (size_t)c->n_kv_heads * (size_t)c->head_dim, ffn = (size_t)c->n_ffn;
    const struct {
        float **array;
        size_t width;
    } all[] = {{&f->x, e},        {&f->normed, e}, {&f->q, q},    {&f->k, kv},   {&f->v, kv},
               {&f->attended, q}, {&f->gate, ffn}, {&f->up, ffn}, {&f->added, e}};
    const size_t n = sizeof all / sizeof *all;
    uint64_t n_floats = 0;
    for (size_t i = 0; i < n; i++) n_floats += (uint64_t)round_up((int64_t)all[i].width * f->n_rows, 16);
    TRY(pages_new((size_t)n_floats * sizeof(float), "the backbone's activations", &f->rows));
    pages_stream(&f->rows);
    float *at = f->rows.data;
    for (size_t i = 0; i < n; i++) {
        *all[i].array = at;
        at += round_up((int64_t)all[i].width * f->n_rows, 16);
    }
    return UTTER_OK;
}

static status make(struct forward *f) {
    TRY(matmul_scratch_new(&f->scratch));
    TRY(pack_layers(f));
    TRY(make_angles(f));
    TRY(make_cache(f));
    return make_rows(f);
}

status forward_new(const struct backbone *model, const struct kernels *kernels, struct pool *pool, int n_slots,
                   int n_ctx, int n_rows, struct forward **out) {
    *out = NULL;
    struct forward *f;
    TRY(alloc_for(&f, 1, sizeof *f, "the backbone"));
    f->model = model;
    f->kernels = kernels;
    f->pool = pool;
    f->n_slots = n_slots;
    f->n_ctx = n_ctx;
    f->n_rows = n_rows;
    status s = make(f);
    if (s != UTTER_OK) {
        forward_free(f);
        return s;
    }
    *out = f;
    return UTTER_OK;
}

void forward_free(struct forward *f) {
    if (!f) return;
    free_aligned(f->cos);
    free_aligned(f->sin);
    free_aligned(f->layers);
    pages_free(&f->weights);
    pages_free(&f->keys);
    pages_free(&f->values);
    pages_free(&f->rows);
    pages_free(&f->scores);
    matmul_scratch_free(f->scratch);
    free_aligned(f);
}
