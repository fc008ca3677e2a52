#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/registry.h"

static void test_built_in(void **state) {
    (void)state;
    struct registry *r;
    assert_ok(registry_open(NULL, &r));
    static const char *const wanted[] = {"neutts-air",
                                         "neutts-air-q8",
                                         "neutts-air-full",
                                         "neutts-nano",
                                         "neutts-nano-german",
                                         "neutts-nano-french-q8",
                                         "neutts-nano-spanish",
                                         "neutts-2e",
                                         "neutts-2e-full",
                                         "neucodec",
                                         "neucodec-onnx-decoder",
                                         "distill-neucodec",
                                         "neucodec-encoder",
                                         "distill-neucodec-encoder"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) assert_non_null(registry_find(r, wanted[i]));
    for (int i = 0; i < registry_count(r); i++) {
        const struct model_entry *e = registry_at(r, i);
        assert_false(e->added);
        assert_ptr_equal(registry_find(r, e->name), e);
        assert_int_equal(e->kind != MODEL_BACKBONE, e->codec == NULL);
        assert_int_equal(e->kind == MODEL_CODEC, e->encoder != NULL);
        assert_int_equal(e->kind == MODEL_ENCODER, e->semantic.repository != NULL);
        // Nano and 2E come under NeuTTS's own licence, the others under Apache's.
        bool own = strstr(e->name, "nano") || strstr(e->name, "2e");
        assert_string_equal(e->licence, own ? "NeuTTS Open License 1.0" : "Apache 2.0");
        assert_int_equal(e->licence_asks, own);
    }
    const struct model_entry *air = registry_find(r, "neutts-air"), *german = registry_find(r, "neutts-nano-german");
    assert_string_equal(air->repository, "neuphonic/neutts-air-q4-gguf");
    assert_string_equal(air->revision, "main");
    assert_string_equal(air->language, "en-us");
    assert_string_equal(air->codec, "neucodec");
    assert_int_equal(air->n_bytes, 495000000);
    assert_ptr_equal(registry_find(r, "neuphonic/neutts-air-q4-gguf"), air);
    assert_string_equal(german->language, "de");
    assert_string_equal(german->voices.at[0], "greta");
    assert_int_equal(registry_find(r, "neutts-2e")->voices.n, 4);
    assert_null(registry_find(r, "neutts"));
    registry_close(r);
}

static const char *write_user_file(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/utter-registry-%ld.json", (long)getpid());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

#define HEAD "{\"licences\": {\"Mine\": {\"url\": \"https://a.b\", \"asks\": true}}, \"models\": ["
#define MODEL                                                                                                     \
    "\"kind\": \"backbone\", \"repository\": \"a/b\", \"files\": [\"x.gguf\"], \"language\": \"de\", \"codec\": " \
    "\"neucodec\""

static void test_additions(void **state) {
    (void)state;
    struct registry *plain, *r;
    assert_ok(registry_open(NULL, &plain));
    const char *path = write_user_file(HEAD "{\"name\": \"mine\", " MODEL
                                            ", \"licence\": \"Mine\"},"
                                            "{\"name\": \"neutts-air\", " MODEL ", \"licence\": \"Apache 2.0\"}]}");
    assert_ok(registry_open(path, &r));
    assert_int_equal(registry_count(r), registry_count(plain) + 1);
    const struct model_entry *mine = registry_find(r, "mine"), *air = registry_find(r, "neutts-air");
    assert_true(mine->added && air->added && mine->licence_asks && !air->licence_asks);
    assert_string_equal(mine->licence_url, "https://a.b");
    assert_string_equal(mine->revision, "main");
    assert_string_equal(air->repository, "a/b");
    registry_close(r);
    registry_close(plain);
    remove(path);
    assert_ok(registry_open(path, &r));  // none is fine
    registry_close(r);
}

static void test_mistakes(void **state) {
    (void)state;
#define M(more) HEAD "{\"name\": \"m\", \"licence\": \"Mine\", " more "}]}"
#define REST "\"files\": [\"x.gguf\"], \"language\": \"de\", \"codec\": \"neucodec\""
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"[]", "must hold a JSON object"},
        {"{}", "\"models\" must be there"},
        {"{\"models\": [], \"modles\": []}", "unknown key \"modles\""},
        {"{\"models\": [], \"models\": []}", "duplicate"},
        {"{\"models\": [3]}", "models[0] must be an object"},
        {"{\"models\": [{}]}", "models[0]: \"name\" must be there"},
        {"{\"models\": [{\"name\": \"../x\"}]}", "\"name\" must be of letters"},
        {"{\"models\": [{\"name\": \"a/b\"}]}", "\"name\" must be of letters"},
        {"{\"models\": [{\"name\": \".lock\"}]}", "\"name\" must be of letters"},
        {"{\"models\": [{\"name\": \"m\\u0000\"}]}", "line 1"},
        {"{\"models\": [{\"name\": \"m\"}]}", "\"kind\" must be there"},
        {"{\"models\": [{\"name\": \"m\", \"colour\": 1}]}", "model \"m\": unknown key \"colour\""},
        {M("\"kind\": \"speech\", \"repository\": \"a/b\", " REST), "\"kind\" must be backbone, codec or encoder"},
        {M("\"kind\": \"backbone\", " REST), "\"repository\" must be there"},
        {M("\"kind\": \"backbone\", \"repository\": \"a\", " REST), "OWNER/NAME"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/../b\", " REST), "OWNER/NAME"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/..\", " REST), "OWNER/NAME"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b?c\", " REST), "OWNER/NAME"},
        {M(MODEL ", \"revision\": \"../x\""), "\"revision\" must be"},
        {M(MODEL ", \"bytes\": 0"), "\"bytes\" must be"},
        {M(MODEL ", \"bytes\": \"1\""), "\"bytes\" must be"},
        {M(MODEL ", \"type\": \"q3_9\""), "\"type\" must be"},
        {M(MODEL ", \"with\": [\"../config.json\"]"), "\"with\" must be names"},
        {M(MODEL ", \"with\": []"), "\"with\" must be a list"},
        {M(MODEL ", \"voices\": [\"jo\"]"), "\"voices\" must be an object"},
        {M(MODEL ", \"voices\": {\"url\": \"file:///etc\", \"names\": [\"jo\"]}"), "\"url\" must be"},
        {M(MODEL ", \"voices\": {\"url\": \"https://a\", \"names\": [\"a/b\"]}"), "\"names\" must be"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b\", \"language\": \"de\", \"codec\": \"neucodec\""),
         "\"files\" must be"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b\", \"files\": [\"/etc/x\"]"), "\"files\" must be names"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b\", \"files\": [\"x\"], \"codec\": \"neucodec\""),
         "\"language\" must be"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b\", \"files\": [\"x\"], \"language\": \"de\""),
         "\"codec\" must be"},
        {M("\"kind\": \"backbone\", \"repository\": \"a/b\", \"files\": [\"x\"], \"language\": \"de\", \"codec\": "
           "\"neutts-air\""),
         "which is no codec"},
        {M("\"kind\": \"codec\", \"repository\": \"a/b\", \"files\": [\"x\"], \"language\": \"de\""),
         "\"language\" must be left out"},
        {HEAD "{\"name\": \"m\", \"licence\": \"Yours\", " MODEL "}]}", "\"licence\" must be the name"},
        {HEAD "{\"name\": \"m\", \"licence\": \"Mine\", " MODEL "}, {\"name\": \"m\", \"licence\": \"Mine\", " MODEL
              "}]}",
         "\"m\" is there twice"},
        {HEAD "{\"name\": \"neutts-air\", \"licence\": \"Mine\", " MODEL
              "}, {\"name\": \"neutts-air\", \"licence\": \"Mine\", " MODEL "}]}",
         "\"neutts-air\" is there twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct registry *r;
        status s = registry_open(write_user_file(cases[i].text), &r);
        if (s != UTTER_FORMAT || !strstr(fail_message(), cases[i].words))
            fail_msg("%s: wanted \"%s\", found %s: %s", cases[i].text, cases[i].words, status_name(s), fail_message());
        assert_null(r);
    }
    remove(write_user_file(""));
}

static void test_paths(void **state) {
    (void)state;
    static const char *const good[] = {"a", "a/b.c", "...", "a/..b", "*.gguf", ".a"};
    static const char *const bad[] = {"",     "/",    "/a",     "a/",  "a//b", ".",   "..",
                                      "../a", "a/..", "a/../b", "./a", "a\\b", "a\nb"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(path_stays_below(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(path_stays_below(bad[i]));
    char long_one[600];
    memset(long_one, 'a', sizeof long_one);
    long_one[599] = 0;
    assert_false(path_stays_below(long_one));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_built_in), cmocka_unit_test(test_additions),
                                       cmocka_unit_test(test_mistakes), cmocka_unit_test(test_paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
