#include "gpu/codec.h"

#include <math.h>
#include <string.h>

/* ---- matrices ---- */

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* How a product is spread over the card. */
struct spread {
    enum gpu_kernel kernel;
    int64_t grid_x, grid_y;
    int n_splits, shared_bytes;
};

/* So that all multiprocessors have work: by the largest blocks that are enough of them, else by small ones, the product
   split when what comes out is to be parts. */
static struct spread spread_of(const struct gpu *g, const struct codec_matmul_args *args) {
    int64_t wanted = codec_blocks_wanted(g), across = div_up(args->n_channels, CODEC_TILE);
    int64_t down = div_up(args->n_rows, CODEC_TILE);
    if (g->codec->tiles && args->n_rows > CODEC_STRIP_ROWS && across * down >= wanted)
        return (struct spread){KERNEL_codec_matmul_tile, across, down, 1, CODEC_TILE_BYTES};
    across = div_up(args->n_channels, CODEC_STRIP_CHANNELS);
    down = div_up(args->n_rows, CODEC_STRIP_ROWS);
    int64_t n = 1;
    if (args->parts) {
        int64_t steps = args->depth / CODEC_DEPTH * args->n_products / 2;  // of a block, at least 2
        n = wanted / (across * down);
        if (n > steps) n = steps;
        if (n < 1) n = 1;
    }
    return (struct spread){KERNEL_codec_matmul_strip, across * n, down, (int)n, CODEC_STRIP_BYTES};
}

static struct codec_matmul_args product_of(const struct gpu *g, const struct half_matrix *m,
                                           const struct half_rows *x) {
    return (struct codec_matmul_args){.x = x->high,
                                      .x_low = x->low,
                                      .w = m->high,
                                      .w_low = m->low,
                                      .unscale = m->unscale,
                                      .x_stride = x->stride,
                                      .n_rows = g->codec->launching->n_rows,
                                      .n_channels = m->n_channels,
                                      .depth = m->depth,
                                      .n_products = m->low ? 3 : 1};
}

static status launch_product(struct gpu *g, struct codec_matmul_args *args) {
    struct spread s = spread_of(g, args);
    args->n_splits = s.n_splits;
    return gpu_launch_shared(g, s.kernel, s.grid_x, s.grid_y, args, s.shared_bytes);
}

/* y = activation(m x) */
static status multiply(struct gpu *g, const struct half_matrix *m, const struct half_rows *x,
                       enum activation activation, const struct half_rows *y) {
    struct codec_matmul_args args = product_of(g, m, x);
    args.y = y->high;
    args.y_low = y->low;
    args.y_stride = y->stride;
    args.activation = activation;
    return launch_product(g, &args);
}

/* m x + bias (accumulate: + `kept`) as parts that the next kernel sums up into `kept`; both may be NULL. A convolution
   of `taps` frames. */
static status multiply_parts(struct gpu *g, const struct half_matrix *m, const struct half_rows *x, int taps,
                             const float *bias, float *kept, bool accumulate, struct codec_sum *sum) {
    struct gpu_codec *d = g->codec;
    struct codec_matmul_args args = product_of(g, m, x);
    int64_t before = (int64_t)(taps / 2) * x->stride;
    args.x -= before;
    if (args.x_low) args.x_low -= before;
    args.parts = d->parts;
    args.y_stride = codec_padded(m->n_channels, 4);
    TRY(launch_product(g, &args));
    *sum = (struct codec_sum){.parts = d->parts,
                              .bias = bias,
                              .x = kept,
                              .part_stride = args.n_rows * args.y_stride,
                              .stride = args.y_stride,
                              .n_parts = args.n_splits,
                              .width = m->n_channels,
                              .accumulate = accumulate};
    return UTTER_OK;
}

/* ---- a pass ---- */

/* Where the parts of the plan lie in `plan`. */
struct plan {
    int32_t *codes, *piece_of_row;  // [n_rows]
    struct codec_piece *pieces;     // [n_pieces]
    struct codec_tile *tiles;       // [n_tiles]
    size_t n_numbers;
};

static struct plan plan_at(int32_t *plan, const struct codec_part *p) {
    struct plan out = {.codes = plan, .piece_of_row = plan + p->n_rows};
    int32_t *pieces = plan + 2 * (size_t)p->n_rows, *tiles = pieces + 3 * (size_t)p->n_pieces;
    out.pieces = (struct codec_piece *)(void *)pieces;
    out.tiles = (struct codec_tile *)(void *)tiles;
    out.n_numbers = (size_t)(tiles - plan) + 3 * (size_t)p->n_tiles;
    return out;
}

/* What the next products read, in a pass so small that they wait for memory. */
static struct codec_ahead ahead(const struct gpu_codec *d, const struct half_matrix *m) {
    if (!m || d->launching->n_rows > 2 * CODEC_STRIP_ROWS) return (struct codec_ahead){0};
    return (struct codec_ahead){m->high, (i64)m->n_channels * m->depth * (i64)sizeof(u16)};
}

/* silu(groupnorm(sum)), or a row's norm, to what matrices take. */
static status norm(struct gpu *g, const struct plan *plan, const struct codec_sum *sum, const float *weight,
                   const float *bias, bool of_groups, const struct half_matrix *next) {
    struct gpu_codec *d = g->codec;
    struct codec_norm_args args = {.sum = *sum,
                                   .weight = weight,
                                   .bias = bias,
                                   .piece_of_row = plan->piece_of_row,
                                   .pieces = plan->pieces,
                                   .y = d->in.high,
                                   .y_low = d->in.low,
                                   .ahead = ahead(d, next),
                                   .y_stride = d->in.stride,
                                   .n_rows = d->launching->n_rows,
                                   .n_groups = d->config.n_groups,
                                   .eps = CODEC_NORM_EPS};
    if (of_groups) return gpu_launch(g, KERNEL_codec_group_norm, d->config.n_groups, d->launching->n_pieces, &args);
    bool many = args.n_rows >= 1024 && sum->width <= CODEC_NORM_WIDTH && sum->width % 4 == 0;
    if (many) return gpu_launch(g, KERNEL_codec_norm_rows, div_up(args.n_rows, 8), 1, &args);
    return gpu_launch(g, KERNEL_codec_norm, args.n_rows, 1, &args);
}

/* sum: in, what the block is of; out, what it makes. */
static status resnet(struct gpu *g, const struct plan *plan, const struct gpu_resnet *r, struct codec_sum *sum) {
    struct gpu_codec *d = g->codec;
    int taps = d->config.resnet_kernel;
    TRY(norm(g, plan, sum, r->norm1, r->norm1_bias, true, &r->conv1));
    TRY(multiply_parts(g, &r->conv1, &d->in, taps, r->conv1_bias, d->y, false, sum));
    TRY(norm(g, plan, sum, r->norm2, r->norm2_bias, true, &r->conv2));
    return multiply_parts(g, &r->conv2, &d->in, taps, r->conv2_bias, d->x, true, sum);
}

static status attention(struct gpu *g, const struct plan *plan, const struct gpu_codec_block *b) {
    struct gpu_codec *d = g->codec;
    int head_dim = d->config.n_embd / d->config.n_heads;
    struct codec_attention_args args = {.qkv = d->qkv.high,
                                        .qkv_low = d->qkv.low,
                                        .out = d->att.high,
                                        .out_low = d->att.low,
                                        .tiles = plan->tiles,
                                        .ahead = {ahead(d, &b->c_proj), ahead(d, &b->fc1)},
                                        .qkv_stride = d->qkv.stride,
                                        .out_stride = d->att.stride,
                                        .n_heads = d->config.n_heads,
                                        .head_dim = head_dim,
                                        .scale = 1 / sqrtf((float)head_dim)};
    return gpu_launch(g, d->attention, d->config.n_heads, d->launching->n_tiles, &args);
}

static status transformer(struct gpu *g, const struct plan *plan, const struct gpu_codec_block *b,
                          struct codec_sum *sum) {
    struct gpu_codec *d = g->codec;
    TRY(norm(g, plan, sum, b->att_norm, NULL, false, &b->c_attn));
    TRY(multiply(g, &b->c_attn, &d->in, ACTIVATION_NONE, &d->qkv));
    TRY(attention(g, plan, b));
    TRY(multiply_parts(g, &b->c_proj, &d->att, 1, NULL, d->x, true, sum));
    TRY(norm(g, plan, sum, b->ffn_norm, NULL, false, &b->fc2));
    TRY(multiply(g, &b->fc1, &d->in, ACTIVATION_SILU, &d->ffn));
    return multiply_parts(g, &b->fc2, &d->ffn, 1, NULL, d->x, true, sum);
}

/* From the plan to samples, all on the card. */
static status launch_pass(struct gpu *g) {
    struct gpu_codec *d = g->codec;
    const struct codec_config *k = &d->config;
    const struct plan plan = plan_at(d->plan, d->launching);
    int n_rows = d->launching->n_rows;
    struct codec_start_args start = {.codes = plan.codes,
                                     .columns = d->columns,
                                     .bias = d->columns_bias,
                                     .y = d->in.high,
                                     .y_low = d->in.low,
                                     .y_stride = d->in.stride,
                                     .width = k->n_embd,
                                     .n_digits = k->n_fsq};
    for (int i = 0; i < k->n_fsq; i++) start.levels[i] = k->fsq_levels[i];
    TRY(gpu_launch(g, KERNEL_codec_start, n_rows, 1, &start));
    struct codec_sum sum;
    TRY(multiply_parts(g, &d->embed, &d->in, k->embed_kernel, d->embed_bias, d->x, false, &sum));
    for (int i = 0; i < CODEC_RESNETS / 2; i++) TRY(resnet(g, &plan, &d->resnets[i], &sum));
    for (int i = 0; i < k->n_blocks; i++) TRY(transformer(g, &plan, &d->blocks[i], &sum));
    for (int i = CODEC_RESNETS / 2; i < CODEC_RESNETS; i++) TRY(resnet(g, &plan, &d->resnets[i], &sum));
    TRY(norm(g, &plan, &sum, d->final_norm, d->final_norm_bias, false, &d->inverse));
    TRY(multiply_parts(g, &d->head, &d->in, 1, d->head_bias, NULL, false, &sum));
    struct codec_spectrum_args spectrum = {.sum = sum,
                                           .piece_of_row = plan.piece_of_row,
                                           .y = d->spectra.high,
                                           .y_low = d->spectra.low,
                                           .y_stride = d->spectra.stride,
                                           .bins = k->n_fft / 2 + 1,
                                           .max_magnitude = CODEC_MAX_MAGNITUDE};
    TRY(gpu_launch(g, KERNEL_codec_spectrum, n_rows, 1, &spectrum));
    TRY(multiply_parts(g, &d->inverse, &d->spectra, 1, NULL, NULL, false, &sum));
    struct codec_overlap_args overlap = {.sum = sum,
                                         .piece_of_row = plan.piece_of_row,
                                         .pieces = plan.pieces,
                                         .window = d->window,
                                         .pcm = d->pcm,
                                         .n_fft = k->n_fft,
                                         .hop = k->hop};
    return gpu_launch(g, KERNEL_codec_overlap_add, n_rows, 1, &overlap);
}

/* ---- a call ---- */

/* The next part after `last` (NULL: the first): the rest of its pass, or a new one. False when there is none. */
static bool next_part(const struct gpu_codec *d, const struct synthesis *pieces, int n, const struct codec_part *last,
                      struct codec_part *out) {
    size_t hop = (size_t)d->config.hop;
    *out = (struct codec_part){0};
    if (last) {
        *out = *last;
        out->first_sample += last->n_samples;
    }
    if (!last || out->first_sample == (size_t)last->n_frames * hop) {
        *out = (struct codec_part){.first_piece = last ? last->first_piece + last->n_pieces : 0, .n_rows = d->pad};
        for (int i = out->first_piece; i < n; i++) {
            int rows = pieces[i].n + d->pad;
            bool fits = out->n_rows + rows <= CODEC_PASS_ROWS &&
                        (size_t)(out->n_frames + pieces[i].n) * hop <= CODEC_PART_SAMPLES;
            if (out->n_pieces > 0 && !fits) break;
            out->n_pieces++;
            out->n_rows += rows;
            out->n_frames += pieces[i].n;
            out->n_tiles += (int)div_up(pieces[i].n, CODEC_QUERIES);
        }
        if (out->n_pieces == 0) return false;
    }
    size_t left = (size_t)out->n_frames * hop - out->first_sample;
    out->n_samples = left < CODEC_PART_SAMPLES ? left : CODEC_PART_SAMPLES;
    out->half = last ? 1 - last->half : 0;
    return true;
}

static void write_plan(const struct gpu_codec *d, const struct synthesis *pieces, const struct codec_part *part) {
    struct plan plan = plan_at(d->halves[part->half].plan, part);
    for (int i = 0; i < part->n_rows; i++) plan.codes[i] = plan.piece_of_row[i] = -1;
    int row = d->pad, frame = 0, tile = 0;
    for (int i = 0; i < part->n_pieces; i++) {
        const struct synthesis *s = &pieces[part->first_piece + i];
        plan.pieces[i] = (struct codec_piece){.row = row, .n = s->n, .frame = frame};
        memcpy(plan.codes + row, s->codes, (size_t)s->n * sizeof *s->codes);
        for (int j = 0; j < s->n; j++) plan.piece_of_row[row + j] = i;
        for (int first = 0; first < s->n; first += CODEC_QUERIES)
            plan.tiles[tile++] = (struct codec_tile){.row = row, .n = s->n, .first = first};
        row += s->n + d->pad;
        frame += s->n;
    }
}

static int64_t part_limit(const struct gpu *g, const struct codec_part *p) {
    const struct codec_config *k = &g->codec->config;
    double n = p->n_rows;
    return gpu_limit(g, n * k->hop * sizeof(float), n * (g->codec->n_weights + 2.0 * n * k->n_embd * k->n_blocks));
}

/* Starts a part on its way and waits for another: the card computes while the caller takes what is done. */
static status part_job(void *context) {
    struct gpu *g = context;
    struct gpu_codec *d = g->codec;
    const struct codec_part *p = d->launching;
    if (p) {
        struct codec_half *h = &d->halves[p->half];
        if (p->first_sample == 0) {
            TRY(codec_reserve(g, d, p->n_rows));
            d->in_flight = true;
            size_t n_bytes = plan_at(h->plan, p).n_numbers * sizeof(int32_t);
            TRY(gpu_upload(g, (device_address)(uintptr_t)d->plan, h->plan, n_bytes));
            const int64_t shape[GRAPH_KEY] = {p->n_rows, p->n_pieces, p->n_tiles};
            TRY(p->n_rows > CODEC_GRAPH_ROWS
                    ? launch_pass(g)
                    : gpu_launch_as_one(g, &d->graphs, shape, launch_pass, "launching the codec's kernels"));
        }
        TRY(gpu_download(g, h->pcm, (device_address)(uintptr_t)(d->pcm + p->first_sample),
                         p->n_samples * sizeof(float)));
        TRY(gpu_record(g, h->done));
    }
    if (d->awaited) {
        int64_t limit = part_limit(g, d->awaited) + (p && p != d->awaited ? part_limit(g, p) : 0);
        TRY(gpu_wait_event(g, d->halves[d->awaited->half].done, limit, "turning codes into sound"));
        if (!p || p == d->awaited) d->in_flight = false;
    }
    // run on, it would write into memory that the next call fills
    return worker_unwanted(g->worker) ? fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more") : UTTER_OK;
}

static status drain_job(void *context) {
    struct gpu *g = context;
    TRY(gpu_wait(g, gpu_limit(g, 0, 0), "ending a call that was left"));
    g->codec->in_flight = false;
    return UTTER_OK;
}

/* samples[n]; whether all are numbers. */
static bool copy_samples(float *to, const float *samples, size_t n) {
    enum { EXPONENT = 0x7f800000 };
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &samples[i], sizeof bits);
        memcpy(&to[i], &bits, sizeof bits);
        bad |= (bits & EXPONENT) == EXPONENT;
    }
    return !bad;
}

/* A part's samples to the pieces they belong to. */
static status take(const struct gpu *g, const struct synthesis *pieces, const struct codec_part *p) {
    const struct gpu_codec *d = g->codec;
    size_t hop = (size_t)d->config.hop, begin = 0, end = p->first_sample + p->n_samples;
    for (int i = p->first_piece; i < p->first_piece + p->n_pieces; i++) {
        size_t n = (size_t)pieces[i].n * hop;
        size_t from = begin > p->first_sample ? begin : p->first_sample, to = begin + n < end ? begin + n : end;
        if (from < to &&
            !copy_samples(pieces[i].pcm + (from - begin), d->halves[p->half].pcm + (from - p->first_sample), to - from))
            return fail(UTTER_DEVICE,
                        "GPU %d (%.100s) returned sound that holds no numbers; its memory or the driver may be at "
                        "fault",
                        g->options.index, g->info.name);
        begin += n;
    }
    return UTTER_OK;
}

static status check_pieces(const struct gpu_codec *d, const struct synthesis *pieces, int n) {
    for (int p = 0; p < n; p++) {
        if (pieces[p].n < 1) return fail(UTTER_INVALID, "%d codes were given to the GPU's codec", pieces[p].n);
        if (pieces[p].n > CODEC_MAX_FRAMES)
            return fail(UTTER_LIMIT, "%d codes at once are more than the %d that the GPU takes; decode them in parts",
                        pieces[p].n, CODEC_MAX_FRAMES);
        for (int i = 0; i < pieces[p].n; i++)
            if (pieces[p].codes[i] < 0 || pieces[p].codes[i] >= d->config.n_codes)
                return fail(UTTER_INVALID, "code %d (number %d) is outside the codec's range 0..%d", pieces[p].codes[i],
                            i, d->config.n_codes - 1);
    }
    return UTTER_OK;
}

status gpu_synthesize(struct device *device, const struct synthesis *pieces, int n, int64_t deadline) {
    struct gpu *g = (struct gpu *)device;
    struct gpu_codec *d = g->codec;
    TRY(worker_ready(g->worker, deadline));
    if (!d || d->loading) return fail(UTTER_INTERNAL, "no codec is loaded on the GPU");
    TRY(check_pieces(d, pieces, n));
    if (d->in_flight) TRY(gpu_call(g, drain_job, deadline, gpu_limit(g, 0, 0)));
    struct codec_part parts[2], *last = NULL;
    for (int i = 0;; i++) {
        struct codec_part *now = &parts[i % 2], after;
        bool more = next_part(d, pieces, n, last, now);
        if (!more && !last) return UTTER_OK;
        bool alone = more && !last && !next_part(d, pieces, n, now, &after);
        d->parts_in_hand[i % 2] = *now;
        d->launching = more ? &d->parts_in_hand[i % 2] : NULL;
        d->awaited = last ? &d->parts_in_hand[(i + 1) % 2] : alone ? d->launching : NULL;
        if (more && now->first_sample == 0) write_plan(d, pieces, now);
        int64_t limit = (more ? part_limit(g, now) : 0) + (last ? part_limit(g, last) : 0);
        TRY(gpu_call(g, part_job, deadline, limit));
        if (d->awaited) TRY(take(g, pieces, d->awaited));
        if (!more || alone) return UTTER_OK;
        last = now;
    }
}
