/* Playing: through ALSA's own stand-ins for a sound card, so that the tests need none and make no noise. */
#include "test.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audio/play.h"

static char folder[] = "/tmp/utter-play-XXXXXX";
static char config[64], played[64], chatter[64];

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(config, sizeof config, "%s/asound.conf", folder);
    snprintf(played, sizeof played, "%s/played", folder);
    snprintf(chatter, sizeof chatter, "%s/chatter", folder);
    return setenv("ALSA_CONFIG_PATH", config, 1);
}

static int teardown(void **state) {
    (void)state;
    remove(config);
    remove(played);
    remove(chatter);
    return rmdir(folder);
}

static void write_config(const char *text) {
    FILE *f = fopen(config, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int64_t size_of(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : -1;
}

// Opens a player with standard error going to `chatter`.
static status open_listening(struct player **p) {
    fflush(stderr);
    int saved = dup(STDERR_FILENO), listening = open(chatter, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(listening, STDERR_FILENO);
    close(listening);
    status s = player_open(24000, NULL, p);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    return s;
}

// As the machine is, which may have a card or none.
static void test_opens_or_says_why_not(void **state) {
    (void)state;
    unsetenv("ALSA_CONFIG_PATH");
    struct player *p;
    status s = open_listening(&p);
    setenv("ALSA_CONFIG_PATH", config, 1);
    assert_int_equal(size_of(chatter), 0);
    if (s == UTTER_OK) {
        player_close(p);
        return;
    }
    assert_int_equal(s, UTTER_DEVICE);
    assert_non_null(strstr(fail_message(), "-o FILE"));
}

static void test_no_device_is_one_sentence(void **state) {
    (void)state;
    write_config("# no card\n");
    struct player *p;
    status s = open_listening(&p);
    assert_int_equal(size_of(chatter), 0);
    if (s == UTTER_OK) {  // this machine has a card that no configuration can hide
        player_close(p);
        skip();
    }
    assert_int_equal(s, UTTER_DEVICE);
    assert_null(p);
    assert_non_null(strstr(fail_message(), "-o FILE"));
}

static void test_plays_to_the_end(void **state) {
    (void)state;
    char text[256];
    snprintf(text, sizeof text, "pcm.!default { type file slave.pcm { type null } file \"%s\" format raw }\n", played);
    write_config(text);
    struct player *p;
    if (open_listening(&p) != UTTER_OK) skip();  // a PortAudio without ALSA
    float samples[5000];
    for (int i = 0; i < 5000; i++) samples[i] = 0.5f * sinf(0.05f * (float)i);
    samples[0] = NAN;
    samples[1] = 1e9f;
    for (int i = 0; i < 30; i++) assert_ok(player_write(p, samples, 5000));  // more than the ring holds
    assert_ok(player_drain(p));
    assert_true(player_underruns(p) >= 0);
    player_close(p);
    assert_true(size_of(played) >= 30 * 5000 * 2);
}

static void test_stop_ends_waiting(void **state) {
    (void)state;
    atomic_bool stop = true;
    struct player *p;
    if (player_open(24000, &stop, &p) != UTTER_OK) skip();
    float *samples = calloc(24000, sizeof *samples);
    status s = UTTER_OK;
    for (int i = 0; i < 1000 && s == UTTER_OK; i++) s = player_write(p, samples, 24000);
    if (s == UTTER_OK) s = player_drain(p);
    assert_int_equal(s, UTTER_CANCELLED);
    player_close(p);
    free(samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plays_to_the_end),
        cmocka_unit_test(test_opens_or_says_why_not), cmocka_unit_test(test_stop_ends_waiting),
        cmocka_unit_test(test_no_device_is_one_sentence),  // last: PortAudio may be left half started
    };
    return cmocka_run_group_tests_name("play", tests, setup, teardown);
}
