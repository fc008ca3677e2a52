/* The command line's options. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "cli/options.h"

struct values {
    bool flag, other;
    const char *text;
    int number;
    uint32_t seed;
    float ratio;
};

// Parses `words`, separated by spaces; the words that are no options end up in argv[1..*n_rest].
static status parse(const char *words, struct values *v, char **argv, int *n_rest) {
    static char line[256];
    snprintf(line, sizeof line, "utter %s", words);
    int argc = 0;
    for (char *p = strtok(line, " "); p; p = strtok(NULL, " ")) argv[argc++] = p;
    *v = (struct values){.text = "unset", .number = -1};
    const struct option options[] = {
        {"flag", 'f', OPTION_FLAG, &v->flag, NULL, "a flag", 0, 0},
        {"other", 'q', OPTION_FLAG, &v->other, NULL, "another", 0, 0},
        {"text", 't', OPTION_TEXT, &v->text, "TEXT", "a text", 0, 0},
        {"number", 'n', OPTION_INT, &v->number, "N", "a number", 0, 10},
        {"seed", 0, OPTION_U32, &v->seed, "N", "a seed", 0, UINT32_MAX},
        {"ratio", 0, OPTION_FLOAT, &v->ratio, "R", "a ratio", 0, 1},
    };
    return options_parse(options, sizeof options / sizeof *options, argc, argv, n_rest);
}

static void test_all_forms(void **state) {
    (void)state;
    struct values v;
    char *argv[32];
    int n;
    assert_ok(parse("one -f --text a two --number=7 --seed 4294967295 - --ratio 0.5 -- --flag -x", &v, argv, &n));
    assert_true(v.flag);
    assert_string_equal(v.text, "a");
    assert_int_equal(v.number, 7);
    assert_true(v.seed == 4294967295u);
    assert_true(v.ratio == 0.5f);
    assert_int_equal(n, 5);
    const char *rest[] = {"one", "two", "-", "--flag", "-x"};
    for (int i = 0; i < n; i++) assert_string_equal(argv[1 + i], rest[i]);

    assert_ok(parse("-fqn3 -tb", &v, argv, &n));
    assert_true(v.flag && v.other);
    assert_int_equal(v.number, 3);
    assert_string_equal(v.text, "b");
    assert_ok(parse("--text= -t -x -t --", &v, argv, &n));  // a value is a value whatever it looks like
    assert_string_equal(v.text, "--");
    assert_int_equal(n, 0);
    assert_ok(parse("", &v, argv, &n));
    assert_string_equal(v.text, "unset");
}

static void test_refusals_say_what_to_do(void **state) {
    (void)state;
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"--txet a", "did you mean --text?"},
        {"--num 3", "did you mean --number?"},
        {"--zzzzzz", "unknown option --zzzzzz"},
        {"--a-name-that-is-longer-than-any-option-could-ever-be=1", "unknown option"},
        {"-x", "unknown option -x"},
        {"-5", "put -- before"},
        {"--text", "--text needs a value: --text TEXT"},
        {"-n", "-n needs a value: -n N"},
        {"--flag=1", "takes no value"},
        {"--number 11", "from 0 to 10"},
        {"--number -1", "from 0 to 10"},
        {"--number 99999999999999999999", "from 0 to 10"},
        {"--number 1x", "not a whole number"},
        {"--number 1.5", "not a whole number"},
        {"--number=", "not a whole number"},
        {"--seed -1", "from 0 to 4294967295"},
        {"--seed 4294967296", "out of range"},
        {"--ratio nan", "from 0 to 1"},
        {"--ratio inf", "from 0 to 1"},
        {"--ratio 1.01", "from 0 to 1"},
        {"--ratio a", "not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct values v;
        char *argv[32];
        int n;
        if (parse(cases[i].words, &v, argv, &n) != UTTER_INVALID) fail_msg("\"%s\" is taken", cases[i].words);
        if (!strstr(fail_message(), cases[i].says)) fail_msg("\"%s\": %s", cases[i].words, fail_message());
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"say", "voices", "models", "sentences", "normalize"};
    assert_string_equal(nearest_name("sya", names, 5), "say");
    assert_string_equal(nearest_name("voice", names, 5), "voices");
    assert_string_equal(nearest_name("modles", names, 5), "models");
    assert_string_equal(nearest_name("norm", names, 5), "normalize");
    assert_string_equal(nearest_name("normalise", names, 5), "normalize");
    assert_null(nearest_name("hello", names, 5));
    assert_null(nearest_name("x", names, 5));
    assert_null(nearest_name("", names, 5));
}

static void test_help_names_every_option(void **state) {
    (void)state;
    bool flag;
    const char *text;
    const struct option options[] = {
        {"flag", 'f', OPTION_FLAG, &flag, NULL, "a flag", 0, 0},
        {"a-rather-long-name", 0, OPTION_TEXT, &text, "FILE", "one line\nand another", 0, 0},
    };
    struct str out = {0};
    options_describe(options, 2, &out);
    assert_string_equal(str_text(&out),
                        "  -f, --flag              a flag\n"
                        "      --a-rather-long-name FILE\n"
                        "                          one line\n"
                        "                          and another\n");
    str_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_forms),
        cmocka_unit_test(test_refusals_say_what_to_do),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_help_names_every_option),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
