/* Times the GPU device at NeuTTS Air's geometry (Q4_0, Q8_0 embedding and head) and NeuCodec's (F16), with random
   weights: `test_gpu_speed`, on a real card. No test: nothing is checked but that calls succeed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gguf/layouts.h"
#include "gpu/gpu.h"

enum { N_SLOTS = 256, N_CTX = 1024, DEPTH = 512 };

static uint64_t state = 1;

static uint32_t random_u32(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void must(status s, const char *what) {
    if (s == UTTER_OK) return;
    fprintf(stderr, "%s: %s\n", what, fail_message());
    exit(1);
}

static void *room(size_t n) {
    void *p = calloc(1, n);
    if (p) return p;
    fprintf(stderr, "no memory\n");
    exit(1);
}

/* Random weights of about 1 / sqrt(cols). */
static struct matrix matrix(block_type type, int64_t rows, int64_t cols) {
    size_t n = (size_t)rows * block_row_bytes(type, cols);
    struct matrix m = {.type = type, .rows = rows, .cols = cols, .data = room(n)};
    unsigned char *bytes = (unsigned char *)(uintptr_t)m.data;
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t word = random_u32();
        memcpy(bytes + i, &word, 4);
    }
    uint16_t d = f32_to_f16(0.03f * (type == BLOCK_Q8_0 ? 1.0f / 74 : 1.0f / 5));
    size_t each = type == BLOCK_Q4_0 ? sizeof(struct q4_0) : type == BLOCK_Q8_0 ? sizeof(struct q8_0) : 2;
    for (size_t i = 0; i + each <= n; i += each) {
        if (type == BLOCK_F16) d = f32_to_f16(((float)(random_u32() & 0xffff) / 32768 - 1) * 0.03f);
        memcpy(bytes + i, &d, 2);
    }
    return m;
}

static float *vector(int n, float value) {
    float *v = room((size_t)n * sizeof *v);
    for (int i = 0; i < n; i++) v[i] = value;
    return v;
}

static void make_backbone(struct backbone *b) {
    *b = (struct backbone){.label = "speed", .name = "speed", .n_codes = 65536};
    b->prompt = room(1);
    struct backbone_config *c = &b->config;
    *c = (struct backbone_config){.arch = "qwen2",
                                  .n_layers = 24,
                                  .n_embd = 896,
                                  .n_heads = 14,
                                  .n_kv_heads = 2,
                                  .head_dim = 64,
                                  .n_ffn = 4864,
                                  .n_vocab = 217232,
                                  .n_ctx = N_CTX,
                                  .rope_base = 1e6f,
                                  .norm_eps = 1e-6f};
    b->code_token = room((size_t)b->n_codes * sizeof *b->code_token);
    for (int i = 0; i < b->n_codes; i++) b->code_token[i] = 151671 + i;
    b->end_token = 151670;
    b->weights.layers = room((size_t)c->n_layers * sizeof *b->weights.layers);
    int q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    for (int i = 0; i < c->n_layers; i++)
        b->weights.layers[i] = (struct backbone_layer){.attn_norm = vector(c->n_embd, 1),
                                                       .q = matrix(BLOCK_Q4_0, q, c->n_embd),
                                                       .k = matrix(BLOCK_Q4_0, kv, c->n_embd),
                                                       .v = matrix(BLOCK_Q4_0, kv, c->n_embd),
                                                       .q_bias = vector(q, 0.1f),
                                                       .k_bias = vector(kv, 0.1f),
                                                       .v_bias = vector(kv, 0.1f),
                                                       .attn_out = matrix(BLOCK_Q4_0, c->n_embd, q),
                                                       .ffn_norm = vector(c->n_embd, 1),
                                                       .gate = matrix(BLOCK_Q4_0, c->n_ffn, c->n_embd),
                                                       .up = matrix(BLOCK_Q4_0, c->n_ffn, c->n_embd),
                                                       .down = matrix(BLOCK_Q4_0, c->n_embd, c->n_ffn)};
    b->weights.token_embd = b->weights.output = matrix(BLOCK_Q8_0, c->n_vocab, c->n_embd);
    b->weights.output_norm = vector(c->n_embd, 1);
}

static void make_codec(struct codec *c) {
    *c = (struct codec){.label = "speed", .name = "speed"};
    struct codec_config *k = &c->config;
    *k = (struct codec_config){.sample_rate = 24000,
                               .hop = 480,
                               .n_fft = 1920,
                               .n_embd = 1024,
                               .n_blocks = 12,
                               .n_heads = 16,
                               .n_groups = 32,
                               .vq_dim = 2048,
                               .n_fsq = 8,
                               .n_codes = 65536,
                               .embed_kernel = 7,
                               .resnet_kernel = 3,
                               .n_ffn = 4096};
    for (int i = 0; i < 8; i++) k->fsq_levels[i] = 4;
    int C = k->n_embd;
    block_type t = BLOCK_F16;
    c->project_out = matrix(BLOCK_F16, k->vq_dim, 8);
    c->project_out_bias = vector(k->vq_dim, 0);
    c->fc_post_a = matrix(t, C, k->vq_dim);
    c->fc_post_a_bias = vector(C, 0);
    c->embed = matrix(t, C, 7 * C);
    c->embed_bias = vector(C, 0);
    for (int i = 0; i < CODEC_RESNETS; i++)
        c->resnets[i] = (struct codec_resnet){.norm1 = vector(C, 1),
                                              .norm1_bias = vector(C, 0),
                                              .conv1 = matrix(t, C, 3 * C),
                                              .conv1_bias = vector(C, 0),
                                              .norm2 = vector(C, 1),
                                              .norm2_bias = vector(C, 0),
                                              .conv2 = matrix(t, C, 3 * C),
                                              .conv2_bias = vector(C, 0)};
    c->blocks = room((size_t)k->n_blocks * sizeof *c->blocks);
    for (int i = 0; i < k->n_blocks; i++)
        c->blocks[i] = (struct codec_block){.att_norm = vector(C, 1),
                                            .c_attn = matrix(t, 3 * C, C),
                                            .c_proj = matrix(t, C, C),
                                            .ffn_norm = vector(C, 1),
                                            .fc1 = matrix(t, k->n_ffn, C),
                                            .fc2 = matrix(t, C, k->n_ffn)};
    c->final_norm = vector(C, 1);
    c->final_norm_bias = vector(C, 0);
    c->head = matrix(t, k->n_fft + 2, C);
    c->head_bias = vector(k->n_fft + 2, 0);
}

static double ms_since(int64_t start) { return (double)(clock_ns() - start) / 1e6; }

static void time_batch(struct device *d, const struct backbone *b, int n, int steps) {
    static struct generation g[N_SLOTS];
    static int32_t tokens[DEPTH], indices[N_SLOTS][DEPTH];
    struct sampling settings = sampling_neutts();
    for (int i = 0; i < DEPTH; i++) tokens[i] = b->code_token[random_u32() % 65536];
    for (int i = 0; i < n; i++) {
        g[i] = (struct generation){.slot = i, .indices = indices[i], .end_index = -1};
        must(sampler_new(&settings, (uint32_t)i, b->n_codes + 1, &g[i].sampler), "sampler");
        d->ops->reset(d, i);
        must(d->ops->prefill(d, i, tokens, DEPTH, NULL, NO_DEADLINE), "prefill");
    }
    must(d->ops->generate(d, g, n, 16, NO_DEADLINE), "generate");
    int64_t start = clock_ns();
    must(d->ops->generate(d, g, n, steps, NO_DEADLINE), "generate");
    double ms = ms_since(start);
    printf("decode, %3d streams, %d deep: %.3f ms a step, %.0f tokens/s\n", n, DEPTH, ms / steps, n * steps / ms * 1e3);
    for (int i = 0; i < n; i++) sampler_free(g[i].sampler);
}

int main(int argc, char **argv) {
    bool with_codec = argc < 2 || strcmp(argv[1], "backbone");
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct backbone b;
    struct codec c;
    make_backbone(&b);
    if (with_codec) make_codec(&c);
    int64_t start = clock_ns();
    struct device *d;
    must(gpu_open(&(struct gpu_options){0}, NULL, &d), "open");
    printf("open: %.0f ms\n", ms_since(start));
    start = clock_ns();
    must(d->ops->load_backbone(d, &b, true, N_SLOTS, N_CTX), "load");
    printf("load model: %.0f ms\n", ms_since(start));
    start = clock_ns();
    if (with_codec) must(d->ops->load_codec(d, &c), "load");
    printf("load codec: %.0f ms\n%s\n", ms_since(start), d->ops->describe(d));

    static int32_t tokens[DEPTH];
    for (int i = 0; i < DEPTH; i++) tokens[i] = (int32_t)(random_u32() % 217232);
    for (int i = 0; i < 3; i++) {
        d->ops->reset(d, 0);
        start = clock_ns();
        must(d->ops->prefill(d, 0, tokens, DEPTH, NULL, NO_DEADLINE), "prefill");
        printf("prefill of %d: %.2f ms, %.0f tokens/s\n", DEPTH, ms_since(start), DEPTH / ms_since(start) * 1e3);
    }
    if (argc < 3) time_batch(d, &b, 1, 200);
    if (argc < 3) time_batch(d, &b, 8, 100);
    time_batch(d, &b, 64, 50);
    time_batch(d, &b, 256, 20);

    if (!with_codec) {
        d->ops->close(d);
        return 0;
    }
    static const int windows[] = {81, 81, 500, 500};
    static float pcm[500 * 480];
    for (int i = 0; i < DEPTH; i++) tokens[i] = (int32_t)(random_u32() % 65536);
    for (int i = 0; i < 4; i++) {
        start = clock_ns();
        must(d->ops->synthesize(d, &(struct synthesis){tokens, windows[i], pcm}, 1, NO_DEADLINE), "synthesize");
        printf("codec, %d frames: %.2f ms\n", windows[i], ms_since(start));
    }
    d->ops->close(d);
    return 0;
}
