/* Three servers behind a real HAProxy with the configuration that is shipped: one is killed, one drains. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

enum { SERVERS = 3, STREAMS = 16 };

static void start_server(int i) {
    char condition[200];
    run("utter serve --no-tcp --unix $PWD/s%d.sock --allow-anyone --threads 1 --places 8 --log off --drain 20 >s%d.log "
        "2>&1 & "
        "echo $! >s%d.pid",
        i, i, i);
    snprintf(condition, sizeof condition, "curl -sf --unix-socket s%d.sock http://x/ready", i);
    wait_until(condition);
}

static int setup(void **state) {
    if (system("command -v haproxy curl >/dev/null") != 0) {
        fprintf(stderr, "haproxy or curl is not installed; the fleet is not tested\n");
        exit(77);
    }
    if (run_setup(state) != 0) return 1;
    for (int i = 1; i <= SERVERS; i++) start_server(i);
    run("UTTER_LISTEN=unix@$PWD/front.sock UTTER_SERVER_1=unix@$PWD/s1.sock UTTER_SERVER_2=unix@$PWD/s2.sock "
        "UTTER_SERVER_3=unix@$PWD/s3.sock haproxy -f %s >h.log 2>&1 & echo $! >h.pid",
        getenv("UTTER_HAPROXY"));
    wait_until("curl -sf --unix-socket front.sock http://x/ready");
    return 0;
}

static int cleanup(void **state) {
    run("kill -KILL $(cat h.pid s1.pid s2.pid s3.pid)");
    return run_cleanup(state);
}

// A request in the background: its answer to NAME.pcm, its headers to NAME.h, curl's exit code and status to NAME.end.
static void ask(const char *name, int sentences) {
    char text[2000] = "";
    for (int i = 0; i < sentences; i++) strcat(text, "This is one more sentence about the weather. ");
    run("(curl -s --max-time 120 --unix-socket front.sock -D %s.h -o %s.pcm -w \"%%{http_code} \" "
        "http://x/v1/audio/speech "
        "-H \"Content-Type: application/json\" -d "
        "\"{\\\"model\\\":\\\"tts-1\\\",\\\"voice\\\":\\\"alloy\\\",\\\"input\\\":\\\"%s\\\","
        "\\\"response_format\\\":\\\"pcm\\\"}\" >%s.code; echo $? >>%s.code; mv %s.code %s.end) >/dev/null 2>&1 &",
        name, name, text, name, name, name, name);
}

static void assert_whole(const char *name) {
    char condition[100];
    snprintf(condition, sizeof condition, "test -e %s.end", name);
    wait_until(condition);
    const struct result *r = run("cat %s.end", name);
    if (strcmp(r->out, "200 0\n") != 0) fail_msg("%s ended with \"%s\"", name, r->out);
    char file[100];
    snprintf(file, sizeof file, "%s.pcm", name);
    assert_true(file_size(file) > 24000);
}

static void test_requests_are_spread(void **state) {
    (void)state;
    char name[16];
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "a%d", i);
        ask(name, 1);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "a%d", i);
        assert_whole(name);
    }
    const struct result *r = run("cat a?.h | tr -d \"\\r\" | sed -n \"s/^x-served-by: //Ip\" | sort -u | wc -l");
    assert_true(atoi(r->out) >= 2);
}

// Only the streams of the server that dies break; every request after that is answered.
static void test_a_server_dies(void **state) {
    (void)state;
    char name[16];
    for (int i = 0; i < STREAMS; i++) {
        snprintf(name, sizeof name, "b%d", i);
        ask(name, 12);
    }
    wait_until("test $(ls b*.h | wc -l) = 16 && test $(cat b*.h | grep -ci x-served-by) -ge 12");
    run("kill -KILL $(cat s2.pid)");
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "c%d", i);
        ask(name, 1);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "c%d", i);
        assert_whole(name);
    }
    int broken = 0;
    for (int i = 0; i < STREAMS; i++) {
        char condition[100];
        snprintf(condition, sizeof condition, "test -e b%d.end", i);
        wait_until(condition);
        const struct result *r =
            run("grep -q \"^200 0\" b%d.end || { grep -qi \"x-served-by: two\" b%d.h && echo died; }", i, i);
        if (strcmp(r->out, "died\n") == 0)
            broken++;
        else if (r->code != 0)
            fail_msg("b%d broke on a server that lives: %s", i, run("cat b%d.end b%d.h", i, i)->out);
    }
    assert_true(broken > 0 && broken <= STREAMS / 2);
    start_server(2);
}

// A server that is asked to stop ends its streams, and gets no new ones.
static void test_draining(void **state) {
    (void)state;
    char name[16];
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "d%d", i);
        ask(name, 4);
    }
    wait_until("test $(cat d*.h | grep -ci x-served-by) = 6");
    run("kill -TERM $(cat s1.pid)");
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "e%d", i);
        ask(name, 1);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "d%d", i);
        assert_whole(name);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "e%d", i);
        assert_whole(name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_spread),
        cmocka_unit_test(test_a_server_dies),
        cmocka_unit_test(test_draining),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
