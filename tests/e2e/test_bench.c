/* utter bench: it measures what it says it does; how fast is nobody's business here. */
#include "test.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static json_t *json_of(const struct result *r) {
    json_error_t error;
    json_t *o = json_loads(r->out, 0, &error);
    if (!o) fail_msg("%s in %s%s", error.text, r->out, r->err);
    return o;
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("there is no number %s", key);
    return json_number_value(v);
}

static const json_t *row(const json_t *bench, const char *key) {
    const json_t *rows = json_object_get(bench, "rows");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        if (strcmp(json_string_value(json_object_get(r, "key")), key) == 0) return r;
    }
    return NULL;
}

static void test_every_figure_is_there(void **state) {
    (void)state;
    const struct result *r = run("utter bench --quick --json --model built-in --device cpu --threads 1");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *bench = json_of(r);
    static const char *const keys[] = {
        "load_s",      "ready_s", "sentence_s",  "sentence_real_time", "first_sound_s", "streamed_s",
        "resident_mb", "peak_mb", "prefill_128", "prefill_512",        "decode_0",      "codec_81",
        "codec_500",   "batch_1", "batch_4",     "batch_16",           "batch_64"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *f = row(bench, keys[i]);
        if (!f) fail_msg("there is no %s in %s", keys[i], r->out);
        assert_true(number(f, "median") > 0);
        assert_true(number(f, "least") <= number(f, "median") && number(f, "median") <= number(f, "most"));
        assert_true(number(f, "runs") >= 1);
    }
    assert_true(number(json_object_get(bench, "sentence"), "codes") > 10);
    assert_true(json_is_false(json_object_get(json_object_get(bench, "sentence"), "unended")));
    json_decref(bench);
}

static void test_capacity(void **state) {
    (void)state;
    const struct result *r = run("utter bench --capacity --quick --json --model built-in --device cpu");
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *bench = json_of(r);
    double capacity = number(bench, "capacity");
    assert_true(capacity >= 0 && capacity <= 2);
    const json_t *first = json_array_get(json_object_get(bench, "rows"), 0);
    assert_int_equal((int)number(first, "listeners"), 1);
    assert_true(number(first, "real_time") > 0);
    assert_true((number(first, "gaps") == 0) == (capacity >= 1));
    json_decref(bench);
}

static void test_ready(void **state) {
    (void)state;
    const struct result *r = run("utter bench --ready --model built-in");
    assert_int_equal(r->code, 0);
    assert_string_equal(r->out, "ready\n");
}

/* ---- a server that is none ---- */

static atomic_int n_asked, n_with_key;

// A tenth of a second of sound in two pieces; to every fifth request 429.
static enum MHD_Result answer(void *user, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_n, void **request) {
    (void)user, (void)version, (void)upload;
    static const char refusal[] = "{\"error\": {\"message\": \"too many of you\", \"type\": \"rate_limit\"}}";
    static const unsigned char sound[4800];
    if (!*request) {
        *request = (void *)1;
        return MHD_YES;
    }
    if (*upload_n) {
        *upload_n = 0;
        return MHD_YES;
    }
    const char *key = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
    n_with_key += key && strcmp(key, "Bearer secret") == 0;
    bool right = strcmp(url, "/v1/audio/speech") == 0 && strcmp(method, "POST") == 0;
    bool refused = ++n_asked % 5 == 0;
    const char *body = refused ? refusal : (const char *)sound;
    struct MHD_Response *r = MHD_create_response_from_buffer(refused ? sizeof refusal - 1 : sizeof sound, (void *)body,
                                                             MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(r, "Content-Type", refused ? "application/json" : "audio/pcm");
    enum MHD_Result queued = MHD_queue_response(c, !right ? 404 : refused ? 429 : 200, r);
    MHD_destroy_response(r);
    return queued;
}

static void test_server(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, NULL,
                                            MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_END);
    assert_non_null(d);
    int port = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port;
    const struct result *r =
        run("utter bench --server http://127.0.0.1:%d/ --concurrency 1,3 --requests 7 --key secret --json", port);
    if (r->code != 0) fail_msg("%s%s", r->out, r->err);
    json_t *bench = json_of(r);
    const json_t *rows = json_object_get(bench, "rows");
    assert_int_equal(json_array_size(rows), 2);
    double n_good = 0, n_errors = 0;
    for (size_t i = 0; i < 2; i++) {
        const json_t *level = json_array_get(rows, i);
        assert_int_equal((int)number(level, "concurrency"), i ? 3 : 1);
        n_good += number(level, "good");
        const json_t *first = json_object_get(level, "first_sound_s"), *total = json_object_get(level, "total_s");
        assert_true(number(first, "p50") > 0 && number(first, "p50") <= number(total, "p50"));
        assert_true(number(first, "p50") <= number(first, "p90") && number(first, "p90") <= number(first, "p99"));
        const json_t *errors = json_object_get(level, "errors");
        for (size_t k = 0; k < json_array_size(errors); k++) {
            const json_t *e = json_array_get(errors, k);
            assert_string_equal(json_string_value(json_object_get(e, "sentence")), "429 too many of you");
            n_errors += number(e, "count");
        }
    }
    // one to see whether it is there, seven of each; each fifth was refused
    assert_int_equal(n_asked, 15);
    assert_int_equal(n_with_key, 15);
    assert_int_equal((int)n_good, 11);
    assert_int_equal((int)n_errors, 3);
    json_decref(bench);
    MHD_stop_daemon(d);

    r = run("utter bench --server http://127.0.0.1:%d --concurrency 1", port);
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "127.0.0.1"));
}

static void test_what_makes_no_sense(void **state) {
    (void)state;
    assert_int_equal(run("utter bench more")->code, 2);
    assert_int_equal(run("utter bench --server http://x --capacity")->code, 2);
    assert_int_equal(run("utter bench --model no-such-model")->code, 1);
    assert_int_equal(run("utter bench --server ftp://127.0.0.1")->code, 1);
    const struct result *r = run("UTTER_CUDA_LIBRARY=/nowhere/libcuda.so utter bench --model built-in --device gpu");
    assert_int_equal(r->code, 1);
    assert_non_null(strstr(r->err, "/nowhere/libcuda.so"));
    assert_string_equal(r->out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_figure_is_there),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, run_setup, run_cleanup);
}
