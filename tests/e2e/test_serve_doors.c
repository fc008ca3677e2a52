/* utter serve's doors: keys, other origins, names, where it listens, how it stops. */
#include "test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "run.h"
#include "serve.h"

static struct served shared;  // one with no options

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    shared = serve_start("");
    return 0;
}

static int tear_down(void **state) {
    if (shared.pid) assert_int_equal(serve_end(&shared, SIGTERM), 0);
    return run_cleanup(state);
}

// ---- who may ask ----

static void test_keys_let_in_and_keep_out(void **state) {
    (void)state;
    const struct result *r =
        run("utter serve --new-key anna >keys && utter serve --new-key shop >line && sed \"s/\\$/ rate=60 at-once=1/\" "
            "line >>keys");
    assert_int_equal(r->code, 0);
    char *anna = strstr(r->err, "sk-utter-");
    assert_non_null(anna);
    char *shop = strstr(anna + 10, "sk-utter-");
    assert_non_null(shop);
    char as_anna[200], as_shop[200];
    snprintf(as_anna, sizeof as_anna, "Authorization: Bearer %.73s\r\n", anna);
    snprintf(as_shop, sizeof as_shop, "Authorization: bearer %.73s\r\n", shop);
    struct served s = serve_start("--keys keys --host 127.0.0.1");
    static const char *const wrong[] = {"", "Authorization: Bearer sk-utter-00\r\n", "Authorization: Bearer \r\n",
                                        "Authorization: Basic YTpi\r\n", "Authorization: Bearer\r\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct answer a = serve_ask(&s, "POST", SPEECH, wrong[i], "{\"input\": \"Hello.\"}", 19);
        assert_int_equal(a.status, 401);
        assert_non_null(strstr(a.body, "invalid_api_key"));
        assert_non_null(answer_header(&a, "WWW-Authenticate"));
        answer_free(&a);
        a = serve_ask(&s, "GET", "/metrics", wrong[i], NULL, 0);
        assert_int_equal(a.status, 401);
        answer_free(&a);
    }
    struct answer a = serve_ask(&s, "POST", SPEECH, as_anna, "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = serve_get(&s, "/health");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    int n_refused = 0;  // a minute has 60, of which 10 may come at once
    for (int i = 0; i < 40; i++) {
        a = serve_ask(&s, "GET", "/v1/models", as_shop, NULL, 0);
        if (a.status == 429) {
            n_refused++;
            assert_non_null(answer_header(&a, "Retry-After"));
            assert_non_null(strstr(a.body, "rate_limit"));
        } else
            assert_int_equal(a.status, 200);
        answer_free(&a);
    }
    assert_true(n_refused >= 5);
    a = serve_ask(&s, "GET", "/v1/models", as_anna, NULL, 0);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    // read anew: who is no longer in the file is kept out
    run("grep -v anna keys >fewer && mv fewer keys");
    kill(s.pid, SIGHUP);
    serve_await(&s, "keys were read anew");
    a = serve_ask(&s, "GET", "/v1/models", as_anna, NULL, 0);
    assert_int_equal(a.status, 401);
    answer_free(&a);
    serve_await(&s, "voices were read anew");
    // a damaged file leaves all as it was
    run("echo nonsense >keys");
    kill(s.pid, SIGHUP);
    serve_await(&s, "stay as they were");
    usleep(1200000);  // so that the rate allows one more
    a = serve_ask(&s, "GET", "/v1/models", as_shop, NULL, 0);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void test_other_machines_need_keys(void **state) {
    (void)state;
    struct served s = serve_launch("--host 0.0.0.0");
    assert_int_equal(serve_end(&s, 0), 1);
    assert_true(serve_said(&s, "--allow-anyone"));
    s = serve_start("--host 0.0.0.0 --allow-anyone");
    struct answer a = serve_get(&s, "/v1/models");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGINT), 0);
}

static void test_pages_of_others_may_not_ask(void **state) {
    (void)state;
    char own[100];
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", shared.port);
    struct answer a =
        serve_ask(&shared, "POST", SPEECH, "Origin: https://evil.example\r\n", "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 403);
    assert_null(answer_header(&a, "Access-Control-Allow-Origin"));
    answer_free(&a);
    a = serve_ask(&shared, "POST", "/", "Origin: null\r\n", "{\"text\": \"Hello.\", \"output\": \"x.wav\"}", 38);
    assert_int_equal(a.status, 403);
    answer_free(&a);
    a = serve_ask(&shared, "POST", SPEECH, own, "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    // a name that somebody made point here
    int fd = serve_connect(&shared);
    static const char rebound[] = "POST " SPEECH
                                  " HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: "
                                  "close\r\nContent-Length: 19\r\n\r\n{\"input\": \"Hello.\"}";
    serve_send(fd, rebound, sizeof rebound - 1);
    a = serve_receive(fd);
    close(fd);
    assert_int_equal(a.status, 403);
    answer_free(&a);
    struct served s = serve_start("--cors https://app.example");
    a = serve_ask(&s, "POST", SPEECH, "Origin: https://app.example\r\n", "{\"input\": \"Hello.\"}", 19);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Access-Control-Allow-Origin"), "https://app.example");
    answer_free(&a);
    a = serve_ask(&s, "OPTIONS", SPEECH, "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", NULL,
                  0);
    assert_int_equal(a.status, 204);
    assert_non_null(answer_header(&a, "Access-Control-Allow-Headers"));
    answer_free(&a);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

static void assert_status(const struct served *s, const char *body, int wanted) {
    struct answer a = serve_post(s, SPEECH, body);
    if (a.status != wanted) fail_msg("%s: %d %s", body, a.status, a.status == 200 ? "" : a.body);
    answer_free(&a);
}

static void test_names_and_limits_of_a_file(void **state) {
    (void)state;
    run("echo \"{ \\\"models\\\": [\\\"mine\\\"], \\\"voices\\\": {\\\"crier\\\": \\\"sam\\\", \\\"broken\\\": "
        "\\\"nobody\\\"}, "
        "\\\"limits\\\": {\\\"characters\\\": 20}}\" >config.json");
    struct served s = serve_start("--config config.json");
    assert_status(&s, "{\"input\": \"Hello.\", \"model\": \"mine\", \"voice\": \"crier\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"model\": \"tts-1\", \"voice\": \"alloy\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"broken\"}", 400);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"herald\"}", 400);
    assert_status(&s, "{\"input\": \"This has more than twenty.\"}", 400);
    run("sed -i s/crier/herald/ config.json");
    kill(s.pid, SIGHUP);
    serve_await(&s, "voices were read anew");
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"herald\"}", 200);
    assert_status(&s, "{\"input\": \"Hello.\", \"voice\": \"crier\"}", 400);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

// ---- where it listens ----

static void test_unix_socket_by_curl(void **state) {
    (void)state;
    if (run("command -v curl")->code != 0) {
        print_message("skipped: curl is not there\n");
        skip();
    }
    struct served s = serve_start("--unix utter.sock --no-tcp");
    const struct result *r = run(
        "curl -s --unix-socket utter.sock http://utter" SPEECH
        " -d '{\"input\": \"Hello.\", \"response_format\": \"wav\"}' -o c.wav -w \"%%{http_code}\" && head -c 4 c.wav");
    assert_string_equal(r->out, "200RIFF");
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    assert_int_equal(file_size("utter.sock"), -1);
}

static void test_tls_by_curl(void **state) {
    (void)state;
    if (run("command -v curl && command -v openssl")->code != 0) {
        print_message("skipped: curl or openssl is not there\n");
        skip();
    }
    const struct result *r =
        run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
            "-addext subjectAltName=IP:127.0.0.1");
    assert_int_equal(r->code, 0);
    struct served s = serve_start("--tls-cert cert.pem --tls-key key.pem");
    r = run(
        "curl -s --cacert cert.pem https://127.0.0.1:%d" SPEECH
        " -d '{\"input\": \"Hello.\", \"response_format\": \"wav\"}' -o t.wav -w \"%%{http_code}\" && head -c 4 t.wav",
        s.port);
    assert_string_equal(r->out, "200RIFF");
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    s = serve_launch("--tls-cert cert.pem");
    assert_int_equal(serve_end(&s, 0), 1);
    s = serve_launch("--tls-cert key.pem --tls-key cert.pem");
    assert_int_equal(serve_end(&s, 0), 1);
    assert_true(serve_said(&s, "PEM"));
}

// As systemd does it: the socket is file descriptor 3, and it is told when the server is ready.
static void test_socket_activation(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), told = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    socklen_t len = sizeof a;
    snprintf(u.sun_path, sizeof u.sun_path, "%s/notify", run_folder());
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(bind(told, (struct sockaddr *)&u, sizeof u), 0);
    struct timeval patience = {.tv_sec = 60};
    setsockopt(told, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct served s = {.port = ntohs(a.sin_port)};
    snprintf(s.log, sizeof s.log, "%s/activated.log", run_folder());
    s.pid = fork();
    if (s.pid == 0) {
        char pid[32], path[300];
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("NOTIFY_SOCKET", u.sun_path, 1);
        snprintf(path, sizeof path, "%s/.bin/utter", run_folder());
        if (!freopen(s.log, "w", stderr) || dup2(listener, 3) != 3 || fcntl(3, F_SETFD, 0) != 0) _exit(126);
        execl(path, "utter", "serve", "--host", "192.0.2.1", (char *)NULL);
        _exit(127);
    }
    close(listener);
    char message[64] = "";
    assert_true(recv(told, message, sizeof message - 1, 0) > 0);
    assert_string_equal(message, "READY=1");
    struct answer answer = serve_post(&s, SPEECH, "{\"input\": \"Hello.\"}");
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    memset(message, 0, sizeof message);
    assert_true(recv(told, message, sizeof message - 1, 0) > 0);
    assert_string_equal(message, "STOPPING=1");
    close(told);
}

// ---- Wyoming ----

// Sends a line to the port of Wyoming and waits until `last` is said.
static void say_to_wyoming(int port, const char *line, const char *last) {
    const struct served there = {.port = port};
    int fd = serve_connect(&there);
    assert_true(fd >= 0);
    serve_send(fd, line, strlen(line));
    size_t n = 0, cap = 1 << 20;
    char *heard = calloc(1, cap);
    assert_non_null(heard);
    for (ssize_t got; !memmem(heard, n, last, strlen(last)); n += (size_t)got) {
        got = recv(fd, heard + n, cap - n, 0);
        if (got <= 0) fail_msg("%s: it never said \"%s\"", line, last);
    }
    free(heard);
    close(fd);
}

static void test_what_wyoming_speaks_is_counted(void **state) {
    (void)state;
    struct served s = serve_start("--wyoming-address 127.0.0.1:0");
    char words[64];
    int port = 0;
    for (int i = 1; i < 65536 && port == 0; i++) {
        snprintf(words, sizeof words, "Wyoming is spoken on port %d\n", i);
        if (serve_said(&s, words)) port = i;
    }
    say_to_wyoming(port, "{\"type\":\"synthesize\",\"data\":{\"text\":\"" SENTENCE "\"}}\n", "\"audio-stop\"");
    say_to_wyoming(port,
                   "{\"type\":\"synthesize-start\"}\n{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"" SENTENCE
                   " \"}}\n{\"type\":\"synthesize-stop\"}\n",
                   "\"synthesize-stopped\"");
    say_to_wyoming(port, "{\"type\":\"synthesize\",\"data\":{\"text\":\"Hello.\",\"voice\":{\"name\":\"x\"}}}\n",
                   "\"error\"");
    serve_wait_metric(&s, "utter_requests_total{route=\"wyoming\",status=\"200\"}", 2);
    serve_wait_metric(&s, "utter_requests_total{route=\"wyoming\",status=\"400\"}", 1);
    serve_wait_metric(&s, "utter_first_audio_seconds_count", 2);
    double seconds = serve_metric(&s, "utter_audio_seconds_total");
    if (seconds < 3 || seconds > 16) fail_msg("%g seconds of sound were counted", seconds);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
}

// ---- stopping ----

static int ask_for_much(const struct served *s, const char *format) {
    char *body = serve_sentences(format, 40);
    int fd = serve_begin(s, SPEECH, "", body);
    free(body);
    return fd;
}

static void test_what_is_spoken_may_end(void **state) {
    (void)state;
    struct served s = serve_start("--drain 600");
    int fd = ask_for_much(&s, "mp3");
    char first;
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    kill(s.pid, SIGTERM);
    serve_await(&s, "stopping");
    assert_int_equal(serve_connect(&s), -1);
    struct answer a = serve_receive(fd);
    assert_int_equal(a.status, 200);
    assert_true(a.whole);
    assert_true(a.n > 100000);
    close(fd);
    answer_free(&a);
    assert_int_equal(serve_end(&s, 0), 0);
}

static void test_stopping_has_an_end(void **state) {
    (void)state;
    struct served s = serve_start("--drain 0");
    int fd = ask_for_much(&s, "wav");
    char first;
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    assert_int_equal(serve_end(&s, SIGTERM), 0);
    struct answer a = serve_receive(fd);
    assert_false(a.whole);
    close(fd);
    answer_free(&a);
    s = serve_start("--drain 3600");  // a second signal does the same
    fd = ask_for_much(&s, "wav");
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    kill(s.pid, SIGINT);
    serve_await(&s, "stopping");
    assert_int_equal(serve_end(&s, SIGINT), 0);
    close(fd);
}

static void test_wrong_options_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *options;
        int code;
        const char *words;
    } tries[] = {{"--no-tcp", 2, "--unix"},
                 {"--log loud", 2, "json"},
                 {"extra", 2, "one too many"},
                 {"--places 0", 2, "--places"},
                 {"--config nowhere.json", 1, "nowhere.json"},
                 {"--keys nowhere", 1, "nowhere"},
                 {"--output-folder nowhere", 1, "nowhere"},
                 {"--encoder nowhere", 1, "nowhere"},
                 {"--model nowhere.gguf", 1, "nowhere.gguf"}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct served s = serve_launch(tries[i].options);
        int code = serve_end(&s, 0);
        if (code != tries[i].code || !serve_said(&s, tries[i].words))
            fail_msg("%s: exit code %d", tries[i].options, code);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_let_in_and_keep_out),
        cmocka_unit_test(test_other_machines_need_keys),
        cmocka_unit_test(test_pages_of_others_may_not_ask),
        cmocka_unit_test(test_names_and_limits_of_a_file),
        cmocka_unit_test(test_unix_socket_by_curl),
        cmocka_unit_test(test_tls_by_curl),
        cmocka_unit_test(test_what_wyoming_speaks_is_counted),
        cmocka_unit_test(test_socket_activation),
        cmocka_unit_test(test_what_is_spoken_may_end),
        cmocka_unit_test(test_stopping_has_an_end),
        cmocka_unit_test(test_wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
