/* EPUB: order, table of contents, damage, bombs. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

#define CONTAINER                                                                                      \
    {"mimetype", "application/epub+zip", 0}, {                                                         \
        "META-INF/container.xml",                                                                      \
            "<?xml version='1.0'?><container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'>" \
            "<rootfiles><rootfile full-path='OEBPS/b.opf'/></rootfiles></container>",                  \
            0                                                                                          \
    }
#define PACKAGE(manifest, spine)                                                                         \
    {                                                                                                    \
        "OEBPS/b.opf",                                                                                   \
            "<package xmlns='http://www.idpf.org/2007/opf' xmlns:dc='http://purl.org/dc/elements/1.1/'>" \
            "<metadata><dc:title>The  Book</dc:title><dc:creator>W. R.</dc:creator>"                     \
            "<dc:language>en</dc:language></metadata><manifest>" manifest "</manifest><spine>" spine     \
            "</spine></package>",                                                                        \
            0                                                                                            \
    }
#define PAGE(body) \
    "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>t</title></head><body>" body "</body></html>"

// EPUB 3, with places inside a page, a page outside the order, and a note that is not read.
static void test_navigation(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='n' href='nav.xhtml' properties='nav'/><item id='a' href='text/a%20b.xhtml'/>"
                "<item id='c' href='text/c.xhtml'/><item id='d' href='text/d.xhtml'/>",
                "<itemref idref='n'/><itemref idref='a'/><itemref idref='c'/><itemref idref='d' linear='no'/>"),
        {"OEBPS/nav.xhtml",
         PAGE("<nav epub:type='toc' xmlns:epub='http://www.idpf.org/2007/ops'><ol><li><a "
              "href='text/a%20b.xhtml'>One</a></li>"
              "<li><a href='text/a%20b.xhtml#two'>Two</a></li><li><a href='text/c.xhtml'>Three</a></li></ol></nav>"
              "<nav epub:type='landmarks'><a href='text/d.xhtml'>No</a></nav>"),
         0},
        {"OEBPS/text/a b.xhtml",
         PAGE(
             "<h1>One</h1><p>First.<a epub:type='noteref' href='#n'>1</a></p><aside epub:type='footnote' id='n'>A note."
             "</aside><h2 id='two'>Two</h2><p>Second.</p>"),
         0},
        {"OEBPS/text/c.xhtml", PAGE("<p>Third.</p>"), 0},
        {"OEBPS/text/d.xhtml", PAGE("<p>Not read.</p>"), 0},
    };
    assert_outline(sample_zip("nav.epub", files, sizeof files / sizeof *files),
                   "The Book|W. R.|en\n#1 One\n= One\n- First.\n#2 Two\n= Two\n- Second.\n#3 Three\n- Third.\n");
}

static void test_ncx(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='x' href='toc.ncx' media-type='application/x-dtbncx+xml'/><item id='a' href='a.html'/>"
                "<item id='b' href='b.html'/>",
                "<itemref idref='a'/><itemref idref='b'/>"),
        {"OEBPS/toc.ncx",
         "<ncx xmlns='http://www.daisy.org/z3986/2005/ncx/'><navMap><navPoint><navLabel><text>Start</text></navLabel>"
         "<content src='a.html'/></navPoint><navPoint><navLabel><text>End</text></navLabel><content src='b.html'/>"
         "</navPoint></navMap></ncx>",
         0},
        {"OEBPS/a.html", PAGE("<p>A text.</p>"), 0},
        {"OEBPS/b.html", PAGE("<p>Its end.</p>"), 0},
    };
    assert_outline(sample_zip("ncx.epub", files, sizeof files / sizeof *files),
                   "The Book|W. R.|en\n#1 Start\n- A text.\n#2 End\n- Its end.\n");
}

// Without a table of contents each page is a chapter, called as its heading.
static void test_no_contents(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='a' href='a.html'/><item id='b' href='b.html'/>", "<itemref idref='a'/><itemref idref='b'/>"),
        {"OEBPS/a.html", PAGE("<h2>Start</h2><p>A text.</p>"), 0},
        {"OEBPS/b.html", PAGE("<p>Its end.</p>"), 0},
    };
    assert_outline(sample_zip("plain.epub", files, sizeof files / sizeof *files),
                   "The Book|W. R.|en\n#1 Start\n= Start\n- A text.\n#2 \n- Its end.\n");
}

// A page is read once, however often it is named; notes about that have an end.
static void test_page_again_and_again(void **state) {
    (void)state;
    struct str spine = {0};
    str_puts(&spine, "<package><manifest><item id='a' href='a.html'/></manifest><spine>");
    for (int i = 0; i < 1000; i++) str_puts(&spine, "<itemref idref='a'/>");
    str_puts(&spine, "</spine></package>");
    const struct sample_file files[] = {
        CONTAINER,
        {"OEBPS/b.opf", str_text(&spine), 0},
        {"OEBPS/a.html", PAGE("<p>A text.</p>"), 0},
    };
    struct book b;
    assert_ok(book_open(sample_zip("again.epub", files, sizeof files / sizeof *files), &b));
    assert_string_equal(sample_outline(&b), "t||\n#1 \n- A text.\n");
    assert_non_null(strstr(str_text(&b.notes), "it is read once"));
    assert_true(b.notes.len < 5000);
    book_free(&b);
    str_free(&spine);
}

// Packages and tables of contents that are too long for a book, and one whose every line would be looked for to its
// end.
static void test_too_many(void **state) {
    (void)state;
    enum { MANY = 30000 };
    struct str package = {0}, contents = {0};
    str_puts(&package, "<package><manifest><item id='a' href='a.html'/>");
    for (int i = 0; i < MANY; i++) str_printf(&package, "<item id='i%d' href='a.html'/>", i);
    str_puts(&package, "</manifest><spine><itemref idref='a'/></spine></package>");
    struct sample_file files[] = {
        CONTAINER,
        {"OEBPS/b.opf", str_text(&package), 0},
        {"OEBPS/a.html", PAGE("<p>A text.</p>"), 0},
        {"OEBPS/toc.ncx", "", 0},
    };
    assert_refused(sample_zip("long.epub", files, 4), UTTER_LIMIT, "no book");
    str_clear(&package);
    str_puts(&package,
             "<package><manifest><item id='a' href='a.html'/><item id='x' href='toc.ncx' "
             "media-type='application/x-dtbncx+xml'/></manifest><spine><itemref idref='a'/></spine></package>");
    files[2].text = str_text(&package);
    str_puts(&contents, "<ncx><navMap>");
    for (int i = 0; i < MANY; i++) str_puts(&contents, "<navPoint><content src='a.html'/></navPoint>");
    str_puts(&contents, "</navMap></ncx>");
    files[4].text = str_text(&contents);
    assert_refused(sample_zip("contents.epub", files, 5), UTTER_LIMIT, "no book");
    str_free(&package);
    str_free(&contents);
}

// The rest of a damaged book is read.
static void test_missing_pages(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='a' href='a.html'/><item id='b' href='gone.html'/>",
                "<itemref idref='b'/><itemref idref='a'/>"),
        {"OEBPS/a.html", PAGE("<p>A text.</p>"), 0},
    };
    struct book b;
    assert_ok(book_open(sample_zip("gone.epub", files, sizeof files / sizeof *files), &b));
    assert_string_equal(sample_outline(&b), "The Book|W. R.|en\n#1 \n- A text.\n");
    assert_non_null(strstr(str_text(&b.notes), "gone.html"));
    book_free(&b);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct sample_file no_package[] = {CONTAINER};
    assert_refused(sample_zip("none.epub", no_package, 2), UTTER_FORMAT, "no package document");
    static const struct sample_file no_pages[] = {CONTAINER, PACKAGE("", "")};
    assert_refused(sample_zip("pages.epub", no_pages, 3), UTTER_FORMAT, "lists no pages");
    static const struct sample_file drm[] = {
        CONTAINER,
        PACKAGE("<item id='a' href='a.html'/>", "<itemref idref='a'/>"),
        {"META-INF/encryption.xml",
         "<encryption xmlns:enc='http://www.w3.org/2001/04/xmlenc#'><enc:EncryptedData><enc:CipherData>"
         "<enc:CipherReference URI='OEBPS/a.html'/></enc:CipherData></enc:EncryptedData></encryption>",
         0},
        {"OEBPS/a.html", "garbage", 0},
    };
    assert_refused(sample_zip("drm.epub", drm, 5), UTTER_UNSUPPORTED, "DRM");
}

static void test_a_bomb(void **state) {
    (void)state;
    size_t len = 32 << 20;
    char *zeros = malloc(len);
    assert_non_null(zeros);
    memset(zeros, 'a', len);
    const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='a' href='a.html'/>", "<itemref idref='a'/>"),
        {"OEBPS/a.html", zeros, len},
    };
    assert_refused(sample_zip("bomb.epub", files, sizeof files / sizeof *files), UTTER_LIMIT, "unpacks to more than");
    free(zeros);
}

// Entities that multiply are not expanded.
static void test_billion_laughs(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        {"OEBPS/b.opf",
         "<?xml version='1.0'?><!DOCTYPE p [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
         "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>"
         "<!ENTITY e '&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;'><!ENTITY f '&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;'>"
         "<!ENTITY g '&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;'><!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
         "<package><metadata><title>&g;&x;</title></metadata><manifest><item id='a' href='a.html'/></manifest><spine>"
         "<itemref idref='a'/></spine></package>",
         0},
        {"OEBPS/a.html", PAGE("<p>A text.</p>"), 0},
    };
    struct book b;
    if (book_open(sample_zip("laughs.epub", files, sizeof files / sizeof *files), &b) != UTTER_OK)
        return;  // refusing is fine
    assert_null(strstr(b.title, "root:"));
    assert_true(strlen(b.title) < 1000);
    book_free(&b);
}

// Cut or flipped at any place: an answer, no crash.
static void test_damage(void **state) {
    (void)state;
    static const struct sample_file files[] = {
        CONTAINER,
        PACKAGE("<item id='a' href='a.html'/>", "<itemref idref='a'/>"),
        {"OEBPS/a.html", PAGE("<p>A text of some length, so that it is packed.</p>"), 0},
    };
    const char *path = sample_zip("whole.epub", files, sizeof files / sizeof *files);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char bytes[8192];
    size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    int n_read = 0;
    for (size_t at = 4; at < len; at += 7) {
        struct book b;
        if (book_open(sample_write("cut.epub", bytes, at), &b) == UTTER_OK) book_free(&b), n_read++;
        char kept = bytes[at];
        bytes[at] = (char)(kept ^ 0x55);
        if (book_open(sample_write("flipped.epub", bytes, len), &b) == UTTER_OK) book_free(&b), n_read++;
        bytes[at] = kept;
    }
    assert_true(n_read < (int)(2 * len / 7));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_navigation),    cmocka_unit_test(test_ncx),
        cmocka_unit_test(test_missing_pages), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_bomb),        cmocka_unit_test(test_billion_laughs),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_no_contents),
        cmocka_unit_test(test_too_many),      cmocka_unit_test(test_page_again_and_again),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_cleanup);
}
