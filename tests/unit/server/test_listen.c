/* Where the server listens, and what it makes of sockets that are handed over. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/listen.h"

static void test_loopback_is_told_from_the_world(void **state) {
    (void)state;
    struct listeners l;
    assert_ok(listeners_open(NULL, 0, NULL, false, false, &l));
    assert_int_equal(l.n, 1);
    assert_false(l.beyond);
    assert_true(l.port > 0);
    assert_non_null(strstr(str_text(&l.where), "http://127.0.0.1:"));
    struct listeners other;
    assert_int_equal(listeners_open("127.0.0.1", l.port, NULL, false, false, &other), UTTER_IO);  // it is taken
    listeners_close(&l);
    assert_ok(listeners_open("0.0.0.0", 0, NULL, false, true, &l));
    assert_true(l.beyond);
    assert_non_null(strstr(str_text(&l.where), "https://0.0.0.0:"));
    listeners_close(&l);
    assert_int_equal(listeners_open("no such host", 0, NULL, false, false, &l), UTTER_INVALID);
}

static void test_a_unix_socket_left_behind_is_replaced_and_a_living_one_is_not(void **state) {
    (void)state;
    char path[64];
    struct listeners l, other;
    snprintf(path, sizeof path, "/tmp/utter-listen-%ld", (long)getpid());
    assert_ok(listeners_open(NULL, 0, path, true, false, &l));
    assert_int_equal(l.n, 1);
    assert_false(l.beyond);
    assert_int_equal(listeners_open(NULL, 0, path, true, false, &other), UTTER_IO);
    close(l.fds[0]);  // as if killed: the file stays
    l.n = 0;
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_ok(listeners_open(NULL, 0, path, true, false, &other));
    listeners_close(&other);
    assert_int_not_equal(stat(path, &info), 0);
    listeners_close(&l);
    FILE *f = fopen(path, "w");  // a file that is no socket is left alone
    assert_non_null(f);
    fclose(f);
    assert_int_equal(listeners_open(NULL, 0, path, true, false, &l), UTTER_IO);
    assert_int_equal(stat(path, &info), 0);
    remove(path);
}

// In a child, whose file descriptor 3 is a socket, as systemd does it.
static void test_handed_over_sockets_are_used(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    dup2(fd, 3);
    if (fd != 3) close(fd);
    char pid[32];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", "1", 1);  // another's
    struct listeners l;
    assert_ok(listeners_open(NULL, 0, NULL, false, false, &l));
    assert_int_not_equal(l.fds[0], 3);
    listeners_close(&l);
    setenv("LISTEN_PID", pid, 1);
    assert_ok(listeners_open("0.0.0.0", 0, "/nowhere/at/all", false, false, &l));
    assert_int_equal(l.n, 1);
    assert_int_equal(l.fds[0], 3);
    assert_false(l.beyond);
    assert_null(getenv("LISTEN_FDS"));  // not for children
    listeners_close(&l);
    dup2(STDERR_FILENO, 3);  // what is no socket is refused
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(listeners_open(NULL, 0, NULL, false, false, &l), UTTER_INVALID);
    close(3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback_is_told_from_the_world),
        cmocka_unit_test(test_a_unix_socket_left_behind_is_replaced_and_a_living_one_is_not),
        cmocka_unit_test(test_handed_over_sockets_are_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
