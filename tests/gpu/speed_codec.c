/* Times the codec on the GPU device at NeuCodec's geometry with random weights: `test_gpu_speed_codec [F16|F32|Q8_0]
   [window|batch]`, on a real card. No test: nothing is checked but that calls succeed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gguf/layouts.h"
#include "gpu/gpu.h"

enum { MAX_PIECES = 64, MAX_FRAMES = 500, HOP = 480, REPEATS = 30 };

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

/* Random weights of about 1 / sqrt(1024); matrices share them. */
static struct matrix matrix(block_type type, int64_t rows, int64_t cols) {
    enum { LARGEST = 1024 * 7168 };
    static unsigned char *pools[3];
    int kind = type == BLOCK_F32 ? 0 : type == BLOCK_F16 ? 1 : 2;
    if (!pools[kind]) {
        pools[kind] = room((size_t)LARGEST * 4);
        for (size_t i = 0; i < LARGEST; i++) {
            float v = ((float)(random_u32() & 0xffff) / 32768 - 1) * 0.05f;
            uint16_t half = f32_to_f16(v);
            if (kind == 0) memcpy(pools[0] + 4 * i, &v, 4);
            if (kind == 1) memcpy(pools[1] + 2 * i, &half, 2);
            if (kind == 2) pools[2][i] = (unsigned char)random_u32();
        }
        uint16_t d = f32_to_f16(0.05f / 128);
        if (kind == 2)
            for (size_t i = 0; i + sizeof(struct q8_0) <= LARGEST; i += sizeof(struct q8_0))
                memcpy(pools[2] + i, &d, 2);
    }
    return (struct matrix){.type = type, .rows = rows, .cols = cols, .data = pools[kind]};
}

static float *vector(int n, float value) {
    float *v = room((size_t)n * sizeof *v);
    for (int i = 0; i < n; i++) v[i] = value;
    return v;
}

static void make_codec(struct codec *c, block_type t) {
    *c = (struct codec){.label = "speed", .name = "speed"};
    struct codec_config *k = &c->config;
    *k = (struct codec_config){.sample_rate = 24000,
                               .hop = HOP,
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

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_pieces(struct device *d, int n_pieces, int n_frames) {
    static int32_t codes[MAX_PIECES][MAX_FRAMES];
    static struct synthesis pieces[MAX_PIECES];
    double times[REPEATS];
    int repeats = n_pieces * n_frames > 1000 ? REPEATS / 3 : REPEATS;
    for (int i = 0; i < n_pieces; i++) {
        for (int j = 0; j < n_frames; j++) codes[i][j] = (int32_t)(random_u32() & 0xffff);
        pieces[i] = (struct synthesis){codes[i], n_frames, room((size_t)n_frames * HOP * sizeof(float))};
    }
    int64_t start = clock_ns();
    must(d->ops->synthesize(d, pieces, n_pieces, NO_DEADLINE), "synthesize");
    double first = ms_since(start);
    for (int i = 0; i < repeats; i++) {
        start = clock_ns();
        must(d->ops->synthesize(d, pieces, n_pieces, NO_DEADLINE), "synthesize");
        times[i] = ms_since(start);
    }
    qsort(times, (size_t)repeats, sizeof *times, compare);
    double median = times[repeats / 2], seconds = (double)n_pieces * n_frames * HOP / 24000;
    printf("codec, %2d x %3d frames: median %7.3f ms, least %7.3f, first %7.3f; %.0f seconds of sound a second\n",
           n_pieces, n_frames, median, times[0], first, seconds / median * 1e3);
    for (int i = 0; i < n_pieces; i++) free(pieces[i].pcm);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *name = argc > 1 ? argv[1] : "F16", *what = argc > 2 ? argv[2] : "";
    block_type type = strcmp(name, "F32") == 0 ? BLOCK_F32 : strcmp(name, "Q8_0") == 0 ? BLOCK_Q8_0 : BLOCK_F16;
    struct codec c;
    make_codec(&c, type);
    int64_t start = clock_ns();
    struct device *d;
    must(gpu_open(&(struct gpu_options){0}, NULL, &d), "open");
    printf("open: %.0f ms\n", ms_since(start));
    start = clock_ns();
    must(d->ops->load_codec(d, &c), "load");
    printf("load codec of %s: %.0f ms\n%s\n", name, ms_since(start), d->ops->describe(d));
    if (strcmp(what, "batch")) {
        time_pieces(d, 1, 81);
        time_pieces(d, 1, 31);
    }
    if (!*what) {
        time_pieces(d, 8, 81);
        time_pieces(d, 1, 200);
        time_pieces(d, 1, 500);
    }
    if (strcmp(what, "window")) {
        time_pieces(d, 8, 500);
        time_pieces(d, 32, 500);
    }
    d->ops->close(d);
    return 0;
}
