/* The codec on the GPU device against the official classes, at a small geometry and NeuCodec's own. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/npy.h"
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
    enum { N = 6, MOST = 70 };
    static const int lengths[N] = {7, 1, 70, 2, 31, 7};
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

/* What comes again is recorded and launched as one: the same sound, also after another shape and with other codes. */
static void shapes_again(void **unused) {
    (void)unused;
    enum { N = 7 };
    struct codec *c = open_codec(BLOCK_F16);
    static float expected[2][N * 480], pcm[N * 480];
    static const int32_t codes[2][N] = {{1, 2, 3, 40000, 5, 6, 7}, {65535, 12, 13, 14, 15, 16, 17}};
    for (int recorded = 0; recorded < 2; recorded++) {
        struct device *d = rig_open();
        struct standin *s = rig_standin_now();
        if (s) s->no_graphs = !recorded;
        assert_ok(d->ops->load_codec(d, c));
        for (int i = 0; i < 5; i++) {
            int which = i % 2;
            assert_ok(d->ops->synthesize(d, &(struct synthesis){codes[which], N, recorded ? pcm : expected[which]}, 1,
                                         NO_DEADLINE));
            if (recorded) assert_memory_equal(pcm, expected[which], sizeof pcm);
            assert_ok(d->ops->synthesize(d, &(struct synthesis){codes[0], i + 1, pcm}, 1, NO_DEADLINE));
        }
        if (s) assert_int_equal(s->n_graph_launches > 0, recorded);
        rig_close(d);
    }
    codec_free(c);
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
                                       cmocka_unit_test(real_geometry),   cmocka_unit_test(bad_codes)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
