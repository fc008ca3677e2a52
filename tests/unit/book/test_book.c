/* Books of text, Markdown and HTML: chapters, paragraphs, encodings, units. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

static void assert_text_outline(const char *name, const char *text, const char *outline) {
    assert_outline(sample_write(name, text, strlen(text)), outline);
}

static void test_plain_text(void **state) {
    (void)state;
    assert_text_outline(
        "plain.txt",
        "CHAPTER I.\nThe Dog\n\nThe dog ran over the hill. It was a\nbright morn-\ning.\n\n* * *\n\nThen  it "
        "slept.\n\n\nCHAPTER II.\nThe Cat\n\nPart of me wanted to laugh.\n\n\"Book a seat,\" he said.\n",
        "||\n#1 CHAPTER I. The Dog\n= CHAPTER I. The Dog\n"
        "- The dog ran over the hill. It was a bright morn-ing.\n*\n- Then it slept.\n"
        "#2 CHAPTER II. The Cat\n= CHAPTER II. The Cat\n- Part of me wanted to laugh.\n"
        "- \"Book a seat,\" he said.\n");
    // none of these is a heading
    assert_text_outline(
        "none.txt", "It.\n\nChapter three, he thought, was the best of all of them, by far and large.\n\nNO!\n",
        "||\n#1 \n- It.\n- Chapter three, he thought, was the best of all of them, by far and large.\n- NO!\n");
}

static void test_headings_of_other_languages(void **state) {
    (void)state;
    assert_text_outline(
        "de.txt", "Kapitel 1\n\nEs war einmal.\n\nZweites Kapitel\n\nEin Satz.\n\nKapitel drei: Das Ende\n\nAus.\n",
        "||\n#1 Kapitel 1\n= Kapitel 1\n- Es war einmal.\n- Zweites Kapitel\n- Ein Satz.\n"
        "#2 Kapitel drei: Das Ende\n= Kapitel drei: Das Ende\n- Aus.\n");
    assert_text_outline(
        "fr.txt", "CHAPITRE PREMIER\n\nIl pleut.\n\nChapitre 2\n\nIl neige.\n",
        "||\n#1 CHAPITRE PREMIER\n= CHAPITRE PREMIER\n- Il pleut.\n#2 Chapitre 2\n= Chapitre 2\n- Il neige.\n");
}

static void test_gutenberg(void **state) {
    (void)state;
    assert_text_outline(
        "pg.txt",
        "The Project Gutenberg eBook\n\nTitle: Tiny Tales\nAuthor: A. Writer\n\n*** START OF THE PROJECT "
        "GUTENBERG EBOOK TINY ***\n\nCHAPTER I. One\nCHAPTER II. Two\nCHAPTER III. Three\n\nCHAPTER I. One\n\n"
        "A text.\n\n*** END OF THE PROJECT GUTENBERG EBOOK TINY ***\n\nA licence.\n",
        "Tiny Tales|A. Writer|\n#1 CHAPTER I. One\n= CHAPTER I. One\n- A text.\n");
}

static void test_markdown(void **state) {
    (void)state;
    assert_text_outline(
        "m.md",
        "---\ntitle: \"My Notes\"\nauthor: Me\nlang: de\n---\n# My Notes\n\nBefore all.\n\n## One\n\nSome "
        "*bold*\nwords "
        "and a [link](http://x.y/z).\n\n---\n\n- an item\n- another\n\n```\ncode();\n```\n\n### Deeper\n\nText.\n\n## "
        "Empty\n\n## Two\n\nThe end.\n",
        "My Notes|Me|de\n#1 My Notes\n= My Notes\n- Before all.\n#2 One\n= One\n- Some bold words and a link.\n*\n"
        "- an item\n- another\n= Deeper\n- Text.\n#3 Two\n= Two\n- The end.\n");
}

static void test_html(void **state) {
    (void)state;
    assert_text_outline(
        "h.html",
        "<!doctype html><html lang=en><head><title>A  Page</title><meta name=author content='B. C.'><style>p{}"
        "</style></head><body><nav><a href=#x>skip</a></nav><h1>A Page</h1><h2>One</h2><p>Caf&eacute; <b>noir"
        "</b><sup><a href=#n1>1</a></sup>, <br>please.</p><hr><div>Bare text<p>and more</div><script>no()"
        "</script><h2>Two</h2><p>End.",
        "A Page|B. C.|en\n#1 One\n= A Page\n= One\n- Caf\xc3\xa9 noir, please.\n*\n- Bare text\n- and more\n"
        "#2 Two\n= Two\n- End.\n");
}

static void test_mixed_encodings(void **state) {
    (void)state;
    const char text[] = "Caf\xe9 au lait.\n\nCaf\xc3\xa9 noir \x93quoted\x94.\n\nna\xc3\xafve\n";
    struct book b;
    assert_ok(book_open(sample_write("mixed.txt", text, sizeof text - 1), &b));
    assert_string_equal(sample_outline(&b),
                        "||\n#1 \n- Caf\xc3\xa9 au lait.\n"
                        "- Caf\xc3\x83\xc2\xa9 noir \xe2\x80\x9cquoted\xe2\x80\x9d.\n- na\xc3\xafve\n");
    assert_non_null(strstr(str_text(&b.notes), "2 lines"));
    book_free(&b);
    const char wide[] = "\xff\xfeH\0i\0 \0y\0o\0u\0.\0\n\0";
    assert_ok(book_open(sample_write("wide.txt", wide, sizeof wide - 1), &b));
    assert_string_equal(sample_outline(&b), "||\n#1 \n- Hi you.\n");
    book_free(&b);
}

static void test_what_is_no_book(void **state) {
    (void)state;
    assert_refused("/nowhere/x.txt", UTTER_IO, "/nowhere/x.txt");
    assert_refused(sample_write("empty.txt", "", 0), UTTER_NO_TEXT, "nothing to read");
    assert_refused(sample_write("stars.md", "***\n\n---\n", 9), UTTER_NO_TEXT, "nothing to read");
    assert_refused(sample_write("x.pdf", "%PDF-1.4 x", 10), UTTER_UNSUPPORTED, "pdftotext");
    assert_refused(sample_write("binary.txt", "ab\0cd", 5), UTTER_FORMAT, "zero bytes");
    assert_refused(sample_write("x.epub", "no zip", 6), UTTER_FORMAT, "no zip file");
    char *large = calloc(1, BOOK_MAX_BYTES + 1);
    assert_non_null(large);
    memset(large, 'a', BOOK_MAX_BYTES + 1);
    assert_refused(sample_write("large.txt", large, BOOK_MAX_BYTES + 1), UTTER_LIMIT, "split it");
    free(large);
}

// Depth and length are bounded, whatever the text.
static void test_hostile_texts(void **state) {
    (void)state;
    enum { N = 200000 };
    struct str s = {0};
    for (int i = 0; i < N; i++) str_puts(&s, "<div>");
    str_puts(&s, "deep");
    struct book b;
    if (book_open(sample_write("deep.html", s.data, s.len), &b) == UTTER_OK) book_free(&b);
    str_clear(&s);
    for (int i = 0; i < N; i++) str_puts(&s, "> ");
    str_puts(&s, "quoted");
    if (book_open(sample_write("deep.md", s.data, s.len), &b) == UTTER_OK) book_free(&b);
    str_clear(&s);
    for (int i = 0; i < N; i++) str_puts(&s, "a\n");  // one paragraph of many lines
    assert_ok(book_open(sample_write("long.txt", s.data, s.len), &b));
    book_free(&b);
    str_free(&s);
}

static void test_units(void **state) {
    (void)state;
    static const char text[] =
        "# One\n\nDr. Smith came in the evening. \"Yes.\" He sat down and looked at the fire for a long "
        "time.\n\n...\n\n---\n\n"
        "Next scene begins here, with words.\n\n# Two\n\nEnd of it all.\n";
    struct book b;
    struct units u;
    assert_ok(book_open(sample_write("units.md", text, sizeof text - 1), &b));
    assert_ok(units_of(&b, "en-us", &u));
    static const struct {
        const char *text;
        int chapter;
        enum boundary before;
    } wanted[] = {
        {"One", 0, BOUNDARY_CHAPTER},
        {"Dr. Smith came in the evening. \"Yes.\"", 0, BOUNDARY_AFTER_HEADING},
        {"He sat down and looked at the fire for a long time.", 0, BOUNDARY_SENTENCE},
        {"Next scene begins here, with words.", 0, BOUNDARY_BREAK},
        {"Two", 1, BOUNDARY_CHAPTER},
        {"End of it all.", 1, BOUNDARY_AFTER_HEADING},
    };
    assert_int_equal(u.n, sizeof wanted / sizeof *wanted);
    for (int i = 0; i < u.n; i++) {
        char unit[200];
        snprintf(unit, sizeof unit, "%.*s", (int)(u.all[i].end - u.all[i].begin), str_text(&b.text) + u.all[i].begin);
        assert_string_equal(unit, wanted[i].text);
        assert_int_equal(u.all[i].chapter, wanted[i].chapter);
        assert_int_equal(u.all[i].before, wanted[i].before);
    }
    units_free(&u);
    book_free(&b);
}

static void test_endless_sentences_are_cut(void **state) {
    (void)state;
    struct str s = {0};
    for (int i = 0; i < 5000; i++) str_puts(&s, "word ");
    struct book b;
    struct units u;
    assert_ok(book_open(sample_write("endless.txt", s.data, s.len), &b));
    assert_ok(units_of(&b, "en-us", &u));
    assert_true(u.n > 10);
    size_t covered = 0;
    for (int i = 0; i < u.n; i++) {
        assert_true(u.all[i].end - u.all[i].begin <= 1500);
        covered += u.all[i].end - u.all[i].begin;
    }
    assert_true(covered + (size_t)u.n >= 24999);
    units_free(&u);
    book_free(&b);
    str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_headings_of_other_languages),
        cmocka_unit_test(test_gutenberg),
        cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_mixed_encodings),
        cmocka_unit_test(test_what_is_no_book),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_endless_sentences_are_cut),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_cleanup);
}
