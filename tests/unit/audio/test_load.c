/* Recordings: every format, rate and number of channels becomes mono at one rate. */
#include "test.h"

#include <math.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audio/load.h"

static const double pi = 3.14159265358979323846;
static char folder[] = "/tmp/utter-test-load-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static void name(const char *file) { snprintf(path, sizeof path, "%s/%s", folder, file); }

/* A sine of 440 Hz, amplitude 0.5 in the first channel, 0.3 in the second; `gain` beyond 2 clips. */
static void write_sine(const char *file, int format, int rate, int n_channels, double seconds, double gain) {
    name(file);
    SF_INFO info = {.samplerate = rate, .channels = n_channels, .format = format};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    assert_non_null(f);
    sf_command(f, SFC_SET_CLIPPING, NULL, SF_TRUE);
    int64_t n = (int64_t)(seconds * rate);
    float *samples = calloc((size_t)(n * n_channels) + 1, sizeof *samples);
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < n_channels; c++) {
            double x = gain * (c == 0 ? 0.5 : 0.3) * sin(2 * pi * 440 * (double)i / rate);
            samples[i * n_channels + c] = (float)fmax(-1, fmin(1, x));
        }
    assert_int_equal(sf_writef_float(f, samples, n), n);
    free(samples);
    sf_close(f);
}

/* Largest difference to the sine of that amplitude, away from the ends by 20 ms. */
static double difference(const struct sound *s, double amplitude, int64_t delay) {
    double worst = 0;
    int64_t margin = s->rate_hz / 50;
    for (int64_t i = margin; i < s->n - margin; i++) {
        double want = amplitude * sin(2 * pi * 440 * (double)(i - delay) / s->rate_hz);
        worst = fmax(worst, fabs(want - s->samples[i]));
    }
    return worst;
}

static void resamples_and_mixes(void **state) {
    (void)state;
    static const int rates[] = {8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        for (int n_channels = 1; n_channels <= 2; n_channels++) {
            struct sound s;
            write_sine("a.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, rates[i], n_channels, 0.5, 1);
            assert_ok(sound_load(path, 16000, 60, &s));
            assert_int_equal(s.rate_hz, 16000);
            assert_int_equal(s.file_rate_hz, rates[i]);
            assert_int_equal(s.n_channels, n_channels);
            assert_int_equal(s.n, 8000);
            assert_int_equal(s.n_clipped, 0);
            assert_true(difference(&s, n_channels == 1 ? 0.5 : 0.4, 0) < 1e-4);
            sound_free(&s);
        }
    unlink(path);
}

/* What is beyond half the new rate must vanish and not fold back. */
static void leaves_no_alias(void **state) {
    (void)state;
    struct sound s;
    name("alias.wav");
    SF_INFO info = {.samplerate = 48000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    assert_non_null(f);
    for (int i = 0; i < 48000; i++) {
        float x = (float)(0.5 * sin(2 * pi * 10000 * i / 48000));
        sf_writef_float(f, &x, 1);
    }
    sf_close(f);
    assert_ok(sound_load(path, 16000, 60, &s));
    for (int64_t i = 400; i < s.n - 400; i++) assert_true(fabsf(s.samples[i]) < 1e-4f);
    sound_free(&s);
    unlink(path);
}

static void reads_each_format(void **state) {
    (void)state;
    static const struct {
        const char *file;
        int format;
        double tolerance;
    } files[] = {
        {"a.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1e-4},          {"b.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1e-4},
        {"c.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.05},          {"d.opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 0.05},
        {"e.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 0.05}, {"f.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_24, 1e-4},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct sound s;
        write_sine(files[i].file, files[i].format, 48000, 2, 1, 1);
        assert_ok(sound_load(path, 16000, 60, &s));
        assert_true(s.n >= 15900 && s.n < 18000);
        double best = INFINITY;  // MP3 comes a little late
        for (int64_t delay = 0; delay < 2000; delay++) best = fmin(best, difference(&s, 0.4, delay));
        if (best > files[i].tolerance) fail_msg("%s: differs by %g", files[i].file, best);
        sound_free(&s);
        unlink(path);
    }
}

static void counts_clipped_samples(void **state) {
    (void)state;
    struct sound s;
    write_sine("loud.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 0.5, 3);
    assert_ok(sound_load(path, 16000, 60, &s));
    assert_true(s.n_clipped > 2000);
    sound_free(&s);
    write_sine("loud.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 0.5, 1.99);
    assert_ok(sound_load(path, 16000, 60, &s));
    assert_int_equal(s.n_clipped, 0);
    sound_free(&s);
    unlink(path);
}

static void assert_refused(status wanted, const char *word) {
    struct sound s;
    status got = sound_load(path, 16000, 60, &s);
    if (got != wanted || !strstr(fail_message(), word)) fail_msg("%s: %s (%s)", path, fail_message(), status_name(got));
    assert_null(s.samples);
}

static void refuses_what_is_no_recording(void **state) {
    (void)state;
    name("none.wav");
    assert_refused(UTTER_IO, "No such file");
    snprintf(path, sizeof path, "%s", folder);
    assert_refused(UTTER_INVALID, "no file");
    snprintf(path, sizeof path, "/dev/zero");
    assert_refused(UTTER_INVALID, "no file");
    name("text.wav");
    FILE *f = fopen(path, "w");
    fputs("this is no sound", f);
    fclose(f);
    assert_refused(UTTER_FORMAT, "cannot be read as sound");
    f = fopen(path, "w");
    fclose(f);
    assert_refused(UTTER_FORMAT, "cannot be read as sound");
    unlink(path);
    write_sine("empty.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 0, 1);
    assert_refused(UTTER_INVALID, "0 s");
    unlink(path);
    write_sine("long.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 8000, 1, 61, 1);
    assert_refused(UTTER_LIMIT, "61.0 s long");
    unlink(path);
    write_sine("hours.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 1000, 1, 3 * 3600, 1);
    assert_refused(UTTER_LIMIT, "180 minutes");
    unlink(path);
}

static void refuses_what_is_no_number(void **state) {
    (void)state;
    name("nan.wav");
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    float samples[100] = {0};
    samples[50] = NAN;
    sf_writef_float(f, samples, 100);
    sf_close(f);
    assert_refused(UTTER_FORMAT, "not numbers");
    unlink(path);
}

/* A header that promises more than there is. */
static void takes_what_there_is_of_a_cut_file(void **state) {
    (void)state;
    struct sound s;
    write_sine("cut.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 2, 1);
    assert_int_equal(truncate(path, 44 + 2 * 16000), 0);
    assert_ok(sound_load(path, 16000, 60, &s));
    assert_int_equal(s.n, 16000);
    sound_free(&s);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resamples_and_mixes),
        cmocka_unit_test(leaves_no_alias),
        cmocka_unit_test(reads_each_format),
        cmocka_unit_test(counts_clipped_samples),
        cmocka_unit_test(refuses_what_is_no_recording),
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(takes_what_there_is_of_a_cut_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
