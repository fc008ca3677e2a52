/* utter serve between its callers: they take turns, and who does not read waits alone. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"
#include "serve.h"

// ---- turns ----

struct other {
    struct served *s;
    const char *headers;
    double done;
};

static void *ask_as(void *user) {
    struct other *o = user;
    static const char body[] = "{\"input\": \"" SENTENCE "\", \"response_format\": \"pcm\"}";
    struct answer a = serve_ask(o->s, "POST", SPEECH, o->headers, body, sizeof body - 1);
    if (a.status == 200 && a.whole) o->done = seconds_now();
    answer_free(&a);
    return NULL;
}

// One asks for twelve texts, then another for one: he does not wait behind them all.
static void assert_turns(const char *options, const char *many, const char *one) {
    enum { N = 13 };
    struct other others[N];
    pthread_t threads[N];
    struct served s = serve_start(options);
    for (int i = 0; i < N; i++) {
        others[i] = (struct other){.s = &s, .headers = i < N - 1 ? many : one};
        if (i == N - 1) usleep(100000);
        assert_int_equal(pthread_create(&threads[i], NULL, ask_as, &others[i]), 0);
    }
    int n_before = 0;
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < N - 1; i++) {
        assert_true(others[i].done > 0);
        n_before += others[i].done < others[N - 1].done;
    }
    assert_true(others[N - 1].done > 0);
    if (n_before > 9) fail_msg("%d of %d were served first", n_before, N - 1);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void test_callers_take_turns(void **state) {
    (void)state;
    const struct result *r = run("utter serve --new-key many >keys && utter serve --new-key one >>keys");
    const char *many = strstr(r->err, "sk-utter-"), *one = strstr(many + 10, "sk-utter-");
    char as_many[200], as_one[200];
    snprintf(as_many, sizeof as_many, "Authorization: Bearer %.73s\r\n", many);
    snprintf(as_one, sizeof as_one, "Authorization: Bearer %.73s\r\n", one);
    assert_turns("--places 1 --keys keys", as_many, as_one);
}

static void test_callers_behind_a_proxy_take_turns(void **state) {
    (void)state;
    assert_turns("--places 1 --proxies 10.0.0.0/8,127.0.0.1", "X-Forwarded-For: 203.0.113.7\r\n",
                 "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.8, 10.1.2.3\r\n");
}

// What anyone may write is not believed, nor is what a proxy's client wrote.
static void test_who_is_forwarded_is_known_of_proxies_alone(void **state) {
    (void)state;
    static const struct {
        const char *options, *caller;
    } cases[] = {
        {"", " 127.0.0.1 GET"}, {"--proxies 127.0.0.2", " 127.0.0.1 GET"}, {"--proxies 127.0.0.1", " 203.0.113.8 GET"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct served s = serve_start(cases[i].options);
        struct answer a = serve_ask(&s, "GET", "/v1/models", "X-Forwarded-For: 203.0.113.7, 203.0.113.8\r\n", NULL, 0);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        serve_await(&s, cases[i].caller);
        assert_int_equal(serve_end(&s, SIGTERM), 0);
    }
    struct served s = serve_launch("--proxies elsewhere");
    assert_int_equal(serve_end(&s, 0), 1);
    assert_true(serve_said(&s, "\"elsewhere\" is no address of a proxy"));
}

// ---- who does not read ----

// Many more stand still than have places, all of one address. Whoever asks next from there is served, none of them is
// given up for that, and each has all of his sound when he reads on.
static void test_who_stands_still_keeps_nobody_waiting(void **state) {
    (void)state;
    enum { N = 12 };
    struct served s = serve_start("--places 2");
    char *body = serve_sentences("wav", 14);  // 40 seconds
    struct answer whole = serve_post(&s, SPEECH, body);
    assert_int_equal(whole.status, 200);
    int fds[N];
    for (int i = 0; i < N; i++) fds[i] = serve_begin(&s, SPEECH, "", body);
    double since = seconds_now();
    for (int i = 0; i < 4; i++) {
        struct answer a = serve_post(&s, SPEECH, "{\"input\": \"I read.\", \"response_format\": \"pcm\"}");
        assert_int_equal(a.status, 200);
        assert_true(a.whole);
        if (i == 0)
            print_message("behind %d that stand still: served after %.2f s, the first sound after %.2f s\n", N,
                          seconds_now() - since, a.first_s);
        answer_free(&a);
    }
    assert_true(serve_metric(&s, "utter_hangups_total") == 0);
    for (int i = 0; i < 2; i++) {
        struct answer a = serve_receive(fds[i * (N - 1)]);
        assert_true(a.whole);
        assert_int_equal(a.n, whole.n);
        assert_memory_equal(a.body, whole.body, whole.n);
        answer_free(&a);
    }
    for (int i = 0; i < N; i++) close(fds[i]);
    serve_wait_metric(&s, "utter_slots_parked", 0);
    serve_wait_metric(&s, "utter_device_slots_active", 0);
    answer_free(&whole);
    free(body);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

// Put aside, it keeps nobody's place, but counts for the caller until it is read to its end.
static void test_what_is_not_read_counts(void **state) {
    (void)state;
    static const char stalled[] = "X-Forwarded-For: 192.0.2.1\r\n";
    static const char text[] = "{\"input\": \"I read.\", \"response_format\": \"pcm\"}";
    struct served s = serve_start("--places 1 --at-once 1 --proxies 127.0.0.1");
    char *body = serve_sentences("wav", 10);  // more than is kept for a reader
    int fd = serve_begin(&s, SPEECH, stalled, body);
    serve_wait_metric(&s, "utter_slots_active", 1);
    struct answer a = serve_post(&s, SPEECH, text);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    serve_wait_metric(&s, "utter_slots_parked", 1);
    a = serve_ask(&s, "POST", SPEECH, stalled, text, sizeof text - 1);
    assert_int_equal(a.status, 429);
    assert_non_null(strstr(a.body, "read what they give"));
    answer_free(&a);
    a = serve_receive(fd);
    assert_true(a.whole);
    answer_free(&a);
    close(fd);
    a = serve_ask(&s, "POST", SPEECH, stalled, text, sizeof text - 1);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    free(body);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers_take_turns),
        cmocka_unit_test(test_callers_behind_a_proxy_take_turns),
        cmocka_unit_test(test_who_is_forwarded_is_known_of_proxies_alone),
        cmocka_unit_test(test_who_stands_still_keeps_nobody_waiting),
        cmocka_unit_test(test_what_is_not_read_counts),
    };
    return cmocka_run_group_tests(tests, run_setup, run_cleanup);
}
