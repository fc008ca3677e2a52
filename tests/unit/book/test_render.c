/* Pauses, trimming and loudness, of units that are tones. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "book/render.h"
#include "sample.h"

enum { RATE = 24000, SECONDS = 4, LENGTH = SECONDS * RATE, QUIET = RATE / 2 };

static const char text[] =
    "# One\n\nThe first one here is a sentence. And here is yet another sentence.\n\nA paragraph.\n\n# Two\n\nEnd of "
    "the second.\n";

struct rig {
    struct book b;
    struct units u;
    struct spool *spool;
    struct rendering r;
};

static void rig_open(struct rig *rig) {
    *rig = (struct rig){0};
    assert_ok(book_open(sample_write("render.md", text, sizeof text - 1), &rig->b));
    assert_ok(units_of(&rig->b, "en-us", &rig->u));
    assert_int_equal(rig->u.n, 6);
    assert_ok(spool_open(sample_path("render.reading"), "p", RATE, rig->u.n, true, &rig->spool));
    rig->r = (struct rendering){&rig->b, &rig->u, rig->spool, RATE, 1};
}

static void rig_close(struct rig *rig) {
    spool_close(rig->spool);
    units_free(&rig->u);
    book_free(&rig->b);
}

// Silence, a tone, silence.
static void add_tone(struct rig *rig, int unit, float level) {
    float *samples = calloc(LENGTH + 2 * QUIET, sizeof *samples);
    assert_non_null(samples);
    for (int i = 0; i < LENGTH; i++) samples[QUIET + i] = level * sinf((float)i * 2 * 3.14159265f * 1000 / RATE);
    struct str packed = {0};
    assert_ok(sound_pack(samples, LENGTH + 2 * QUIET, RATE, &packed));
    assert_ok(spool_add(rig->spool, unit, packed.data, packed.len, ""));
    str_free(&packed);
    free(samples);
}

struct sound {
    float *samples;
    size_t n;
};

static status keep(void *user, const float *samples, size_t n) {
    struct sound *s = user;
    s->samples = realloc(s->samples, (s->n + n) * sizeof *samples);
    memcpy(s->samples + s->n, samples, n * sizeof *samples);
    s->n += n;
    return UTTER_OK;
}

// Lengths in seconds of the silences between tones.
static int silences(const struct sound *s, double *out, int max) {
    int n = 0;
    size_t quiet = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (fabsf(s->samples[i]) < 1e-3f) {
            quiet++;
            continue;
        }
        if (quiet > RATE / 20 && n < max) out[n++] = (double)quiet / RATE;
        quiet = 0;
    }
    if (quiet > RATE / 20 && n < max) out[n++] = (double)quiet / RATE;
    return n;
}

static void test_pauses(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (int i = 0; i < rig.u.n; i++) add_tone(&rig, i, 0.1f);
    struct rendered_chapter chapters[2];
    double lufs, found[16];
    assert_ok(render_measure(&rig.r, NAN, chapters, &lufs));
    struct sound sound = {0};
    for (int c = 0; c < 2; c++) assert_ok(render_chapter(&rig.r, &chapters[c], false, keep, &sound));
    assert_int_equal(sound.n, chapters[1].first_sample + chapters[1].n_samples);
    static const double wanted[] = {0.5, 1.0, 0.35, 0.7, 2.0, 1.0, 1.0};
    assert_int_equal(silences(&sound, found, 16), 7);
    for (int i = 0; i < 7; i++)
        if (fabs(found[i] - wanted[i]) > (i == 0 || i == 6 ? 0.12 : 0.03))
            fail_msg("pause %d has %g s, not %g", i, found[i], wanted[i]);
    free(sound.samples);
    sound = (struct sound){0};
    assert_ok(render_chapter(&rig.r, &chapters[1], true, keep, &sound));  // a file of its own
    assert_int_equal(silences(&sound, found, 16), 3);
    assert_true(fabs(found[0] - 0.5) < 0.12);
    free(sound.samples);
    rig_close(&rig);
}

// A tone of 1 kHz at amplitude a in mono has 20 log10(a / sqrt 2) - 0.691 + 0.691 (K weighting at 1 kHz) LUFS, about.
static void test_loudness(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (int i = 0; i < rig.u.n; i++) add_tone(&rig, i, rig.u.all[i].chapter == 0 ? 0.05f : 0.2f);
    struct rendered_chapter chapters[2];
    double lufs;
    assert_ok(render_measure(&rig.r, -19, chapters, &lufs));
    double first = 0.05 * chapters[0].gain, second = 0.2 * chapters[1].gain;
    assert_true(fabs(first / second - 1) < 0.02);                                  // both as loud
    assert_true(fabs(20 * log10(first / sqrt(2)) - (-19)) < 0.7);                  // as loud as asked for
    assert_ok(render_measure(&rig.r, -1, chapters, &lufs));                        // louder than can be
    assert_true(0.2 * chapters[1].gain < 0.895 && 0.2 * chapters[1].gain > 0.87);  // true peak at -1 dBTP
    assert_ok(render_measure(&rig.r, NAN, chapters, &lufs));
    assert_true(chapters[0].gain == 1 && chapters[1].gain == 1);
    rig_close(&rig);
}

// Half the time, pauses too, at the same pitch and loudness.
static void test_speed(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (int i = 0; i < rig.u.n; i++) add_tone(&rig, i, 0.1f);
    struct rendered_chapter plain[2], fast[2];
    double lufs, fast_lufs, found[16];
    assert_ok(render_measure(&rig.r, -19, plain, &lufs));
    rig.r.speed = 2;
    assert_ok(render_measure(&rig.r, -19, fast, &fast_lufs));
    assert_true(fabs(fast_lufs - lufs) < 0.3 && fabs(fast[0].gain / plain[0].gain - 1) < 0.05);
    struct sound sound = {0};
    for (int c = 0; c < 2; c++) assert_ok(render_chapter(&rig.r, &fast[c], false, keep, &sound));
    const double ratio = (double)sound.n / (double)(plain[1].first_sample + plain[1].n_samples);
    if (fabs(ratio - 0.5) > 0.02) fail_msg("twice as fast takes %g of the time", ratio);
    assert_int_equal(silences(&sound, found, 16), 7);
    assert_true(fabs(found[2] - 0.35 / 2) < 0.06 && fabs(found[4] - 2.0 / 2) < 0.06);
    int n_crossings = 0;  // in the middle of the first tone, which lasts two seconds now
    for (size_t i = RATE; i < 2 * RATE; i++) n_crossings += sound.samples[i] < 0 && sound.samples[i + 1] >= 0;
    if (abs(n_crossings - 1000) > 20) fail_msg("the tone of 1000 Hz has %d", n_crossings);
    free(sound.samples);
    rig_close(&rig);
}

static void test_failed_units_and_silence(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (int i = 0; i < rig.u.n; i++)
        if (i == 2)
            assert_ok(spool_add(rig.spool, i, NULL, 0, "no"));
        else
            add_tone(&rig, i, i == 3 ? 0 : 0.1f);
    struct rendered_chapter chapters[2];
    double lufs;
    assert_ok(render_measure(&rig.r, -19, chapters, &lufs));
    assert_true(isfinite(lufs) && isfinite(chapters[0].gain));
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_loudness),
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_failed_units_and_silence),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_cleanup);
}
