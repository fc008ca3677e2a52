/* libutter as another program uses it: the example, and what the library shows to a linker. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "run.h"

static void test_the_example_speaks(void **state) {
    (void)state;
    const char *build = getenv("UTTER_BUILD");
    assert_non_null(build);
    const struct result *r = run("'%s/speak' 'Good morning.' e.wav", build);
    if (r->code != 0) fail_msg("%s", r->err);
    assert_true(file_size("e.wav") > 40000);
    r = run("'%s/speak' '...' e.wav", build);
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "nothing to say"));
}

static void test_only_utter_symbols_are_exported(void **state) {
    (void)state;
    const char *build = getenv("UTTER_BUILD");
    const struct result *r = run("nm -D --defined-only '%s/libutter.so' | awk '{print $3}' | grep -v '^utter_'", build);
    assert_string_equal(r->out, "");
    r = run("nm -g --defined-only '%s/libutter.a' | awk 'NF == 3 {print $3}' | grep -v '^utter_'", build);
    assert_string_equal(r->out, "");
    // and those of the header are all there
    r =
        run("sed -n 's/^UTTER_API .*[ *]\\(utter_[a-z_]*\\)(.*/\\1/p' '%s/../include/utter.h' | sort >wanted; "
            "nm -g --defined-only '%s/libutter.a' | awk 'NF == 3 {print $3}' | sort >there; comm -23 wanted there; wc "
            "-l <wanted",
            build, build);
    assert_true(atoi(r->out) >= 15);  // nothing but the count
}

static void test_the_static_library_links(void **state) {
    (void)state;
    const char *build = getenv("UTTER_BUILD");
    if (run("cc --version")->code != 0 || getenv("UTTER_SANITIZED")) skip();
    const struct result *r =
        run("cc -I'%s/../include' '%s/../examples/speak.c' '%s/libutter.a' "
            "$(PKG_CONFIG_PATH='%s/meson-private' pkg-config --static --libs utter | sed s/-lutter//) -o s && "
            "./s 'Good morning.' s.wav",
            build, build, build, build);
    if (r->code != 0) fail_msg("%s", r->err);
    assert_true(file_size("s.wav") > 40000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_speaks),
        cmocka_unit_test(test_only_utter_symbols_are_exported),
        cmocka_unit_test(test_the_static_library_links),
    };
    return cmocka_run_group_tests_name("library", tests, run_setup, run_cleanup);
}
