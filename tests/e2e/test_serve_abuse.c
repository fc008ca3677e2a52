/* utter serve under bad treatment: each gets an answer of the right class or is cut off, nothing leaks or dies, and who
   asks properly meanwhile is served. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "run.h"
#include "serve.h"

static struct served shared;
static int slow[40], n_slow;  // connections that send a byte now and then, from the start of the program

// ---- a load that runs all the while ----

static pthread_t load_thread;
static atomic_bool load_stops;
static atomic_int n_spoken, n_spoilt;

static void *load(void *user) {
    (void)user;
    while (!atomic_load(&load_stops)) {
        struct answer a = serve_post(&shared, SPEECH, "{\"input\": \"All the while.\", \"response_format\": \"pcm\"}");
        bool fine = a.status == 200 && a.whole && a.n > 20000;
        if (!fine) print_message("spoilt: %d, %zu bytes%s\n%s", a.status, a.n, a.whole ? "" : ", cut off", a.head);
        atomic_fetch_add(fine ? &n_spoken : &n_spoilt, 1);
        answer_free(&a);
    }
    return NULL;
}

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    char line[600];
    snprintf(line, sizeof line, "mkdir -p '%s/out'", run_folder());
    if (system(line) != 0) return 1;
    shared = serve_start("--output-folder out --places 3");
    for (; n_slow < 40; n_slow++) {
        slow[n_slow] = serve_connect(&shared);
        assert_true(slow[n_slow] >= 0);
        serve_send(slow[n_slow], "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nX-Slow: ", 45);
    }
    return pthread_create(&load_thread, NULL, load, NULL);
}

static int tear_down(void **state) {
    atomic_store(&load_stops, true);
    pthread_join(load_thread, NULL);
    for (int i = 0; i < n_slow; i++) close(slow[i]);
    print_message("%d answered well meanwhile\n", atomic_load(&n_spoken));
    assert_int_equal(atomic_load(&n_spoilt), 0);
    assert_true(atomic_load(&n_spoken) > 0);
    assert_int_equal(serve_end(&shared, SIGTERM), 0);
    bool faulty = serve_said(&shared, "Sanitizer") || serve_said(&shared, "runtime error");
    assert_false(faulty);
    return run_cleanup(state);
}

static void assert_lives(void) {
    struct answer a = serve_get(&shared, "/health");
    assert_int_equal(a.status, 200);
    answer_free(&a);
}

static void trickle(void) {
    for (int i = 0; i < n_slow; i++) send(slow[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// ---- bodies and headers ----

static void test_a_large_body_is_refused_to_its_end(void **state) {
    (void)state;
    size_t n = 10 << 20;
    char *body = malloc(n);
    assert_non_null(body);
    memset(body, 'x', n);
    struct answer a = serve_ask(&shared, "POST", SPEECH, "", body, n);
    assert_int_equal(a.status, 413);
    answer_free(&a);
    a = serve_ask(&shared, "POST", "/", "Expect: 100-continue\r\n", body, n);
    assert_true(a.status == 413);
    answer_free(&a);
    free(body);
    int fd = serve_connect(&shared);  // the same in chunks, which say nothing of the length
    static const char head[] =
        "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    serve_send(fd, head, sizeof head - 1);
    char chunk[4096 + 16];
    int start = sprintf(chunk, "1000\r\n");
    memset(chunk + start, 'y', 4096);
    memcpy(chunk + start + 4096, "\r\n", 2);
    for (int i = 0; i < 200; i++) serve_send(fd, chunk, (size_t)start + 4098);
    serve_send(fd, "0\r\n\r\n", 5);
    a = serve_receive(fd);
    assert_int_equal(a.status, 413);
    answer_free(&a);
    close(fd);
    fd = serve_connect(&shared);  // one that will never come
    static const char lie[] = "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n";
    serve_send(fd, lie, sizeof lie - 1);
    a = serve_receive(fd);
    assert_int_equal(a.status, 413);
    answer_free(&a);
    close(fd);
}

static void test_header_bombs_are_refused(void **state) {
    (void)state;
    char *line = malloc(200000);
    assert_non_null(line);
    for (int kind = 0; kind < 4; kind++) {
        int fd = serve_connect(&shared), n = 0;
        if (kind == 0) {  // one long header
            n = sprintf(line, "GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ");
            memset(line + n, 'a', 100000);
            n += 100000;
        } else if (kind == 1) {  // many short ones
            n = sprintf(line, "GET /health HTTP/1.1\r\nHost: x\r\n");
            for (int i = 0; i < 5000; i++) n += sprintf(line + n, "X-%d: y\r\n", i);
        } else if (kind == 2) {  // a long path
            n = sprintf(line, "GET /");
            memset(line + n, 'p', 100000);
            n += 100000;
        } else {  // many arguments
            n = sprintf(line, "GET /health?");
            for (int i = 0; i < 10000; i++) n += sprintf(line + n, "a%d=b&", i);
        }
        n += sprintf(line + n, kind < 2 ? "\r\n\r\n" : " HTTP/1.1\r\nHost: x\r\n\r\n");
        serve_send(fd, line, (size_t)n);
        struct answer a = serve_receive(fd);
        if (a.status != 0 && (a.status < 400 || a.status > 499)) fail_msg("bomb %d: %d", kind, a.status);
        answer_free(&a);
        close(fd);
    }
    free(line);
    assert_lives();
}

static void test_garbage_is_cut_off(void **state) {
    (void)state;
    static const char *const garbage[] = {
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  // TLS to a port without
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
        "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nhello",
        "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST " SPEECH " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n\xff\xff\xff\xff garbage behind a request \x00\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n!!!!\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = serve_connect(&shared);
        serve_send(fd, garbage[i], strlen(garbage[i]));
        shutdown(fd, SHUT_WR);
        char bytes[4096];
        ssize_t n, total = 0;
        while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) total += n;
        (void)total;
        close(fd);
    }
    uint32_t random = 7;
    for (int i = 0; i < 50; i++) {
        char bytes[500];
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (char)((random = random * 1664525u + 1013904223u) >> 24);
        int fd = serve_connect(&shared);
        serve_send(fd, bytes, sizeof bytes);
        close(fd);
    }
    assert_lives();
}

static void test_pipelined_requests_are_answered_in_turn(void **state) {
    (void)state;
    int fd = serve_connect(&shared);
    static const char two[] =
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    serve_send(fd, two, sizeof two - 1);
    char bytes[8192] = "";
    size_t total = 0;
    for (ssize_t n; total < sizeof bytes - 1 && (n = recv(fd, bytes + total, sizeof bytes - 1 - total, 0)) > 0;)
        total += (size_t)n;
    close(fd);
    char *first = strstr(bytes, " 200 "), *second = strstr(bytes, " 404 ");
    assert_true(first && second && first < second);
}

// ---- clients that go away, or stand still ----

static void test_who_hangs_up_is_not_spoken_to(void **state) {
    (void)state;
    double begun = serve_metric(&shared, "utter_hangups_total");
    char *body = serve_sentences("wav", 60);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = serve_begin(&shared, SPEECH, "", body);
    }
    char byte;
    for (int i = 0; i < 3; i++) assert_int_equal(recv(fds[i], &byte, 1, 0), 1);
    double since = seconds_now();
    close(fds[0]);
    shutdown(fds[1], SHUT_WR);  // as far as anyone can tell this one is gone too
    struct linger now = {.l_onoff = 1};
    setsockopt(fds[2], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fds[2]);  // a reset
    serve_wait_metric(&shared, "utter_hangups_total", begun + 3);
    print_message("three clients gone: places free after %.0f ms\n", (seconds_now() - since) * 1000);
    close(fds[1]);
    free(body);
}

static void test_a_half_closed_question_is_answered(void **state) {
    (void)state;
    int fd = serve_connect(&shared);
    static const char question[] = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    serve_send(fd, question, sizeof question - 1);
    shutdown(fd, SHUT_WR);
    struct answer a = serve_receive(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
    fd = serve_connect(&shared);  // half a question
    serve_send(fd, question, 20);
    shutdown(fd, SHUT_WR);
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

static void test_who_asks_slowly_is_cut_off(void **state) {
    (void)state;
    for (double until = seconds_now() + 40; seconds_now() < until;) {
        trickle();
        int n_open = 0;
        for (int i = 0; i < n_slow; i++) {
            char byte;
            n_open += recv(slow[i], &byte, 1, MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        }
        if (n_open == 0) return;
        usleep(100000);
    }
    fail_msg("%s", "slow ones hold their connections");
}

// ---- many ----

static void test_a_full_queue_says_when_to_come_again(void **state) {
    (void)state;
    struct served s = serve_start("--places 1 --queue 2");
    char *body = serve_sentences("mp3", 40);
    int fds[8], n_refused = 0;
    for (int i = 0; i < 8; i++) {
        fds[i] = serve_begin(&s, SPEECH, "", body);
    }
    for (int i = 0; i < 8; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        poll(&p, 1, 300);
        char start[600] = "";
        ssize_t n = recv(fds[i], start, sizeof start - 1, MSG_DONTWAIT);
        if (n < 12 || strncmp(start + 9, "429", 3) != 0) continue;
        n_refused++;
        assert_non_null(strstr(start, "Retry-After: "));
        assert_non_null(strstr(start, "queue_full"));
    }
    assert_true(n_refused >= 5);
    for (int i = 0; i < 8; i++) close(fds[i]);
    free(body);
    serve_wait_metric(&s, "utter_queue_length", 0);
    struct answer a = serve_post(&s, SPEECH, "{\"input\": \"Hello.\"}");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void test_deadlines_end_what_takes_too_long(void **state) {
    (void)state;
    struct served s = serve_start("--places 1 --deadline 1");
    char *body = serve_sentences("pcm", 80);
    int first = serve_begin(&s, SPEECH, "", body);
    usleep(50000);
    int second = serve_begin(&s, SPEECH, "", body);
    struct answer a = serve_receive(first), b = serve_receive(second);
    assert_false(a.whole && a.status == 200);  // cut while it was spoken, or done by a machine that is that fast
    assert_true(b.status == 504 || (b.status == 200 && !b.whole));
    answer_free(&a);
    answer_free(&b);
    close(first);
    close(second);
    free(body);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static long resident_kib(pid_t pid) {
    char path[64];
    long size = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%ld %ld", &size, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_a_thousand_wait_in_little_memory(void **state) {
    (void)state;
    enum { N = 1000 };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 3000) {
        print_message("skipped: %ld files may be open\n", (long)files.rlim_cur);
        skip();
    }
    struct served s = serve_start("--places 1 --queue 1100 --connections 3000 --log off");
    char *body = serve_sentences("wav", 40);
    struct answer a = serve_post(&s, SPEECH, "{\"input\": \"Warm.\"}");
    answer_free(&a);
    long before = resident_kib(s.pid);
    static int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = serve_begin(&s, SPEECH, "", body);
    }
    for (double until = seconds_now() + 60; serve_metric(&s, "utter_queue_length") < N * 9 / 10;)
        if (seconds_now() > until) fail_msg("%s", "they do not wait");
    long after = resident_kib(s.pid);
    print_message("%d wait: %.1f MiB more, %.1f KiB each\n", N, (double)(after - before) / 1024,
                  (double)(after - before) / N);
    if (!getenv("UTTER_SANITIZED")) assert_true(after - before < 150 * 1024);
    a = serve_get(&s, "/ready");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    for (int i = 0; i < N; i++) close(fds[i]);
    serve_wait_metric(&s, "utter_queue_length", 0);
    serve_wait_metric(&s, "utter_slots_active", 0);
    a = serve_post(&s, SPEECH, "{\"input\": \"Hello.\"}");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    for (int i = 0; i < N; i++) {  // and a thousand that say nothing
        fds[i] = serve_connect(&s);
        assert_true(fds[i] >= 0);
    }
    a = serve_post(&s, SPEECH, "{\"input\": \"Hello.\"}");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    for (int i = 0; i < N; i++) close(fds[i]);
    free(body);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_body_is_refused_to_its_end),
        cmocka_unit_test(test_header_bombs_are_refused),
        cmocka_unit_test(test_garbage_is_cut_off),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_turn),
        cmocka_unit_test(test_who_hangs_up_is_not_spoken_to),
        cmocka_unit_test(test_a_half_closed_question_is_answered),
        cmocka_unit_test(test_a_full_queue_says_when_to_come_again),
        cmocka_unit_test(test_deadlines_end_what_takes_too_long),
        cmocka_unit_test(test_a_thousand_wait_in_little_memory),
        cmocka_unit_test(test_who_asks_slowly_is_cut_off),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
