/* Jobs: what is written is read; what another program wrote is refused. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "queue/jobs.h"

static void test_round_trip(void **state) {
    (void)state;
    char text[] = "\"Caf\xc3\xa9\", he said.\n", language[] = "fr-fr", emotion[] = "happy";
    struct queued j = {.book = "00ff",
                       .unit = 12345,
                       .text = text,
                       .language = language,
                       .emotion = emotion,
                       .seed = 4294967295u,
                       .temperature = 0.8f,
                       .top_k = 50,
                       .top_p = 0.95f,
                       .min_p = 0.05f,
                       .retries = 2};
    struct str json = {0};
    assert_ok(queued_write(&j, &json));
    struct queued back;
    assert_ok(queued_read(json.data, json.len, &back));
    assert_string_equal(back.book, "00ff");
    assert_string_equal(back.text, text);
    assert_string_equal(back.language, language);
    assert_string_equal(back.emotion, emotion);
    assert_true(back.unit == 12345 && back.seed == 4294967295u && back.top_k == 50 && back.retries == 2);
    assert_true(back.temperature == 0.8f && back.top_p == 0.95f && back.min_p == 0.05f);  // to the last bit
    queued_free(&back);
    j.emotion = NULL;
    str_clear(&json);
    assert_ok(queued_write(&j, &json));
    assert_ok(queued_read(json.data, json.len, &back));
    assert_null(back.emotion);
    queued_free(&back);
    str_free(&json);
}

#define REST                                                                                                        \
    "\"book\":\"ab\",\"unit\":1,\"text\":\"x\",\"language\":\"en\",\"seed\":1,\"temperature\":1,\"top_k\":1,\"top_" \
    "p\":1,\"min_p\":0,"                                                                                            \
    "\"retries\":1"

static void test_refusals(void **state) {
    (void)state;
    struct queued j;
    assert_ok(queued_read("{\"version\":1," REST "}", strlen("{\"version\":1," REST "}"), &j));
    queued_free(&j);
    static const char *const bad[] = {
        "",
        "[]",
        "null",
        "{}",
        "{" REST "}",
        "{\"version\":2," REST "}",
        "{\"version\":1," REST ",\"voice_of\":\"x\"}",
        "{\"version\":1," REST ",\"unit\":2}",
        "{\"version\":1,\"book\":\"ab\"}",
        "{\"version\":\"1\"," REST "}",
        "{\"version\":1,\"book\":\"../"
        "x\",\"unit\":1,\"text\":\"x\",\"language\":\"en\",\"seed\":1,\"temperature\":1,\"top_k\":1,"
        "\"top_p\":1,\"min_p\":0,\"retries\":1}",
        "{\"version\":1,\"book\":\"ab\",\"unit\":-1,\"text\":\"x\",\"language\":\"en\",\"seed\":1,\"temperature\":1,"
        "\"top_k\":1,"
        "\"top_p\":1,\"min_p\":0,\"retries\":1}",
        "{\"version\":1,\"book\":\"ab\",\"unit\":1,\"text\":5,\"language\":\"en\",\"seed\":1,\"temperature\":1,\"top_"
        "k\":1,"
        "\"top_p\":1,\"min_p\":0,\"retries\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (queued_read(bad[i], strlen(bad[i]), &j) != UTTER_FORMAT) fail_msg("%s was taken", bad[i]);
        assert_null(j.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
