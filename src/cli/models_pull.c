#include "cli/models_pull.h"

#include <poll.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "engine/engine.h"
#include "models/convert.h"
#include "models/pull.h"

static const int64_t lock_wait_ms = 3600000;  // a large model over a slow line

// What every command here works on.
struct work {
    const char *command;
    const char *accepted;  // licence
    bool quiet;
    struct progress progress;
    const char *what;  // being fetched; since when, and from where on
    int64_t since_ns, since_bytes;
    struct store store;
    struct hub hub;
    struct pull pull;
};

// ---- talking ----

static void say(void *user, const char *sentence) {
    struct work *w = user;
    progress_clear(&w->progress);
    w->what = NULL;
    if (!w->quiet) fprintf(stderr, "utter %s: %s\n", w->command, sentence);
}

static void show_progress(void *user, const char *what, int64_t done, int64_t total) {
    struct work *w = user;
    if (w->what != what) {
        w->what = what;
        w->since_ns = clock_ns();
        w->since_bytes = done;
    }
    double seconds = (double)(clock_ns() - w->since_ns) / 1e9;
    progress_bytes(&w->progress, done, total, seconds > 0.5 ? (double)(done - w->since_bytes) / seconds : 0);
}

// A line of standard input, waited for in a way that a signal ends.
static bool answer_is_yes(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char answer[16] = "";
    while (!stop_requested()) {
        if (poll(&in, 1, 100) <= 0) continue;
        ssize_t n = read(STDIN_FILENO, answer, sizeof answer - 1);
        answer[n > 0 ? n : 0] = 0;
        answer[strcspn(answer, "\r\n")] = 0;
        return strcasecmp(answer, "yes") == 0 || strcasecmp(answer, "y") == 0;
    }
    return false;
}

static bool accept_licence(void *user, const struct model_entry *e) {
    struct work *w = user;
    progress_clear(&w->progress);
    if (w->accepted && strcasecmp(w->accepted, e->licence) == 0) return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return false;
    fprintf(stderr, "%s comes under the %s:\n  %s\nDo you accept it? [yes/no] ", e->name, e->licence, e->licence_url);
    return answer_is_yes();
}

// Its weights alone are looked at: the codec comes after it.
static status speaks(const char *path) {
    struct backbone *b;
    TRY(open_backbone(path, &b));
    status s = backbone_check_speech(b);
    backbone_free(b);
    return s;
}

// ---- beginning and end ----

static status begin(struct work *w, const char *command) {
    w->command = command;
    w->progress = progress_begin(w->quiet);
    w->pull = (struct pull){.store = &w->store,
                            .hub = &w->hub,
                            .convert = {convert_model, convert_encoder, encoder_needs_semantic, speaks},
                            .lock_wait_ms = lock_wait_ms,
                            .stop = stop_flag(),
                            .accept = accept_licence,
                            .say = say,
                            .progress = show_progress,
                            .user = w};
    TRY(stop_begin());
    return store_open(NULL, &w->store);
}

static int end(struct work *w, status s) {
    progress_clear(&w->progress);
    store_close(&w->store);
    hub_close(&w->hub);
    return command_end(w->command, s);
}

static int name_wanted(const char *command, const char *what) {
    fail(UTTER_INVALID, "%s", what);
    return command_usage(command);
}

// ---- pull ----

static const struct manual pull_manual = {
    .usage = "NAME... [options]",
    .about =
        "Fetches models, each with the codec it needs, checks them, and makes GGUF files of what is\n"
        "none. What was fetched in part is continued. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are\n"
        "heeded as by Hugging Face's own tools. NAME is on the list of models, or it is a repository\n"
        "OWNER/NAME with a GGUF file or a Transformers checkpoint of a model that speaks.\n",
    .examples =
        "  utter models pull neutts-air\n"
        "  utter models pull neutts-air --encoder         to speak with voices of your own\n"
        "  utter models pull distill-neucodec-encoder     a smaller encoder, for the same voices\n"
        "  utter models pull somebody/neutts-air-finetune --type q4_0\n"
        "  utter models pull neutts-nano-german --accept-licence \"NeuTTS Open License 1.0\"\n",
};

static status check_name(const struct registry *r, const char *name) {
    enum { MOST = 256 };
    const char *names[MOST];
    int n = registry_count(r) < MOST ? registry_count(r) : MOST;
    char installed[REGISTRY_MAX_NAME + 1];
    if (registry_find(r, name) || registry_repository_name(name, installed)) return UTTER_OK;
    for (int i = 0; i < n; i++) names[i] = registry_at(r, i)->name;
    const char *near = nearest_name(name, names, (size_t)n);
    if (near) return fail(UTTER_INVALID, "there is no model %s; did you mean %s?", name, near);
    return fail(UTTER_INVALID, "there is no model %s; utter models list names those that there are", name);
}

int models_pull(int argc, char **argv) {
    struct work w = {0};
    bool encoder = false;
    const char *type = NULL;
    block_type known;
    const struct option options[] = {
        {"accept-licence", 0, OPTION_TEXT, &w.accepted, "NAME", "accept the licence of that name without being asked",
         0, 0},
        {"encoder", 0, OPTION_FLAG, &encoder, NULL, "with the encoder that makes voices of recordings", 0, 0},
        {"type", 0, OPTION_TEXT, &type, "TYPE",
         "of a repository OWNER/NAME: the GGUF file of this type, or what a\ncheckpoint becomes; default: the smallest "
         "sensible, or f16",
         0, 0},
        {"quiet", 'q', OPTION_FLAG, &w.quiet, NULL, "say nothing but what goes wrong", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&pull_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest < 1) return name_wanted(argv[0], "a model's name is wanted; utter models list names them");
    if (type && !block_type_by_name(type, &known)) {
        fail(UTTER_INVALID, "--type: there is no type %s", type);
        return command_usage(argv[0]);
    }
    status s = begin(&w, argv[0]);
    w.pull.with_encoder = encoder;
    w.pull.type = type;
    for (int i = 1; s == UTTER_OK && i <= n_rest; i++) s = check_name(w.store.registry, argv[i]);
    if (s == UTTER_OK) s = hub_open(&w.hub);
    for (int i = 1; s == UTTER_OK && i <= n_rest; i++) s = pull_model(&w.pull, argv[i]);
    return end(&w, s);
}

// ---- remove ----

static const struct manual remove_manual = {
    .usage = "NAME... [options]",
    .about = "Removes pulled models, finished or not, from this machine.\n",
    .examples = "  utter models remove neutts-nano\n",
};

int models_remove(int argc, char **argv) {
    struct work w = {0};
    const struct option options[] = {
        {"quiet", 'q', OPTION_FLAG, &w.quiet, NULL, "say nothing but what goes wrong", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&remove_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    if (n_rest < 1) return name_wanted(argv[0], "the name of a pulled model is wanted; utter models list names them");
    status s = begin(&w, argv[0]);
    for (int i = 1; s == UTTER_OK && i <= n_rest; i++) s = pull_remove(&w.pull, argv[i]);
    return end(&w, s);
}

// ---- verify ----

static const struct manual verify_manual = {
    .usage = "[NAME...] [options]",
    .about = "Reads pulled models, without a name all of them, and compares their checksums.\n",
    .examples =
        "  utter models verify\n"
        "  utter models verify neutts-air\n",
};

static status verify_all(struct work *w) {
    struct store_model *list;
    int n;
    status s = store_list(&w->store, &list, &n);
    for (int i = 0; s == UTTER_OK && i < n; i++) s = pull_verify(&w->pull, list[i].name);
    store_list_free(list, n);
    return s;
}

int models_verify(int argc, char **argv) {
    struct work w = {0};
    const struct option options[] = {
        {"quiet", 'q', OPTION_FLAG, &w.quiet, NULL, "say nothing but what goes wrong", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&verify_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    status s = begin(&w, argv[0]);
    if (s == UTTER_OK && n_rest == 0) s = verify_all(&w);
    for (int i = 1; s == UTTER_OK && i <= n_rest; i++) s = pull_verify(&w.pull, argv[i]);
    return end(&w, s);
}

// ---- path ----

static const struct manual path_manual = {
    .usage = "NAME [options]",
    .about = "Prints where the GGUF file of a pulled model is.\n",
    .examples =
        "  utter models path neutts-air\n"
        "  utter models info \"$(utter models path neutts-air --codec)\"\n",
};

int models_path(int argc, char **argv) {
    bool of_codec = false;
    const struct option options[] = {
        {"codec", 0, OPTION_FLAG, &of_codec, NULL, "where the codec that it needs is", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&path_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    if (n_rest != 1) return name_wanted(argv[0], "the name of one pulled model is wanted");
    struct work w = {0};
    struct str model = {0}, codec = {0};
    status s = begin(&w, argv[0]);
    if (s == UTTER_OK) s = store_resolve_in(&w.store, argv[1], &model, &codec);
    if (s == UTTER_OK && of_codec && codec.len == 0) s = fail(UTTER_INVALID, "%s needs no codec", argv[1]);
    if (s == UTTER_OK) puts(str_text(of_codec ? &codec : &model));
    str_free(&model);
    str_free(&codec);
    return end(&w, s);
}

// ---- list ----

static status add_installed(const struct store *store, json_t *list, const struct store_model *m) {
    struct str path = {0};
    store_path(store, m->name, m->file, &path);
    status s = str_status(&path);
    if (s == UTTER_OK)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o, s:s, s:s*, s:s*, s:s*, s:I}", "state", "installed", "name", store_title(m),
                            "file", json_text(str_text(&path)), "kind", model_kind_name(m->kind), "language",
                            m->language, "licence", m->licence, "codec", m->codec, "bytes", (json_int_t)m->n_bytes));
    str_free(&path);
    return s;
}

static bool is_among(const struct store_model *list, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0) return true;
    return false;
}

// Not to be listed as if it were not there.
static bool add_damaged(const struct store *store, json_t *list, const struct model_entry *e) {
    struct store_model m;
    if (store_read(store, e->name, &m) == UTTER_INVALID) return false;
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:o}", "state", "damaged", "name", e->name, "error", json_text(fail_message())));
    return true;
}

struct known {
    const struct store *store;
    json_t *list;
};

// One that is on no list is found by its folder alone; a folder with no manifest is no model.
static void add_damaged_unlisted(void *user, const char *name, const char *sentence) {
    const struct known *k = user;
    struct store_model m;
    char said[512];
    snprintf(said, sizeof said, "%s", sentence);
    if (registry_find(k->store->registry, name) || store_read(k->store, name, &m) == UTTER_INVALID) return;
    json_array_append_new(k->list,
                          json_pack("{s:s, s:s, s:o}", "state", "damaged", "name", name, "error", json_text(said)));
}

static void add_available(json_t *list, const struct model_entry *e) {
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s, s:s*, s:s}", "state", "available", "name", e->name, "kind",
                          model_kind_name(e->kind), "about", e->about, "language", e->language, "licence", e->licence,
                          "codec", e->codec, "repository", e->repository);
    if (e->n_bytes) json_object_set_new(o, "bytes", json_integer(e->n_bytes));
    json_array_append_new(list, o);
}

status models_add_known(json_t *list) {
    struct store store;
    struct store_model *models = NULL;
    int n = 0;
    TRY(store_open(NULL, &store));
    struct known known = {&store, list};
    status s = store_list_telling(&store, add_damaged_unlisted, &known, &models, &n);
    for (int i = 0; s == UTTER_OK && i < n; i++) s = add_installed(&store, list, &models[i]);
    for (int i = 0; s == UTTER_OK && i < registry_count(store.registry); i++) {
        const struct model_entry *e = registry_at(store.registry, i);
        if (!is_among(models, n, e->name) && !add_damaged(&store, list, e)) add_available(list, e);
    }
    store_list_free(models, n);
    store_close(&store);
    return s;
}
