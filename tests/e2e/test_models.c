/* utter models pull and its kin, against a hub on this machine: a backbone that is GGUF already and a codec that must
   be converted. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/file.h"
#include "fixtures/codec_rule.h"
#include "fixtures/sha256.h"
#include "fixtures/tiny.h"
#include "hub_server.h"
#include "run.h"

static struct hub_server *server;
static struct file_map backbone, codec;
static char backbone_listing[300], codec_listing[300];

static void in_folder(char path[512], const char *name) { snprintf(path, 512, "%s/%s", run_folder(), name); }

static void serve(const char *path, const void *data, size_t n, const char *etag) {
    struct hub_route *r = hub_server_at(server, path);
    r->data = data;
    r->n = n;
    snprintf(r->etag, sizeof r->etag, "\"%s\"", etag);
}

// Serves `file` as repository `name`.
static void serve_repository(const char *name, const char *file, const char *path, const struct file_map *map,
                             char listing[300]) {
    char sum[65], url[200];
    assert_ok(sha256_file(path, sum));
    snprintf(listing, 300, "[{\"type\":\"file\",\"path\":\"%s\",\"size\":%zu,\"lfs\":{\"oid\":\"%s\"}}]", file,
             map->size, sum);
    snprintf(url, sizeof url, "/api/models/%s/tree/main", name);
    serve(url, listing, strlen(listing), "listing");
    snprintf(url, sizeof url, "/%s/resolve/main/%s", name, file);
    serve(url, map->data, map->size, sum);
}

static const char models_json[] =
    "{\"licences\": {\"Strict\": {\"url\": \"https://example.org/strict\", \"asks\": true}}, \"models\": ["
    "{\"name\": \"tiny\", \"kind\": \"backbone\", \"repository\": \"me/tiny\", \"files\": [\"*.gguf\"],"
    " \"language\": \"en-us\", \"licence\": \"Strict\", \"codec\": \"tinycodec\"},"
    "{\"name\": \"tinycodec\", \"kind\": \"codec\", \"repository\": \"me/codec\", \"type\": \"q8_0\","
    " \"files\": [\"model.safetensors\"], \"licence\": \"Apache 2.0\"}]}";

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    char path[512];
    server = hub_server_start("127.0.0.1");
    in_folder(path, "b.gguf");
    assert_ok(fixture_tiny("qwen2-mix", path));
    assert_ok(file_map_open(path, &backbone));
    serve_repository("me/tiny", "tiny-Q4_0.gguf", path, &backbone, backbone_listing);
    in_folder(path, "c.safetensors");
    assert_ok(fixture_codec_safetensors(false, path));
    assert_ok(file_map_open(path, &codec));
    serve_repository("me/codec", "model.safetensors", path, &codec, codec_listing);
    in_folder(path, "config");
    assert_int_equal(mkdir(path, 0777), 0);
    setenv("XDG_CONFIG_HOME", path, 1);
    in_folder(path, "config/utter");
    assert_int_equal(mkdir(path, 0777), 0);
    in_folder(path, "config/utter/models.json");
    struct file_writer w;
    assert_ok(file_create(path, &w));
    assert_ok(file_write(&w, models_json, sizeof models_json - 1));
    assert_ok(file_commit(&w));
    in_folder(path, "home");
    setenv("UTTER_HOME", path, 1);
    setenv("HF_HOME", path, 1);
    setenv("HF_ENDPOINT", hub_server_url(server), 1);
    unsetenv("HF_TOKEN");
    unsetenv("HF_HUB_OFFLINE");
    return 0;
}

static int clean_up(void **state) {
    hub_server_stop(server);
    file_map_close(&backbone);
    file_map_close(&codec);
    return run_cleanup(state);
}

static const struct result *expect(int code, const char *out, const char *err, const struct result *r) {
    if (r->code != code || !strstr(r->out, out) || !strstr(r->err, err))
        fail_msg("wanted code %d, \"%s\" and \"%s\"; found %d, \"%s\" and \"%s\"", code, out, err, r->code, r->out,
                 r->err);
    return r;
}

static void test_before(void **state) {
    (void)state;
    expect(0, "utter models pull NAME fetches:\nneutts-air ", "", run("utter models list"));
    expect(1, "", "utter models pull tiny", run("utter models path tiny"));
    expect(1, "", "there is no model huge", run("utter models pull huge"));
    expect(2, "", "a model's name is wanted", run("utter models pull"));
    expect(1, "", "--accept-licence \"Strict\"", run("utter models pull tiny </dev/null"));
    assert_int_equal(hub_server_n_requests(server), 0);
}

static void test_stopped_and_continued(void **state) {
    (void)state;
    struct hub_route *r = hub_server_at(server, "/me/tiny/resolve/main/tiny-Q4_0.gguf");
    r->fault = FAULT_STALL;
    r->after = 5000;
    r->times = 1;
    // Stopped once the transfer has begun, which the part file shows.
    expect(
        143, "", "stopped",
        run("utter models pull tiny --accept-licence strict & p=$!; "
            "for i in $(seq 300); do [ -s home/models/tiny.pull/tiny-Q4_0.gguf.part.etag ] && break; sleep 0.1; done; "
            "sleep 0.5; kill -TERM $p; wait $p"));
    assert_int_equal(file_size("home/models/tiny.pull/tiny-Q4_0.gguf.part"), 5000);
    expect(0, "", "tinycodec is here", run("utter models pull tiny --accept-licence strict"));
    assert_int_equal(r->n_asked, 2);
    assert_int_equal(file_size("home/models/tiny/tiny-Q4_0.gguf"), backbone.size);
    assert_int_equal(file_size("home/models/tiny.pull"), -1);
}

static void test_what_was_pulled(void **state) {
    (void)state;
    expect(0, "pulled:\ntiny ", "", run("utter models list"));
    expect(0, "/home/models/tiny/tiny-Q4_0.gguf\n", "", run("utter models path tiny"));
    expect(0, "/home/models/tinycodec/tinycodec.gguf\n", "", run("utter models path me/tiny --codec"));
    const struct result *r = run("utter models info --json \"$(utter models path tiny --codec)\"");
    json_t *info = json_loads(expect(0, "", "", r)->out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(info, "kind")), "codec");
    json_decref(info);
    expect(0, "", "checking tinycodec.gguf", run("utter models verify"));
    int before = hub_server_n_requests(server);
    expect(0, "", "tiny is already here", run("utter models pull tiny"));
    expect(0, "", "", run("HF_HUB_OFFLINE=1 utter models pull tiny --quiet"));
    assert_int_equal(hub_server_n_requests(server), before);
    r = run("utter models list --json");
    json_t *list = json_loads(r->out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "state")), "installed");
    json_decref(list);
}

static void test_damaged_and_removed(void **state) {
    (void)state;
    expect(0, "", "", run("printf x | dd of=home/models/tiny/tiny-Q4_0.gguf bs=1 seek=4000 conv=notrunc"));
    expect(1, "", "not what was fetched", run("utter models verify tiny"));
    expect(0, "", "", run("printf x >>home/models/tiny/tiny-Q4_0.gguf"));
    expect(0, "cannot be used: tiny is damaged", "", run("utter models list"));
    expect(1, "", "tiny is damaged", run("utter models path tiny"));
    expect(0, "", "", run("utter models remove tiny"));
    assert_int_equal(file_size("home/models/tiny"), -1);
    expect(1, "", "tiny is not installed", run("utter models remove tiny"));
    expect(0, "tinycodec.gguf", "", run("utter models path tinycodec"));
}

static void test_two_at_once(void **state) {
    (void)state;
    struct hub_route *r = hub_server_at(server, "/me/tiny/resolve/main/tiny-Q4_0.gguf");
    int before = r->n_asked;
    expect(0, "", "is here",
           run("utter models pull tiny --accept-licence Strict & utter models pull tiny --accept-licence Strict && "
               "wait $!"));
    assert_int_equal(r->n_asked, before + 1);
    expect(0, "", "", run("utter models verify tiny"));
}

static void test_a_list_with_a_mistake(void **state) {
    (void)state;
    expect(0, "", "",
           run("mkdir -p bad/utter && echo \"{\\\"models\\\": [{\\\"name\\\": \\\"x\\\"}]}\" >bad/utter/models.json"));
    expect(1, "", "models.json: model \"x\": \"kind\" must be there",
           run("XDG_CONFIG_HOME=$PWD/bad utter models list"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before),          cmocka_unit_test(test_stopped_and_continued),
        cmocka_unit_test(test_what_was_pulled), cmocka_unit_test(test_damaged_and_removed),
        cmocka_unit_test(test_two_at_once),     cmocka_unit_test(test_a_list_with_a_mistake),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
