#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub_server.h"
#include "models/hub.h"

#define SUM "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BLOB "0123456789abcdef0123456789abcdef01234567"
#define LISTING "/api/models/neuphonic/neutts-air/tree/main"

struct world {
    struct hub_server *server;
    struct hub hub;
    char folder[64], path[100];
};

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof *w);
    w->server = hub_server_start("127.0.0.1");
    strcpy(w->folder, "/tmp/utter-hub-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof w->path, "%s/token", w->folder);
    static const char *const names[] = {"HF_TOKEN", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    setenv("HF_HOME", w->folder, 1);
    setenv("HF_ENDPOINT", hub_server_url(w->server), 1);
    assert_ok(hub_open(&w->hub));
    w->hub.limits = (struct download_limits){2000, 1, 100, 2, 10, 1000};
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    remove(w->path);
    rmdir(w->folder);
    hub_close(&w->hub);
    hub_server_stop(w->server);
    free(w);
    return 0;
}

static void answer(struct world *w, const char *path, const char *text) {
    struct hub_route *r = hub_server_at(w->server, path);
    r->data = text;
    r->n = strlen(text);
}

// ---- the environment ----

static void reopen(struct world *w) {
    hub_close(&w->hub);
    assert_ok(hub_open(&w->hub));
}

static void write_token(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_environment(void **state) {
    struct world *w = *state;
    assert_null(w->hub.token);
    assert_false(w->hub.offline);
    write_token(w->path, "  hf_file\n");
    reopen(w);
    assert_string_equal(w->hub.token, "hf_file");
    setenv("HF_TOKEN", "hf_env", 1);
    reopen(w);
    assert_string_equal(w->hub.token, "hf_env");
    unsetenv("HF_TOKEN");
    unsetenv("HF_HOME");
    reopen(w);
    setenv("HF_TOKEN_PATH", w->path, 1);
    reopen(w);
    assert_string_equal(w->hub.token, "hf_file");
    setenv("HF_ENDPOINT", "https://hub.example///", 1);
    setenv("HF_HUB_OFFLINE", "Yes", 1);
    reopen(w);
    assert_string_equal(w->hub.endpoint, "https://hub.example");
    assert_true(w->hub.offline);
    setenv("HF_HUB_OFFLINE", "0", 1);
    unsetenv("HF_ENDPOINT");
    reopen(w);
    assert_string_equal(w->hub.endpoint, "https://huggingface.co");
    assert_false(w->hub.offline);
}

static void test_bad_environment(void **state) {
    (void)state;
    struct hub h;
    static const char *const tokens[] = {"a\r\nX-Evil: 1", "two words", "\x01", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        setenv("HF_TOKEN", tokens[i], 1);
        assert_int_equal(hub_open(&h), UTTER_INVALID);
        assert_non_null(strstr(fail_message(), "HF_TOKEN"));
    }
    unsetenv("HF_TOKEN");
    static const char *const endpoints[] = {"huggingface.co", "file:///etc", "ftp://a"};
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        setenv("HF_ENDPOINT", endpoints[i], 1);
        assert_int_equal(hub_open(&h), UTTER_INVALID);
        assert_non_null(strstr(fail_message(), "HF_ENDPOINT"));
    }
}

// ---- listings ----

static void test_listing(void **state) {
    struct world *w = *state;
    setenv("HF_TOKEN", "hf_secret", 1);
    reopen(w);
    answer(w, LISTING,
           "[{\"type\":\"directory\",\"oid\":\"x\",\"size\":0,\"path\":\"sub\"},"
           "{\"type\":\"file\",\"oid\":\"" BLOB
           "\",\"size\":3,\"path\":\"config.json\"},"
           "{\"type\":\"file\",\"oid\":\"" BLOB "\",\"size\":4000000000,\"lfs\":{\"oid\":\"" SUM
           "\",\"size\":4000000000,\"pointerSize\":134},\"path\":\"sub/neutts-air-Q4_0.gguf\"},"
           "{\"type\":\"file\",\"size\":1,\"lfs\":{\"sha256\":\"" SUM "\"},\"path\":\"a\"}]");
    struct hub_listing l;
    assert_ok(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l));
    assert_int_equal(l.n, 3);
    assert_string_equal(l.files[0].path, "config.json");
    assert_string_equal(l.files[0].git, BLOB);
    assert_string_equal(l.files[0].sha256, "");
    assert_string_equal(l.files[1].path, "sub/neutts-air-Q4_0.gguf");
    assert_true(l.files[1].n_bytes == INT64_C(4000000000));
    assert_string_equal(l.files[1].sha256, SUM);
    assert_string_equal(l.files[1].git, "");
    assert_string_equal(l.files[2].sha256, SUM);
    hub_listing_free(&l);
    assert_string_equal(hub_server_request(w->server, 0)->authorization, "Bearer hf_secret");
    assert_string_equal(hub_server_request(w->server, 0)->query, "true");
}

static void test_bad_listings(void **state) {
    struct world *w = *state;
#define FILE_OF(more) "[{\"type\":\"file\"," more "}]"
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "cannot be used"},
        {"<html>", "cannot be used"},
        {"{\"error\":\"no\"}", "no list"},
        {"[1]", "no type"},
        {"[{}]", "no type"},
        {FILE_OF("\"size\":1"), "no path or no size"},
        {FILE_OF("\"path\":\"a\""), "no path or no size"},
        {FILE_OF("\"path\":\"a\",\"size\":-1"), "no path or no size"},
        {FILE_OF("\"path\":\"a\",\"size\":1e99"), "no path or no size"},
        {FILE_OF("\"path\":\"a\",\"size\":99999999999999999999"), "cannot be used"},
        {FILE_OF("\"path\":3,\"size\":1"), "no path or no size"},
        {FILE_OF("\"path\":\"../x\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"/etc/passwd\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"a/../../x\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"a\\\\..\\\\x\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"a\\n\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"\",\"size\":1"), "lead out of its folder"},
        {FILE_OF("\"path\":\"a\\u0000b\",\"size\":1"), "cannot be used"},
        {FILE_OF("\"path\":\"a\",\"size\":1,\"oid\":\"123\""), "checksum"},
        {FILE_OF("\"path\":\"a\",\"size\":1,\"lfs\":{}"), "checksum"},
        {FILE_OF("\"path\":\"a\",\"size\":1,\"lfs\":{\"oid\":\"" BLOB "\"}"), "checksum"},
        {FILE_OF("\"path\":\"a\",\"size\":1,\"lfs\":{\"oid\":\"../../" SUM "\"}"), "checksum"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hub_listing l;
        answer(w, LISTING, cases[i].text);
        status s = hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l);
        if (s != UTTER_FORMAT || !strstr(fail_message(), cases[i].words))
            fail_msg("%s: wanted \"%s\", found %s: %s", cases[i].text, cases[i].words, status_name(s), fail_message());
        assert_int_equal(l.n, 0);
    }
}

// Pages of a long listing, as the hub's Link header chains them.
static void test_long_listings(void **state) {
    struct world *w = *state;
    enum { PAGES = 3, FILES = 1000 };
    struct str pages[PAGES] = {0};
    struct hub_listing l;
    char path[PAGES][100];
    for (int p = 0; p < PAGES; p++) {
        str_putc(&pages[p], '[');
        for (int i = 0; i < FILES; i++)
            str_printf(&pages[p], "%s{\"type\":\"file\",\"path\":\"f%d\",\"size\":1}", i ? "," : "", p * FILES + i);
        str_putc(&pages[p], ']');
        snprintf(path[p], sizeof path[p], p ? LISTING "/page%d" : LISTING, p);
        answer(w, path[p], str_text(&pages[p]));
    }
    for (int p = 0; p + 1 < PAGES; p++)
        snprintf(hub_server_at(w->server, path[p])->link, 300, "<%s%s?cursor=x>; rel=\"next\"",
                 hub_server_url(w->server), path[p + 1]);
    assert_ok(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l));
    assert_int_equal(l.n, PAGES * FILES);
    assert_string_equal(l.files[2999].path, "f2999");
    hub_listing_free(&l);

    struct hub_route *r = hub_server_at(w->server, LISTING);
    // Pages that never end, and one at another place, which must not get the token.
    snprintf(hub_server_at(w->server, path[1])->link, 300, "<%s%s>; rel=\"next\"", hub_server_url(w->server), path[1]);
    assert_int_equal(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l), UTTER_FORMAT);
    int before = hub_server_n_requests(w->server);
    strcpy(r->link, "<http://127.0.0.1:1/else>; rel=\"next\"");
    assert_int_equal(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "somewhere else"));
    assert_int_equal(hub_server_n_requests(w->server), before + 1);
    // Other links are no next page.
    strcpy(r->link, "<http://127.0.0.1:1/first>; rel=\"first\"");
    assert_ok(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l));
    assert_int_equal(l.n, FILES);
    hub_listing_free(&l);
    r->fault = FAULT_LENGTH;
    r->length = INT64_C(1) << 40;
    assert_int_equal(hub_list(&w->hub, "neuphonic/neutts-air", "main", NULL, &l), UTTER_LIMIT);
    for (int p = 0; p < PAGES; p++) str_free(&pages[p]);
}

// ---- files and refusals ----

static status fetch(struct world *w, const char *path) {
    struct hub_file f = {.path = (char *)path, .n_bytes = 2};
    struct download_result r;
    char out[120];
    snprintf(out, sizeof out, "%s/out", w->folder);
    status s = hub_fetch(&w->hub, "a/b", "v 1/x", &f, out, NULL, &r);
    remove(out);
    return s;
}

static void test_file(void **state) {
    struct world *w = *state;
    answer(w, "/a/b/resolve/v 1/x/sub/a b%.gguf", "hi");
    assert_ok(fetch(w, "sub/a b%.gguf"));
    // The revision is one part of the address, as Hugging Face has it.
    assert_string_equal(hub_server_request(w->server, 0)->path, "/a/b/resolve/v 1/x/sub/a b%.gguf");
}

static void test_refusals(void **state) {
    static const struct {
        unsigned http;
        const char *token, *code, *words;
    } cases[] = {
        {401, NULL, "", "put it into HF_TOKEN"},
        {401, NULL, "GatedRepo", "accept its terms"},
        {401, "hf_x", "", "refuses the access token"},
        {401, "hf_x", "GatedRepo", "accept its terms"},
        {403, "hf_x", "GatedRepo", "accept its terms"},
        {404, NULL, "EntryNotFound", "no such file"},
        {404, NULL, "RevisionNotFound", "no such revision"},
        {404, NULL, "RepoNotFound", "moved or renamed"},
        {429, NULL, "", "too many requests"},
        {500, NULL, "", "out of order"},
        {503, NULL, "", "out of order"},
    };
    struct world *w = *state;
    struct hub_route *r = hub_server_at(w->server, "/a/b/resolve/v 1/x/f");
    r->fault = FAULT_STATUS;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].token)
            setenv("HF_TOKEN", cases[i].token, 1);
        else
            unsetenv("HF_TOKEN");
        struct download_limits limits = w->hub.limits;
        reopen(w);
        w->hub.limits = limits;
        r->http = cases[i].http;
        strcpy(r->code, cases[i].code);
        status s = fetch(w, "f");
        if (s != UTTER_IO || !strstr(fail_message(), cases[i].words))
            fail_msg("%u %s: wanted \"%s\", found %s: %s", cases[i].http, cases[i].code, cases[i].words, status_name(s),
                     fail_message());
        assert_null(strstr(fail_message(), "hf_x"));  // a sentence is for showing around
    }
}

static void test_offline(void **state) {
    struct world *w = *state;
    struct hub_listing l;
    w->hub.offline = true;
    assert_int_equal(hub_list(&w->hub, "a/b", "main", NULL, &l), UTTER_IO);
    assert_non_null(strstr(fail_message(), "HF_HUB_OFFLINE"));
    assert_int_equal(fetch(w, "f"), UTTER_IO);
    assert_int_equal(hub_server_n_requests(w->server), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_environment),  TEST(test_bad_environment), TEST(test_listing),
        TEST(test_bad_listings), TEST(test_long_listings),   TEST(test_file),
        TEST(test_refusals),     TEST(test_offline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
