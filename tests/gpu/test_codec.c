/* The codec on the GPU device against the official classes, at a small geometry, in three block formats. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/npy.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "rig.h"

static struct codec *open_codec(block_type type) {
    char path[FIXTURE_PATH];
    struct gguf *g;
    struct codec *c;
    assert_ok(fixture_path("codec.gguf", path));
    assert_ok(fixture_codec(false, type, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_load(g, &c));
    return c;
}

static struct npy stored(int length, const char *what) {
    char name[64], path[FIXTURE_PATH];
    struct npy a;
    snprintf(name, sizeof name, "codec/T%03d/%s.npy", length, what);
    assert_ok(fixture_stored(name, path));
    assert_ok(npy_read(path, &a));
    return a;
}

/* Largest difference from the official waveform, and its ratio of signal to noise in dB. */
static void compare(struct device *d, const struct codec *c, int length, double *largest, double *snr) {
    struct npy codes = stored(length, "codes"), expected = stored(length, "waveform");
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
    static const int lengths[] = {1, 2, 7, 50, 7};  // short after long: nothing may be left over
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(float_weights), cmocka_unit_test(small_weights),
                                       cmocka_unit_test(bad_codes)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
