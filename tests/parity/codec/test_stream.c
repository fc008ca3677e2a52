/* infer() and infer_stream() of the official package against one decode and the windows, for the codes of its two
   end-to-end cases. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/windows.h"
#include "fixtures/folder.h"
#include "fixtures/xz/unxz.h"
#include "rig.h"

enum { MAX_REFERENCE = 64, MAX_SAMPLES = 100 * 480 };

static const double tolerance = 1e-4;

static const struct {
    const char *name, *voice;
    int n_reference;
} cases[] = {{"p5-two-sentences", "dawn", 64}, {"b2-punctuation-happy", "clerk", 48}};
enum { N_CASES = sizeof cases / sizeof *cases };

static char codec_path[FIXTURE_PATH];

static int unpack_codec(void **state) {
    (void)state;
    assert_ok(fixture_path("codec.gguf", codec_path));
    assert_ok(fixture_unxz("e2e/codec.gguf.xz", codec_path));
    return 0;
}

static int remove_codec(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static struct npy of_case(int i, const char *what) {
    char name[96];
    snprintf(name, sizeof name, "e2e/%s/%s.npy", cases[i].name, what);
    return fixture_npy(name);
}

static int read_reference(int i, int32_t *codes) {
    char path[FIXTURE_PATH];
    assert_ok(fixture_stored("e2e/voices.json", path));
    json_error_t error;
    json_t *voices = json_load_file(path, 0, &error);
    if (!voices) fail_msg("%s: %s", path, error.text);
    json_t *list = json_object_get(voices, cases[i].voice);
    int n = (int)json_array_size(list);
    assert_int_equal(n, cases[i].n_reference);
    for (int j = 0; j < n; j++) codes[j] = (int32_t)json_integer_value(json_array_get(list, (size_t)j));
    json_decref(voices);
    return n;
}

static void rig_open_best(struct rig *rig) {
    const struct kernels *kernels;
    assert_ok(kernels_find(NULL, &kernels));
    rig_open(rig, codec_path, kernels, 2);
}

static void whole_decode_is_infer(void **state) {
    (void)state;
    static float pcm[MAX_SAMPLES];
    struct rig rig;
    rig_open_best(&rig);
    for (int i = 0; i < N_CASES; i++) {
        struct npy codes = of_case(i, "codes"), want = of_case(i, "infer");
        assert_int_equal(want.n, codes.n * 480);
        assert_ok(cpu_codec_decode(rig.cpu, codes.data, (int)codes.n, pcm, NO_DEADLINE));
        double difference = largest_difference(want.data, pcm, want.n);
        printf("%-22s infer        %.1e\n", cases[i].name, difference);
        assert_true(difference < tolerance);
        npy_free(&codes);
        npy_free(&want);
    }
    rig_close(&rig);
}

/* All samples of a stream, its codes given `portion` at a time; returns their number. */
static int64_t stream(struct rig *rig, struct window_shape shape, const int32_t *reference, int n_reference,
                      const struct npy *codes, int portion, float *out) {
    static float pcm[MAX_SAMPLES];
    struct windows *w;
    int64_t total = 0;
    assert_ok(windows_new(shape, 480, reference, n_reference, &w));
    for (int64_t at = 0; at < codes->n; at += portion) {
        int64_t n = codes->n - at < portion ? codes->n - at : portion;
        assert_ok(windows_push(w, (const int32_t *)codes->data + at, (int)n, at + n == codes->n));
        const int32_t *window;
        int n_window;
        for (windows_next(w, &window, &n_window); n_window; windows_next(w, &window, &n_window)) {
            const float *ready;
            int n_ready;
            assert_true(n_window <= 81);
            assert_ok(cpu_codec_decode(rig->cpu, window, n_window, pcm, NO_DEADLINE));
            assert_ok(windows_decoded(w, pcm, &ready, &n_ready));
            memcpy(out + total, ready, (size_t)n_ready * sizeof *out);
            total += n_ready;
        }
    }
    windows_free(w);
    return total;
}

/* Up to the last piece the official stream itself; from there on what it would be with that piece in its place. In
   neither case are there 28 or 29 codes pending at the end, where the official code's empty items would matter too. */
static void windows_are_infer_stream(void **state) {
    (void)state;
    static float got[MAX_SAMPLES];
    struct rig rig;
    rig_open_best(&rig);
    for (int i = 0; i < N_CASES; i++) {
        int32_t reference[MAX_REFERENCE];
        int n_reference = read_reference(i, reference);
        struct npy codes = of_case(i, "codes"), official = of_case(i, "stream");
        struct npy tail = of_case(i, "stream_consistent_tail");
        int64_t starts_at = codes.n * 480 - tail.n;
        assert_int_equal(starts_at, 24000);
        for (int portion = 1; portion <= 100; portion = portion * 7 + 2) {
            int64_t n = stream(&rig, window_shape_neutts(), reference, n_reference, &codes, portion, got);
            assert_int_equal(n, codes.n * 480);
            double before = largest_difference(official.data, got, starts_at);
            double after = largest_difference(tail.data, got + starts_at, tail.n);
            if (portion == 1) printf("%-22s infer_stream %.1e, last piece %.1e\n", cases[i].name, before, after);
            assert_true(before < tolerance);
            assert_true(after < tolerance);
        }
        npy_free(&codes);
        npy_free(&official);
        npy_free(&tail);
    }
    rig_close(&rig);
}

/* A smaller first piece is decoded with other frames around it, so samples differ, but each frame stays in its place:
   what the stream says is near to the usual one (made-up weights hold neighbouring frames far apart; one frame of
   shift gives a ratio below 0 dB). */
static void smaller_first_piece_stays_in_place(void **state) {
    (void)state;
    static float usual[MAX_SAMPLES], got[MAX_SAMPLES];
    struct rig rig;
    rig_open_best(&rig);
    for (int i = 0; i < N_CASES; i++) {
        int32_t reference[MAX_REFERENCE];
        int n_reference = read_reference(i, reference);
        struct npy codes = of_case(i, "codes");
        stream(&rig, window_shape_neutts(), reference, n_reference, &codes, 1, usual);
        double least = INFINITY;
        for (int first = 1; first < 25; first += 4) {
            struct window_shape shape = window_shape_neutts();
            shape.first_chunk = first;
            int64_t n = stream(&rig, shape, reference, n_reference, &codes, 1, got);
            assert_int_equal(n, codes.n * 480);
            double ratio = signal_to_noise(usual, got, n);
            assert_true(signal_to_noise(usual, got + 480, n - 480) < 0);
            if (ratio < least) least = ratio;
        }
        printf("%-22s first_chunk 1..21: %.1f dB or more to the usual stream\n", cases[i].name, least);
        assert_true(least > 6);
        npy_free(&codes);
    }
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_decode_is_infer),
        cmocka_unit_test(windows_are_infer_stream),
        cmocka_unit_test(smaller_first_piece_stays_in_place),
    };
    return cmocka_run_group_tests(tests, unpack_codec, remove_codec);
}
