/* The file of --config: names, limits, and what of a wrong one is said. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/config.h"

static char path[] = "/tmp/utter-config-XXXXXX";

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return remove(path);
}

static status load(const char *text, struct config *c) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return config_load(path, c);
}

static void test_openais_names_need_no_file(void **state) {
    (void)state;
    struct config c;
    assert_ok(config_load(NULL, &c));
    assert_true(config_has_model(&c, "tts-1") && config_has_model(&c, "tts-1-hd"));
    assert_true(config_has_model(&c, "gpt-4o-mini-tts"));
    assert_false(config_has_model(&c, "gpt-4"));
    assert_null(config_voice(&c, "alloy"));
    assert_int_equal(config_openai_voice("alloy"), 0);
    assert_int_equal(config_openai_voice("echo"), 1);
    assert_int_equal(config_openai_voice("nobody"), -1);
    assert_int_equal(c.limits.queue, -1);
    config_free(&c);
}

static void test_a_file_adds_names_and_limits(void **state) {
    (void)state;
    struct config c;
    assert_ok(
        load("{\"models\": [\"mine\", \"tts-1\"], \"voices\": {\"alloy\": \"sam\"}, \"limits\": {\"queue\": 7, "
             "\"at_once\": 0}}",
             &c));
    assert_true(config_has_model(&c, "mine") && config_has_model(&c, "tts-1-hd"));
    assert_string_equal(config_voice(&c, "alloy"), "sam");
    assert_int_equal(c.limits.queue, 7);
    assert_int_equal(c.limits.at_once, 0);
    assert_int_equal(c.limits.characters, -1);
    config_free(&c);
}

static void assert_refused(const char *text, const char *words) {
    struct config c;
    assert_int_equal(load(text, &c), UTTER_FORMAT);
    if (!strstr(fail_message(), words)) fail_msg("%s", fail_message());
}

static void test_a_wrong_file_is_refused(void **state) {
    (void)state;
    assert_refused("", "cannot read");
    assert_refused("[]", "no JSON object");
    assert_refused("{\"model\": []}", "\"model\"");
    assert_refused("{\"models\": \"tts-1\"}", "no list");
    assert_refused("{\"models\": [1]}", "model 0");
    assert_refused("{\"voices\": [\"slt\"]}", "\"voices\"");
    assert_refused("{\"voices\": {\"alloy\": 3}}", "alloy");
    assert_refused("{\"limits\": 3}", "\"limits\"");
    assert_refused("{\"limits\": {\"quue\": 3}}", "quue");
    assert_refused("{\"limits\": {\"queue\": 0}}", "queue");
    assert_refused("{\"limits\": {\"queue\": -4}}", "queue");
    assert_refused("{\"limits\": {\"queue\": 1.5}}", "queue");
    assert_refused("{\"limits\": {}, \"limits\": {}}", "cannot read");
    struct config c;
    assert_int_not_equal(config_load("/nowhere/at/all", &c), UTTER_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openais_names_need_no_file),
        cmocka_unit_test(test_a_file_adds_names_and_limits),
        cmocka_unit_test(test_a_wrong_file_is_refused),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
