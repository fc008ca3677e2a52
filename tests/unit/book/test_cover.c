/* Covers: found in an EPUB, looked at, and in each kind of file as they were. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "book/picture.h"
#include "book/write.h"
#include "sample.h"

static struct str jpeg, png;  // of 48 x 64 and 30 x 40 pixels

static void read_file(const char *path, struct str *out) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    char bytes[4096];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;) str_append(out, bytes, n);
    fclose(f);
}

static int setup(void **state) {
    const char *folder = getenv("UTTER_FIXTURES");
    if (!folder) fail_msg("UTTER_FIXTURES is not set: it names the folder tests/fixtures");
    char path[512];
    snprintf(path, sizeof path, "%s/book/cover.jpg", folder);
    read_file(path, &jpeg);
    snprintf(path, sizeof path, "%s/book/cover.png", folder);
    read_file(path, &png);
    return sample_setup(state);
}

static int cleanup(void **state) {
    str_free(&jpeg);
    str_free(&png);
    return sample_cleanup(state);
}

// ---- looking at pictures ----

static void test_sizes(void **state) {
    (void)state;
    struct picture p;
    assert_ok(picture_read("x", jpeg.data, jpeg.len, &p));
    assert_true(!p.is_png && p.width == 48 && p.height == 64);
    assert_ok(picture_read("x", png.data, png.len, &p));
    assert_true(p.is_png && p.width == 30 && p.height == 40);
    // bytes of padding before a segment; progressive frames
    static const char padded[] = "\xff\xd8\xff\xff\xff\xff\xe0\0\2\xff\xc2\0\x0b\x08\1\2\0\3\1";
    assert_ok(picture_read("x", padded, sizeof padded, &p));
    assert_true(p.width == 3 && p.height == 258);
}

static void test_no_pictures(void **state) {
    (void)state;
    struct picture p;
    static const char *const others[] = {"", "GIF89a", "<svg/>", "\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "RIFFxxxxWEBP"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(picture_read("x", others[i], strlen(others[i]), &p), UTTER_FORMAT);
    assert_int_equal(picture_read("x", NULL, 0, &p), UTTER_FORMAT);
    static const char flat[] = "\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\3\1";  // no height
    assert_int_equal(picture_read("x", flat, sizeof flat, &p), UTTER_FORMAT);
    assert_int_equal(picture_read("x", jpeg.data, PICTURE_MAX_BYTES + 1, &p), UTTER_LIMIT);
    for (size_t len = 0; len < 20; len++) {
        char *cut = malloc(len + 1);  // so that a sanitizer sees what is read beyond
        assert_non_null(cut);
        memcpy(cut, jpeg.data, len);
        assert_int_equal(picture_read("x", cut, len, &p), UTTER_FORMAT);
        memcpy(cut, png.data, len);
        assert_int_equal(picture_read("x", cut, len, &p), UTTER_FORMAT);
        free(cut);
    }
}

// ---- in an EPUB ----

#define PACKAGE(meta, item)                                                 \
    "<package><metadata><title>T</title>" meta "</metadata><manifest>" item \
    "<item id='a' href='a.html'/></manifest>"                               \
    "<spine><itemref idref='a'/></spine></package>"

// The book with this package and the picture at pictures/c.x.
static void open_with(const char *package, const struct str *picture, struct book *b) {
    const struct sample_file files[] = {
        {"mimetype", "application/epub+zip", 0},
        {"OEBPS/pictures/c.x", picture->data, picture->len},
        {"META-INF/container.xml", "<container><rootfile full-path='OEBPS/b.opf'/></container>", 0},
        {"OEBPS/b.opf", package, 0},
        {"OEBPS/a.html", "<p>A text.</p>", 0},
    };
    assert_ok(book_open(sample_zip("cover.epub", files, sizeof files / sizeof *files), b));
}

static void assert_cover(const char *package, const struct str *picture) {
    struct book b;
    open_with(package, picture, &b);
    assert_int_equal(b.cover.len, picture->len);
    assert_memory_equal(b.cover.data, picture->data, picture->len);
    assert_int_equal(b.n_notes, 0);
    book_free(&b);
}

static void assert_no_cover(const char *package, const struct str *picture, const char *why) {
    struct book b;
    open_with(package, picture, &b);
    assert_int_equal(b.cover.len, 0);
    if (!strstr(str_text(&b.notes), why)) fail_msg("it said \"%s\", not \"%s\"", str_text(&b.notes), why);
    book_free(&b);
}

#define EPUB_3 PACKAGE("", "<item id='c' href='pictures/c.x' properties='svg cover-image'/>")
#define EPUB_2 \
    PACKAGE("<meta name='x' content='a'/><meta name='cover' content='c'/>", "<item id='c' href='pictures/c.x'/>")

static void test_epub(void **state) {
    (void)state;
    assert_cover(EPUB_3, &jpeg);
    assert_cover(EPUB_2, &png);
}

static void test_epub_without(void **state) {
    (void)state;
    assert_no_cover(PACKAGE("", "<item id='c' href='pictures/c.x' properties='no-cover-image'/>"), &jpeg, "");
    assert_no_cover(PACKAGE("<meta name='cover' content='nobody'/>", ""), &jpeg, "");
    assert_no_cover(PACKAGE("", "<item href='gone.jpg' properties='cover-image'/>"), &jpeg, "does not hold");
    struct str large = {0}, svg = {0};
    str_puts(&svg, "<svg/>");
    assert_no_cover(EPUB_3, &svg, "no JPEG or PNG");
    str_append(&large, jpeg.data, jpeg.len);
    for (int i = 0; i < 17; i++) {
        static const char zeros[1 << 20];
        str_append(&large, zeros, sizeof zeros);
    }
    assert_ok(str_status(&large));
    assert_no_cover(EPUB_2, &large, "MB");
    str_free(&large);
    str_free(&svg);
}

static void test_from_a_file(void **state) {
    (void)state;
    struct book b;
    open_with(EPUB_3, &jpeg, &b);
    assert_ok(book_set_cover(&b, sample_write("mine", png.data, png.len)));
    assert_int_equal(b.cover.len, png.len);
    assert_memory_equal(b.cover.data, png.data, png.len);
    assert_int_equal(book_set_cover(&b, sample_write("none", "GIF89a", 6)), UTTER_FORMAT);
    assert_int_equal(book_set_cover(&b, sample_write("empty", "", 0)), UTTER_FORMAT);
    assert_int_equal(book_set_cover(&b, sample_path("nowhere")), UTTER_IO);
    assert_int_equal(b.cover.len, png.len);
    book_free(&b);
}

// ---- in audiobooks ----

enum { RATE = 24000 };

// False when this machine cannot write such a file.
static bool write_sound(const char *path, const struct str *cover) {
    static const struct chapter_mark marks[] = {{"First", 0}, {"Second", RATE / 2}};
    const struct book_tags tags = {.title = "T",
                                   .author = "A",
                                   .language = "en",
                                   .chapters = marks,
                                   .n_chapters = 2,
                                   .n_samples = RATE,
                                   .rate_hz = RATE,
                                   .cover = cover->data,
                                   .n_cover = cover->len};
    if (book_writer_check(path) != UTTER_OK) return false;
    float samples[RATE];
    for (int i = 0; i < RATE; i++) samples[i] = 0.1f * sinf((float)i * 0.1f);
    struct book_writer *w;
    assert_ok(book_writer_open(path, &tags, &w));
    assert_ok(book_writer_push(w, samples, RATE));
    assert_ok(book_writer_finish(w));
    return true;
}

static void test_containers(void **state) {
    (void)state;
    static const char *const names[] = {"c.m4b", "c.mp3", "c.flac"};
    for (int i = 0; i < 6; i++) {
        const struct str *cover = i < 3 ? &jpeg : &png;
        const char *path = sample_path(names[i % 3]);
        if (!write_sound(path, cover)) {
            print_message("%s\n", fail_message());
            skip();
        }
        struct str file = {0};
        read_file(path, &file);
        if (!memmem(file.data, file.len, cover->data, cover->len)) fail_msg("%s does not hold the cover", path);
        str_free(&file);
    }
}

static int digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

// The picture lies in a comment as Base64, behind a head that says what it is.
static void test_opus(void **state) {
    (void)state;
    static const char name[] = "METADATA_BLOCK_PICTURE=";
    const char *path = sample_path("c.opus");
    assert_true(write_sound(path, &jpeg));
    struct str file = {0}, block = {0};
    read_file(path, &file);
    const char *at = memmem(file.data, file.len, name, sizeof name - 1);
    assert_non_null(at);
    unsigned bits = 0;
    int n_bits = 0;
    for (at += sizeof name - 1; *at != '=' && digit(*at) >= 0; at++) {
        bits = bits << 6 | (unsigned)digit(*at);
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        str_putc(&block, (char)(bits >> n_bits));
    }
    static const char head[] = "\0\0\0\3\0\0\0\x0aimage/jpeg";
    assert_true(block.len > sizeof head - 1 + jpeg.len);
    assert_memory_equal(block.data, head, sizeof head - 1);
    assert_non_null(memmem(block.data, block.len, jpeg.data, jpeg.len));
    str_free(&file);
    str_free(&block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_no_pictures), cmocka_unit_test(test_epub),
        cmocka_unit_test(test_epub_without), cmocka_unit_test(test_from_a_file), cmocka_unit_test(test_containers),
        cmocka_unit_test(test_opus),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
