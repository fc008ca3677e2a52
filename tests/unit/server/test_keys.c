/* The file of API keys: who is let in, and what of a damaged file is said. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/keys.h"

static char path[] = "/tmp/utter-keys-XXXXXX";

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return remove(path);
}

static void write_file(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_a_new_key_is_let_in_and_others_are_not(void **state) {
    (void)state;
    struct str key = {0}, line = {0}, other_key = {0}, other_line = {0}, file = {0};
    assert_ok(keys_new("anna", &key, &line));
    assert_ok(keys_new("shop", &other_key, &other_line));
    assert_string_not_equal(key.data, other_key.data);
    str_printf(&file, "# who may\n\n%s\r\n  %s rate=30 at-once=2", line.data, other_line.data);
    write_file(file.data);
    struct keys keys;
    assert_ok(keys_load(path, &keys));
    assert_int_equal(keys.n, 2);
    const struct key *found = keys_find(&keys, key.data, key.len);
    assert_non_null(found);
    assert_string_equal(found->name, "anna");
    assert_true(found->rate < 0 && found->at_once < 0);
    found = keys_find(&keys, other_key.data, other_key.len);
    assert_string_equal(found->name, "shop");
    assert_int_equal(found->at_once, 2);
    assert_true(found->rate == 30);
    assert_null(keys_find(&keys, key.data, key.len - 1));
    assert_null(keys_find(&keys, "", 0));
    key.data[key.len - 1] = key.data[key.len - 1] == '0' ? '1' : '0';
    assert_null(keys_find(&keys, key.data, key.len));
    assert_null(strstr(line.data, key.data));  // the file does not hold what lets in
    keys_free(&keys);
    str_free(&key);
    str_free(&line);
    str_free(&other_key);
    str_free(&other_line);
    str_free(&file);
}

static void assert_refused(const char *text, const char *words) {
    struct keys keys;
    write_file(text);
    assert_int_not_equal(keys_load(path, &keys), UTTER_OK);
    if (!strstr(fail_message(), words)) fail_msg("%s", fail_message());
}

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_a_damaged_file_is_refused_with_its_line(void **state) {
    (void)state;
    assert_refused("", "no key");
    assert_refused("# nothing\n", "no key");
    assert_refused("anna\n", "line 1");
    assert_refused("anna " HASH "\nbert sha256:12\n", "line 2");
    assert_refused("anna " HASH "0\n", "line 1");
    assert_refused("anna sha256:zz23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", "line 1");
    assert_refused("anna " HASH "\nanna " HASH "\n", "already");
    assert_refused("anna " HASH " rate=fast\n", "rate=fast");
    assert_refused("anna " HASH " rate=nan\n", "rate=nan");
    assert_refused("anna " HASH " size=3\n", "size=3");
    assert_refused("a-name-that-is-much-longer-than-any-that-a-key-may-have-here " HASH "\n", "name");
}

static void test_names_that_a_line_cannot_hold_are_refused(void **state) {
    (void)state;
    struct str key = {0}, line = {0};
    assert_int_equal(keys_new("", &key, &line), UTTER_INVALID);
    assert_int_equal(keys_new("two words", &key, &line), UTTER_INVALID);
    assert_int_equal(keys_new("line\nbreak", &key, &line), UTTER_INVALID);
    assert_int_equal(key.len + line.len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_key_is_let_in_and_others_are_not),
        cmocka_unit_test(test_a_damaged_file_is_refused_with_its_line),
        cmocka_unit_test(test_names_that_a_line_cannot_hold_are_refused),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
