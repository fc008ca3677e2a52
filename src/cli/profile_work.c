#include "cli/profile_work.h"

#include <string.h>

enum { CACHE_BYTES = 2 };  // of a number in the cache of keys and values

/* ---- matrices ---- */

struct weights {
    double bytes, n;
};

static void add(struct weights *w, const struct matrix *m, int64_t rows) {
    w->bytes += (double)rows * (double)block_row_bytes(m->type, m->cols);
    w->n += (double)rows * (double)m->cols;
}

static struct weights layers_of(const struct backbone *b) {
    struct weights w = {0};
    for (int i = 0; i < b->config.n_layers; i++) {
        const struct backbone_layer *l = &b->weights.layers[i];
        const struct matrix *all[] = {&l->q, &l->k, &l->v, &l->attn_out, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) add(&w, all[k], all[k]->rows);
    }
    return w;
}

// Rows of speech codes and the end alone.
static struct weights head_of(const struct backbone *b) {
    struct weights w = {0};
    add(&w, &b->weights.output, b->n_codes + 1);
    return w;
}

static struct weights codec_of(const struct codec *c) {
    struct weights w = {0};
    const struct matrix *all[] = {&c->project_out, &c->fc_post_a, &c->embed, &c->head};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) add(&w, all[i], all[i]->rows);
    for (int i = 0; i < CODEC_RESNETS; i++) {
        add(&w, &c->resnets[i].conv1, c->resnets[i].conv1.rows);
        add(&w, &c->resnets[i].conv2, c->resnets[i].conv2.rows);
    }
    for (int i = 0; i < c->config.n_blocks; i++) {
        const struct matrix *block[] = {&c->blocks[i].c_attn, &c->blocks[i].c_proj, &c->blocks[i].fc1,
                                        &c->blocks[i].fc2};
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) add(&w, block[k], block[k]->rows);
    }
    return w;
}

static enum arithmetic arithmetic_of(block_type t) {
    return t == BLOCK_F32 ? ON_FLOATS : t == BLOCK_F16 || t == BLOCK_BF16 ? ON_WORDS : ON_BYTES;
}

/* ---- stages ---- */

// Keys and values of one position, in all layers.
static double cache_bytes(const struct backbone_config *c) {
    return 2.0 * CACHE_BYTES * c->n_layers * c->n_kv_heads * c->head_dim;
}

// Of one token's attention to one position: products of queries and keys, and sums of values, for every head.
static double attention_operations(const struct backbone_config *c) {
    return 4.0 * c->n_layers * c->n_heads * c->head_dim;
}

// Reading n tokens behind `depth` others: all layers once, however many there are. The output matrix waits for the
// codes.
static void add_prompt(struct work *w, const struct backbone *b, double depth, double n) {
    const struct weights layers = layers_of(b);
    w->bytes += layers.bytes + cache_bytes(&b->config) * (depth + n);
    w->operations += 2 * layers.n * n + attention_operations(&b->config) * n * (depth + n / 2);
}

// Writing n codes one after the other, of which `n_read` are read first: the first code follows from the prompt's end.
static void add_codes(struct work *w, const struct backbone *b, double depth, double n, double n_read) {
    const struct weights layers = layers_of(b), head = head_of(b);
    w->bytes += n_read * layers.bytes + n * head.bytes + cache_bytes(&b->config) * n_read * (depth + n_read / 2);
    w->operations +=
        2 * (n_read * layers.n + n * head.n) + attention_operations(&b->config) * n_read * (depth + n_read / 2);
}

static void add_frames(struct work *w, const struct codec *c, double n) {
    const struct weights all = codec_of(c);
    w->bytes += all.bytes;
    w->operations += 2 * all.n * n + 4.0 * c->config.n_blocks * c->config.n_embd * n * n;
}

/* Where a request stands in a sentence. */
struct position {
    int sentence;
    double prompt;  // tokens of it that were read: what the place held already is not told
    double depth;
    bool begun;  // codes were written since the prompt
};

// A sentence is read, and written; an attempt anew reads no more than the prompt's end.
static void begin_prompt(struct position *at, const utter_span *span) {
    if (span->sentence != at->sentence) *at = (struct position){.sentence = span->sentence};
    if (at->begun) at->depth = at->prompt > span->count ? at->prompt - span->count : 0;
    if (!at->begun) at->prompt += span->count;
}

struct work work_of(const utter *u, const struct spans *s, const char *stage) {
    const bool codec = strcmp(stage, "codec") == 0;
    struct work w = {.on = arithmetic_of(codec ? u->codec->embed.type : u->backbone->weights.layers[0].q.type)};
    struct position at = {.sentence = -1};
    for (size_t i = 0; i < s->n; i++) {  // in the order in which they began
        const utter_span *span = &s->list[i];
        const bool prompt = strcmp(span->stage, "prefill") == 0, codes = strcmp(span->stage, "decode") == 0;
        const bool wanted = strcmp(span->stage, stage) == 0;
        if (prompt) begin_prompt(&at, span);
        const double n_read = span->count - (at.begun ? 0 : 1);
        if (wanted && prompt) add_prompt(&w, u->backbone, at.depth, span->count);
        if (wanted && codes) add_codes(&w, u->backbone, at.depth, span->count, n_read);
        if (wanted && codec) add_frames(&w, u->codec, span->count);
        if (prompt) at.begun = false;
        if (codes) at.begun = true;
        if (prompt) at.depth += span->count;
        if (codes) at.depth += n_read;
    }
    return w;
}

size_t work_weights(const utter *u, const char *stage) {
    if (strcmp(stage, "codec") == 0) return (size_t)codec_of(u->codec).bytes;
    return (size_t)(layers_of(u->backbone).bytes + head_of(u->backbone).bytes);
}
