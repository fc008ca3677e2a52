/* Whose word about who asks is taken, and what it comes to. */
#include "test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "server/proxies.h"

static struct proxies p;

// Who it is that asks from `peer` (NULL: over the Unix socket) with that header; "-": nobody can tell.
static const char *resolve(const char *peer, const char *forwarded) {
    static char text[INET6_ADDRSTRLEN];
    struct in6_addr who = {0};
    bool named = peer != NULL;
    char mapped[80];
    snprintf(mapped, sizeof mapped, "%s%s", peer && strchr(peer, ':') ? "" : "::ffff:", peer ? peer : "");
    if (peer) assert_int_equal(inet_pton(AF_INET6, mapped, &who), 1);
    proxies_resolve(&p, forwarded, &who, &named);
    inet_ntop(AF_INET6, &who, text, sizeof text);
    return !named ? "-" : strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text;
}

static void test_who_asks(void **state) {
    (void)state;
    static const struct {
        const char *peer, *forwarded, *wanted;
    } cases[] = {
        {"10.0.0.1", "203.0.113.7", "203.0.113.7"},
        {"10.0.0.2", "203.0.113.7", "10.0.0.2"},  // not a proxy: his word is not taken
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"},  // what the client wrote before the proxy did
        {"10.0.0.1", "203.0.113.7 ,\t192.168.3.4,192.168.200.1", "203.0.113.7"},
        {"10.0.0.1", "192.168.3.4", "192.168.3.4"},
        {"10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"},
        {"10.0.0.1", "1.1.1.1, ", "10.0.0.1"},
        {"10.0.0.1", ",,,", "10.0.0.1"},
        {"10.0.0.1", "203.0.113.7:4711", "203.0.113.7"},
        {"10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::1", "10.0.0.1"},
        {"10.0.0.1", "2001:db8::1", "2001:db8::1"},
        {"fd12::5", "2001:db8::1", "2001:db8::1"},
        {"fe80::5", "2001:db8::1", "fe80::5"},
        {"172.16.15.255", "1.1.1.1", "1.1.1.1"},  // 172.16.0.0/20
        {"172.16.16.0", "1.1.1.1", "172.16.16.0"},
        {NULL, "203.0.113.7", "203.0.113.7"},
        {NULL, "", "-"},
        {NULL, "nobody", "-"},
    };
    assert_ok(proxies_parse("10.0.0.1,192.168.0.0/16,fd00::/8,172.16.0.0/20,unix", &p));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(resolve(cases[i].peer, cases[i].forwarded), cases[i].wanted) != 0)
            fail_msg("%s, \"%s\": %s", cases[i].peer, cases[i].forwarded, resolve(cases[i].peer, cases[i].forwarded));
    char many[4000] = "";
    for (int i = 0; i < 300; i++) strcat(many, "192.168.3.4,");
    many[strlen(many) - 1] = 0;
    assert_string_equal(resolve("10.0.0.1", many), "192.168.3.4");
    proxies_free(&p);
    assert_ok(proxies_parse(NULL, &p));
    assert_string_equal(resolve("10.0.0.1", "203.0.113.7"), "10.0.0.1");
    assert_string_equal(resolve(NULL, "203.0.113.7"), "-");
    assert_ok(proxies_parse("0.0.0.0/0", &p));
    assert_string_equal(resolve("8.8.8.8", "9.9.9.9"), "9.9.9.9");
    assert_string_equal(resolve("fd12::5", "9.9.9.9"), "fd12::5");
    proxies_free(&p);
}

static void test_lists_that_are_none(void **state) {
    (void)state;
    static const char *const bad[] = {"x",      "10.0.0.1,", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1",
                                      "::/129", "10.0.0.1 ", "unix2",  "10.0.0.1/8x", ","};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        status s = proxies_parse(bad[i], &p);
        if (strcmp(bad[i], "10.0.0.1,") == 0) {  // a comma at the end is no address more
            assert_ok(s);
            proxies_free(&p);
            continue;
        }
        if (s != UTTER_INVALID) fail_msg("\"%s\" was taken", bad[i]);
        assert_null(p.ranges);
    }
}

static void test_addresses(void **state) {
    (void)state;
    struct in6_addr a;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x01020304)};
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_true(proxies_address((struct sockaddr *)&v4, &a));
    assert_true(IN6_IS_ADDR_V4MAPPED(&a));
    assert_memory_equal(a.s6_addr + 12, "\1\2\3\4", 4);
    assert_false(proxies_address(&local, &a));
    assert_false(proxies_address(NULL, &a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks),
        cmocka_unit_test(test_lists_that_are_none),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests_name("proxies", tests, NULL, NULL);
}
