/* The codec on the GPU device against the official classes, at a small geometry and NeuCodec's own. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/npy.h"
#include "cpu/codec.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "rig.h"

static struct codec *open_geometry(bool real, block_type type) {
    char path[FIXTURE_PATH];
    struct gguf *g;
    struct codec *c;
    assert_ok(fixture_path("codec.gguf", path));
    assert_ok(fixture_codec(real, type, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_load(g, &c));
    return c;
}

static struct codec *open_codec(block_type type) { return open_geometry(false, type); }

static struct npy stored(bool real, int length, const char *what) {
    char name[64], path[FIXTURE_PATH];
    struct npy a;
    snprintf(name, sizeof name, "codec/%sT%03d/%s.npy", real ? "real_" : "", length, what);
    assert_ok(fixture_stored(name, path));
    assert_ok(npy_read(path, &a));
    return a;
}

/* Largest difference from the official waveform, and its ratio of signal to noise in dB. */
static void compare(struct device *d, const struct codec *c, int length, double *largest, double *snr) {
    bool real = c->config.n_embd == 1024;
    struct npy codes = stored(real, length, "codes"), expected = stored(real, length, "waveform");
    size_t n = (size_t)length * (size_t)c->config.hop;
    assert_int_equal(codes.n, length);
    assert_int_equal(expected.n, n);
    float *pcm = calloc(n, sizeof *pcm);
    assert_non_null(pcm);
    assert_ok(d->ops->synthesize(d, &(struct synthesis){codes.data, length, pcm}, 1, NO_DEADLINE));
    double signal = 0, noise = 0;
    *largest = 0;
    for (size_t i = 0; i < n; i++) {
        double reference = ((const float *)expected.data)[i], difference = fabs((double)pcm[i] - reference);
        if (!(difference <= *largest)) *largest = difference;
        signal += reference * reference;
        noise += difference * difference;
    }
    *snr = 10 * log10(signal / noise);
    printf("T %2d: largest difference %.2e, %.0f dB\n", length, *largest, *snr);
    free(pcm);
    npy_free(&codes);
    npy_free(&expected);
}

static void float_weights(void **unused) {
    (void)unused;
    struct codec *c = open_codec(BLOCK_F32);
    struct device *d = rig_open();
    assert_ok(d->ops->load_codec(d, c));
    static const int lengths[] = {1, 2, 7, 63, 50, 7};  // short after long: nothing may be left over
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        double largest, snr;
        compare(d, c, lengths[i], &largest, &snr);
        assert_true(largest < 2e-5);
    }
    rig_close(d);
    codec_free(c);
}

static void small_weights(void **unused) {
    (void)unused;
    static const struct {
        block_type type;
        double snr;
    } cases[] = {{BLOCK_F16, 50}, {BLOCK_Q8_0, 25}};
    for (int i = 0; i < 2; i++) {
        struct codec *c = open_codec(cases[i].type);
        struct device *d = rig_open();
        assert_ok(d->ops->load_codec(d, c));
        double largest, snr;
        compare(d, c, 7, &largest, &snr);
        assert_true(snr > cases[i].snr);
        rig_close(d);
        codec_free(c);
    }
}

/* Several pieces in a call are what each is for itself, whatever lies beside it. */
static void pieces_together(void **unused) {
    (void)unused;
    enum { N = 5, MOST = 60 };
    static const int lengths[N] = {7, 1, 60, 2, 40};
    static const block_type types[] = {BLOCK_F32, BLOCK_F16};
    for (int t = 0; t < 2; t++) {
        struct codec *c = open_codec(types[t]);
        struct device *d = rig_open();
        assert_ok(d->ops->load_codec(d, c));
        size_t hop = (size_t)c->config.hop;
        static int32_t codes[N][MOST];
        struct synthesis pieces[N];
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < lengths[i]; j++) codes[i][j] = (int32_t)((i * 40503u + j * 2654435761u) >> 8 & 0xffff);
            pieces[i] = (struct synthesis){codes[i], lengths[i], calloc((size_t)lengths[i] * hop, sizeof(float))};
            assert_non_null(pieces[i].pcm);
        }
        assert_ok(d->ops->synthesize(d, pieces, N, NO_DEADLINE));
        static float alone[MOST * 480];
        double largest = 0;
        for (int i = 0; i < N; i++) {
            assert_ok(d->ops->synthesize(d, &(struct synthesis){codes[i], lengths[i], alone}, 1, NO_DEADLINE));
            for (size_t j = 0; j < (size_t)lengths[i] * hop; j++) {
                double difference = fabs((double)alone[j] - (double)pieces[i].pcm[j]);
                if (!(difference <= largest)) largest = difference;
            }
            free(pieces[i].pcm);
        }
        printf("%d pieces together: largest difference %.2e\n", N, largest);
        assert_true(largest < (types[t] == BLOCK_F32 ? 1e-5 : 5e-3));
        assert_ok(d->ops->synthesize(d, NULL, 0, NO_DEADLINE));  // nothing at all
        rig_close(d);
        codec_free(c);
    }
}

/* ---- against the CPU, which has no kernels of fixed sizes ---- */

static float random_weight(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (1 << 23) - 1;
}

static float *random_vector(int64_t n, float around, float most) {
    float *v = calloc((size_t)n, sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < n; i++) v[i] = around + most * random_weight();
    return v;
}

static struct matrix random_matrix(int64_t rows, int64_t cols) {
    return (struct matrix){.type = BLOCK_F32,
                           .rows = rows,
                           .cols = cols,
                           .data = random_vector(rows * cols, 0, 1.7f / sqrtf((float)cols))};
}

static void free_matrix(const struct matrix *m) { free((void *)(uintptr_t)m->data); }

/* A codec of one block; config.n_codes and n_blocks follow from the rest. */
static void random_codec(struct codec *c, struct codec_config config) {
    *c = (struct codec){.label = "random", .name = "random", .config = config};
    struct codec_config *k = &c->config;
    int C = k->n_embd;
    k->n_blocks = 1;
    k->n_codes = 1;
    for (int i = 0; i < k->n_fsq; i++) k->n_codes *= k->fsq_levels[i];
    c->project_out = random_matrix(k->vq_dim, k->n_fsq);
    c->project_out_bias = random_vector(k->vq_dim, 0, 0.1f);
    c->fc_post_a = random_matrix(C, k->vq_dim);
    c->fc_post_a_bias = random_vector(C, 0, 0.1f);
    c->embed = random_matrix(C, k->embed_kernel * C);
    c->embed_bias = random_vector(C, 0, 0.1f);
    for (int i = 0; i < CODEC_RESNETS; i++)
        c->resnets[i] = (struct codec_resnet){.norm1 = random_vector(C, 1, 0.2f),
                                              .norm1_bias = random_vector(C, 0, 0.1f),
                                              .conv1 = random_matrix(C, k->resnet_kernel * C),
                                              .conv1_bias = random_vector(C, 0, 0.1f),
                                              .norm2 = random_vector(C, 1, 0.2f),
                                              .norm2_bias = random_vector(C, 0, 0.1f),
                                              .conv2 = random_matrix(C, k->resnet_kernel * C),
                                              .conv2_bias = random_vector(C, 0, 0.1f)};
    c->blocks = calloc(1, sizeof *c->blocks);
    assert_non_null(c->blocks);
    c->blocks[0] = (struct codec_block){.att_norm = random_vector(C, 1, 0.2f),
                                        .c_attn = random_matrix(3 * C, C),
                                        .c_proj = random_matrix(C, C),
                                        .ffn_norm = random_vector(C, 1, 0.2f),
                                        .fc1 = random_matrix(k->n_ffn, C),
                                        .fc2 = random_matrix(C, k->n_ffn)};
    c->final_norm = random_vector(C, 1, 0.2f);
    c->final_norm_bias = random_vector(C, 0, 0.1f);
    c->head = random_matrix(k->n_fft + 2, C);
    c->head_bias = random_vector(k->n_fft + 2, 0, 0.1f);
}

static void free_random_codec(struct codec *c) {
    const struct matrix *matrices[] = {&c->project_out,   &c->fc_post_a,        &c->embed,
                                       &c->head,          &c->blocks[0].c_attn, &c->blocks[0].c_proj,
                                       &c->blocks[0].fc1, &c->blocks[0].fc2};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) free_matrix(matrices[i]);
    float *vectors[] = {c->project_out_bias,   c->fc_post_a_bias,     c->embed_bias, c->head_bias,
                        c->blocks[0].att_norm, c->blocks[0].ffn_norm, c->final_norm, c->final_norm_bias};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) free(vectors[i]);
    for (int i = 0; i < CODEC_RESNETS; i++) {
        struct codec_resnet *r = &c->resnets[i];
        free_matrix(&r->conv1);
        free_matrix(&r->conv2);
        float *of_resnet[] = {r->norm1, r->norm1_bias, r->conv1_bias, r->norm2, r->norm2_bias, r->conv2_bias};
        for (int j = 0; j < 6; j++) free(of_resnet[j]);
    }
    free(c->blocks);
}

/* n pieces of the given lengths, in one call on the GPU and one after another on the CPU: the largest difference
   against the largest sample. */
static double against_cpu(const struct codec *c, const int *lengths, int n) {
    const struct kernels *kernels;
    struct pool *pool;
    struct cpu_codec *cpu;
    assert_ok(kernels_find(NULL, &kernels));
    assert_ok(pool_new(0, &pool));
    assert_ok(cpu_codec_new(c, kernels, pool, &cpu));
    struct device *d = rig_open();
    assert_ok(d->ops->load_codec(d, c));
    struct synthesis *pieces = calloc((size_t)n, sizeof *pieces);
    assert_non_null(pieces);
    int32_t **codes = calloc((size_t)n, sizeof *codes);
    assert_non_null(codes);
    for (int i = 0; i < n; i++) {
        codes[i] = calloc((size_t)lengths[i], sizeof **codes);
        assert_non_null(codes[i]);
        for (int j = 0; j < lengths[i]; j++)
            codes[i][j] = (int32_t)((random_weight() + 1) / 2 * (float)c->config.n_codes);
        pieces[i] = (struct synthesis){codes[i], lengths[i], random_vector(lengths[i] * c->config.hop, 0, 0)};
    }
    assert_ok(d->ops->synthesize(d, pieces, n, NO_DEADLINE));
    double largest = 0, loudest = 0;
    for (int i = 0; i < n; i++) {
        int64_t samples = (int64_t)lengths[i] * c->config.hop;
        float *expected = random_vector(samples, 0, 0);
        assert_ok(cpu_codec_decode(cpu, codes[i], lengths[i], expected, NO_DEADLINE));
        for (int64_t j = 0; j < samples; j++) {
            double difference = fabs((double)expected[j] - (double)pieces[i].pcm[j]);
            if (!(difference <= largest)) largest = difference;
            if (fabs((double)expected[j]) > loudest) loudest = fabs((double)expected[j]);
        }
        free(expected);
        free(pieces[i].pcm);
        free(codes[i]);
    }
    free(pieces);
    free(codes);
    rig_close(d);
    cpu_codec_free(cpu);
    pool_free(pool);
    printf("%d pieces, first of %d frames: %.1e of the loudest sample\n", n, lengths[0], largest / loudest);
    return largest / loudest;
}

/* Widths that are no multiple of anything, wide heads, no neighbours, and so many pieces that they take two passes. */
static void any_geometry(void **unused) {
    (void)unused;
    static const struct codec_config configs[] = {
        {24000, 6, 24, 24, 0, 3, 6, 12, 2, {3, 5}, 0, 5, 1, 40},
        {24000, 4, 12, 20, 0, 2, 5, 7, 3, {4, 4, 4}, 0, 1, 3, 17},
        {24000, 2, 8, 15, 0, 3, 5, 3, 1, {2}, 0, 3, 3, 10},
        {24000, 8, 16, 160, 0, 2, 2, 9, 2, {7, 2}, 0, 3, 1, 33},
    };
    static const int lengths[] = {70, 1, 5};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct codec c;
        random_codec(&c, configs[i]);
        assert_true(against_cpu(&c, lengths, 3) < 2e-5);
        if (i == 0) {
            static int many[64];
            for (int j = 0; j < 64; j++) many[j] = 60 + j % 7;
            assert_true(against_cpu(&c, many, 64) < 2e-5);
        }
        free_random_codec(&c);
    }
}

/* More samples than are downloaded at once; on a real card only. */
static void long_piece(void **unused) {
    (void)unused;
    if (rig_standin()) return;
    struct codec *c = open_codec(BLOCK_F32);
    assert_true(against_cpu(c, (int[]){5000}, 1) < 1e-4);  // sums over 5000 frames: 4.9e-5 on an H200
    codec_free(c);
}

/* What comes again is recorded and launched as one: the same sound, also after another shape and with other codes. */
static void shapes_again(void **unused) {
    (void)unused;
    enum { N = 7, HOP = 6 };
    struct codec c;
    random_codec(&c, (struct codec_config){24000, HOP, 24, 24, 0, 3, 6, 12, 2, {3, 5}, 0, 5, 3, 40});
    static float expected[2][N * HOP], pcm[N * HOP];
    static const int32_t codes[2][N] = {{1, 2, 3, 14, 5, 6, 7}, {10, 12, 13, 14, 0, 1, 2}};
    for (int recorded = 0; recorded < 2; recorded++) {
        struct device *d = rig_open();
        struct standin *s = rig_standin_now();
        if (s) s->no_graphs = !recorded;
        assert_ok(d->ops->load_codec(d, &c));
        for (int i = 0; i < 12; i++) {
            int which = i % 2;
            struct synthesis whole = {codes[which], N, recorded ? pcm : expected[which]};
            assert_ok(d->ops->synthesize(d, &whole, 1, NO_DEADLINE));
            if (recorded) assert_memory_equal(pcm, expected[which], sizeof pcm);
            // more shapes than are kept
            assert_ok(d->ops->synthesize(d, &(struct synthesis){codes[0], i % 6 + 1, pcm}, 1, NO_DEADLINE));
            struct synthesis two[2] = {{codes[0], i % 6 + 1, pcm}, {codes[0], 1, pcm + (N - 1) * HOP}};
            assert_ok(d->ops->synthesize(d, two, 2, NO_DEADLINE));
        }
        if (s) assert_int_equal(s->n_graph_launches > 0, recorded);
        rig_close(d);
    }
    free_random_codec(&c);
}

/* NeuCodec's own geometry; floats on a real card only, where it is a matter of seconds. */
static void real_geometry(void **unused) {
    (void)unused;
    static const block_type types[] = {BLOCK_F16, BLOCK_F32};
    for (int t = 0; t < (rig_standin() ? 1 : 2); t++) {
        struct codec *c = open_geometry(true, types[t]);
        struct device *d = rig_open();
        assert_ok(d->ops->load_codec(d, c));
        double largest, snr;
        compare(d, c, 25, &largest, &snr);
        assert_true(types[t] == BLOCK_F32 ? largest < 2e-5 : snr > 50);
        rig_close(d);
        codec_free(c);
    }
}

static void bad_codes(void **unused) {
    (void)unused;
    struct codec *c = open_codec(BLOCK_F32);
    struct device *d = rig_open();
    float pcm[2 * 480];
    int32_t codes[] = {0, 65536};
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 1, pcm}, 1, NO_DEADLINE),
                     UTTER_INTERNAL);  // nothing loaded
    assert_ok(d->ops->load_codec(d, c));
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 2, pcm}, 1, NO_DEADLINE), UTTER_INVALID);
    codes[1] = -1;
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 2, pcm}, 1, NO_DEADLINE), UTTER_INVALID);
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 0, pcm}, 1, NO_DEADLINE), UTTER_INVALID);
    rig_close(d);
    codec_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(float_weights),   cmocka_unit_test(small_weights),
                                       cmocka_unit_test(pieces_together), cmocka_unit_test(shapes_again),
                                       cmocka_unit_test(any_geometry),    cmocka_unit_test(long_piece),
                                       cmocka_unit_test(real_geometry),   cmocka_unit_test(bad_codes)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
