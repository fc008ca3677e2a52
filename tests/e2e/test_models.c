/* utter models pull and its kin, against a hub on this machine: a backbone that is GGUF already and a codec that must
   be converted. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/file.h"
#include "fixtures/encoder_rule.h"
#include "fixtures/sha256.h"
#include "fixtures/tiny.h"
#include "hub_server.h"
#include "run.h"

static struct hub_server *server;
static struct file_map backbone, codec, semantic;
static char backbone_listing[300], codec_listing[300], semantic_listing[300];

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
    " \"files\": [\"model.safetensors\"], \"licence\": \"Apache 2.0\", \"encoder\": \"tinyencoder\"},"
    "{\"name\": \"neucodec\", \"kind\": \"codec\", \"repository\": \"me/codec\", \"type\": \"q8_0\","
    " \"files\": [\"model.safetensors\"], \"licence\": \"Apache 2.0\"},"
    "{\"name\": \"tinyencoder\", \"kind\": \"encoder\", \"repository\": \"me/codec\", \"type\": \"f32\","
    " \"files\": [\"model.safetensors\"], \"licence\": \"Apache 2.0\","
    " \"semantic\": {\"repository\": \"me/semantic\", \"files\": [\"model.safetensors\"]}}]}";

// A NeuCodec with its encoder, and apart from it the semantic model that the encoder needs.
static void write_codec(const char *path, const char *semantic_path) {
    static struct codec_rule_tensor all[CODEC_RULE_MAX_TENSORS + ENCODER_RULE_MAX_TENSORS],
        apart[ENCODER_RULE_MAX_TENSORS], encoder[ENCODER_RULE_MAX_TENSORS];
    int n_decoder = codec_rule_tensors(false, encoder), n = 0, n_apart = 0;
    for (int i = 0; i < n_decoder; i++)
        if (encoder[i].needed) all[n++] = encoder[i];
    int n_encoder = encoder_rule_tensors(false, encoder);
    for (int i = 0; i < n_encoder; i++) {
        if (strncmp(encoder[i].name, "semantic_model.", 15) == 0)
            apart[n_apart++] = encoder[i];
        else
            all[n++] = encoder[i];
    }
    assert_ok(codec_rule_write(all, n,
                               ",\"utter.codec\":\"{\\\"head_count\\\":4,\\\"fsq_levels\\\":[2,2,2,2,2,2,2,4]}\","
                               "\"utter.encoder\":\"{\\\"head_count\\\":4,\\\"layer_count\\\":2}\"",
                               path));
    assert_ok(codec_rule_write(apart, n_apart, "", semantic_path));
}

static int set_up(void **state) {
    if (run_setup(state) != 0) return 1;
    char path[512];
    server = hub_server_start("127.0.0.1");
    in_folder(path, "b.gguf");
    assert_ok(fixture_tiny("qwen2-mix", path));
    assert_ok(file_map_open(path, &backbone));
    serve_repository("me/tiny", "tiny-Q4_0.gguf", path, &backbone, backbone_listing);
    in_folder(path, "c.safetensors");
    char other[512];
    in_folder(other, "s.safetensors");
    write_codec(path, other);
    assert_ok(file_map_open(path, &codec));
    serve_repository("me/codec", "model.safetensors", path, &codec, codec_listing);
    assert_ok(file_map_open(other, &semantic));
    serve_repository("me/semantic", "model.safetensors", other, &semantic, semantic_listing);
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
    in_folder(path, "data");
    setenv("XDG_DATA_HOME", path, 1);
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
    file_map_close(&semantic);
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

// With the encoder: one checkpoint is fetched once for both halves, and the semantic model from where it is.
static void test_with_the_encoder(void **state) {
    (void)state;
    struct hub_route *r = hub_server_at(server, "/me/codec/resolve/main/model.safetensors");
    int before = r->n_asked;
    expect(0, "", "", run("utter models remove tinycodec"));
    expect(1, "", "utter models pull tinyencoder fetches it", run("utter models path tinyencoder"));
    expect(0, "", "tinyencoder is here", run("utter models pull tiny --encoder"));
    assert_int_equal(r->n_asked, before + 1);
    assert_int_equal(file_size("home/models/tinyencoder.pull"), -1);
    assert_int_equal(file_size("home/models/tinyencoder/semantic"), -1);
    assert_int_equal(file_size("home/models/tinyencoder/model.safetensors"), -1);
    expect(0, "", "checking tinyencoder.gguf", run("utter models verify"));
    expect(0, "\"kind\": \"encoder\"", "", run("utter models info --json $(utter models path tinyencoder)"));
    before = hub_server_n_requests(server);
    expect(0, "", "tinyencoder is already here", run("utter models pull tiny --encoder"));
    assert_int_equal(hub_server_n_requests(server), before);
}

// What is pulled is what voices are made with, and what speaks when nothing is named.
static void test_voice_and_speech(void **state) {
    (void)state;
    expect(0, "", "has no voice", run("utter say -o before.wav Hello."));
    expect(0, "", "",
           run("utter say -q --model built-in -o me.wav \"This is what I say, for some seconds of speech.\""));
    // Made with the encoder that was pulled; its codes are those of another codec than this one, which has 512.
    expect(0, "", "other is in", run("utter voices add me.wav --name other --transcript \"This is what I say.\""));
    static const char me[] =
        "{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"me\", \"text\": \"This.\", "
        "\"codes\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}";
    char path[512];
    struct file_writer w;
    in_folder(path, "data/utter/voices/me.json");
    assert_ok(file_create(path, &w));
    assert_ok(file_write(&w, me, sizeof me - 1));
    assert_ok(file_commit(&w));
    const struct result *r = run("utter say -v --seed 3 --retries 0 --json -o after.wav \"A b.\"");
    if (!strstr(r->err, "tiny is the model that is installed") || !strstr(r->err, "tiny qwen2")) fail_msg("%s", r->err);
    r = run("utter voices list --json");
    json_t *list = json_loads(expect(0, "", "", r)->out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")), "me");
    json_decref(list);
    // A voice of the built-in model's is spoken with by that one.
    expect(0, "\"voice\": \"slt\"", "", run("utter say -q --voice slt --json -o slt.wav Hello."));
    // A damaged one is passed over.
    expect(0, "", "", run("printf x >>home/models/tiny/tiny-Q4_0.gguf"));
    expect(0, "\"voice\": \"slt\"", "tiny is damaged", run("utter say --json -o damaged.wav Hello."));
    expect(0, "", "",
           run("utter models remove tinycodec && utter models remove tiny && utter models pull tiny "
               "--accept-licence Strict && utter models remove tinycodec"));
    expect(0, "\"voice\": \"slt\"", "utter models pull tinycodec fetches it",
           run("utter say --json -o no-codec.wav Hello."));
}

// Makes `name` hold the files of a folder: "." stands for all that lie in it.
static void hold(const char *name, const char *folder, const char *const *files, int n, const char *card) {
    static char listings[4][700];
    static struct file_map maps[16];
    static char sums[16][65];
    static int n_listings, n_maps;
    char *listing = listings[n_listings++], *end = listing;
    char url[300], path[512];
    *end++ = '[';
    for (int i = 0; i < n; i++, n_maps++) {
        snprintf(path, sizeof path, "%s/%s/%s", run_folder(), folder, files[i]);
        assert_ok(file_map_open(path, &maps[n_maps]));
        assert_ok(sha256_file(path, sums[n_maps]));
        end += sprintf(end, "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":%zu,\"lfs\":{\"oid\":\"%s\"}}", i ? "," : "",
                       files[i], maps[n_maps].size, sums[n_maps]);
        snprintf(url, sizeof url, "/%s/resolve/main/%s", name, files[i]);
        serve(url, maps[n_maps].data, maps[n_maps].size, sums[n_maps]);
    }
    strcpy(end, "]");
    snprintf(url, sizeof url, "/api/models/%s/tree/main", name);
    serve(url, listing, strlen(listing), "listing");
    snprintf(url, sizeof url, "/api/models/%s", name);
    serve(url, card, strlen(card), "card");
}

// A repository that is on no list: known by its files, spoken with by its name.
static void test_a_repository_on_no_list(void **state) {
    (void)state;
    expect(0, "", "",
           run("mkdir own && cp b.gguf own/tuned-Q8_0.gguf && cp b.gguf own/tuned-Q4_0.gguf && echo hello "
               ">own/README.md && "
               "printf 'GGUF that is none' >own/bad.gguf"));
    static const char *const several[] = {"README.md", "tuned-Q8_0.gguf", "tuned-Q4_0.gguf"};
    hold("you/tuned", "own", several, 3, "{\"cardData\": {\"license\": \"cc-by-4.0\", \"language\": \"de\"}}");
    struct hub_route *small = hub_server_at(server, "/you/tuned/resolve/main/tuned-Q4_0.gguf"),
                     *large = hub_server_at(server, "/you/tuned/resolve/main/tuned-Q8_0.gguf");
    expect(1, "", "utter models pull you/tuned would", run("utter say --model you/tuned -o no.wav Hello."));
    const struct result *r = run("utter models pull you/tuned");
    expect(0, "", "you/tuned comes under the licence cc-by-4.0, see http://", r);
    expect(0, "", "you/tuned is here", r);
    assert_int_equal(small->n_asked, 1);
    assert_int_equal(large->n_asked, 0);
    assert_int_equal(file_size("home/models/you--tuned/tuned-Q4_0.gguf"), backbone.size);
    int before = hub_server_n_requests(server);
    expect(0, "", "you/tuned is already here", run("utter models pull you/tuned"));
    expect(0, "", "you/tuned is already here", run("HF_HUB_OFFLINE=1 utter models pull you--tuned"));
    expect(1, "", "utter models remove you/tuned makes room", run("utter models pull you/tuned --type q8_0"));
    assert_int_equal(hub_server_n_requests(server), before);
    expect(0, "you/tuned ", "", run("utter models list"));
    expect(0, "/home/models/you--tuned/tuned-Q4_0.gguf", "", run("utter models path you/tuned"));
    // It speaks, in the language of its card, with the codec of the list.
    r = run("utter say -v --model you/tuned --seed 3 --retries 0 --json -o tuned.wav \"A b.\"");
    expect(0, "\"language\": \"de\"", "tiny qwen2", r);
    expect(0, "", "", run("utter models verify you/tuned && utter models remove you/tuned"));
    assert_int_equal(file_size("home/models/you--tuned"), -1);
    expect(0, "", "you/tuned is here", run("utter models pull you/tuned --type q8_0"));
    assert_int_equal(large->n_asked, 1);
    expect(0, "", "", run("printf x >>home/models/you--tuned/tuned-Q8_0.gguf"));
    expect(0, "cannot be used: you--tuned is damaged", "", run("utter models list"));
    expect(0, "", "", run("utter models remove you/tuned"));
    expect(2, "", "there is no type q9", run("utter models pull you/tuned --type q9"));
    expect(1, "", "a type of its own", run("utter models pull tiny --type q8_0"));

    static const char *const bad[] = {"README.md", "bad.gguf"};
    hold("you/bad", "own", bad, 2, "{}");
    r = run("utter models pull you/bad");
    expect(1, "", "you/bad cannot be used, nothing of it was kept", r);
    expect(1, "", "you/bad names no licence", r);
    hold("you/nothing", "own", bad, 1, "{}");
    expect(1, "", "you/nothing holds no model that can speak", run("utter models pull you/nothing"));
    expect(1, "", "it holds README.md", run("utter models pull you/nothing"));
    expect(1, "", "you/gone is not at http://", run("utter models pull you/gone"));
    expect(2, "", "No such file", run("LC_ALL=C ls -d home/models/you*"));
}

static void test_suggestion(void **state) {
    (void)state;
    const struct result *r = run("TMPDIR=$PWD utter models suggest --device cpu --json");
    json_t *all = json_loads(expect(0, "", "", r)->out, 0, NULL), *of = json_array_get(all, 0);
    json_t *models = json_object_get(of, "models");
    assert_int_equal(json_array_size(all), 1);
    assert_true(json_is_false(json_object_get(of, "gpu")));
    assert_true(json_number_value(json_object_get(of, "codec_products_s")) > 0);
    assert_int_equal(json_array_size(models), 6);
    for (size_t i = 0; i < 6; i++) {
        json_t *m = json_array_get(models, i);
        const char *type = json_string_value(json_object_get(m, "type"));
        double rate = json_number_value(json_object_get(json_object_get(of, "weights_bytes_s"), type));
        double bytes = json_number_value(json_object_get(m, "token_bytes"));
        double codes_s = json_number_value(json_object_get(m, "codes_s"));
        assert_true(codes_s > 0 && bytes > 5e7);
        assert_true(codes_s * bytes > 0.999 * rate && codes_s * bytes < 1.001 * rate);
    }
    json_decref(all);
    expect(0, "0\n", "", run("ls -d utter-suggest-* 2>/dev/null | wc -l"));
    expect(1, "", "set TMPDIR", run("TMPDIR=/nowhere utter models suggest --device cpu"));
    expect(1, "", "there is no device named x", run("utter models suggest --device x"));
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
        cmocka_unit_test(test_before),           cmocka_unit_test(test_stopped_and_continued),
        cmocka_unit_test(test_what_was_pulled),  cmocka_unit_test(test_damaged_and_removed),
        cmocka_unit_test(test_two_at_once),      cmocka_unit_test(test_with_the_encoder),
        cmocka_unit_test(test_voice_and_speech), cmocka_unit_test(test_a_repository_on_no_list),
        cmocka_unit_test(test_suggestion),       cmocka_unit_test(test_a_list_with_a_mistake),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
