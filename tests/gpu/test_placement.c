/* Which networks run on a card that has room for both, for one of them, or for none: the stand-in driver has as much
   memory as the test says. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/stream.h"
#include "rig.h"

static utter *engine;  // its networks are used
static char said[4096];

static void hear(void *user, utter_log_level level, const char *sentence) {
    (void)user;
    if (level == UTTER_LOG_WARNING) snprintf(said, sizeof said, "%s", sentence);
}

static int setup(void **state) {
    (void)state;
    utter_options options = utter_options_default();
    options.model = "built-in";
    options.device = "cpu";
    return utter_open(&options, &engine) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    utter_close(engine);
    return 0;
}

static void choose(struct runners *r, bool cpu, int n_places) {
    *r = (struct runners){
        .log = {hear, NULL},
        .choice = {.cpu = cpu, .gpu = true},
        .backbone = engine->backbone,
        .codec = engine->codec,
        .n_places = n_places,
        .n_ctx = engine->n_ctx,
    };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->opened, NULL);
    *said = 0;
}

// The placement with so much memory: 'b' when the backbone is on the card, 'c' when the codec is.
static void place(size_t memory_bytes, char placed[3]) {
    struct standin *s = rig_standin();
    s->memory_bytes = memory_bytes;
    struct runners r;
    struct runner *runner;
    choose(&r, true, 1);
    if (runners_enter(&r, &runner) != UTTER_OK) fail_msg("%s", fail_message());
    *placed = 0;
    for (int i = 0; i < 2; i++)
        if (strstr(runner->devices[i]->ops->describe(runner->devices[i]), "GPU")) strcat(placed, i ? "c" : "b");
    assert_int_equal(runner->is_gpu, *placed != 0);
    utter_state now = {0};
    runners_state(&r, &now);
    assert_int_equal(now.is_gpu, *placed != 0);
    assert_int_equal(now.n_places, 1);
    assert_true(now.device_bytes > 0);
    if (strcmp(placed, "bc") == 0) {
        assert_string_equal(said, "");
    } else {
        assert_non_null(strstr(said, "not enough memory for"));
        assert_non_null(strstr(said, "it needs"));
        assert_non_null(strstr(said, "are still free"));
        const char *consequence = strcmp(placed, "b") == 0 ? "the codec runs on the CPU, the language model on the GPU"
                                  : strcmp(placed, "c") == 0
                                      ? "the language model runs on the CPU, the codec on the GPU"
                                      : "speaking on the CPU meanwhile";
        if (!strstr(said, consequence)) fail_msg("\"%s\" does not say \"%s\"", said, consequence);
    }
    runners_leave(&r, runner);
    runners_close(&r);
    assert_int_equal(s->live_allocations, 0);
}

static void test_what_fits_runs_on_the_card(void **state) {
    (void)state;
    char placed[3], last[3] = "";
    bool seen_both = false, seen_one = false;
    for (size_t mib = 8; mib <= 512; mib += 24) {
        place(mib << 20, placed);
        if (strcmp(placed, "bc") == 0) seen_both = true;
        if (strlen(placed) == 1) seen_one = true;
        assert_true(strlen(placed) >= strlen(last));  // more memory is never used for less
        strcpy(last, placed);
        if (mib == 8) assert_string_equal(placed, "");
        if (seen_both) break;
    }
    assert_true(seen_both && seen_one);
}

static void test_a_gpu_that_was_asked_for_takes_all_or_says_why_not(void **state) {
    (void)state;
    struct standin *s = rig_standin();
    s->memory_bytes = 40 << 20;
    struct runners r;
    struct runner *runner;
    choose(&r, false, 1);
    assert_int_equal(runners_enter(&r, &runner), UTTER_MEMORY);
    assert_non_null(strstr(fail_message(), "not enough memory for"));
    runners_close(&r);
    assert_int_equal(s->live_allocations, 0);
}

static void test_as_many_places_as_fit(void **state) {
    (void)state;
    struct standin *s = rig_standin();
    s->memory_bytes = (size_t)512 << 20;
    struct runners r;
    struct runner *runner;
    choose(&r, false, 1000);
    assert_ok(runners_enter(&r, &runner));
    assert_in_range(runner->backbone.n_slots, 1, 999);
    assert_non_null(strstr(said, "the others wait for a place"));
    runners_leave(&r, runner);
    runners_close(&r);
}

int main(void) {
    if (!getenv("UTTER_STANDIN")) return 77;  // a real card's memory cannot be chosen
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits_runs_on_the_card),
        cmocka_unit_test(test_a_gpu_that_was_asked_for_takes_all_or_says_why_not),
        cmocka_unit_test(test_as_many_places_as_fit),
    };
    return cmocka_run_group_tests_name("placement", tests, setup, teardown);
}
