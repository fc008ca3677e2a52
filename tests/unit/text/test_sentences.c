// Where sentences end. In each text '|' stands where one must end, and paragraphs end at '#'.
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/sentences.h"

// The text with '|' behind each sentence, '#' instead where a paragraph ends; what is between sentences is left out.
static void mark(const char *text, size_t len, const char *language, struct str *out) {
    struct sentence s;
    size_t pos = 0, end = 0;
    while (sentence_next(text, len, language, &pos, &s)) {
        assert_true(s.begin >= end && s.begin < s.end && s.end <= len && pos >= s.end);
        end = s.end;
        str_append(out, text + s.begin, s.end - s.begin);
        str_puts(out, s.paragraph_end ? "#" : "|");
    }
    assert_true(pos == len || strspn(text + pos, " \t\r\n") == len - pos);
}

static void check(const char *language, const char *marked) {
    struct str text = {0}, expected = {0}, got = {0};
    for (const char *p = marked; *p; p++) {
        if (*p == '|') {
            str_puts(&expected, "|");
            while (p[1] && strchr(" \t\n", p[1])) str_putc(&text, *++p);
        } else if (*p == '#') {
            str_puts(&expected, "#");
            while (p[1] && strchr(" \t\n", p[1])) str_putc(&text, *++p);
        } else {
            str_putc(&text, *p);
            str_putc(&expected, *p);
        }
    }
    mark(str_text(&text), text.len, language, &got);
    if (strcmp(str_text(&got), str_text(&expected)))
        fail_msg("%s:\n  is   %s\n  must %s", language, str_text(&got), str_text(&expected));
    str_free(&text);
    str_free(&expected);
    str_free(&got);
}

static void test_english(void **state) {
    (void)state;
    static const char *const cases[] = {
        "Hello world#",
        "Hello.| How are you?| Fine!#",
        "Is it 3.14 or 2.72?| It is 3.14.| Yes.#",
        "Mr. Smith met Dr. Jones and Mrs. Brown.| They talked.#",
        "J. R. R. Tolkien wrote it.| George W. Bush read it.#",
        "John F. Kennedy spoke.| So do I.| He left.#",
        "The U.S. Army came.| He lives in the U.S.| The war ended.#",
        "We met at 5 p.m. and ate.| We met at 5 p.m.| He was late.#",
        "She has a Ph.D. in physics.| He has none.#",
        "Use tools, e.g. Hammers, i.e. The big ones.| Then stop.#",
        "Apples, pears, etc. are fruit.| We have apples, etc.| Come in.#",
        "See No. 5 and Fig. 3, pp. 10.| No.| I won't.#",
        "On Jan. 5 it rained.| It was Jan.| Then came spring.#",
        "Acme Inc. makes things.| I work at Acme Inc.| We make things.#",
        "\"Stop!\" he said.| \"Why?\" she asked.| \"Because.\"| He left.#",
        "He said \"yes.\"| Then he left.| (He came back.)| It was late.#",
        "“Stop.”| ‘Why?’| (Really?) and on.#",
        "Wait... what?| Wait...| What?| Wait… what?| Wait…| No.#",
        "Wait . . . what?| Then . . .| Now.#",
        "What?!| No!!!| Why??#",
        "1. First item.| 2. Second item.#",
        "a. First.| b. Second.#",
        "Go to www.example.com.| Or https://example.com/?q=1.2 now.| See file.txt and main.c please.#",
        "Version 2.0.1 is out.| Get it.#",
        "It costs $5.99.| Cheap.#",
        "He lives on Main St. in town.| St. Louis is far.#",
        "i was sad.| so i left.#",
        "... and then it ends.| Yes.#",
        "Vitamin C.| The best one.#",
        "He went to Washington, D.C. on Monday.| It rained.#",
        "Spain vs. Portugal was good.| Approx. five came.#",
        "It is 20 °C.| Nice.#",
        "The meeting (see p. 5) is over.| Go home.#",
        "He said: stop.| *Go!*| _Now._| Yes.#",
        "Is it ready?| yes.| no.#",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check("en-us", cases[i]);
}

static void test_languages(void **state) {
    (void)state;
    static const struct {
        const char *language, *marked;
    } cases[] = {
        {"de", "Das ist z.B. Obst, d.h. Äpfel usw. und mehr.| Gut.#"},
        {"de", "Am 3. Oktober kam er.| Er blieb bis zum 12. Mai.| Das war 1990.| Dann ging er.#"},
        {"de", "Dr. Müller und Prof. Schmidt, geb. Maier, bzw. andere.| „Gut.“| »Ja!«| Nein.#"},
        {"de", "Er kam um ca. 5 Uhr.| Es war am 3.| Der Tag war kalt.#"},
        {"fr", "M. Dupont et Mme. Durand sont là.| Bonjour !| Ça va ?| Oui.#"},
        {"fr-fr", "« Oui ! » dit-il.| Non.| « Quoi ? »#"},
        {"fr-fr", "« Bonjour. »| Il part.| C'est p.ex. bon.#"},
        {"es", "El Sr. Pérez y la Sra. López.| ¿Qué?| ¡No!| ¿Por qué?#"},
        {"es", "Los EE.UU. son grandes.| Hay p.ej. uno.#"},
        {"ja", "こんにちは。|元気ですか？|はい！|「そうです。」|と言った。#"},
        {"cmn", "你好。|真的?|我不知道!|好.|是３．１４吗？|是。#"},
        {"ar", "مرحبا؟| نعم.| لا۔| حسنا.#"},
        {"ur", "یہ ہے۔| وہ ہے۔#"},
        {"hi", "यह है।| वह है॥| हाँ।#"},
        {"am", "ሰላም።| ነው፧| አዎ።#"},
        {"hy", "Բարև։| Այո։#"},
        {"my", "မင်္ဂလာပါ။| ဟုတ်ကဲ့။#"},
        {"it", "Il Dr. Rossi è qui.| Bene.#"},
        {"", "One.| Two.#"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(cases[i].language, cases[i].marked);
}

static void test_paragraphs(void **state) {
    (void)state;
    check("en-us", "A heading#\n\nA text.| And more.#\n \t\n\n\nThe end#\n\n");
    check("en-us", "Mr.#\n\nSmith#");
    check("en-us", "One line\nand another.|\nA third#\n\nA fourth#\n");
    struct str got = {0};
    mark(
        "a\r\n\r\nb\r\nc\xe2\x80\xa9"
        "d",
        13, "en-us", &got);
    assert_string_equal(str_text(&got), "a#b\r\nc#d#");
    str_clear(&got);
    mark(" \n\t \xe3\x80\x80 ", 8, "en-us", &got);
    assert_string_equal(str_text(&got), "");
    mark("", 0, NULL, &got);
    assert_string_equal(str_text(&got), "");
    mark("!?\n\n...", 7, "en-us", &got);
    assert_string_equal(str_text(&got), "!?#...#");
    str_clear(&got);
    mark("a\0b. \xff\xc3 C. \xe2\x80", 12, "en-us", &got);  // not text: nothing is lost
    assert_int_equal(got.len, 13);
    str_free(&got);
}

static void test_cut(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t max, cut;
    } cases[] = {
        {"short", 10, 5},
        {"one, two three", 8, 4},
        {"one, two three", 10, 4},
        {"one two three", 9, 8},
        {"onetwothree", 5, 5},
        {"1,000,000 x", 6, 6},
        {"äöü", 3, 2},
        {"äöü", 1, 1},
        {"one; two, three", 13, 9},
        {"一、二三四", 9, 6},
        {"a — b c", 6, 5},
        {"a—b c", 5, 4},
        {"one,two", 6, 6},
        {"one two", 4, 4},
        {"one two", 3, 3},
        {"(what? no) yes", 12, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t cut = sentence_cut(cases[i].text, strlen(cases[i].text), cases[i].max);
        if (cut != cases[i].cut) fail_msg("\"%s\" is cut at %zu, not %zu", cases[i].text, cut, cases[i].cut);
    }
}

// Ten megabytes of one kind: the time is linear or the test does not come back.
static void test_long(void **state) {
    (void)state;
    enum { N = 10 * 1000 * 1000 };
    static const char *const units[] = {"word ",  ".",     "! ", "a. ", "\n",  " ",     "a.b.", "\"",   "a.)))",
                                        "A. B. ", "...a ", "。", "一.", "1. ", "?!\" ", "\xff", "Mr. ", "a.\n"};
    char *text = malloc(N);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i]), len = N / n * n, pos = 0, cut = 0;
        for (size_t at = 0; at < len; at += n) memcpy(text + at, units[i], n);
        struct sentence s;
        while (sentence_next(text, len, "en-us", &pos, &s)) assert_true(s.end <= len);
        while (cut < len) {
            n = sentence_cut(text + cut, len - cut, 400);
            assert_true(n > 0 && n <= 400);
            cut += n;
        }
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_english), cmocka_unit_test(test_languages), cmocka_unit_test(test_paragraphs),
        cmocka_unit_test(test_cut),     cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
