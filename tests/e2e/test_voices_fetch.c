/* utter voices add ADDRESS, against a web server on this machine. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/sha256.h"
#include "hub_server.h"
#include "run.h"

static struct hub_server *server;
static const char *url;
static char sum[65];

#define VOICE(NAME)                                                   \
    "{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"" NAME \
    "\", \"text\": \"Hello.\", \"codes\": [1, 2, 3]}\n"

static const char dawn[] = VOICE("dawn");

static struct hub_route *serve(const char *path, const char *text) {
    struct hub_route *r = hub_server_at(server, path);
    r->data = text;
    r->n = strlen(text);
    return r;
}

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    server = hub_server_start("127.0.0.1");
    url = hub_server_url(server);
    serve("/me.json", dawn);
    char path[512];
    snprintf(path, sizeof path, "%s/data", run_folder());
    setenv("XDG_DATA_HOME", path, 1);
    snprintf(path, sizeof path, "%s/sum", run_folder());
    FILE *f = fopen(path, "wb");
    assert_true(f && fputs(dawn, f) >= 0 && fclose(f) == 0);
    assert_ok(sha256_file(path, sum));
    return 0;
}

static int tear_down(void **state) {
    hub_server_stop(server);
    return run_cleanup(state);
}

static void expect(const struct result *r, int code, const char *words) {
    if (r->code != code || !strstr(r->err, words)) fail_msg("wanted %d, \"%s\": %d, %s", code, words, r->code, r->err);
}

static void is_put_among_ones_own(void **state) {
    (void)state;
    expect(run("utter voices add '%s/me.json?signature=hush' --sha256 %s", url, sum), 0, "dawn is in ");
    assert_int_equal(run("cmp data/utter/voices/dawn.json sum")->code, 0);
    expect(run("utter voices show dawn"), 0, "");
    int before = hub_server_n_requests(server);
    expect(run("utter voices add %s/me.json --sha256 %s", url, sum), 1, "--replace");
    expect(run("utter voices add %s/me.json --sha256 %s --name dawn", url, sum), 1, "--replace");
    assert_int_equal(hub_server_n_requests(server), before + 1);  // the second was known to be in the way
    expect(run("utter voices add %s/me.json --sha256 %s --replace", url, sum), 0, "dawn is in ");
    char upper[65];
    for (int i = 0; i < 65; i++) upper[i] = sum[i] >= 'a' && sum[i] <= 'f' ? (char)(sum[i] - 32) : sum[i];
    expect(run("utter voices add %s/me.json --sha256 %s --name clerk", url, upper), 0, "clerk is in ");
    const struct result *r = run("utter voices show clerk");
    assert_non_null(strstr(r->out, "clerk"));
    expect(run("utter voices add %s/me.json --sha256 %s -o here.json", url, sum), 0, "here.json");
    assert_int_equal(run("cmp here.json sum")->code, 0);
    snprintf(serve("/moved.json", "")->location, 300, "%s/me.json", url);
    expect(run("utter voices add %s/moved.json --sha256 %s -o there.json", url, sum), 0, "there.json");
    snprintf(serve("/round.json", "")->location, 300, "%s/round.json", url);
    expect(run("utter voices add %s/round.json --sha256 %s -o no.json", url, sum), 1, "redirects");
}

static void what_is_wrong_is_said_and_nothing_kept(void **state) {
    (void)state;
    int before = hub_server_n_requests(server);
    expect(run("utter voices add %s/me.json -o no.json", url), 1, "--sha256");
    expect(run("utter voices add %s/me.json -o no.json --sha256 123", url), 1, "64 hexadecimal digits");
    expect(run("utter voices add %s/me.json -o no.json --sha256 %s --text a.txt", url, sum), 2, "for recordings");
    expect(run("utter voices add me.wav -o no.json --sha256 %s", sum), 2, "from an address");
    assert_int_equal(hub_server_n_requests(server), before);
    char other[65];
    strcpy(other, sum);
    other[0] = sum[0] == '0' ? '1' : '0';
    const struct result *r = run("utter voices add 'http://me:hush@%s/me.json?signature=hush' -o no.json --sha256 %s",
                                 url + strlen("http://"), other);
    expect(r, 1, "its SHA-256 should be ");
    assert_null(strstr(r->err, "hush"));
    expect(run("utter voices add %s/none.json -o no.json --sha256 %s", url, sum), 1, "is not there (HTTP 404)");
    struct hub_route *closed = serve("/closed.json", "");
    closed->fault = FAULT_STATUS;
    closed->http = 403;
    expect(run("utter voices add '%s/closed.json?X-Amz-Expires=1' -o no.json --sha256 %s", url, sum), 1,
           "a signed address may have expired");
    serve("/page", "\n<!DOCTYPE html><html>Log in</html>");
    expect(run("utter voices add %s/page -o no.json --sha256 %s", url, sum), 1, "is a page and no voice file");
    struct hub_route *long_one = serve("/long.json", dawn);
    long_one->fault = FAULT_LENGTH;
    long_one->length = 5000000;
    expect(run("utter voices add %s/long.json -o no.json --sha256 %s", url, sum), 1, "at most 4.2 MB");
    assert_int_equal(file_size("no.json"), -1);
    expect(run("ls data/utter/voices | grep -v -e '^dawn.json$' -e '^clerk.json$'"), 1, "");
}

static void what_is_no_voice_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "is no voice file"},
        {"{}", "\"format\" is not"},
        {"{\"format\": \"utter-voice\", \"version\": 2}", "\"version\" is not 1"},
        {"{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"\"}", "\"name\" is not"},
        {"{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"a\\nb\"}", "\"name\" is not"},
        {"{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"a\", \"text\": \"b\", \"codes\": [-1]}",
         "neither \"text\" and \"codes\""},
        {VOICE("../../escaped"), "cannot name a voice"},
        {VOICE(".hidden"), "cannot name a voice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], wanted[65];
        snprintf(path, sizeof path, "%s/case", run_folder());
        FILE *f = fopen(path, "wb");
        assert_true(f && fputs(cases[i].text, f) >= 0 && fclose(f) == 0);
        assert_ok(sha256_file(path, wanted));
        serve("/case.json", cases[i].text);
        expect(run("utter voices add %s/case.json --sha256 %s", url, wanted), 1, cases[i].words);
    }
    expect(run("find . -name '*escaped*' -o -name '.hidden*' | grep ."), 1, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_put_among_ones_own),
        cmocka_unit_test(what_is_wrong_is_said_and_nothing_kept),
        cmocka_unit_test(what_is_no_voice_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
