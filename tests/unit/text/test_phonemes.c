// Phonemes against what the phonemizer package makes with the same espeak-ng, and input that is no text.
#include "test.h"

#include <espeak-ng/speak_lib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/phonemes.h"

static const char *spoken(const char *language, const char *text, size_t len) {
    static struct str s;
    str_clear(&s);
    assert_ok(phonemize(language, text, len, &s));
    return str_text(&s);
}

// Turns the escapes \n \t \r \\ of text into what they stand for, in place.
static void unescape(char *text) {
    char *to = text;
    for (; *text; text++) {
        if (*text == '\\') {
            text++;
            *to++ = *text == 'n' ? '\n' : *text == 't' ? '\t' : *text == 'r' ? '\r' : *text;
        } else {
            *to++ = *text;
        }
    }
    *to = 0;
}

// Rows of language, text and phonemes, as phonemizer 3.3.0 gave them over this version of espeak-ng.
static void test_fixture(void **state) {
    (void)state;
    const char *folder = getenv("UTTER_FIXTURES");
    if (!folder) fail_msg("UTTER_FIXTURES is not set: it names the folder tests/fixtures");
    (void)spoken("en-us", "a", 1);  // sets espeak-ng up
    const char *data_path;
    int major = 0, minor = 0;
    sscanf(espeak_Info(&data_path), "%d.%d", &major, &minor);
    if (major != 1 || (minor != 51 && minor != 52)) {
        print_message("no phonemes are stored for espeak-ng %d.%d\n", major, minor);
        skip();
    }
    char path[1024];
    snprintf(path, sizeof path, "%s/phonemes/espeak-%d.%d.tsv", folder, major, minor);
    struct file_map map;
    assert_ok(file_map_open(path, &map));
    char *rows = strndup(map.data, map.size), *rest = rows, *row;
    int n = 0, wrong = 0;
    while ((row = strsep(&rest, "\n")) && *row) {
        const char *language = strsep(&row, "\t");
        char *text = strsep(&row, "\t");
        unescape(text);
        const char *got = spoken(language, text, strlen(text));
        n++;
        if (strcmp(got, row)) {
            wrong++;
            print_error("%s \"%s\":\n  is   %s\n  must %s\n", language, text, got, row);
        }
    }
    free(rows);
    file_map_close(&map);
    print_message("%d of %d rows are equal to phonemizer 3.3.0 over espeak-ng %d.%d\n", n - wrong, n, major, minor);
    assert_int_equal(n, 250);
    assert_int_equal(wrong, 0);
}

static void test_languages(void **state) {
    (void)state;
    static const char *const known[] = {"en-us", "en-gb", "de", "fr-fr", "es", "fr", "it", "nl", "pl", "cmn"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) assert_ok(phonemes_check_language(known[i]));
    static const struct {
        const char *language, *named;
    } unknown[] = {
        {"en_us", "en-us"},         {"en-UK", "en-gb"},
        {"EN-US", "en-us"},         {"fr-ca", "fr-fr"},
        {"deu", "did you mean de"}, {"german", "de?"},
        {"english", "en-us"},       {"es-es", "es"},
        {"klingon", "piqd"},        {"nosuchlanguage", "--voices"},
        {"", "--voices"},           {"mb/mb-us1", "--voices"},
        {"\xff\n", "--voices"},     {"../../../etc/passwd", "--voices"},
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(phonemes_check_language(unknown[i].language), UTTER_INVALID);
        if (!strstr(fail_message(), unknown[i].named))
            fail_msg("\"%s\" does not name %s: %s", unknown[i].language, unknown[i].named, fail_message());
        struct str s = {0};
        assert_int_equal(phonemize(unknown[i].language, "a", 1, &s), UTTER_INVALID);
        assert_int_equal(s.len, 0);
        str_free(&s);
    }
    // the voice of the language before does not stay
    char english[64];
    snprintf(english, sizeof english, "%s", spoken("en-us", "The end", 7));
    assert_string_not_equal(english, spoken("de", "The end", 7));
    assert_string_equal(english, spoken("en-us", "The end", 7));
    assert_string_equal("lez amˈi", spoken("fr", "les amis", 8));
}

static void test_appends(void **state) {
    (void)state;
    struct str s = {0};
    str_puts(&s, "<");
    assert_ok(phonemize("en-us", " A, ", 4, &s));
    assert_ok(phonemize("en-us", "", 0, &s));
    assert_string_equal(str_text(&s), "<ˈeɪ,");
    str_free(&s);
}

static void test_not_text(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *as;
    } cases[] = {
        {"one\0two", 7, "one two"},
        {"one\xff\xfetwo", 8, "one  two"},
        {"one\xe2\x82", 5, "one"},
        {"\x80", 1, ""},
        {"\xed\xa0\x80 one", 7, "one"},
        {"\xf4\x90\x80\x80", 4, ""},
        {"one\x01"
         "50S two",
         11, "one 50S two"},
        {"one\xee\x80\x80two", 9, "one two"},  // private use
        {"one\xd5\x98", 5, "one"},             // not assigned
        {"Москваriver", 17, "Москва river"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "%s", spoken("en-us", cases[i].as, strlen(cases[i].as)));
        assert_string_equal(spoken("en-us", cases[i].text, cases[i].len), expected);
    }
    // noise, as words of up to 3000 bytes
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        char text[3000];
        size_t len = 1 + (seed = seed * 1664525 + 1013904223) % (round < 250 ? 60 : sizeof text);
        for (size_t i = 0; i < len; i++) text[i] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
        (void)spoken("en-us", text, len);
    }
}

static void test_long(void **state) {
    (void)state;
    enum { N = 200000 };
    char *text = malloc(N);
    memset(text, 'a', N);  // one word
    size_t len = strlen(spoken("en-us", text, N));
    assert_true(len > 0);
    memset(text, '.', N);  // marks are kept as they are
    assert_int_equal(strlen(spoken("en-us", text, N)), N);
    memset(text, ' ', N);
    assert_string_equal(spoken("en-us", text, N), "");
    memset(text, '1', N);
    (void)spoken("de", text, N);
    // no mark for 100 kB: no word is lost where it is cut
    for (size_t i = 0; i + 5 <= N / 2; i += 5) memcpy(text + i, "word ", 5);
    const char *s = spoken("en-us", text, N / 2);
    size_t words = 0;
    for (; (s = strstr(s, "wˈɜːd")); s++) words++;
    assert_int_equal(words, N / 10);
    free(text);
}

static void *speak_often(void *argument) {
    const char *language = argument;
    struct str first = {0}, s = {0};
    status result = phonemize(language, "One, two.", 9, &first);
    for (int i = 0; i < 50 && result == UTTER_OK; i++) {
        str_clear(&s);
        result = phonemize(language, "One, two.", 9, &s);
        if (result == UTTER_OK && strcmp(str_text(&s), str_text(&first))) result = UTTER_INTERNAL;
    }
    str_free(&first);
    str_free(&s);
    return result == UTTER_OK ? NULL : argument;
}

static void test_threads(void **state) {
    (void)state;
    static char languages[4][8] = {"en-us", "de", "fr-fr", "es"};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, speak_often, languages[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixture),  cmocka_unit_test(test_languages), cmocka_unit_test(test_appends),
        cmocka_unit_test(test_not_text), cmocka_unit_test(test_long),      cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
