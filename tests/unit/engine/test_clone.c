/* What of a recording is taken for a voice, and what is said about it. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clone.h"

enum { SECOND = CLONE_RATE_HZ };

static uint32_t seed = 1;
static float noise(void) {
    seed = seed * 1664525 + 1013904223;
    return (float)(seed >> 8) * 0x1p-23f - 1;
}

/* n samples of `amplitude` with pauses, as syllables are, on a floor of noise; before and after it only the floor. */
static float *recording(double before, double speech, double after, float amplitude, float floor, int64_t *n) {
    int64_t begin = (int64_t)(before * SECOND), end = begin + (int64_t)(speech * SECOND);
    *n = end + (int64_t)(after * SECOND);
    float *pcm = calloc((size_t)*n + 1, sizeof *pcm);
    for (int64_t i = 0; i < *n; i++) {
        pcm[i] = floor * noise();
        bool syllable = i >= begin && i < end && (i - begin) % (SECOND / 4) < SECOND / 5;
        if (syllable) pcm[i] += amplitude * sinf((float)(i % SECOND) * 0.07f);
    }
    return pcm;
}

static struct clip found;
static float *pcm;

static status find(double before, double speech, double after, float amplitude, float floor) {
    int64_t n;
    free(pcm);
    pcm = recording(before, speech, after, amplitude, floor, &n);
    return clip_find("me.wav", pcm, n, &found);
}

static void cuts_silence_off_both_ends(void **state) {
    (void)state;
    static const float floors[] = {0, 0.0005f, 0.01f};
    for (size_t i = 0; i < sizeof floors / sizeof *floors; i++) {
        assert_ok(find(2, 5, 3, 0.3f, floors[i]));
        double begin = (double)(found.pcm - pcm) / SECOND;
        assert_true(begin > 1.85 && begin < 1.95);  // a tenth of a second is left
        assert_true(found.seconds > 4.9 && found.seconds < 5.3);
    }
}

static void leaves_whole_what_has_no_silence(void **state) {
    (void)state;
    assert_ok(find(0, 5, 0, 0.3f, 0.001f));
    assert_ptr_equal(found.pcm, pcm);
    assert_true(found.seconds > 4.9);
}

static void refuses_what_cannot_be_used(void **state) {
    (void)state;
    assert_int_equal(find(0, 0, 0, 0, 0), UTTER_INVALID);
    assert_int_equal(find(0, 0.01, 0, 0.3f, 0), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "3 to 15 s"));
    assert_int_equal(find(5, 0, 0, 0, 0), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "silence"));
    assert_int_equal(find(5, 0, 0, 0, 0.0005f), UTTER_INVALID);
    assert_int_equal(find(0, 61, 0, 0.3f, 0), UTTER_LIMIT);
    assert_non_null(strstr(fail_message(), "61"));
    assert_ok(find(10, 45, 10, 0.3f, 0));
}

static int n_warnings;
static char said[1000];
static void count(void *user, const char *sentence) {
    (void)user;
    n_warnings++;
    snprintf(said, sizeof said, "%s", sentence);
}

static void judge(int64_t n_clipped, const char *transcript) {
    n_warnings = 0;
    clip_judge(&found, n_clipped, transcript, count, NULL);
}

static const char five_seconds[] = "This is about what somebody would say in all of five seconds.";

static void warns_of_what_makes_a_voice_worse(void **state) {
    (void)state;
    assert_ok(find(0.5, 5, 0.5, 0.3f, 0.0005f));
    judge(0, five_seconds);
    assert_int_equal(n_warnings, 0);
    judge(50, five_seconds);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(said, "clipped"));
    judge(0, "Hi.");
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(said, "word for word"));

    assert_ok(find(0.5, 5, 0.5, 0.3f, 0.1f));
    judge(0, five_seconds);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(said, "noisy"));

    assert_ok(find(0.5, 2, 0.5, 0.3f, 0.0005f));
    judge(0, "This is said in two seconds.");
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(said, "little"));

    assert_ok(find(0.5, 20, 0.5, 0.3f, 0.0005f));
    char text[300];
    snprintf(text, sizeof text, "%s %s %s %s", five_seconds, five_seconds, five_seconds, five_seconds);
    judge(0, text);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(said, "more than is of use"));
}

static int clean_up(void **state) {
    (void)state;
    free(pcm);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_silence_off_both_ends),
        cmocka_unit_test(leaves_whole_what_has_no_silence),
        cmocka_unit_test(refuses_what_cannot_be_used),
        cmocka_unit_test(warns_of_what_makes_a_voice_worse),
    };
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
