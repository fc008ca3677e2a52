/* Speaking rate: the right length at the same pitch, at every speed, in pieces of any size. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audio/tempo.h"

enum { RATE = 24000, COUNT = 72000 };

// Three seconds of a voice-like sound: pulses at `pitch_hz`, rung by two resonances.
static float *voice(double pitch_hz) {
    float *samples = calloc(COUNT, sizeof *samples);
    assert_non_null(samples);
    double period = RATE / pitch_hz, next = 0;
    for (int i = 0; i < COUNT; i++) {
        if (i < next) continue;
        next += period;
        for (int k = 0; k < 400 && i + k < COUNT; k++)
            samples[i + k] += (float)(0.25 * exp(-k / 60.0) *
                                      (sin(2 * M_PI * 600 * k / RATE) + 0.5 * sin(2 * M_PI * 1700 * k / RATE)));
    }
    return samples;
}

struct changed {
    float *samples;
    size_t n;
    size_t n_before_end;
};

static size_t pull_all(struct tempo *t, struct changed *c, size_t capacity) {
    for (;;) {
        size_t n;
        c->samples = realloc(c->samples, (c->n + capacity) * sizeof *c->samples);
        assert_non_null(c->samples);
        assert_ok(tempo_pull(t, c->samples + c->n, capacity, &n));
        assert_true(n <= capacity);
        if (n == 0) return c->n;
        c->n += n;
    }
}

static struct changed change(const float *samples, double speed, size_t step) {
    struct changed c = {0};
    struct tempo *t;
    assert_ok(tempo_new(RATE, speed, &t));
    for (size_t at = 0; at < COUNT; at += step) {
        assert_ok(tempo_push(t, samples + at, step < COUNT - at ? step : COUNT - at));
        pull_all(t, &c, 333);
    }
    c.n_before_end = c.n;
    assert_ok(tempo_end(t));
    pull_all(t, &c, 5000);
    tempo_free(t);
    return c;
}

// The pitch in Hz, by autocorrelation over the middle of the sound.
static double pitch_of(const float *samples, size_t n) {
    double best = 0, best_lag = 1;
    size_t from = n / 4, span = n / 2 < 12000 ? n / 2 : 12000;
    for (size_t lag = RATE / 400; lag <= RATE / 80; lag++) {
        double sum = 0;
        for (size_t i = from; i + lag < from + span; i++) sum += (double)samples[i] * (double)samples[i + lag];
        sum /= (double)(span - lag);
        if (sum > best * 1.01) best = sum, best_lag = (double)lag;  // the shortest of equal ones
    }
    return RATE / best_lag;
}

static void test_length_and_pitch(void **state) {
    (void)state;
    static const double speeds[] = {0.25, 0.5, 0.8, 1, 1.25, 1.5, 2, 3, 4};
    static const double pitches[] = {110, 210};
    for (size_t p = 0; p < 2; p++) {
        float *in = voice(pitches[p]);
        for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++) {
            struct changed c = change(in, speeds[i], 1234);
            double wanted = COUNT / speeds[i];
            if (fabs((double)c.n - wanted) > 0.01 * wanted + 300)
                fail_msg("speed %g: %zu samples, %.0f expected", speeds[i], c.n, wanted);
            double pitch = pitch_of(c.samples, c.n);
            if (fabs(pitch / pitches[p] - 1) > 0.03)
                fail_msg("speed %g: %.1f Hz, %.1f expected", speeds[i], pitch, pitches[p]);
            double power = 0, power_in = 0;
            for (size_t k = 0; k < c.n; k++) power += pow((double)c.samples[k], 2) / (double)c.n;
            for (size_t k = 0; k < COUNT; k++) power_in += pow((double)in[k], 2) / COUNT;
            if (power < 0.7 * power_in || power > 1.3 * power_in)
                fail_msg("speed %g: power %g of %g", speeds[i], power, power_in);
            // most of it is there before the end is told
            if ((double)c.n_before_end < wanted - 0.1 * RATE / speeds[i] - 0.1 * RATE)
                fail_msg("speed %g: only %zu of %zu before the end", speeds[i], c.n_before_end, c.n);
            free(c.samples);
        }
        free(in);
    }
}

static void test_pieces_of_any_size(void **state) {
    (void)state;
    float *in = voice(150);
    struct changed a = change(in, 1.3, 1), b = change(in, 1.3, 50000);
    assert_in_range(a.n, b.n - 50, b.n + 50);
    free(a.samples);
    free(b.samples);
    free(in);
}

static void test_bad_speeds(void **state) {
    (void)state;
    static const double bad[] = {0, -1, 0.24, 4.01, NAN, INFINITY, -INFINITY, 1e300};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tempo *t = (struct tempo *)bad;
        assert_int_equal(tempo_new(RATE, bad[i], &t), UTTER_INVALID);
        assert_null(t);
        assert_non_null(strstr(fail_message(), "0.25 to 4"));
    }
}

static void test_wild_samples(void **state) {
    (void)state;
    float wild[4096];
    for (int i = 0; i < 4096; i++) wild[i] = i % 5 == 0 ? NAN : i % 5 == 1 ? INFINITY : i % 5 == 2 ? -1e30f : 0.2f;
    struct changed c = {0};
    struct tempo *t;
    assert_ok(tempo_new(RATE, 0.7, &t));
    assert_ok(tempo_end(t));  // nothing yet
    for (int k = 0; k < 4; k++) assert_ok(tempo_push(t, wild, 4096));
    assert_ok(tempo_end(t));
    pull_all(t, &c, 4096);
    assert_true(c.n > 16384);
    for (size_t i = 0; i < c.n; i++) assert_true(fabsf(c.samples[i]) <= 1.001f);
    tempo_free(t);
    tempo_free(NULL);
    free(c.samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length_and_pitch),
        cmocka_unit_test(test_pieces_of_any_size),
        cmocka_unit_test(test_bad_speeds),
        cmocka_unit_test(test_wild_samples),
    };
    return cmocka_run_group_tests_name("tempo", tests, NULL, NULL);
}
