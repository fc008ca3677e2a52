#include "test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hub_server.h"
#include "models/digest.h"
#include "models/download.h"

enum { SIZE = 300000 };

struct world {
    struct hub_server *server;
    struct hub_route *route;  // of /file
    unsigned char data[SIZE], other[SIZE];
    char sha256[65], folder[64], path[100], part[110], sidecar[120], url[100];
    struct download d;
    struct download_result result;
};

static void sum(const void *data, size_t n, char out[65]) {
    struct digest d;
    char git[41];
    assert_ok(digest_start(&d, -1));
    digest_add(&d, data, n);
    digest_finish(&d, out, git);
}

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof *w);
    uint32_t x = 1;
    for (int i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        w->data[i] = (unsigned char)(x >> 24);
        w->other[i] = (unsigned char)(x >> 16);
    }
    sum(w->data, SIZE, w->sha256);
    w->server = hub_server_start("127.0.0.1");
    w->route = hub_server_at(w->server, "/file");
    w->route->data = w->data;
    w->route->n = SIZE;
    strcpy(w->route->etag, "\"one\"");
    strcpy(w->folder, "/tmp/utter-download-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof w->path, "%s/file", w->folder);
    snprintf(w->part, sizeof w->part, "%s.part", w->path);
    snprintf(w->sidecar, sizeof w->sidecar, "%s.etag", w->part);
    snprintf(w->url, sizeof w->url, "%s/file", hub_server_url(w->server));
    w->d = (struct download){.url = w->url, .what = "the file", .n_bytes = SIZE, .sha256 = w->sha256};
    w->d.limits = (struct download_limits){2000, 1, 1000, 3, 10, 2000};
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    remove(w->path);
    remove(w->part);
    remove(w->sidecar);
    rmdir(w->folder);
    hub_server_stop(w->server);
    free(w);
    return 0;
}

static void assert_file(const char *path, const void *data, size_t n) {
    struct file_map map;
    assert_ok(file_map_open(path, &map));
    assert_int_equal(map.size, n);
    if (n) assert_memory_equal(map.data, data, n);
    file_map_close(&map);
}

static void assert_fetched(struct world *w) {
    assert_ok(download_file(&w->d, w->path, &w->result));
    assert_file(w->path, w->data, SIZE);
    assert_string_equal(w->result.sha256, w->sha256);
    assert_int_equal(w->result.n_bytes, SIZE);
    assert_int_not_equal(access(w->part, F_OK), 0);
    assert_int_not_equal(access(w->sidecar, F_OK), 0);
}

static void assert_fails(struct world *w, status wanted, const char *words) {
    status s = download_file(&w->d, w->path, &w->result);
    if (s != wanted || !strstr(fail_message(), words))
        fail_msg("wanted %s with \"%s\", found %s: %s", status_name(wanted), words, status_name(s), fail_message());
    assert_int_not_equal(access(w->path, F_OK), 0);
}

static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static const struct hub_request *request(struct world *w, int i) {
    assert_in_range(i, 0, hub_server_n_requests(w->server) - 1);
    return hub_server_request(w->server, i);
}

static void test_plain(void **state) {
    struct world *w = *state;
    assert_fetched(w);
    assert_int_equal(w->result.n_received, SIZE);
    assert_string_equal(request(w, 0)->range, "");
    assert_string_equal(request(w, 0)->authorization, "");
}

static void test_nothing_known(void **state) {
    struct world *w = *state;
    w->d.n_bytes = -1;
    w->d.sha256 = NULL;
    w->route->fault = FAULT_CHUNKED;
    assert_fetched(w);
}

static void test_empty_file(void **state) {
    struct world *w = *state;
    w->route->n = 0;
    w->d.n_bytes = 0;
    w->d.sha256 = NULL;
    assert_ok(download_file(&w->d, w->path, &w->result));
    assert_file(w->path, "", 0);
}

static void test_git_name(void **state) {
    struct world *w = *state;
    w->route->data = "hello\n";  // git hash-object
    w->route->n = 6;
    w->d.n_bytes = 6;
    w->d.sha256 = "";
    w->d.git = "ce013625030ba8dba906f756967f9e9ca394464a";
    assert_ok(download_file(&w->d, w->path, &w->result));
    remove(w->path);
    w->d.git = "ce013625030ba8dba906f756967f9e9ca394464c";
    assert_fails(w, UTTER_FORMAT, "checksum");
}

static void test_text(void **state) {
    struct world *w = *state;
    struct str out = {0};
    w->route->data = "[1, 2]";
    w->route->n = 6;
    w->d.n_bytes = -1;
    w->d.max_bytes = 6;
    assert_ok(download_text(&w->d, &out, &w->result));
    assert_string_equal(str_text(&out), "[1, 2]");
    w->d.max_bytes = 5;
    assert_int_equal(download_text(&w->d, &out, &w->result), UTTER_LIMIT);
    w->route->fault = FAULT_CHUNKED;
    assert_int_equal(download_text(&w->d, &out, &w->result), UTTER_LIMIT);
    w->d.max_bytes = 6;
    w->route->fault = FAULT_CUT;
    w->route->after = 3;
    w->route->times = w->route->n_asked + 1;
    str_clear(&out);
    assert_ok(download_text(&w->d, &out, &w->result));
    assert_string_equal(str_text(&out), "[1, 2]");
    str_free(&out);
}

// ---- broken transfers ----

static void test_cut_is_resumed(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_CUT;
    w->route->times = 1;
    w->route->after = 100000;
    assert_fetched(w);
    assert_int_equal(hub_server_n_requests(w->server), 2);
    assert_string_equal(request(w, 1)->range, "bytes=100000-");
    assert_string_equal(request(w, 1)->if_range, "\"one\"");
    assert_int_equal(w->result.n_received, SIZE);
}

static void test_cut_forever(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_CUT;
    w->route->after = 1000;
    assert_fails(w, UTTER_IO, "what has come is kept");
    assert_int_equal(hub_server_n_requests(w->server), 3);
    struct stat info;
    assert_int_equal(stat(w->part, &info), 0);
    assert_int_equal(info.st_size, 3000);
    w->route->fault = FAULT_NONE;  // the next call goes on
    assert_fetched(w);
    assert_int_equal(w->result.n_received, SIZE - 3000);
}

static void test_stall(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_STALL;
    w->route->after = 5000;
    w->d.limits.n_attempts = 1;
    assert_fails(w, UTTER_IO, "nothing more came");
    w->route->times = w->route->n_asked;
    assert_fetched(w);
    assert_int_equal(w->result.n_received, SIZE - 5000);
}

static void test_changed_file(void **state) {
    struct world *w = *state;
    write_file(w->part, w->other, 1000);
    write_file(w->sidecar, "\"zero\"", 6);
    w->d.sha256 = NULL;
    assert_fetched(w);
    assert_string_equal(request(w, 0)->if_range, "\"zero\"");
    assert_int_equal(hub_server_n_requests(w->server), 1);
}

static void test_changed_file_and_a_server_that_does_not_care(void **state) {
    struct world *w = *state;
    write_file(w->part, w->other, 1000);
    write_file(w->sidecar, "\"zero\"", 6);
    w->route->fault = FAULT_RANGE;
    assert_fetched(w);  // the checksum tells
    assert_int_equal(hub_server_n_requests(w->server), 2);
}

static void test_part_without_etag(void **state) {
    struct world *w = *state;
    write_file(w->part, w->data, 1000);  // the checksum is known, so it can be tried
    assert_fetched(w);
    assert_string_equal(request(w, 0)->range, "bytes=1000-");
    remove(w->path);
    write_file(w->part, w->other, 1000);  // nothing is known
    w->d.sha256 = NULL;
    assert_fetched(w);
    assert_string_equal(request(w, 1)->range, "");
}

static void test_part_with_a_hostile_etag(void **state) {
    struct world *w = *state;
    write_file(w->part, w->data, 1000);
    write_file(w->sidecar, "\"x\"\r\nX-Evil: 1", 14);
    assert_fetched(w);
    assert_string_equal(request(w, 0)->if_range, "");
}

static void test_part_is_whole_or_too_long(void **state) {
    struct world *w = *state;
    write_file(w->part, w->data, SIZE);
    assert_fetched(w);
    assert_int_equal(hub_server_n_requests(w->server), 0);
    remove(w->path);
    write_file(w->part, w->other, SIZE);
    assert_fetched(w);
    remove(w->path);
    FILE *f = fopen(w->part, "wb");
    for (int i = 0; i < 2; i++) fwrite(w->data, 1, SIZE, f);
    fclose(f);
    assert_fetched(w);
}

static void test_range_that_cannot_be(void **state) {
    struct world *w = *state;
    FILE *f = fopen(w->part, "wb");
    for (int i = 0; i < 2; i++) fwrite(w->data, 1, SIZE, f);
    fclose(f);
    write_file(w->sidecar, "\"one\"", 5);
    w->d.n_bytes = -1;
    assert_fetched(w);  // 416, then all of it
    assert_int_equal(hub_server_n_requests(w->server), 2);
}

static void test_another_range(void **state) {
    struct world *w = *state;
    write_file(w->part, w->data, 1000);
    w->route->fault = FAULT_OTHER_RANGE;
    assert_fails(w, UTTER_FORMAT, "another part of the file");
}

static void test_wrong_checksum(void **state) {
    struct world *w = *state;
    w->route->data = w->other;
    assert_fails(w, UTTER_FORMAT, "checksum");
    assert_int_not_equal(access(w->part, F_OK), 0);
}

// ---- redirects ----

static void test_redirect_keeps_the_token(void **state) {
    struct world *w = *state;
    struct hub_server *cdn = hub_server_start("127.0.0.2");
    struct hub_route *far = hub_server_at(cdn, "/far");
    far->data = w->data;
    far->n = SIZE;
    snprintf(w->route->location, sizeof w->route->location, "%s/far", hub_server_url(cdn));
    w->d.token = "hf_secret";
    assert_fetched(w);
    assert_string_equal(request(w, 0)->authorization, "Bearer hf_secret");
    assert_int_equal(hub_server_n_requests(cdn), 1);
    assert_string_equal(hub_server_request(cdn, 0)->authorization, "");
    hub_server_stop(cdn);
}

static void test_redirect_below_the_same_host(void **state) {
    struct world *w = *state;
    struct hub_route *near = hub_server_at(w->server, "/near");
    *near = *w->route;
    strcpy(near->path, "/near");
    strcpy(w->route->location, "/near");
    w->d.token = "hf_secret";
    assert_fetched(w);
    assert_string_equal(request(w, 1)->authorization, "Bearer hf_secret");
}

static void test_checksum_of_the_redirect(void **state) {
    struct world *w = *state;
    struct hub_route *near = hub_server_at(w->server, "/near");
    *near = *w->route;
    strcpy(near->path, "/near");
    strcpy(near->linked_etag,
           "\"0000000000000000000000000000000000000000000000000000000000000000\"");  // not its to say
    strcpy(w->route->location, "/near");
    snprintf(w->route->linked_etag, sizeof w->route->linked_etag, "\"%s\"", w->sha256);
    w->d.sha256 = NULL;
    assert_fetched(w);
    remove(w->path);
    near->data = w->other;
    assert_fails(w, UTTER_FORMAT, "checksum");
}

static void test_redirects_that_lead_nowhere(void **state) {
    struct world *w = *state;
    strcpy(w->route->location, "/file");
    assert_fails(w, UTTER_IO, "redirect");
    strcpy(w->route->location, "file:///etc/hostname");
    assert_fails(w, UTTER_IO, "could not be fetched");
    strcpy(w->route->location, "ftp://127.0.0.1/x");
    assert_fails(w, UTTER_IO, "could not be fetched");
}

// ---- refusals ----

static void test_refusals(void **state) {
    static const struct {
        unsigned http;
        int n_requests;
        const char *words;
    } cases[] = {{400, 1, "HTTP 400"},     {401, 1, "does not allow"}, {403, 1, "does not allow"},
                 {404, 1, "not there"},    {410, 1, "HTTP 410"},       {429, 3, "too many"},
                 {500, 3, "out of order"}, {501, 1, "out of order"},   {503, 3, "out of order"}};
    struct world *w = *state;
    w->route->fault = FAULT_STATUS;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int before = hub_server_n_requests(w->server);
        w->route->http = cases[i].http;
        strcpy(w->route->code, "GatedRepo");
        assert_fails(w, UTTER_IO, cases[i].words);
        assert_int_equal(hub_server_n_requests(w->server) - before, cases[i].n_requests);
        assert_int_equal(w->result.http, cases[i].http);
        assert_string_equal(w->result.code, "GatedRepo");
    }
}

static void test_busy_for_a_while(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_STATUS;
    w->route->http = 503;
    w->route->times = 2;
    assert_fetched(w);
    assert_int_equal(hub_server_n_requests(w->server), 3);
}

static bool count_calls(void *user, int64_t done, int64_t total) {
    (void)done, (void)total;
    ++*(int *)user;
    return true;
}

static void test_retry_after(void **state) {
    struct world *w = *state;
    int n_calls = 0;
    w->route->fault = FAULT_STATUS;
    w->route->http = 429;
    w->route->times = 1;
    strcpy(w->route->retry_after, "1");
    struct download_events events = {count_calls, NULL, &n_calls};  // about every 50 ms of the wait
    w->d.events = &events;
    assert_fetched(w);
    assert_true(n_calls >= 10);
    remove(w->path);
    w->route->times = 0;
    strcpy(w->route->retry_after, "100000");
    assert_fails(w, UTTER_IO, "100000 s");
    assert_int_equal(w->result.http, 429);
    assert_int_equal(hub_server_n_requests(w->server), 3);
}

// ---- sizes ----

static void test_lengths(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_LENGTH;
    w->route->length = INT64_C(1) << 61;
    assert_fails(w, UTTER_FORMAT, "according to the listing");
    w->d.n_bytes = -1;
    assert_fails(w, UTTER_IO, "free some space");
    w->d.max_bytes = SIZE;
    assert_fails(w, UTTER_LIMIT, "at most");
    w->route->fault = FAULT_CHUNKED;
    w->d.max_bytes = SIZE - 1;
    assert_fails(w, UTTER_LIMIT, "more than");
    remove(w->part);
    w->d.n_bytes = SIZE - 1;
    assert_fails(w, UTTER_LIMIT, "more than");
    remove(w->part);
    w->d.n_bytes = SIZE + 1;
    assert_fails(w, UTTER_IO, "ended early");
}

static void test_endless_headers(void **state) {
    struct world *w = *state;
    w->route->fault = FAULT_HEADERS;
    assert_fails(w, UTTER_LIMIT, "headers");
}

static void test_full_disk(void **state) {
    struct world *w = *state;
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status s = download_file(&w->d, w->path, &w->result);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(s, UTTER_IO);
    assert_non_null(strstr(fail_message(), "cannot write"));
    assert_int_not_equal(access(w->path, F_OK), 0);
    assert_fetched(w);  // goes on where it was full
    assert_true(w->result.n_received < SIZE);
}

static void test_no_folder(void **state) {
    struct world *w = *state;
    assert_int_equal(download_file(&w->d, "/proc/nowhere/file", &w->result), UTTER_IO);
    assert_int_equal(hub_server_n_requests(w->server), 0);
}

// ---- from outside ----

static bool stop_after(void *user, int64_t done, int64_t total) {
    (void)total;
    return done < *(int64_t *)user;
}

static void test_stop(void **state) {
    struct world *w = *state;
    int64_t after = 1;
    w->route->fault = FAULT_STALL;
    w->route->times = 1;
    w->route->after = 50000;
    w->d.limits.stall_s = 100;
    struct download_events events = {stop_after, NULL, &after};
    w->d.events = &events;
    assert_fails(w, UTTER_CANCELLED, "stopped");
    w->d.events = NULL;
    assert_fetched(w);
    assert_int_equal(w->result.n_received, SIZE - 50000);
}

static void test_nobody_there(void **state) {
    struct world *w = *state;
    w->d.url = "http://127.0.0.1:1/file";
    assert_fails(w, UTTER_IO, "check the network");
    w->d.url = "file:///etc/hostname";
    assert_fails(w, UTTER_IO, "could not be fetched");
    w->d.url = "http://";
    assert_fails(w, UTTER_IO, "could not be fetched");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_plain),
        TEST(test_nothing_known),
        TEST(test_empty_file),
        TEST(test_git_name),
        TEST(test_text),
        TEST(test_cut_is_resumed),
        TEST(test_cut_forever),
        TEST(test_stall),
        TEST(test_changed_file),
        TEST(test_changed_file_and_a_server_that_does_not_care),
        TEST(test_part_without_etag),
        TEST(test_part_with_a_hostile_etag),
        TEST(test_part_is_whole_or_too_long),
        TEST(test_range_that_cannot_be),
        TEST(test_another_range),
        TEST(test_wrong_checksum),
        TEST(test_redirect_keeps_the_token),
        TEST(test_redirect_below_the_same_host),
        TEST(test_checksum_of_the_redirect),
        TEST(test_redirects_that_lead_nowhere),
        TEST(test_refusals),
        TEST(test_busy_for_a_while),
        TEST(test_retry_after),
        TEST(test_lengths),
        TEST(test_endless_headers),
        TEST(test_full_disk),
        TEST(test_no_folder),
        TEST(test_stop),
        TEST(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
