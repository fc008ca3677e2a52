/* What Prometheus is told. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "server/metrics.h"

static void assert_line(const struct str *text, const char *line) {
    char wanted[200];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (!strstr(str_text(text), wanted)) fail_msg("no line \"%s\" in\n%s", line, str_text(text));
}

static void test_counts_and_histograms(void **state) {
    (void)state;
    static struct metrics m;
    static const char *const routes[] = {"speech", "other"};
    metrics_init(&m);
    metrics_request(&m, 0, 200);
    metrics_request(&m, 0, 200);
    metrics_request(&m, 0, 429);
    metrics_request(&m, 1, 418);
    metrics_outcome(&m, &(struct outcome){.queue_s = 0.01, .first_audio_s = 0.12, .work_s = 1, .audio_s = 4}, UTTER_OK);
    metrics_outcome(&m, &(struct outcome){.queue_s = 100}, UTTER_CANCELLED);
    const struct metrics_now now = {.jobs = {.n_queued = 3},
                                    .n_places = 4,
                                    .ready = true,
                                    .has_engine = true,
                                    .engine = {.n_tokens = 77, .is_gpu = true}};
    struct str text = {0};
    metrics_write(&m, &now, routes, 2, &text);
    assert_line(&text, "utter_requests_total{route=\"speech\",status=\"200\"} 2");
    assert_line(&text, "utter_requests_total{route=\"speech\",status=\"429\"} 1");
    assert_line(&text, "utter_requests_total{route=\"other\",status=\"other\"} 1");
    assert_line(&text, "utter_first_audio_seconds_bucket{le=\"0.1\"} 0");
    assert_line(&text, "utter_first_audio_seconds_bucket{le=\"0.15\"} 1");
    assert_line(&text, "utter_first_audio_seconds_count 1");
    assert_line(&text, "utter_queue_seconds_bucket{le=\"30\"} 1");
    assert_line(&text, "utter_queue_seconds_bucket{le=\"+Inf\"} 2");
    assert_line(&text, "utter_queue_seconds_sum 100.010000");
    assert_line(&text, "utter_real_time_factor_bucket{le=\"0.3\"} 1");
    assert_line(&text, "utter_real_time_factor_count 1");
    assert_line(&text, "utter_hangups_total 1");
    assert_line(&text, "utter_queue_length 3");
    assert_line(&text, "utter_tokens_total 77");
    assert_line(&text, "utter_device_is_gpu 1");
    assert_line(&text, "# TYPE utter_tokens_total counter");
    str_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts_and_histograms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
