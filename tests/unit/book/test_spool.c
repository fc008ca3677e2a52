/* The journal: what is whole is kept, what is torn is spoken again. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "book/spool.h"
#include "sample.h"

enum { RATE = 24000, UNITS = 5, LENGTH = 4800 };

static void tone(float *samples, int unit) {
    for (int i = 0; i < LENGTH; i++) samples[i] = 0.3f * sinf((float)i * 0.01f * (float)(unit + 1));
}

static void add(struct spool *s, int unit) {
    float samples[LENGTH];
    tone(samples, unit);
    struct str packed = {0};
    assert_ok(sound_pack(samples, LENGTH, RATE, &packed));
    assert_true(packed.len < LENGTH * 3);
    assert_ok(spool_add(s, unit, packed.data, packed.len, ""));
    str_free(&packed);
}

static void assert_unit(struct spool *s, int unit) {
    float wanted[LENGTH], *samples;
    int64_t n;
    tone(wanted, unit);
    assert_ok(spool_read(s, unit, &samples, &n));
    assert_int_equal(n, LENGTH);
    for (int i = 0; i < LENGTH; i++) assert_true(fabsf(samples[i] - wanted[i]) < 2e-7f);
    free(samples);
}

static long size_of(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    fclose(f);
    return size;
}

static void test_goes_on(void **state) {
    (void)state;
    const char *path = sample_path("on.reading");
    struct spool *s;
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 3);
    add(s, 0);
    add(s, 3);  // again: stays
    assert_ok(spool_add(s, 1, NULL, 0, "it has no words"));
    assert_int_equal(spool_n_done(s), 3);
    spool_close(s);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    assert_int_equal(spool_n_done(s), 3);
    assert_int_equal(spool_n_failed(s), 1);
    assert_true(spool_has(s, 0) && spool_has(s, 1) && !spool_has(s, 2) && spool_has(s, 3));
    assert_unit(s, 0);
    assert_unit(s, 3);
    assert_string_equal(spool_failure(s, 1), "it has no words");
    assert_string_equal(spool_failure(s, 0), "");
    float *samples;
    int64_t n;
    assert_ok(spool_read(s, 1, &samples, &n));
    assert_null(samples);
    assert_int_equal(spool_read(s, 2, &samples, &n), UTTER_INTERNAL);
    spool_close(s);
}

// Sound from elsewhere: known by its header and its CRC.
static void test_sound_check(void **state) {
    (void)state;
    float samples[LENGTH];
    tone(samples, 2);
    struct str packed = {0};
    assert_ok(sound_pack(samples, LENGTH, RATE, &packed));
    const uint32_t crc = sound_crc(packed.data, packed.len);
    int64_t n = 0;
    assert_ok(sound_check(packed.data, packed.len, crc, RATE, &n));
    assert_int_equal(n, LENGTH);
    assert_int_equal(sound_check(packed.data, packed.len, crc, 44100, &n), UTTER_FORMAT);
    assert_int_equal(sound_check(packed.data, packed.len - 1, crc, RATE, &n), UTTER_FORMAT);
    assert_int_equal(sound_check(packed.data, 20, sound_crc(packed.data, 20), RATE, &n), UTTER_FORMAT);
    assert_int_equal(sound_check("RIFF", 4, sound_crc("RIFF", 4), RATE, &n), UTTER_FORMAT);
    packed.data[packed.len / 2] ^= 1;
    assert_int_equal(sound_check(packed.data, packed.len, crc, RATE, &n), UTTER_FORMAT);
    packed.data[packed.len / 2] ^= 1;
    packed.data[21] = (char)0x0f;  // a number of samples of many hours
    assert_int_equal(sound_check(packed.data, packed.len, sound_crc(packed.data, packed.len), RATE, &n), UTTER_FORMAT);
    str_free(&packed);
}

static void test_another_plan(void **state) {
    (void)state;
    const char *path = sample_path("plan.reading");
    struct spool *s, *other;
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 2);
    assert_int_equal(spool_open(path, "plan", RATE, UNITS, false, &other), UTTER_IO);  // open already
    spool_close(s);
    assert_int_equal(spool_open(path, "other", RATE, UNITS, false, &s), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "--restart"));
    assert_int_equal(spool_open(path, "plan", RATE, UNITS + 1, false, &s), UTTER_INVALID);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));  // and is unharmed
    assert_unit(s, 2);
    spool_close(s);
    assert_ok(spool_open(path, "other", RATE, UNITS, true, &s));
    assert_int_equal(spool_n_done(s), 0);
    spool_close(s);
}

// Cut at every place: what stood before the cut is there, and can be added to.
static void test_torn(void **state) {
    (void)state;
    const char *path = sample_path("torn.reading");
    struct spool *s;
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 0);
    spool_close(s);
    long one = size_of(path);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 1);
    spool_close(s);
    long two = size_of(path);
    for (long cut = two - 1; cut >= one; cut -= 397) {
        assert_int_equal(truncate(path, cut), 0);
        assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
        assert_int_equal(spool_n_done(s), 1);
        assert_unit(s, 0);
        add(s, 1);
        assert_unit(s, 1);
        spool_close(s);
        assert_int_equal(size_of(path), two);
    }
}

// A flipped bit is found, and what follows is spoken again.
static void test_flipped(void **state) {
    (void)state;
    const char *path = sample_path("flipped.reading");
    struct spool *s;
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 0);
    long one = 0;
    spool_close(s);
    one = size_of(path);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 1);
    spool_close(s);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, one + 100, SEEK_SET);
    int c = fgetc(f);
    fseek(f, one + 100, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    assert_true(spool_has(s, 0) && !spool_has(s, 1));
    spool_close(s);
}

// A disk that is full: a sentence, and what was there stays whole.
static void test_full_disk(void **state) {
    (void)state;
    const char *path = sample_path("full.reading");
    struct spool *s;
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    add(s, 0);
    struct rlimit kept, limit;
    getrlimit(RLIMIT_FSIZE, &kept);
    limit = kept;
    limit.rlim_cur = (rlim_t)size_of(path) + 50;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(spool_add(s, 1, path, 200, ""), UTTER_IO);
    setrlimit(RLIMIT_FSIZE, &kept);
    assert_non_null(strstr(fail_message(), "run the same command again"));
    assert_false(spool_has(s, 1));
    add(s, 1);
    spool_close(s);
    assert_ok(spool_open(path, "plan", RATE, UNITS, false, &s));
    assert_unit(s, 0);
    assert_unit(s, 1);
    spool_close(s);
}

static void test_sound_of_strangers(void **state) {
    (void)state;
    float *samples;
    int64_t n;
    assert_int_equal(sound_unpack("no flac", 7, RATE, &samples, &n), UTTER_FORMAT);
    float noise[100] = {0};
    struct str packed = {0};
    assert_ok(sound_pack(noise, 100, 16000, &packed));
    assert_int_equal(sound_unpack(packed.data, packed.len, RATE, &samples, &n), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "16000"));
    for (size_t at = 0; at < packed.len; at++) {
        packed.data[at] = (char)(packed.data[at] ^ 0x55);
        if (sound_unpack(packed.data, packed.len, 16000, &samples, &n) == UTTER_OK) free(samples);
        packed.data[at] = (char)(packed.data[at] ^ 0x55);
    }
    str_free(&packed);
    float wild[3] = {2, -3, NAN};
    assert_ok(sound_pack(wild, 3, RATE, &packed));
    assert_ok(sound_unpack(packed.data, packed.len, RATE, &samples, &n));
    assert_true(n == 3 && samples[0] > 0.99f && samples[1] < -0.99f && samples[2] == 0);
    free(samples);
    str_free(&packed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),     cmocka_unit_test(test_another_plan),
        cmocka_unit_test(test_torn),        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_full_disk),   cmocka_unit_test(test_sound_of_strangers),
        cmocka_unit_test(test_sound_check),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_cleanup);
}
