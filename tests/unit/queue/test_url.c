/* Redis URLs. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "queue/url.h"

static void test_kinds(void **state) {
    (void)state;
    struct redis_url u;
    assert_ok(redis_url_parse("redis://queue.local", &u));
    assert_string_equal(u.host, "queue.local");
    assert_string_equal(u.port, "6379");
    assert_true(!u.tls && u.database == 0 && !*u.password && !*u.user);
    assert_ok(redis_url_parse("rediss://me:p%40ss%3aw@[::1]:7000/3", &u));
    assert_true(u.tls && u.database == 3);
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.port, "7000");
    assert_string_equal(u.user, "me");
    assert_string_equal(u.password, "p@ss:w");
    assert_ok(redis_url_parse("redis://secret@h:1/", &u));
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "secret");
    char shown[400];
    redis_url_show(&u, shown);
    assert_string_equal(shown, "redis://h:1/0");  // without the password
    assert_ok(redis_url_parse("unix:///run/r.sock", &u));
    assert_string_equal(u.path, "/run/r.sock");
    redis_url_show(&u, shown);
    assert_string_equal(shown, "unix:///run/r.sock");
}

static void test_password_from_the_environment(void **state) {
    (void)state;
    struct redis_url u;
    setenv("REDIS_PASSWORD", "hidden", 1);
    assert_ok(redis_url_parse("redis://h", &u));
    assert_string_equal(u.password, "hidden");
    assert_ok(redis_url_parse("redis://open@h", &u));
    assert_string_equal(u.password, "open");
    unsetenv("REDIS_PASSWORD");
}

static void test_nonsense(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "http://h",
                                      "redis://",
                                      "redis://:70",
                                      "redis://h:0",
                                      "redis://h:65536",
                                      "redis://h:x",
                                      "redis://h/x",
                                      "redis://h/-1",
                                      "redis://[::1",
                                      "unix://x",
                                      "redis://a%zz:b@h",
                                      "redis://a%00:b@h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct redis_url u;
        if (redis_url_parse(bad[i], &u) != UTTER_INVALID) fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(fail_message(), "redis://HOST"));
    }
    struct redis_url u;
    char *text = malloc(10000);
    assert_non_null(text);
    for (size_t n = 1; n < 9000; n = n * 2 + 1) {
        strcpy(text, "redis://");
        memset(text + 8, 'a', n);
        strcpy(text + 8 + n, n % 3 ? "@h" : "");
        redis_url_parse(text, &u);  // any answer, within bounds
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_password_from_the_environment),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
