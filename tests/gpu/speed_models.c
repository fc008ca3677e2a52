#include "speed_models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gguf/layouts.h"

uint32_t speed_random(void) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

void speed_must(status s, const char *what) {
    if (s == UTTER_OK) return;
    fprintf(stderr, "%s: %s\n", what, fail_message());
    exit(1);
}

void *speed_room(size_t n) {
    void *p = calloc(1, n);
    if (p) return p;
    fprintf(stderr, "no memory\n");
    exit(1);
}

double speed_ms_since(int64_t start) { return (double)(clock_ns() - start) / 1e6; }

/* Random weights of about 1 / sqrt(cols), Q4_0 or Q8_0. */
static struct matrix matrix(block_type type, int64_t rows, int64_t cols) {
    size_t n = (size_t)rows * block_row_bytes(type, cols);
    struct matrix m = {.type = type, .rows = rows, .cols = cols, .data = speed_room(n)};
    unsigned char *bytes = (unsigned char *)(uintptr_t)m.data;
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t word = speed_random();
        memcpy(bytes + i, &word, 4);
    }
    uint16_t d = f32_to_f16(0.03f * (type == BLOCK_Q8_0 ? 1.0f / 74 : 1.0f / 5));
    size_t each = type == BLOCK_Q4_0 ? sizeof(struct q4_0) : sizeof(struct q8_0);
    for (size_t i = 0; i + each <= n; i += each) memcpy(bytes + i, &d, 2);
    return m;
}

/* Random weights of about 1 / sqrt(1024); matrices share them. */
static struct matrix shared_matrix(block_type type, int64_t rows, int64_t cols) {
    enum { LARGEST = 1024 * 7168 };
    static unsigned char *pools[3];
    int kind = type == BLOCK_F32 ? 0 : type == BLOCK_F16 ? 1 : 2;
    if (!pools[kind]) {
        pools[kind] = speed_room((size_t)LARGEST * 4);
        for (size_t i = 0; i < LARGEST; i++) {
            float v = ((float)(speed_random() & 0xffff) / 32768 - 1) * 0.05f;
            uint16_t half = f32_to_f16(v);
            if (kind == 0) memcpy(pools[0] + 4 * i, &v, 4);
            if (kind == 1) memcpy(pools[1] + 2 * i, &half, 2);
            if (kind == 2) pools[2][i] = (unsigned char)speed_random();
        }
        uint16_t d = f32_to_f16(0.05f / 128);
        if (kind == 2)
            for (size_t i = 0; i + sizeof(struct q8_0) <= LARGEST; i += sizeof(struct q8_0))
                memcpy(pools[2] + i, &d, 2);
    }
    return (struct matrix){.type = type, .rows = rows, .cols = cols, .data = pools[kind]};
}

static float *vector(int n, float value) {
    float *v = speed_room((size_t)n * sizeof *v);
    for (int i = 0; i < n; i++) v[i] = value;
    return v;
}

void speed_backbone(struct backbone *b, int n_ctx) {
    *b = (struct backbone){.label = "speed", .name = "speed", .n_codes = 65536};
    b->prompt = speed_room(1);
    struct backbone_config *c = &b->config;
    *c = (struct backbone_config){.arch = "qwen2",
                                  .n_layers = 24,
                                  .n_embd = 896,
                                  .n_heads = 14,
                                  .n_kv_heads = 2,
                                  .head_dim = 64,
                                  .n_ffn = 4864,
                                  .n_vocab = 217232,
                                  .n_ctx = n_ctx,
                                  .rope_base = 1e6f,
                                  .norm_eps = 1e-6f};
    b->code_token = speed_room((size_t)b->n_codes * sizeof *b->code_token);
    for (int i = 0; i < b->n_codes; i++) b->code_token[i] = 151671 + i;
    b->end_token = 151670;
    b->weights.layers = speed_room((size_t)c->n_layers * sizeof *b->weights.layers);
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

void speed_codec(struct codec *c, block_type t) {
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
    c->project_out = shared_matrix(BLOCK_F16, k->vq_dim, 8);
    c->project_out_bias = vector(k->vq_dim, 0);
    c->fc_post_a = shared_matrix(t, C, k->vq_dim);
    c->fc_post_a_bias = vector(C, 0);
    c->embed = shared_matrix(t, C, 7 * C);
    c->embed_bias = vector(C, 0);
    for (int i = 0; i < CODEC_RESNETS; i++)
        c->resnets[i] = (struct codec_resnet){.norm1 = vector(C, 1),
                                              .norm1_bias = vector(C, 0),
                                              .conv1 = shared_matrix(t, C, 3 * C),
                                              .conv1_bias = vector(C, 0),
                                              .norm2 = vector(C, 1),
                                              .norm2_bias = vector(C, 0),
                                              .conv2 = shared_matrix(t, C, 3 * C),
                                              .conv2_bias = vector(C, 0)};
    c->blocks = speed_room((size_t)k->n_blocks * sizeof *c->blocks);
    for (int i = 0; i < k->n_blocks; i++)
        c->blocks[i] = (struct codec_block){.att_norm = vector(C, 1),
                                            .c_attn = shared_matrix(t, 3 * C, C),
                                            .c_proj = shared_matrix(t, C, C),
                                            .ffn_norm = vector(C, 1),
                                            .fc1 = shared_matrix(t, k->n_ffn, C),
                                            .fc2 = shared_matrix(t, C, k->n_ffn)};
    c->final_norm = vector(C, 1);
    c->final_norm_bias = vector(C, 0);
    c->head = shared_matrix(t, k->n_fft + 2, C);
    c->head_bias = vector(k->n_fft + 2, 0);
}
