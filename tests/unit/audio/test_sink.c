/* Sound files: right samples in every format, whole files or none, one sentence for each failure. */
#include "test.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audio/sink.h"
#include "base/file.h"
#include "base/npy.h"

enum { RATE = 24000, COUNT = 50000 };

static char folder[] = "/tmp/utter-sink-XXXXXX";
static float *tone;  // [COUNT]

static int setup(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    tone = malloc(COUNT * sizeof *tone);
    for (int i = 0; i < COUNT; i++) tone[i] = 0.4f * sinf(0.03f * (float)i) + 0.2f * sinf(0.111f * (float)i);
    return mkdtemp(folder) ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    free(tone);
    return rmdir(folder);  // fails when a test, or a sink, left something behind
}

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

// Writes the tone in pieces of many sizes.
static void write_tone(struct sink *s) {
    for (size_t at = 0, n = 1; at < COUNT; at += n, n = n * 3 % 7001 + 1) {
        if (n > COUNT - at) n = COUNT - at;
        assert_ok(sink_write(s, tone + at, n));
    }
}

// Power of the error against the tone, at the shift of up to max_shift samples that fits best.
static double error_against_tone(const float *got, int n, int max_shift) {
    double best = HUGE_VAL;
    for (int shift = 0; shift <= max_shift; shift++) {
        double error = 0, power = 0;
        for (int i = 5000; i < COUNT - 5000 && i + shift < n; i++) {
            error += pow((double)got[i + shift] - (double)tone[i], 2);
            power += pow((double)tone[i], 2);
        }
        if (error / power < best) best = error / power;
    }
    return best;
}

static void check_format(const char *name, int format, int max_shift, double tolerance) {
    const char *path = in_folder(name);
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    write_tone(s);
    assert_false(exists(path));
    assert_ok(sink_finish(s));

    SF_INFO info = {0};
    SNDFILE *f = sf_open(path, SFM_READ, &info);
    assert_non_null(f);
    assert_int_equal(info.format & (SF_FORMAT_TYPEMASK | SF_FORMAT_SUBMASK), format);
    assert_int_equal(info.samplerate, RATE);
    assert_int_equal(info.channels, 1);
    float *got = calloc(COUNT + 10000, sizeof *got);
    int n = (int)sf_read_float(f, got, COUNT + 10000);
    sf_close(f);
    assert_in_range(n, COUNT, COUNT + max_shift * 2);
    double error = error_against_tone(got, n, max_shift);
    if (error > tolerance) fail_msg("%s: error power %g of the tone's, at most %g expected", name, error, tolerance);
    free(got);
    remove(path);
}

static void test_wav(void **state) {
    (void)state;
    check_format("a.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 0, 1e-8);
}

static void test_flac(void **state) {
    (void)state;
    check_format("a.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 0, 1e-8);
}

static void test_vorbis(void **state) {
    (void)state;
    check_format("a.OGG", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0, 1e-2);
}

static void test_opus(void **state) {
    (void)state;
    check_format("a.opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 400, 1e-2);
}

static void test_mp3(void **state) {
    (void)state;
    check_format("a.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 2400, 1e-2);
}

// A format that is named is taken, whatever the path says; to a pipe it streams.
static void test_named_format(void **state) {
    (void)state;
    const char *path = in_folder("a.txt");
    struct sink *s;
    assert_ok(sink_check_name(path, "flac"));
    assert_ok(sink_open(path, "FLAC", RATE, &s));
    write_tone(s);
    assert_ok(sink_finish(s));
    SF_INFO info = {0};
    SNDFILE *f = sf_open(path, SFM_READ, &info);
    assert_non_null(f);
    assert_int_equal(info.format & SF_FORMAT_TYPEMASK, SF_FORMAT_FLAC);
    assert_int_equal(info.frames, COUNT);
    sf_close(f);
    remove(path);

    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char pipe_path[32];
    snprintf(pipe_path, sizeof pipe_path, "/dev/fd/%d", ends[1]);
    assert_ok(sink_open(pipe_path, "mp3", RATE, &s));
    close(ends[1]);
    assert_ok(sink_write(s, tone, 5000));
    unsigned char bytes[3000];
    assert_true(read(ends[0], bytes, sizeof bytes) > 288);  // the frame that holds no sound, and more
    assert_true(bytes[0] == 0xff && (bytes[1] & 0xe0) == 0xe0);
    assert_ok(sink_finish(s));
    close(ends[0]);

    assert_int_equal(sink_check_name("a.wav", "mp4"), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "there are wav"));
    assert_int_equal(sink_check_name("-", "npy"), UTTER_INVALID);
    assert_int_equal(sink_check_name("speech", NULL), UTTER_INVALID);
    assert_int_equal(sink_check_name("folder.wav/speech", NULL), UTTER_INVALID);
    assert_ok(sink_check_name("speech", "npy"));
}

static void test_npy_keeps_samples_as_they_are(void **state) {
    (void)state;
    const char *path = in_folder("a.npy");
    float samples[4] = {0.25f, -3.5f, 1e-20f, INFINITY};
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    assert_ok(sink_write(s, samples, 3));
    assert_ok(sink_write(s, samples + 3, 1));
    assert_ok(sink_finish(s));
    struct npy a;
    assert_ok(npy_read(path, &a));
    assert_int_equal(a.n, 4);
    assert_memory_equal(a.data, samples, sizeof samples);
    npy_free(&a);
    assert_ok(sink_open(path, NULL, RATE, &s));  // no samples at all
    assert_ok(sink_finish(s));
    assert_ok(npy_read(path, &a));
    assert_int_equal(a.n, 0);
    npy_free(&a);
    remove(path);
}

static void test_wav_header_and_clipping(void **state) {
    (void)state;
    const char *path = in_folder("clip.wav");
    float samples[6] = {0, 1.5f, -7, NAN, INFINITY, 0.5f};
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    assert_ok(sink_write(s, samples, 6));
    assert_ok(sink_finish(s));
    static const unsigned char expected[] =
        "RIFF\x30\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\xc0\x5d\0\0\x80\xbb\0\0\2\0\x10\0data\x0c\0\0\0"
        "\0\0\xff\x7f\x01\x80\0\0\xff\x7f\0\x40";
    struct file_map m;
    assert_ok(file_map_open(path, &m));
    assert_int_equal(m.size, sizeof expected - 1);
    assert_memory_equal(m.data, expected, m.size);
    file_map_close(&m);
    remove(path);
}

static void test_pipe_gets_a_wav_of_unknown_length(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    close(ends[1]);
    unsigned char bytes[100];
    assert_int_equal(read(ends[0], bytes, sizeof bytes), 44);  // the header comes before the first sample is made
    assert_memory_equal(bytes, "RIFF\xff\xff\xff\xffWAVEfmt ", 16);
    assert_memory_equal(bytes + 36, "data\xff\xff\xff\xff", 8);
    float samples[3] = {0.5f, 0, -0.5f};
    assert_ok(sink_write(s, samples, 3));
    assert_int_equal(read(ends[0], bytes, sizeof bytes), 6);  // and each piece at once
    assert_memory_equal(bytes, "\0\x40\0\0\0\xc0", 6);
    close(ends[0]);
    assert_int_equal(sink_write(s, samples, 3), UTTER_IO);
    assert_non_null(strstr(fail_message(), "closed by its reader"));
    sink_abandon(s);
}

static void test_redirected_output_gets_its_length(void **state) {
    (void)state;
    const char *path = in_folder("redirected");
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    close(file);
    struct sink *s;
    status opened = sink_open("-", NULL, RATE, &s), written = sink_write(s, tone, 100), finished = sink_finish(s);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_int_equal(opened, UTTER_OK);
    assert_int_equal(written, UTTER_OK);
    assert_int_equal(finished, UTTER_OK);
    struct file_map m;
    assert_ok(file_map_open(path, &m));
    assert_int_equal(m.size, 244);
    assert_memory_equal((const char *)m.data + 40, "\xc8\0\0\0", 4);
    file_map_close(&m);
    remove(path);
}

static void test_names_that_cannot_be_written(void **state) {
    (void)state;
    struct sink *s;
    assert_int_equal(sink_open("speech.txt", NULL, RATE, &s), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), ".wav"));
    assert_int_equal(sink_open("speech", NULL, RATE, &s), UTTER_INVALID);
    assert_int_equal(sink_open(".wav", NULL, RATE, &s), UTTER_INVALID);
    assert_int_equal(sink_open("", NULL, RATE, &s), UTTER_INVALID);
    assert_int_equal(sink_open(folder, NULL, RATE, &s), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "is a folder"));
    static const char *const names[] = {"none/a.wav", "none/a.flac", "none/a.npy"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sink_open(in_folder(names[i]), NULL, RATE, &s), UTTER_IO);
        assert_non_null(strstr(fail_message(), "folder exists"));
        assert_null(s);
    }
    assert_int_equal(sink_open(in_folder("a.opus"), NULL, 44100, &s), UTTER_UNSUPPORTED);  // Opus knows no 44.1 kHz
}

static void test_full_device(void **state) {
    (void)state;
    if (!exists("/dev/full")) skip();
    struct sink *s;
    assert_int_equal(sink_open("/dev/full", NULL, RATE, &s), UTTER_IO);
    assert_non_null(strstr(fail_message(), "No space left"));
    assert_true(exists("/dev/full"));  // a device is written to, never replaced
}

static void test_full_disk_leaves_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"full.wav", "full.flac", "full.ogg", "full.opus", "full.mp3", "full.npy"};
    struct rlimit before, little;
    getrlimit(RLIMIT_FSIZE, &before);
    little = before;
    little.rlim_cur = 2000;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = in_folder(names[i]);
        struct sink *s;
        assert_ok(sink_open(path, NULL, RATE, &s));
        setrlimit(RLIMIT_FSIZE, &little);
        status result = UTTER_OK;
        for (int k = 0; k < 5 && result == UTTER_OK; k++) result = sink_write(s, tone, COUNT);
        if (result == UTTER_OK)
            result = sink_finish(s);
        else
            sink_abandon(s);
        setrlimit(RLIMIT_FSIZE, &before);
        if (result != UTTER_IO || !strstr(fail_message(), path)) fail_msg("%s: %d %s", path, result, fail_message());
        assert_false(exists(path));
    }
}

static void test_abandon_keeps_what_was_there(void **state) {
    (void)state;
    const char *path = in_folder("old.wav");
    FILE *f = fopen(path, "w");
    fputs("old", f);
    fclose(f);
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    assert_ok(sink_write(s, tone, COUNT));
    sink_abandon(s);
    sink_abandon(NULL);
    struct file_map m;
    assert_ok(file_map_open(path, &m));
    assert_int_equal(m.size, 3);
    file_map_close(&m);
    remove(path);
}

static void test_link_stays_a_link(void **state) {
    (void)state;
    char target[128];
    snprintf(target, sizeof target, "%s", in_folder("target.wav"));
    FILE *f = fopen(target, "w");
    fclose(f);
    const char *path = in_folder("link.wav");
    assert_int_equal(symlink(target, path), 0);
    struct sink *s;
    assert_ok(sink_open(path, NULL, RATE, &s));
    assert_ok(sink_write(s, tone, 100));
    assert_ok(sink_finish(s));
    struct stat info;
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 244);
    remove(path);
    remove(target);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wav),
        cmocka_unit_test(test_flac),
        cmocka_unit_test(test_vorbis),
        cmocka_unit_test(test_opus),
        cmocka_unit_test(test_mp3),
        cmocka_unit_test(test_named_format),
        cmocka_unit_test(test_npy_keeps_samples_as_they_are),
        cmocka_unit_test(test_wav_header_and_clipping),
        cmocka_unit_test(test_pipe_gets_a_wav_of_unknown_length),
        cmocka_unit_test(test_redirected_output_gets_its_length),
        cmocka_unit_test(test_names_that_cannot_be_written),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_full_disk_leaves_nothing),
        cmocka_unit_test(test_abandon_keeps_what_was_there),
        cmocka_unit_test(test_link_stays_a_link),
    };
    return cmocka_run_group_tests_name("sink", tests, setup, teardown);
}
