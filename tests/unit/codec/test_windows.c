/* Windows against a slow restatement of the official streaming code: it keeps every piece, adds all of them anew for
   each yield, and works one code at a time. A made-up decoder that mixes all codes of a window into every sample makes
   each wrong window, wrong cut and wrong place visible. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "codec/windows.h"

enum { HOP = 6, MAX_CODES = 400, MAX_PIECES = 512 };

/* ---- the made-up decoder ---- */

static void decode(const int32_t *codes, int n, float *pcm) {
    uint32_t whole = 2166136261u;
    for (int i = 0; i < n; i++) whole = (whole ^ (uint32_t)codes[i]) * 16777619u;
    for (int i = 0; i < n * HOP; i++) {
        uint32_t h = (whole ^ (uint32_t)i * 2654435761u ^ (uint32_t)codes[i / HOP] * 40503u) * 2246822519u;
        h ^= h >> 15;
        pcm[i] = (float)(h % 20011u) / 10005.5f - 1.0f;
    }
}

static uint32_t random_state = 1;
static int random_below(int n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

/* ---- the restatement ---- */

struct piece {
    float *pcm;
    int n;      // samples
    int start;  // its place in the output, in samples
};

/* Everything added so far; returns the samples in all. */
static int overlap_add(const struct piece *pieces, int n_pieces, float *out) {
    int total = 0;
    for (int p = 0; p < n_pieces; p++)
        if (pieces[p].start + pieces[p].n > total) total = pieces[p].start + pieces[p].n;
    float *weights = calloc((size_t)total, sizeof *weights);
    memset(out, 0, (size_t)total * sizeof *out);
    for (int p = 0; p < n_pieces; p++)
        for (int i = 0; i < pieces[p].n; i++) {
            float t = (float)((i + 1) * (1.0 / (pieces[p].n + 1)));
            float weight = 0.5f - fabsf(t - 0.5f);
            out[pieces[p].start + i] += weight * pieces[p].pcm[i];
            weights[pieces[p].start + i] += weight;
        }
    for (int i = 0; i < total; i++) {
        assert_true(weights[i] > 0);
        out[i] /= weights[i];
    }
    free(weights);
    return total;
}

static float scratch[MAX_CODES * 2 * HOP];

static void keep_piece(struct piece *p, const int32_t *cache, int begin, int end, int from_frame, int n_frames,
                       int start) {
    decode(cache + begin, end - begin, scratch);
    p->n = n_frames * HOP;
    p->pcm = malloc((size_t)p->n * sizeof *p->pcm);
    memcpy(p->pcm, scratch + (from_frame - begin) * HOP, (size_t)p->n * sizeof *p->pcm);
    p->start = start;
}

/* Samples of the whole stream into out; their number; the lengths of the yields into yields[*n_yields]. */
static int official(struct window_shape shape, const int32_t *reference, int n_reference, const int32_t *codes, int n,
                    float *out, int *yields, int *n_yields) {
    int32_t cache[2 * MAX_CODES];
    struct piece pieces[MAX_PIECES];
    float *all = malloc(sizeof(float) * MAX_CODES * 2 * HOP);
    int n_pieces = 0, n_cache = n_reference, done = n_reference, given = 0;
    int back = shape.lookback + shape.overlap;
    *n_yields = 0;
    if (n_reference) memcpy(cache, reference, (size_t)n_reference * sizeof *cache);
    for (int i = 0; i < n; i++) {
        cache[n_cache++] = codes[i];
        int chunk = n_pieces ? shape.chunk : shape.first_chunk;
        if (n_cache - done < chunk + shape.lookforward) continue;
        int begin = done - back > 0 ? done - back : 0;
        keep_piece(&pieces[n_pieces++], cache, begin, done + chunk + shape.lookforward, done, chunk + 2 * shape.overlap,
                   (done - n_reference) * HOP);
        done += chunk;
        overlap_add(pieces, n_pieces, all);
        int end = (done - n_reference) * HOP;
        memcpy(out + given, all + given, (size_t)(end - given) * sizeof *out);
        yields[(*n_yields)++] = end - given;
        given = end;
    }
    if (n_cache > done) {
        int begin = done - back > 0 ? done - back : 0;
        keep_piece(&pieces[n_pieces++], cache, begin, n_cache, done, n_cache - done, (done - n_reference) * HOP);
        int end = overlap_add(pieces, n_pieces, all);
        memcpy(out + given, all + given, (size_t)(end - given) * sizeof *out);
        yields[(*n_yields)++] = end - given;
        given = end;
    }
    for (int i = 0; i < n_pieces; i++) free(pieces[i].pcm);
    free(all);
    return given;
}

/* ---- the windows ---- */

static int drain(struct windows *w, float *out, int *yields, int *n_yields) {
    static float pcm[2 * MAX_CODES * HOP];
    int total = 0;
    for (;;) {
        const int32_t *codes, *again;
        int n, n_again, n_ready;
        const float *ready;
        windows_next(w, &codes, &n);
        if (!n) return total;
        windows_next(w, &again, &n_again);  // asking twice changes nothing
        assert_ptr_equal(codes, again);
        assert_int_equal(n, n_again);
        decode(codes, n, pcm);
        assert_ok(windows_decoded(w, pcm, &ready, &n_ready));
        memcpy(out + total, ready, (size_t)n_ready * sizeof *out);
        total += n_ready;
        yields[(*n_yields)++] = n_ready;
    }
}

static void compare(struct window_shape shape, int n_reference, int n, int max_push) {
    static int32_t reference[MAX_CODES], codes[MAX_CODES];
    static float want[MAX_CODES * 2 * HOP], got[MAX_CODES * 2 * HOP];
    int want_yields[MAX_PIECES], got_yields[MAX_PIECES], n_want_yields, n_got_yields = 0;
    for (int i = 0; i < n_reference; i++) reference[i] = random_below(65536);
    for (int i = 0; i < n; i++) codes[i] = random_below(65536);
    int n_want = official(shape, reference, n_reference, codes, n, want, want_yields, &n_want_yields);
    assert_int_equal(n_want, n * HOP);

    struct windows *w;
    assert_ok(windows_new(shape, HOP, reference, n_reference, &w));
    int n_got = drain(w, got, got_yields, &n_got_yields);
    int pushed = 0;
    while (pushed < n) {
        int portion = max_push == 1 ? 1 : random_below(max_push + 1);
        if (portion > n - pushed) portion = n - pushed;
        bool last = pushed + portion == n && random_below(2);
        assert_ok(windows_push(w, codes + pushed, portion, last));
        pushed += portion;
        n_got += drain(w, got + n_got, got_yields, &n_got_yields);
        if (last) goto ended;
    }
    assert_ok(windows_push(w, NULL, 0, true));
    n_got += drain(w, got + n_got, got_yields, &n_got_yields);
ended:
    assert_int_equal(n_got, n_want);
    assert_int_equal(n_got_yields, n_want_yields);
    assert_memory_equal(got_yields, want_yields, (size_t)n_want_yields * sizeof *want_yields);
    assert_memory_equal(got, want, (size_t)n_want * sizeof *want);  // to the last bit
    windows_free(w);
}

/* ---- tests ---- */

static void equals_the_official_stream_for_every_length(void **state) {
    (void)state;
    static const int references[] = {0, 1, 50, 51, 52, 300};
    for (size_t r = 0; r < sizeof references / sizeof *references; r++)
        for (int n = 0; n <= 300; n++) compare(window_shape_neutts(), references[r], n, 1);
}

static void portions_do_not_matter(void **state) {
    (void)state;
    for (int n = 0; n <= 300; n += 7)
        for (int max_push = 2; max_push <= 300; max_push = max_push * 3 + 1)
            compare(window_shape_neutts(), random_below(80), n, max_push);
}

static void first_piece_may_be_smaller(void **state) {
    (void)state;
    for (int first = 1; first < 25; first++) {
        struct window_shape shape = window_shape_neutts();
        shape.first_chunk = first;
        for (int n = 0; n <= 120; n += 1 + n / 40) compare(shape, random_below(80), n, 10);
    }
}

static void other_shapes(void **state) {
    (void)state;
    static const struct window_shape shapes[] = {
        {.chunk = 1, .lookforward = 2, .lookback = 0, .overlap = 1, .first_chunk = 1},  // three pieces overlap
        {.chunk = 3, .lookforward = 8, .lookback = 2, .overlap = 4, .first_chunk = 2},  // four do
        {.chunk = 10, .lookforward = 0, .lookback = 5, .overlap = 0, .first_chunk = 10},
        {.chunk = 40, .lookforward = 7, .lookback = 100, .overlap = 3, .first_chunk = 11},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int n = 0; n <= 100; n++) compare(shapes[i], random_below(120), n, 1 + random_below(20));
}

/* With a decoder whose frames do not depend on the window, joining must change nothing: no piece is out of place. */
static void joins_are_continuous(void **state) {
    (void)state;
    static float pcm[200 * HOP];
    for (int first = 1; first <= 25; first++) {
        struct window_shape shape = window_shape_neutts();
        shape.first_chunk = first;
        struct windows *w;
        assert_ok(windows_new(shape, HOP, NULL, 0, &w));
        int32_t codes[200];
        for (int i = 0; i < 200; i++) codes[i] = i;
        assert_ok(windows_push(w, codes, 200, true));
        int at = 0;
        for (;;) {
            const int32_t *window;
            const float *ready;
            int n, n_ready;
            windows_next(w, &window, &n);
            if (!n) break;
            for (int i = 0; i < n * HOP; i++) pcm[i] = sinf(0.05f * (float)(window[i / HOP] * HOP + i % HOP));
            assert_ok(windows_decoded(w, pcm, &ready, &n_ready));
            if (!at) assert_int_equal(n_ready, first * HOP);
            for (int i = 0; i < n_ready; i++, at++) assert_true(fabsf(ready[i] - sinf(0.05f * (float)at)) < 1e-6f);
        }
        assert_int_equal(at, 200 * HOP);
        windows_free(w);
    }
}

/* The buffers must be no larger at the end of a long stream than at its start: the codes handed out stay in the same
   place, which a list that keeps them all could not do. */
static void long_streams_take_constant_memory(void **state) {
    (void)state;
    struct windows *w;
    assert_ok(windows_new(window_shape_neutts(), HOP, NULL, 0, &w));
    const int32_t *low = NULL, *high = NULL;
    static float pcm[200 * HOP];
    int64_t total = 0;
    for (int i = 0; i < 10000; i++) {
        int32_t code = i;
        assert_ok(windows_push(w, &code, 1, i == 9999));
        const int32_t *codes;
        const float *ready;
        int n, n_ready;
        for (windows_next(w, &codes, &n); n; windows_next(w, &codes, &n)) {
            assert_true(n <= 81);
            for (int j = 1; j < n; j++) assert_int_equal(codes[j], codes[j - 1] + 1);
            if (!low || codes < low) low = codes;
            if (!high || codes + n > high) high = codes + n;
            decode(codes, n, pcm);
            assert_ok(windows_decoded(w, pcm, &ready, &n_ready));
            total += n_ready;
        }
    }
    assert_int_equal(total, 10000 * HOP);
    assert_true(high - low <= 51 + 30 + 1);
    windows_free(w);
}

static void refuses_what_cannot_be(void **state) {
    (void)state;
    struct windows *w;
    struct window_shape good = window_shape_neutts(), bad;
    bad = good, bad.chunk = 0;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    bad = good, bad.lookforward = 1;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    bad = good, bad.lookback = -1;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    bad = good, bad.overlap = INT32_MAX;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    bad = good, bad.first_chunk = 26;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    bad = good, bad.first_chunk = 0;
    assert_int_equal(windows_new(bad, HOP, NULL, 0, &w), UTTER_INVALID);
    assert_int_equal(windows_new(good, 0, NULL, 0, &w), UTTER_INVALID);
    assert_int_equal(windows_new(good, HOP, NULL, 3, &w), UTTER_INVALID);
    assert_null(w);

    assert_ok(windows_new(good, HOP, NULL, 0, &w));
    const float *ready;
    int n;
    float pcm[HOP] = {0};
    int32_t code = 1;
    assert_int_equal(windows_decoded(w, pcm, &ready, &n), UTTER_INTERNAL);  // nothing was asked for
    assert_int_equal(n, 0);
    assert_int_equal(windows_push(w, NULL, 1, false), UTTER_INVALID);
    assert_int_equal(windows_push(w, &code, -1, false), UTTER_INVALID);
    assert_ok(windows_push(w, &code, 1, true));
    assert_int_equal(windows_push(w, &code, 1, false), UTTER_INVALID);  // after the last
    windows_free(w);
    windows_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_official_stream_for_every_length),
        cmocka_unit_test(portions_do_not_matter),
        cmocka_unit_test(first_piece_may_be_smaller),
        cmocka_unit_test(other_shapes),
        cmocka_unit_test(joins_are_continuous),
        cmocka_unit_test(long_streams_take_constant_memory),
        cmocka_unit_test(refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
