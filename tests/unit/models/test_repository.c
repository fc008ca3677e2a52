/* What of a repository is taken for its model. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub_server.h"
#include "models/repository.h"

struct world {
    struct hub_server *server;
    struct hub hub;
    struct registry *registry;
    char listing[4000], card[1000];
};

static void answer(struct world *w, const char *path, const char *text) {
    struct hub_route *r = hub_server_at(w->server, path);
    r->data = text;
    r->n = strlen(text);
}

// The repository me/it holds these files, names with blanks between them.
static void hold(struct world *w, const char *files) {
    char names[2000], *save = NULL;
    snprintf(names, sizeof names, "%s", files);
    strcpy(w->listing, "[");
    for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        size_t n = strlen(w->listing);
        snprintf(w->listing + n, sizeof w->listing - n, "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":1}",
                 n > 1 ? "," : "", name);
    }
    strcat(w->listing, "]");
    answer(w, "/api/models/me/it/tree/main", w->listing);
}

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof *w);
    w->server = hub_server_start("127.0.0.1");
    setenv("HF_ENDPOINT", hub_server_url(w->server), 1);
    setenv("HF_HOME", "/nowhere", 1);
    unsetenv("HF_TOKEN");
    unsetenv("HF_HUB_OFFLINE");
    assert_ok(hub_open(&w->hub));
    w->hub.limits = (struct download_limits){2000, 1, 100, 2, 10, 1000};
    assert_ok(registry_open(NULL, &w->registry));
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    registry_close(w->registry);
    hub_close(&w->hub);
    hub_server_stop(w->server);
    free(w);
    return 0;
}

static status read_it(struct world *w, const char *type, struct repository **out) {
    return repository_read(&w->hub, w->registry, "me/it", type, NULL, out);
}

#define CHECKPOINT "config.json tokenizer.json "

static void test_what_is_taken(void **state) {
    struct world *w = *state;
    static const struct {
        const char *files, *type, *taken;
    } cases[] = {
        {"README.md model.gguf", NULL, "model.gguf"},
        {"sub/Model.GGUF", NULL, "sub/Model.GGUF"},
        {"a-Q8_0.gguf a-Q4_K_M.gguf a-BF16.gguf", NULL, "a-Q4_K_M.gguf"},
        {"a-Q4_K_M.gguf a-Q4_0.gguf", NULL, "a-Q4_0.gguf"},
        {"a.gguf a.q5_1.gguf", NULL, "a.q5_1.gguf"},
        {"model_q4_0.gguf model_q8_0.gguf", "q8_0", "model_q8_0.gguf"},
        {"Q4_K_S/a.gguf Q4_K_M/a.gguf Q4_0/a.gguf", "q4_k", "Q4_K_M/a.gguf"},
        {"a-Q4_0.gguf mmproj-a-Q4_0.gguf", NULL, "a-Q4_0.gguf"},
        {"a-IQ2_XS.gguf a-Q6_K.gguf", NULL, "a-Q6_K.gguf"},
        {"a[1]-F16.gguf", NULL, "a\\[1]-F16.gguf"},
        {CHECKPOINT "model.safetensors a-Q8_0.gguf", NULL, "a-Q8_0.gguf"},
        {CHECKPOINT "model.safetensors a-Q8_0.gguf", "q4_0", "model.safetensors"},
        {CHECKPOINT "model.safetensors pytorch_model.bin", NULL, "model.safetensors"},
        {CHECKPOINT "pytorch_model.bin", NULL, "pytorch_model.bin"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct repository *r;
        hold(w, cases[i].files);
        status s = read_it(w, cases[i].type, &r);
        if (s != UTTER_OK) fail_msg("%s: %s", cases[i].files, fail_message());
        const struct model_entry *e = repository_entry(r);
        assert_string_equal(e->files.at[0], cases[i].taken);
        assert_string_equal(e->name, "me--it");
        assert_string_equal(e->repository, "me/it");
        assert_int_equal(e->type,
                         cases[i].type && strcmp(cases[i].taken, "model.safetensors") == 0 ? BLOCK_Q4_0 : BLOCK_F16);
        repository_free(r);
    }
}

static void test_parts_of_a_checkpoint(void **state) {
    struct world *w = *state;
    struct repository *r;
    hold(w, CHECKPOINT
         "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
         "old/model-00001-of-00001.safetensors");
    assert_ok(read_it(w, NULL, &r));
    const struct model_entry *e = repository_entry(r);
    assert_string_equal(e->files.at[0], "model.safetensors.index.json");
    assert_int_equal(e->with.n, 6);
    assert_string_equal(e->with.at[5], "model-00002-of-00002.safetensors");
    repository_free(r);
}

static void test_what_is_refused(void **state) {
    struct world *w = *state;
    static const struct {
        const char *files, *type, *words;
    } cases[] = {
        {"", NULL, "it holds no files at all"},
        {"README.md a.onnx", NULL, "it holds README.md, a.onnx"},
        {"1 2 3 4 5 6 7 8", NULL, "it holds 1, 2, 3, 4, 5, 6 and 2 more"},
        {"config.json model.safetensors", NULL, "not the config.json and tokenizer.json"},
        {"adapter_config.json adapter_model.safetensors", NULL, "an adapter (LoRA)"},
        {"a-00001-of-00002.gguf a-00002-of-00002.gguf", NULL, "in parts"},
        {"a.gguf b.gguf", NULL, "more than one GGUF file that could be meant (a.gguf, b.gguf)"},
        {"a-Q4_0.gguf b-Q4_0.gguf b-Q8_0.gguf", NULL, "(a-Q4_0.gguf, b-Q4_0.gguf)"},
        {"a-Q4_0.gguf", "q8_0", "no GGUF file of type q8_0, and no checkpoint to make one of; it has a-Q4_0.gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct repository *r;
        hold(w, cases[i].files);
        status s = read_it(w, cases[i].type, &r);
        if (s == UTTER_OK || r || !strstr(fail_message(), cases[i].words))
            fail_msg("%s: wanted \"%s\", found %d: %s", cases[i].files, cases[i].words, s, fail_message());
    }
}

static void test_cards(void **state) {
    struct world *w = *state;
    static const struct {
        const char *card, *language, *licence;
        bool with_voices;
    } cases[] = {
        {"", "en-us", NULL, false},
        {"no JSON", "en-us", NULL, false},
        {"{\"cardData\": {\"license\": \"mit\", \"language\": \"en\"}}", "en-us", "mit", false},
        {"{\"cardData\": {\"license\": \"other\", \"license_name\": \"mine\", \"language\": [\"FR\", \"de\"]}}",
         "fr-fr", "mine", false},
        {"{\"cardData\": {\"base_model\": [\"neuphonic/neutts-nano-german\"]}}", "de", NULL, true},
        {"{\"cardData\": {\"base_model\": \"neuphonic/neutts-air\", \"language\": \"es\"}}", "es", NULL, true},
        {"{\"cardData\": {\"language\": \"../x\", \"license\": \"a\\nb\"}}", "en-us", NULL, false},
        {"{\"cardData\": {\"language\": 3, \"license\": {}, \"base_model\": []}}", "en-us", NULL, false},
        {"[]", "en-us", NULL, false},
    };
    hold(w, "a.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct repository *r;
        answer(w, "/api/models/me/it", cases[i].card);
        assert_ok(read_it(w, NULL, &r));
        const struct model_entry *e = repository_entry(r);
        assert_string_equal(e->language, cases[i].language);
        assert_string_equal(e->codec, "neucodec");
        assert_int_equal(repository_has_licence(r), cases[i].licence != NULL);
        assert_string_equal(e->licence, cases[i].licence ? cases[i].licence : "not named");
        assert_int_equal(e->voices.n > 0, cases[i].with_voices);
        repository_free(r);
    }
}

static void test_names(void **state) {
    (void)state;
    char name[REGISTRY_MAX_NAME + 1];
    static const char *const no[] = {"",    "/",   "a",      "a/",      "/a",       "a/b/c", "../a", "a/..",
                                     "a--", "--a", "a/b--c", "a--b--c", "a/b.pull", "a/b c", "a/-b", "a-/b--c"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (registry_repository_name(no[i], name)) fail_msg("%s became %s", no[i], name);
    assert_true(registry_repository_name("me/it-1.5_x", name));
    assert_string_equal(name, "me--it-1.5_x");
    assert_true(registry_repository_name("me--it", name));
    assert_string_equal(name, "me--it");
    char longest[REGISTRY_MAX_NAME + 2];
    memset(longest, 'a', sizeof longest);
    longest[5] = '/';
    longest[REGISTRY_MAX_NAME - 1] = 0;
    assert_true(registry_repository_name(longest, name));
    assert_int_equal(strlen(name), REGISTRY_MAX_NAME);
    longest[REGISTRY_MAX_NAME - 1] = 'a';
    longest[REGISTRY_MAX_NAME] = 0;
    assert_false(registry_repository_name(longest, name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken), cmocka_unit_test(test_parts_of_a_checkpoint),
        cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_cards), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
