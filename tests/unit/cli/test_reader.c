/* Long texts in pieces. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/reader.h"

// A sentence ends at a full stop with a space behind it; the last one is not known to be whole.
static size_t whole(const char *language, const char *text, size_t len) {
    (void)language;
    for (size_t i = len; i > 1; i--)
        if (text[i - 1] == ' ' && text[i - 2] == '.') return i - 1;
    return 0;
}

// Reads everything; appends each piece and a '|' to `out`.
static status collect(struct reader *r, struct str *out) {
    for (;;) {
        struct piece p;
        TRY(reader_next(r, &p));
        if (p.len == 0) return UTTER_OK;
        assert_int_equal(p.text[p.len], 0);
        assert_int_equal(strlen(p.text), p.len);
        assert_true(p.len <= PIECE_MAX);
        str_append(out, p.text, p.len);
        str_putc(out, '|');
    }
}

struct writer {
    int fd;
    const char *text;  // [len]
    size_t len, step;
};

static void *write_all(void *user) {
    struct writer *w = user;
    for (size_t at = 0; at < w->len;) {
        size_t n = w->len - at < w->step ? w->len - at : w->step;
        ssize_t done = write(w->fd, w->text + at, n);
        if (done > 0) at += (size_t)done;
    }
    close(w->fd);
    return NULL;
}

// The same through a pipe that is written `step` bytes at a time.
static status collect_from_pipe(const char *text, size_t len, size_t step, struct str *out) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    struct writer w = {ends[1], text, len, step};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    struct reader r;
    status s = reader_open(&r, path, whole, "en-us");
    if (s == UTTER_OK) s = collect(&r, out);
    char rest[4096];  // what a reader that failed left, so that the writer ends
    while (read(ends[0], rest, sizeof rest) > 0) {
    }
    pthread_join(thread, NULL);
    reader_close(&r);
    close(ends[0]);
    return s;
}

static void make_book(struct str *out) {
    for (int i = 0; out->len < 200000; i++)
        str_printf(out, "Sentence %d of a book%s%s", i, i % 3 ? "." : ", which goes on", i % 17 ? " " : "\n\n");
}

static void test_cuts_do_not_depend_on_the_pipe(void **state) {
    (void)state;
    struct str book = {0}, given = {0}, piped = {0};
    make_book(&book);
    struct reader r;
    assert_ok(reader_open_text(&r, book.data, whole, "en-us"));
    assert_int_equal(r.size, book.len);
    assert_ok(collect(&r, &given));
    assert_int_equal(r.taken, book.len);
    reader_close(&r);
    static const size_t steps[] = {1, 100, 4097, 1 << 20};
    for (size_t i = 0; i < 4; i++) {
        str_clear(&piped);
        assert_ok(collect_from_pipe(book.data, book.len, steps[i], &piped));
        assert_string_equal(str_text(&piped), str_text(&given));
    }
    size_t n_pieces = 0, n_text = 0;  // nothing is lost but white space between pieces
    for (const char *p = given.data, *q = book.data; *p; p++) {
        if (*p == '|') {
            n_pieces++;
            continue;
        }
        while (*q != *p && (*q == ' ' || *q == '\n')) q++;
        assert_true(*p == *q);
        q++, n_text++;
    }
    assert_in_range(n_pieces, 10, 20);
    assert_true(n_text > book.len - 100);
    str_free(&book);
    str_free(&given);
    str_free(&piped);
}

// Text of n times `unit`, without a sentence's end: its pieces, of which the first has first_len bytes.
static void check_endless(const char *unit, size_t n, size_t least, const char *ends_in) {
    struct str text = {0}, out = {0};
    for (size_t i = 0; i < n; i++) str_puts(&text, unit);
    struct reader r;
    assert_ok(reader_open_text(&r, text.data, whole, "en-us"));
    struct piece p;
    assert_ok(reader_next(&r, &p));
    assert_in_range(p.len, least, PIECE_MAX);
    assert_string_equal(p.text + p.len - strlen(ends_in), ends_in);
    assert_ok(collect(&r, &out));
    assert_int_equal(r.taken, text.len);
    reader_close(&r);
    str_free(&text);
    str_free(&out);
}

static void test_a_line_without_end_is_cut(void **state) {
    (void)state;
    check_endless("words and ", 20000, PIECE_MAX - 10, " ");
    check_endless("a", 300000, PIECE_MAX - 1, "a");
    check_endless("\xf0\x9f\x98\x80", 50000, PIECE_MAX - 4, "\xf0\x9f\x98\x80");  // between characters
    check_endless("\x80", 200000, PIECE_MAX - 8, "\x80");                         // no UTF-8 at all
}

static void test_spaces_and_paragraphs(void **state) {
    (void)state;
    struct reader r;
    struct piece p;
    assert_ok(reader_open_text(&r, "\xef\xbb\xbf \n Hello.", whole, "en-us"));
    assert_ok(reader_next(&r, &p));
    assert_string_equal(p.text, "Hello.");
    assert_false(p.paragraph);
    assert_ok(reader_next(&r, &p));
    assert_int_equal(p.len, 0);
    assert_ok(reader_next(&r, &p));  // and stays over
    assert_int_equal(p.len, 0);
    reader_close(&r);

    assert_ok(reader_open_text(&r, " \n\t", whole, "en-us"));
    assert_ok(reader_next(&r, &p));
    assert_int_equal(p.len, 0);
    reader_close(&r);
}

// A writer that waits for an answer gets one: what is whole is handed out.
static void test_a_pause_hands_out_what_is_whole(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    struct reader r;
    struct piece p;
    assert_ok(reader_open(&r, path, whole, "en-us"));
    assert_int_equal(r.size, -1);
    assert_int_equal(write(ends[1], "One. Two", 8), 8);
    assert_ok(reader_next(&r, &p));
    assert_string_equal(p.text, "One.");
    assert_int_equal(write(ends[1], " is here\n\n\n", 11), 11);
    assert_ok(reader_next(&r, &p));
    assert_string_equal(p.text, "Two is here\n\n\n");
    assert_int_equal(write(ends[1], "\nThree", 6), 6);
    close(ends[1]);
    assert_ok(reader_next(&r, &p));
    assert_string_equal(p.text, "Three");
    assert_ok(reader_next(&r, &p));
    assert_int_equal(p.len, 0);
    reader_close(&r);
    close(ends[0]);
}

static void test_stop_ends_waiting(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    atomic_bool stop = true;
    struct reader r;
    struct piece p;
    assert_ok(reader_open(&r, path, whole, "en-us"));
    r.stop = &stop;
    assert_int_equal(reader_next(&r, &p), UTTER_CANCELLED);
    reader_close(&r);
    close(ends[0]);
    close(ends[1]);
}

static void test_what_is_no_text(void **state) {
    (void)state;
    struct str out = {0};
    assert_int_equal(collect_from_pipe("text\0more", 9, 100, &out), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "byte 4 is zero"));
    assert_int_equal(collect_from_pipe("\xff\xfeh\0i\0", 6, 100, &out), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "iconv"));
    char *late = malloc(100000);
    memset(late, 'a', 100000);
    late[90000] = 0;
    assert_int_equal(collect_from_pipe(late, 100000, 5000, &out), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "byte 90000 is zero"));
    free(late);
    struct reader r;
    struct piece p;
    assert_int_equal(reader_open(&r, "/nowhere/book.txt", whole, "en-us"), UTTER_IO);
    assert_ok(reader_open(&r, "/", whole, "en-us"));
    assert_int_equal(reader_next(&r, &p), UTTER_IO);
    assert_non_null(strstr(fail_message(), "irectory"));
    reader_close(&r);
    str_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts_do_not_depend_on_the_pipe),
        cmocka_unit_test(test_a_line_without_end_is_cut),
        cmocka_unit_test(test_spaces_and_paragraphs),
        cmocka_unit_test(test_a_pause_hands_out_what_is_whole),
        cmocka_unit_test(test_stop_ends_waiting),
        cmocka_unit_test(test_what_is_no_text),
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
