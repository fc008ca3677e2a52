/* The folder that requests may write to: nothing outside it is touched, whatever the name. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/folder.h"

static char root[] = "/tmp/utter-folder-XXXXXX";
static struct folder *folder;

// root/out is the folder; root/secret lies outside it.
static int make(void **state) {
    (void)state;
    char path[400];
    if (!mkdtemp(root)) return 1;
    snprintf(path, sizeof path,
             "cd %s && mkdir -p out/sub elsewhere && echo secret >secret && ln -s ../secret out/link && "
             "ln -s ../elsewhere out/door && ln -s gone out/dangling && mkfifo out/pipe && mkdir out/dir.wav",
             root);
    if (system(path) != 0) return 1;
    snprintf(path, sizeof path, "%s/out", root);
    return folder_open(path, &folder) != UTTER_OK;
}

static int drop(void **state) {
    (void)state;
    char line[200];
    folder_close(folder);
    snprintf(line, sizeof line, "rm -rf %s", root);
    return system(line);
}

static void assert_holds(const char *name, const char *text) {
    char path[300], got[64] = "";
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s is not there", name);
    got[fread(got, 1, sizeof got - 1, f)] = 0;
    fclose(f);
    assert_string_equal(got, text);
}

static void put(const char *name, const char *text) {
    struct folder_file *w;
    assert_ok(folder_create(folder, name, &w));
    assert_ok(folder_file_write(w, text, strlen(text)));
    assert_ok(folder_file_commit(w, NULL, 0));
}

static void test_files_appear_when_they_are_whole(void **state) {
    (void)state;
    struct folder_file *w;
    char path[300];
    assert_ok(folder_create(folder, "a.wav", &w));
    assert_ok(folder_file_write(w, "0123456789", 10));
    snprintf(path, sizeof path, "%s/out/a.wav", root);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_ok(folder_file_commit(w, "ab", 2));
    assert_holds("out/a.wav", "ab23456789");
    put("a.wav", "again");
    assert_holds("out/a.wav", "again");
    put("sub/b.wav", "below");
    assert_holds("out/sub/b.wav", "below");
    assert_ok(folder_create(folder, "sub/c.wav", &w));
    folder_file_abandon(w);
    snprintf(path, sizeof path, "test $(ls -A %s/out/sub | wc -l) = 1", root);
    assert_int_equal(system(path), 0);
}

static void test_names_that_lead_elsewhere_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {
        "",        "/",         "/etc/passwd", "..",      "../secret",   "sub/../../secret", "sub/../a.wav", "./a.wav",
        "sub/./a", "sub//a",    "sub/",        "link",    "door/a.wav",  "dangling",         "dangling/a",   "pipe",
        "dir.wav", "gone/a",    "a.wav/b",     ".hidden", "con",         "NUL.wav",          "com1",         "lpt9.txt",
        "sub/aux", "C:\\a.wav", "a\\b",        "a:b.wav", "line\nbreak", "\x7f.wav",         "a|b",          "a*",
    };
    struct folder_file *w;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        status s = folder_create(folder, names[i], &w);
        if (s != UTTER_INVALID) fail_msg("\"%s\": %s", names[i], status_name(s));
        assert_null(w);
    }
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(folder_create(folder, longest, &w), UTTER_INVALID);
    longest[300] = 0;
    assert_int_equal(folder_create(folder, longest, &w), UTTER_INVALID);
    assert_holds("secret", "secret\n");
    char line[300];
    snprintf(line, sizeof line, "test -z \"$(ls -A %s/elsewhere)\"", root);
    assert_int_equal(system(line), 0);
}

// What is put in the way while a file is being written is not followed either.
static void test_a_link_made_meanwhile_is_not_written_through(void **state) {
    (void)state;
    struct folder_file *w;
    char line[300];
    assert_ok(folder_create(folder, "late.wav", &w));
    assert_ok(folder_file_write(w, "bytes", 5));
    snprintf(line, sizeof line, "ln -s ../secret %s/out/late.wav", root);
    assert_int_equal(system(line), 0);
    assert_int_equal(folder_file_commit(w, NULL, 0), UTTER_INVALID);
    assert_holds("secret", "secret\n");
    snprintf(line, sizeof line, "test -z \"$(ls -A %s/out | grep utter)\"", root);
    assert_int_equal(system(line), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_appear_when_they_are_whole),
        cmocka_unit_test(test_names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(test_a_link_made_meanwhile_is_not_written_through),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
