#include "test.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hub_server.h"
#include "models/digest.h"
#include "models/pull.h"

enum { SIZE = 200000 };

struct world {
    struct hub_server *server;
    char folder[64], listing[1000], codec_listing[1000];
    unsigned char weights[SIZE];
    char sha256[65];
    struct store store;
    struct hub hub;
    struct pull pull;
    atomic_bool stop;
    bool accepts;
    struct str said;
    pthread_mutex_t lock;  // of said
};

static void say(void *user, const char *sentence) {
    struct world *w = user;
    pthread_mutex_lock(&w->lock);
    str_printf(&w->said, "%s\n", sentence);
    pthread_mutex_unlock(&w->lock);
}

static bool accept_it(void *user, const struct model_entry *e) {
    assert_string_equal(e->licence, "Mine");
    return ((struct world *)user)->accepts;
}

static char *path_of(const struct world *w, const char *below) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", w->folder, below);
    return path;
}

static bool is_there(const struct world *w, const char *below) { return access(path_of(w, below), F_OK) == 0; }

static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void assert_file(const char *path, const void *data, size_t n) {
    struct file_map map;
    assert_ok(file_map_open(path, &map));
    assert_int_equal(map.size, n);
    assert_memory_equal(map.data, data, n);
    file_map_close(&map);
}

// Stands for a conversion: an answer that is seen to come from the checkpoint.
static status convert_stub(const char *in, const char *out, block_type type) {
    struct file_map map;
    struct file_writer w;
    TRY(file_map_open(in, &map));
    assert_int_equal(type, BLOCK_Q8_0);
    assert_ok(file_create(out, &w));
    assert_ok(file_write(&w, "GGUF of ", 8));
    assert_ok(file_write(&w, map.data, map.size));
    file_map_close(&map);
    return file_commit(&w);
}

static void answer(struct world *w, const char *path, const void *data, size_t n) {
    struct hub_route *r = hub_server_at(w->server, path);
    r->data = data;
    r->n = n;
    snprintf(r->etag, sizeof r->etag, "\"%zu\"", n);
}

static const char models_json[] =
    "{\"licences\": {\"Mine\": {\"url\": \"https://a.b\", \"asks\": true}}, \"models\": ["
    "{\"name\": \"tiny\", \"kind\": \"backbone\", \"repository\": \"me/tiny\", \"files\": [\"*.gguf\"],"
    " \"language\": \"de\", \"licence\": \"Apache 2.0\", \"codec\": \"tinycodec\","
    " \"voices\": {\"url\": \"%s/voices\", \"names\": [\"jo\", \"gone\"]}},"
    "{\"name\": \"asks\", \"kind\": \"codec\", \"repository\": \"me/asks\", \"files\": [\"m.gguf\"], \"licence\": "
    "\"Mine\"},"
    "{\"name\": \"tinycodec\", \"kind\": \"codec\", \"repository\": \"me/codec\", \"type\": \"q8_0\","
    " \"files\": [\"model.safetensors\", \"pytorch_model.bin\"], \"with\": [\"config.json\", \"no.json\"],"
    " \"licence\": \"Apache 2.0\"}]}";

static void open_store(struct world *w) {
    assert_ok(store_open(NULL, &w->store));
    assert_ok(hub_open(&w->hub));
    w->hub.limits = (struct download_limits){2000, 1, 100, 2, 10, 1000};
    w->pull = (struct pull){.store = &w->store,
                            .hub = &w->hub,
                            .convert = {.model = convert_stub},
                            .lock_wait_ms = 20000,
                            .stop = &w->stop,
                            .accept = accept_it,
                            .say = say,
                            .user = w};
}

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof *w);
    for (int i = 0; i < SIZE; i++) w->weights[i] = (unsigned char)(i * 31 + (i >> 8));
    struct digest d;
    char git[41];
    assert_ok(digest_start(&d, -1));
    digest_add(&d, w->weights, SIZE);
    digest_finish(&d, w->sha256, git);
    pthread_mutex_init(&w->lock, NULL);
    w->server = hub_server_start("127.0.0.1");
    strcpy(w->folder, "/tmp/utter-store-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    unsetenv("HF_TOKEN");
    unsetenv("HF_HUB_OFFLINE");
    setenv("HF_HOME", w->folder, 1);
    setenv("UTTER_HOME", w->folder, 1);
    setenv("XDG_CONFIG_HOME", w->folder, 1);
    setenv("HF_ENDPOINT", hub_server_url(w->server), 1);
    struct str text = {0};
    str_printf(&text, models_json, hub_server_url(w->server));
    assert_int_equal(mkdir(path_of(w, "utter"), 0777), 0);
    write_file(path_of(w, "utter/models.json"), text.data, text.len);
    str_free(&text);

    snprintf(w->listing, sizeof w->listing,
             "[{\"type\":\"file\",\"path\":\"README.md\",\"size\":3},"
             "{\"type\":\"file\",\"path\":\"tiny-Q4_0.gguf\",\"size\":%d,\"lfs\":{\"oid\":\"%s\"}}]",
             SIZE, w->sha256);
    answer(w, "/api/models/me/tiny/tree/main", w->listing, strlen(w->listing));
    answer(w, "/me/tiny/resolve/main/tiny-Q4_0.gguf", w->weights, SIZE);
    answer(w, "/voices/jo.pt", "codes", 5);
    answer(w, "/voices/jo.txt", "Hello.", 6);
    strcpy(w->codec_listing,
           "[{\"type\":\"file\",\"path\":\"pytorch_model.bin\",\"size\":7},"
           "{\"type\":\"file\",\"path\":\"config.json\",\"size\":2,\"oid\":"
           "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"}]");
    answer(w, "/api/models/me/codec/tree/main", w->codec_listing, strlen(w->codec_listing));
    answer(w, "/me/codec/resolve/main/pytorch_model.bin", "a codec", 7);
    answer(w, "/me/codec/resolve/main/config.json", "{}", 2);
    open_store(w);
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static int tear_down(void **state) {
    struct world *w = *state;
    store_close(&w->store);
    hub_close(&w->hub);
    hub_server_stop(w->server);
    nftw(w->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    str_free(&w->said);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return 0;
}

static void assert_said(const struct world *w, const char *words) {
    if (!strstr(str_text(&w->said), words)) fail_msg("wanted \"%s\", heard: %s", words, str_text(&w->said));
}

static void assert_fails(status s, status wanted, const char *words) {
    if (s != wanted || !strstr(fail_message(), words))
        fail_msg("wanted %s with \"%s\", found %s: %s", status_name(wanted), words, status_name(s), fail_message());
}

static int n_asked(const struct world *w, const char *path) {
    int n = 0;
    for (int i = 0; i < hub_server_n_requests(w->server); i++)
        n += strcmp(hub_server_request(w->server, i)->path, path) == 0;
    return n;
}

// ---- pulling ----

static void test_pull(void **state) {
    struct world *w = *state;
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_file(path_of(w, "models/tiny/tiny-Q4_0.gguf"), w->weights, SIZE);
    assert_file(path_of(w, "models/tiny/voices/jo.txt"), "Hello.", 6);
    assert_file(path_of(w, "models/tinycodec/tinycodec.gguf"), "GGUF of a codec", 15);
    assert_false(is_there(w, "models/tinycodec/pytorch_model.bin"));
    assert_false(is_there(w, "models/tinycodec/config.json"));
    assert_false(is_there(w, "models/tiny.pull"));
    assert_said(w, "left out the voice gone");
    assert_int_equal(n_asked(w, "/me/tiny/resolve/main/README.md"), 0);

    struct store_model m;
    assert_ok(store_read(&w->store, "tiny", &m));
    assert_string_equal(m.file, "tiny-Q4_0.gguf");
    assert_string_equal(m.codec, "tinycodec");
    assert_string_equal(m.language, "de");
    assert_string_equal(m.repository, "me/tiny");
    assert_string_equal(m.licence, "Apache 2.0");
    assert_int_equal(m.n, 3);
    assert_string_equal(m.files[0].sha256, w->sha256);
    assert_int_equal(m.n_bytes, SIZE + 11);
    assert_int_equal(strlen(m.date), 20);
    store_model_free(&m);
    assert_ok(store_read(&w->store, "tinycodec", &m));
    assert_int_equal(m.kind, MODEL_CODEC);
    const json_t *sources = json_object_get(m.manifest, "converted_from");
    assert_int_equal(json_array_size(sources), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(sources, 0), "path")), "pytorch_model.bin");
    store_model_free(&m);

    int before = hub_server_n_requests(w->server);
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_ok(pull_model(&w->pull, "me/tiny"));
    assert_int_equal(hub_server_n_requests(w->server), before);
    assert_said(w, "tiny is already here");
}

static void test_resolve(void **state) {
    struct world *w = *state;
    struct str model = {0}, codec = {0};
    assert_fails(store_resolve("tiny", &model, &codec), UTTER_INVALID, "utter models pull tiny");
    assert_fails(store_resolve("me/tiny", &model, &codec), UTTER_INVALID, "utter models pull tiny");
    assert_fails(store_resolve("nothing", &model, &codec), UTTER_INVALID, "no file and no model nothing");
    assert_ok(pull_model(&w->pull, "tiny"));
    static const char *const names[] = {"tiny", "me/tiny"};
    for (int i = 0; i < 2; i++) {
        str_clear(&model);
        str_clear(&codec);
        assert_ok(store_resolve(names[i], &model, &codec));
        assert_string_equal(str_text(&model), path_of(w, "models/tiny/tiny-Q4_0.gguf"));
        assert_string_equal(str_text(&codec), path_of(w, "models/tinycodec/tinycodec.gguf"));
    }
    str_clear(&model);
    str_clear(&codec);
    assert_ok(store_resolve("tinycodec", &model, &codec));
    assert_string_equal(str_text(&codec), "");
    char file[300];
    strcpy(file, path_of(w, "utter/models.json"));
    str_clear(&model);
    assert_ok(store_resolve(file, &model, &codec));
    assert_string_equal(str_text(&model), file);
    assert_ok(pull_remove(&w->pull, "tinycodec"));
    assert_fails(store_resolve("tiny", &model, &codec), UTTER_INVALID, "needs the codec tinycodec");
    str_free(&model);
    str_free(&codec);
}

static void test_list(void **state) {
    struct world *w = *state;
    struct store_model *list;
    int n;
    assert_ok(store_list(&w->store, &list, &n));
    assert_int_equal(n, 0);
    store_list_free(list, n);
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_int_equal(mkdir(path_of(w, "models/stray"), 0777), 0);
    assert_ok(store_list(&w->store, &list, &n));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "tiny");
    assert_string_equal(list[1].name, "tinycodec");
    store_list_free(list, n);
}

static void test_licence(void **state) {
    struct world *w = *state;
    static const char listing[] = "[{\"type\":\"file\",\"path\":\"m.gguf\",\"size\":1}]";
    answer(w, "/api/models/me/asks/tree/main", listing, sizeof listing - 1);
    answer(w, "/me/asks/resolve/main/m.gguf", "x", 1);
    assert_fails(pull_model(&w->pull, "asks"), UTTER_INVALID, "--accept-licence \"Mine\"");
    assert_non_null(strstr(fail_message(), "https://a.b"));
    assert_int_equal(hub_server_n_requests(w->server), 0);
    w->accepts = true;
    assert_ok(pull_model(&w->pull, "asks"));
    struct store_model m;
    assert_ok(store_read(&w->store, "asks", &m));
    const json_t *licence = json_object_get(m.manifest, "licence");
    assert_true(json_is_true(json_object_get(licence, "accepted")));
    assert_string_equal(json_string_value(json_object_get(licence, "url")), "https://a.b");
    store_model_free(&m);
}

// ---- a repository that the registry does not have ----

// Stands for a conversion that finds the parts by their index, so it is given their folder.
static status convert_parts_stub(const char *in, const char *out, block_type type) {
    static const char *const names[] = {"model.safetensors.index.json", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors", "config.json", "tokenizer.json"};
    assert_int_equal(type, BLOCK_Q4_0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", in, names[i]);
        if (access(path, F_OK) != 0) return fail(UTTER_IO, "%s is not there", path);
    }
    struct file_writer w;
    assert_ok(file_create(out, &w));
    assert_ok(file_write(&w, "GGUF", 4));
    return file_commit(&w);
}

static status speaks_stub(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_size == 4 ? UTTER_OK : fail(UTTER_FORMAT, "it has no speech tokens");
}

static void test_checkpoint_on_no_list(void **state) {
    struct world *w = *state;
    static const char listing[] =
        "[{\"type\":\"file\",\"path\":\"config.json\",\"size\":2},"
        "{\"type\":\"file\",\"path\":\"tokenizer.json\",\"size\":2},"
        "{\"type\":\"file\",\"path\":\"model.safetensors.index.json\",\"size\":2},"
        "{\"type\":\"file\",\"path\":\"model-00001-of-00002.safetensors\",\"size\":3},"
        "{\"type\":\"file\",\"path\":\"model-00002-of-00002.safetensors\",\"size\":3}]";
    answer(w, "/api/models/you/parts/tree/main", listing, sizeof listing - 1);
    answer(w, "/you/parts/resolve/main/config.json", "{}", 2);
    answer(w, "/you/parts/resolve/main/tokenizer.json", "{}", 2);
    answer(w, "/you/parts/resolve/main/model.safetensors.index.json", "{}", 2);
    answer(w, "/you/parts/resolve/main/model-00001-of-00002.safetensors", "one", 3);
    answer(w, "/you/parts/resolve/main/model-00002-of-00002.safetensors", "two", 3);
    w->pull.convert.model = convert_parts_stub;
    w->pull.convert.speaks = speaks_stub;
    w->pull.type = "q4_0";
    // Its codec is the registry's NeuCodec, which is not at this hub: the model stays, and is not fetched again.
    assert_fails(pull_model(&w->pull, "you/parts"), UTTER_IO, "neucodec");
    assert_said(w, "you/parts names no licence");
    assert_file(path_of(w, "models/you--parts/you--parts.gguf"), "GGUF", 4);
    assert_false(is_there(w, "models/you--parts/config.json"));
    assert_false(is_there(w, "models/you--parts/model-00002-of-00002.safetensors"));
    int before = n_asked(w, "/api/models/you/parts/tree/main");
    w->pull.type = NULL;
    assert_fails(pull_model(&w->pull, "you--parts"), UTTER_IO, "neucodec");
    assert_int_equal(n_asked(w, "/api/models/you/parts/tree/main"), before);
    assert_ok(pull_verify(&w->pull, "you/parts"));
    struct str model = {0}, codec = {0}, language = {0};
    assert_fails(store_resolve("you/parts", &model, &codec), UTTER_INVALID, "you/parts needs the codec neucodec");
    assert_ok(store_language("you/parts", &language));
    assert_string_equal(str_text(&language), "en-us");
    str_free(&model);
    str_free(&codec);
    str_free(&language);
    assert_ok(pull_remove(&w->pull, "you/parts"));
    assert_false(is_there(w, "models/you--parts"));
}

static void test_no_speech_on_no_list(void **state) {
    struct world *w = *state;
    static const char listing[] = "[{\"type\":\"file\",\"path\":\"chat.gguf\",\"size\":5}]";
    answer(w, "/api/models/you/chat/tree/main", listing, sizeof listing - 1);
    answer(w, "/you/chat/resolve/main/chat.gguf", "GGUF!", 5);
    w->pull.convert.speaks = speaks_stub;
    assert_fails(pull_model(&w->pull, "you/chat"), UTTER_FORMAT,
                 "you/chat cannot be used, nothing of it was kept: it has no speech tokens");
    assert_false(is_there(w, "models/you--chat"));
    assert_false(is_there(w, "models/you--chat.pull"));
    w->pull.type = "q8_0";
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_INVALID, "--type is for a repository");
}

// ---- what goes wrong ----

static void test_nothing_half_installed(void **state) {
    struct world *w = *state;
    struct hub_route *r = hub_server_at(w->server, "/me/tiny/resolve/main/tiny-Q4_0.gguf");
    struct store_model m;
    w->weights[SIZE / 2] ^= 1;
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_FORMAT, "checksum");
    assert_fails(store_read(&w->store, "tiny", &m), UTTER_INVALID, "utter models pull tiny");
    w->weights[SIZE / 2] ^= 1;
    r->fault = FAULT_CUT;
    r->after = 70000;
    r->times = r->n_asked + 2;
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_IO, "what has come is kept");
    assert_false(is_there(w, "models/tiny"));
    int before = hub_server_n_requests(w->server);
    assert_ok(pull_model(&w->pull, "tiny"));  // goes on
    assert_string_equal(hub_server_request(w->server, before + 1)->range, "bytes=140000-");
    assert_file(path_of(w, "models/tiny/tiny-Q4_0.gguf"), w->weights, SIZE);
    assert_int_equal(n_asked(w, "/me/tiny/resolve/main/tiny-Q4_0.gguf"), 4);
}

static status convert_fails(const char *in, const char *out, block_type type) {
    (void)out, (void)type;
    return fail(UTTER_FORMAT, "%s is no checkpoint", in);
}

static void test_conversion_fails(void **state) {
    struct world *w = *state;
    w->pull.convert.model = convert_fails;
    assert_fails(pull_model(&w->pull, "tinycodec"), UTTER_FORMAT, "is no checkpoint");
    assert_false(is_there(w, "models/tinycodec"));
    w->pull.convert.model = convert_stub;
    int before = n_asked(w, "/me/codec/resolve/main/config.json");
    assert_ok(pull_model(&w->pull, "tinycodec"));
    assert_int_equal(n_asked(w, "/me/codec/resolve/main/config.json"), before);  // was there, its checksum is known
}

static void test_stop(void **state) {
    struct world *w = *state;
    w->stop = true;
    assert_int_equal(pull_model(&w->pull, "tiny"), UTTER_CANCELLED);
    assert_false(is_there(w, "models/tiny"));
    w->stop = false;
    assert_ok(pull_model(&w->pull, "tiny"));
}

static void test_weights_that_cannot_be_chosen(void **state) {
    struct world *w = *state;
    static const struct {
        const char *listing, *words;
    } cases[] = {
        {"[]", "has no file *.gguf"},
        {"[{\"type\":\"file\",\"path\":\"sub/a.gguf\",\"size\":1}]", "has no file *.gguf"},
        {"[{\"type\":\"file\",\"path\":\"a.gguf\",\"size\":1},{\"type\":\"file\",\"path\":\"b.gguf\",\"size\":1}]",
         "more than one file *.gguf"},
        {"[{\"type\":\"file\",\"path\":\"../../a.gguf\",\"size\":1}]", "lead out of its folder"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer(w, "/api/models/me/tiny/tree/main", cases[i].listing, strlen(cases[i].listing));
        assert_fails(pull_model(&w->pull, "tiny"), UTTER_FORMAT, cases[i].words);
        assert_false(is_there(w, "models/tiny"));
    }
    assert_fails(pull_model(&w->pull, "large"), UTTER_INVALID, "no model large");
    assert_fails(pull_model(&w->pull, "../tiny"), UTTER_INVALID, "no model ../tiny");
}

static void test_offline(void **state) {
    struct world *w = *state;
    w->hub.offline = true;
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_IO, "HF_HUB_OFFLINE");
    w->hub.offline = false;
    assert_ok(pull_model(&w->pull, "tiny"));
    w->hub.offline = true;
    assert_ok(pull_model(&w->pull, "tiny"));  // it is there
}

static void test_unwritable_home(void **state) {
    struct world *w = *state;
    free(w->store.root);
    w->store.root = strdup("/proc/nowhere");
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_IO, "cannot make the folder");
}

static void test_other_weights_than_before(void **state) {
    struct world *w = *state;
    struct hub_route *r = hub_server_at(w->server, "/me/tiny/resolve/main/tiny-Q4_0.gguf");
    r->fault = FAULT_CUT;
    r->after = 70000;
    r->times = 2;
    assert_int_equal(pull_model(&w->pull, "tiny"), UTTER_IO);
    assert_true(is_there(w, "models/tiny.pull/tiny-Q4_0.gguf.part"));
    assert_said(w, "trying again in");
    static const char renamed[] = "[{\"type\":\"file\",\"path\":\"new.gguf\",\"size\":3}]";
    answer(w, "/api/models/me/tiny/tree/main", renamed, sizeof renamed - 1);
    answer(w, "/me/tiny/resolve/main/new.gguf", "new", 3);
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_file(path_of(w, "models/tiny/new.gguf"), "new", 3);
    assert_false(is_there(w, "models/tiny/tiny-Q4_0.gguf.part"));
    assert_false(is_there(w, "models/tiny/.source"));
}

// ---- two at once ----

struct worker {
    struct world *world;
    status s;
};

static void *pull_in_thread(void *user) {
    struct worker *k = user;
    k->s = pull_model(&k->world->pull, "tinycodec");
    return NULL;
}

static void test_two_pulls(void **state) {
    struct world *w = *state;
    struct worker workers[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct worker){w, UTTER_INTERNAL};
        assert_int_equal(pthread_create(&threads[i], NULL, pull_in_thread, &workers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].s, UTTER_OK);
    }
    assert_int_equal(n_asked(w, "/me/codec/resolve/main/pytorch_model.bin"), 1);
}

static void test_lock_is_held(void **state) {
    struct world *w = *state;
    assert_int_equal(mkdir(path_of(w, "models"), 0777), 0);
    int fd = open(path_of(w, "models/.tiny.lock"), O_RDWR | O_CREAT, 0666);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    w->pull.lock_wait_ms = 100;
    assert_fails(pull_model(&w->pull, "tiny"), UTTER_DEADLINE, "another utter");
    assert_said(w, "waiting for another utter");
    w->pull.lock_wait_ms = 100000;
    w->stop = true;
    assert_int_equal(pull_model(&w->pull, "tiny"), UTTER_CANCELLED);
    w->stop = false;
    close(fd);
    assert_ok(pull_model(&w->pull, "tiny"));
}

// ---- verify, remove ----

static void test_verify_and_mend(void **state) {
    struct world *w = *state;
    assert_fails(pull_verify(&w->pull, "tiny"), UTTER_INVALID, "utter models pull tiny");
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_ok(pull_verify(&w->pull, "tiny"));
    FILE *f = fopen(path_of(w, "models/tiny/tiny-Q4_0.gguf"), "r+b");
    fputc(~w->weights[0], f);
    fclose(f);
    assert_fails(pull_verify(&w->pull, "tiny"), UTTER_FORMAT, "tiny-Q4_0.gguf is not what was fetched");
    assert_int_equal(truncate(path_of(w, "models/tiny/tiny-Q4_0.gguf"), 5), 0);
    assert_fails(pull_verify(&w->pull, "tiny"), UTTER_IO, "another size");
    assert_ok(pull_model(&w->pull, "tiny"));  // damaged, and seen to be: fetched again
    assert_said(w, "fetching tiny again");
    assert_ok(pull_verify(&w->pull, "tiny"));
}

static void test_remove(void **state) {
    struct world *w = *state;
    assert_fails(pull_remove(&w->pull, "tiny"), UTTER_INVALID, "not installed");
    assert_fails(pull_remove(&w->pull, "../utter"), UTTER_INVALID, "no model's name");
    assert_fails(pull_remove(&w->pull, ".."), UTTER_INVALID, "no model's name");
    assert_ok(pull_model(&w->pull, "tiny"));
    assert_int_equal(symlink(path_of(w, "utter"), "/tmp/utter-store-link"), 0);
    assert_int_equal(rename("/tmp/utter-store-link", path_of(w, "models/tiny/link")), 0);
    assert_ok(pull_remove(&w->pull, "tiny"));
    assert_false(is_there(w, "models/tiny"));
    assert_false(is_there(w, "models/tiny.pull"));
    assert_true(is_there(w, "utter/models.json"));  // links are not followed
    assert_true(is_there(w, "models/tinycodec"));
}

static void test_hostile_manifests(void **state) {
    struct world *w = *state;
#define REST "\"format\":1,\"name\":\"evil\",\"kind\":\"codec\",\"model\":\"a\""
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"name\":\"tiny\"}",
        "{\"name\":\"evil\"}",
        "{" REST "}",
        "{" REST ",\"files\":[]}",
        "{" REST ",\"files\":[{}]}",
        "{" REST ",\"files\":[{\"path\":\"../../utter/models.json\",\"bytes\":1,\"sha256\":\"\"}]}",
        "{" REST ",\"files\":[{\"path\":\"b\",\"bytes\":1,\"sha256\":\"\"}]}",
        "{" REST ",\"files\":[{\"path\":\"a\",\"bytes\":-1,\"sha256\":\"\"}]}",
        "{" REST
        ",\"files\":[{\"path\":\"a\",\"bytes\":9223372036854775807,\"sha256\":\"\"},"
        "{\"path\":\"a\",\"bytes\":1,\"sha256\":\"\"}]}",
        "{" REST ",\"codec\":\"../x\",\"files\":[{\"path\":\"a\",\"bytes\":1,\"sha256\":\"\"}]}"};
    assert_int_equal(mkdir(path_of(w, "models"), 0777), 0);
    assert_int_equal(mkdir(path_of(w, "models/evil"), 0777), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_model m;
        write_file(path_of(w, "models/evil/manifest.json"), cases[i], strlen(cases[i]));
        assert_fails(store_read(&w->store, "evil", &m), UTTER_FORMAT, "the manifest of evil is damaged");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_pull),
        TEST(test_resolve),
        TEST(test_list),
        TEST(test_licence),
        TEST(test_checkpoint_on_no_list),
        TEST(test_no_speech_on_no_list),
        TEST(test_nothing_half_installed),
        TEST(test_conversion_fails),
        TEST(test_stop),
        TEST(test_weights_that_cannot_be_chosen),
        TEST(test_offline),
        TEST(test_other_weights_than_before),
        TEST(test_unwritable_home),
        TEST(test_two_pulls),
        TEST(test_lock_is_held),
        TEST(test_verify_and_mend),
        TEST(test_remove),
        TEST(test_hostile_manifests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
