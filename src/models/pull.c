#include "models/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/digest.h"
#include "models/repository.h"

static void say(const struct pull *p, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(const struct pull *p, const char *format, ...) {
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (p->say) p->say(p->user, sentence);
}

static bool stopped(const struct pull *p) { return p->stop && atomic_load(p->stop); }

// ---- progress ----

struct step {
    const struct pull *pull;
    const char *what;
};

static bool on_progress(void *user, int64_t done, int64_t total) {
    const struct step *step = user;
    if (step->pull->progress) step->pull->progress(step->pull->user, step->what, done, total);
    return !stopped(step->pull);
}

static void on_wait(void *user, const char *sentence) { say(((const struct step *)user)->pull, "%s", sentence); }

static bool on_check(void *user) { return stopped(((const struct step *)user)->pull); }

// ---- folders ----

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

// Removes a folder with all that is in it; that there is none is fine.
static status remove_folder(const char *path) {
    if (access(path, F_OK) != 0 || nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0) return UTTER_OK;
    return fail(UTTER_IO, "cannot remove %s: %s", path, strerror(errno));
}

// ---- the lock ----

static status lock(const struct pull *p, const char *name, int *out) {
    struct str path = {0};
    str_printf(&path, "%s/models/.%s.lock", p->store->root, name);
    *out = -1;
    status s = str_status(&path);
    if (s == UTTER_OK) s = folder_make_above(str_text(&path));
    if (s == UTTER_OK && (*out = open(str_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0)
        s = fail(UTTER_IO, "cannot write %s: %s", str_text(&path), strerror(errno));
    int64_t until = clock_ns() + p->lock_wait_ms * 1000000;
    bool told = false;
    while (s == UTTER_OK && flock(*out, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            s = fail(UTTER_IO, "cannot lock %s: %s", str_text(&path), strerror(errno));
        else if (stopped(p))
            s = fail(UTTER_CANCELLED, "stopped while another utter was changing %s", name);
        else if (clock_ns() >= until)
            s = fail(UTTER_DEADLINE, "another utter is still changing %s; try again when it is done", name);
        else if (!told)
            say(p, "waiting for another utter that is changing %s", name);
        told = true;
        struct timespec pause = {.tv_nsec = 50000000};
        if (s == UTTER_OK) nanosleep(&pause, NULL);
    }
    str_free(&path);
    if (s != UTTER_OK && *out >= 0) close(*out);
    return s;
}

// ---- a pull ----

// What is being made, in NAME.pull.
struct job {
    const struct pull *pull;
    const struct model_entry *entry;
    bool model_refused;                  // all of it has come, and it cannot be used
    bool unlisted;                       // its files were chosen by their names alone
    char folder[REGISTRY_MAX_NAME + 8];  // NAME.pull
    struct hub_listing listing;
    const struct hub_file *weights;
    const struct model_entry *heir;       // an encoder to be made of the same weights: they are left to its pull
    struct hub_listing semantic_listing;  // of an encoder
    const struct hub_file *semantic;      // weights of its semantic model; NULL: they are in the others
    char *model;                          // path of the GGUF below the folder
    json_t *files;                        // of the manifest: what stays
    json_t *sources;                      // of the manifest: what was converted and has gone
};

// A folder that an earlier pull of other weights has left is emptied: what lies there would not belong to these.
static status prepare_folder(const struct job *j) {
    struct str folder = {0}, path = {0}, source = {0};
    struct file_map map = {0};
    struct file_writer w = {0};
    str_printf(&source, "%s %s %s %s %lld\n", j->entry->repository, j->entry->revision, j->weights->path,
               j->weights->sha256, (long long)j->weights->n_bytes);
    store_path(j->pull->store, j->folder, NULL, &folder);
    store_path(j->pull->store, j->folder, ".source", &path);
    status s = str_status(&path);
    if (s == UTTER_OK) s = str_status(&source);
    bool same = s == UTTER_OK && access(str_text(&path), F_OK) == 0 &&
                file_map_open(str_text(&path), &map) == UTTER_OK && map.size == source.len &&
                memcmp(map.data, source.data, source.len) == 0;
    file_map_close(&map);
    if (s == UTTER_OK && !same) {
        s = remove_folder(str_text(&folder));
        if (s == UTTER_OK) s = folder_make_above(str_text(&path));
        if (s == UTTER_OK) s = file_create(str_text(&path), &w);
        if (s == UTTER_OK) s = file_write(&w, source.data, source.len);
        if (s == UTTER_OK) s = file_commit(&w);
        file_abandon(&w);
    }
    str_free(&folder);
    str_free(&path);
    str_free(&source);
    return s;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

// The file of a listing that fits the first pattern which one fits.
static status choose(const char *repository, const struct model_names *patterns, const struct hub_listing *listing,
                     const struct hub_file **out) {
    *out = NULL;
    for (int k = 0; k < patterns->n && !*out; k++) {
        for (int i = 0; i < listing->n; i++) {
            const struct hub_file *f = &listing->files[i];
            if (fnmatch(patterns->at[k], f->path, FNM_PATHNAME) != 0) continue;
            if (*out)
                return fail(UTTER_FORMAT,
                            "%s has more than one file %s (%s, %s); name the one to take in a models.json of yours",
                            repository, patterns->at[k], (*out)->path, f->path);
            *out = f;
        }
    }
    if (*out) return UTTER_OK;
    return fail(
        UTTER_FORMAT,
        "%s has no file %s%s; it may have been renamed, see its page and name the file in a models.json of yours",
        repository, patterns->at[0], patterns->n > 1 ? " or what else it could be" : "");
}

static status add_file(json_t *list, const char *path, int64_t n_bytes, const char *sha256) {
    json_t *o = json_pack("{s:s, s:I, s:s}", "path", path, "bytes", (json_int_t)n_bytes, "sha256", sha256);
    return o && json_array_append_new(list, o) == 0 ? UTTER_OK : fail_memory(strlen(path), "a manifest");
}

// Sums up a file below the folder.
static status sum_file(const struct job *j, const char *path, const char *what, int64_t git_bytes, int64_t *n_bytes,
                       char sha256[65], char git[41]) {
    struct step step = {j->pull, what};
    struct digest d;
    TRY(digest_start(&d, git_bytes));
    status s = digest_add_file(&d, path, n_bytes, on_check, &step);
    digest_finish(&d, sha256, git);
    return s;
}

// True when an earlier pull has fetched it whole.
static bool is_there(const struct job *j, const struct hub_file *f, const char *path, char sha256[65]) {
    struct stat info;
    char git[41];
    int64_t n = 0;
    if (stat(path, &info) != 0 || info.st_size != f->n_bytes || (!f->sha256[0] && !f->git[0])) return false;
    if (sum_file(j, path, f->path, f->n_bytes, &n, sha256, git) != UTTER_OK) return false;
    return f->sha256[0] ? strcmp(sha256, f->sha256) == 0 : strcmp(git, f->git) == 0;
}

// To `below` in the job's folder.
static status fetch_file(const struct job *j, const char *repository, const char *revision, const struct hub_file *f,
                         const char *below, json_t *list) {
    struct str path = {0};
    struct download_result result = {0};
    struct step step = {j->pull, f->path};
    struct download_events events = {on_progress, on_wait, &step};
    store_path(j->pull->store, j->folder, below, &path);
    status s = str_status(&path);
    if (s == UTTER_OK) s = folder_make_above(str_text(&path));
    if (s == UTTER_OK && !is_there(j, f, str_text(&path), result.sha256)) {
        say(j->pull, "fetching %s of %s, %.1f MB", f->path, repository, (double)f->n_bytes / 1e6);
        s = hub_fetch(j->pull->hub, repository, revision, f, str_text(&path), &events, &result);
    }
    str_free(&path);
    return s == UTTER_OK ? add_file(list, below, f->n_bytes, result.sha256) : s;
}

static status fetch_with(const struct job *j, const char *repository, const char *revision,
                         const struct hub_listing *listing, const struct model_names *names, const char *folder) {
    for (int k = 0; k < names->n; k++)
        for (int i = 0; i < listing->n; i++) {
            if (strcmp(listing->files[i].path, names->at[k]) != 0) continue;
            struct str below = {0};
            str_printf(&below, "%s%s", folder, names->at[k]);
            status s = str_status(&below);
            if (s == UTTER_OK)
                s = fetch_file(j, repository, revision, &listing->files[i], str_text(&below), j->sources);
            str_free(&below);
            TRY(s);
        }
    return UTTER_OK;
}

#define SEMANTIC_FOLDER "semantic/"
static const char semantic_revision[] = "main";

// An encoder's semantic model is in its weights, or it is where it was published itself.
static status fetch_semantic(struct job *j) {
    const struct model_entry *e = j->entry;
    struct str path = {0};
    struct step step = {j->pull, e->semantic.repository};
    struct download_events events = {on_progress, on_wait, &step};
    bool needed = false;
    store_path(j->pull->store, j->folder, j->weights->path, &path);
    status s = str_status(&path);
    if (s == UTTER_OK) s = j->pull->convert.needs_semantic(str_text(&path), &needed);
    str_free(&path);
    TRY(s);
    if (!e->semantic.repository || (!needed && e->semantic.with.n == 0)) return UTTER_OK;
    TRY(hub_list(j->pull->hub, e->semantic.repository, semantic_revision, &events, &j->semantic_listing));
    TRY(fetch_with(j, e->semantic.repository, semantic_revision, &j->semantic_listing, &e->semantic.with,
                   needed ? SEMANTIC_FOLDER : ""));
    if (!needed) return UTTER_OK;
    TRY(choose(e->semantic.repository, &e->semantic.files, &j->semantic_listing, &j->semantic));
    struct str below = {0};
    str_printf(&below, "%s%s", SEMANTIC_FOLDER, j->semantic->path);
    s = str_status(&below);
    if (s == UTTER_OK)
        s = fetch_file(j, e->semantic.repository, semantic_revision, j->semantic, str_text(&below), j->sources);
    str_free(&below);
    return s;
}

static status fetch_all(struct job *j) {
    const struct model_entry *e = j->entry;
    bool converted = !ends_with(j->weights->path, ".gguf");
    TRY(fetch_file(j, e->repository, e->revision, j->weights, j->weights->path, converted ? j->sources : j->files));
    if (!converted) return UTTER_OK;
    TRY(fetch_with(j, e->repository, e->revision, &j->listing, &e->with, ""));
    return e->kind == MODEL_ENCODER ? fetch_semantic(j) : UTTER_OK;
}

static status convert_encoder(const struct job *j, const char *in, const char *out) {
    if (!j->semantic) return j->pull->convert.encoder(in, NULL, out, j->entry->type);
    struct str semantic = {0}, below = {0};
    str_printf(&below, "%s%s", SEMANTIC_FOLDER, j->semantic->path);
    store_path(j->pull->store, j->folder, str_text(&below), &semantic);
    status s = str_status(&below);
    if (s == UTTER_OK) s = str_status(&semantic);
    if (s == UTTER_OK) s = j->pull->convert.encoder(in, str_text(&semantic), out, j->entry->type);
    str_free(&below);
    str_free(&semantic);
    return s;
}

// Parts of a checkpoint are found by the index in their folder.
static void turn_to_folder(char *path) {
    if (ends_with(path, ".index.json")) *strrchr(path, '/') = 0;
}

static status convert(struct job *j, const char *in, const char *out, const char *name) {
    int64_t n;
    char sha256[65], git[41];
    say(j->pull, "converting %s to GGUF", j->weights->path);
    TRY(j->entry->kind == MODEL_ENCODER ? convert_encoder(j, in, out)
                                        : j->pull->convert.model(in, out, j->entry->type));
    TRY(sum_file(j, out, name, -1, &n, sha256, git));
    return add_file(j->files, name, n, sha256);
}

// The weights at `path` go to the folder of the encoder's pull, which finds them there. If they cannot, they are gone.
static void leave_to_heir(const struct job *j, const char *path) {
    struct job heir = {.pull = j->pull, .entry = j->heir, .weights = j->weights};
    struct str to = {0};
    int held;
    if (lock(j->pull, j->heir->name, &held) != UTTER_OK) return;
    snprintf(heir.folder, sizeof heir.folder, "%s.pull", j->heir->name);
    store_path(j->pull->store, heir.folder, j->weights->path, &to);
    if (str_status(&to) == UTTER_OK && prepare_folder(&heir) == UTTER_OK && folder_make_above(str_text(&to)) == UTTER_OK)
        (void)!rename(path, str_text(&to));
    str_free(&to);
    close(held);
}

// Makes a GGUF of what is none, and removes what it was made of: the GGUF has it all.
static status make_gguf(struct job *j) {
    struct str name = {0}, in = {0}, out = {0};
    bool ready = ends_with(j->weights->path, ".gguf");
    str_printf(&name, ready ? "%s" : "%s.gguf", ready ? j->weights->path : j->entry->name);
    store_path(j->pull->store, j->folder, j->weights->path, &in);
    store_path(j->pull->store, j->folder, str_text(&name), &out);
    status s = str_status(&name);
    if (s == UTTER_OK) s = str_status(&in);
    if (s == UTTER_OK) s = str_status(&out);
    if (s == UTTER_OK && !ready) turn_to_folder(in.data);
    if (s == UTTER_OK && !ready) s = convert(j, str_text(&in), str_text(&out), str_text(&name));
    if (s == UTTER_OK && j->unlisted) s = j->pull->convert.speaks(str_text(&out));
    j->model_refused = s == UTTER_FORMAT || s == UTTER_UNSUPPORTED;
    for (size_t i = 0; s == UTTER_OK && i < json_array_size(j->sources); i++) {
        str_clear(&in);
        store_path(j->pull->store, j->folder, json_string_value(json_object_get(json_array_get(j->sources, i), "path")),
                   &in);
        s = str_status(&in);
        if (s == UTTER_OK && i == 0 && j->heir) leave_to_heir(j, str_text(&in));
        if (s == UTTER_OK) remove(str_text(&in));
    }
    str_clear(&in);
    store_path(j->pull->store, j->folder, "semantic", &in);
    if (s == UTTER_OK && str_status(&in) == UTTER_OK) rmdir(str_text(&in));  // empty, where there was one
    if (s == UTTER_OK)
        j->model = name.data;
    else
        str_free(&name);
    str_free(&in);
    str_free(&out);
    return s;
}

// ---- voices ----

static status fetch_voice_file(const struct job *j, const char *voice, const char *end) {
    struct str url = {0}, what = {0}, below = {0}, path = {0};
    struct step step = {j->pull, voice};
    struct download_events events = {on_progress, NULL, &step};
    str_printf(&url, "%s/%s%s", j->entry->voices_url, voice, end);
    str_printf(&what, "the voice %s%s", voice, end);
    str_printf(&below, "voices/%s%s", voice, end);
    store_path(j->pull->store, j->folder, str_text(&below), &path);
    struct download d = {.url = str_text(&url),
                         .what = str_text(&what),
                         .n_bytes = -1,
                         .max_bytes = 1 << 20,
                         .limits = j->pull->hub->limits,
                         .events = &events};
    if (d.limits.n_attempts > 2) d.limits.n_attempts = 2;  // not worth waiting for
    struct download_result result;
    status s = str_status(&path);
    if (s == UTTER_OK) s = str_status(&url);
    if (s == UTTER_OK) s = folder_make_above(str_text(&path));
    if (s == UTTER_OK) s = download_file(&d, str_text(&path), &result);
    if (s == UTTER_OK) s = add_file(j->files, str_text(&below), result.n_bytes, result.sha256);
    str_free(&url);
    str_free(&what);
    str_free(&below);
    str_free(&path);
    return s;
}

// Voices come from elsewhere than the model, which speaks without them too: one that cannot be had is said and left.
static status fetch_voices(const struct job *j) {
    for (int i = 0; i < j->entry->voices.n; i++) {
        size_t before = json_array_size(j->files);
        status s = fetch_voice_file(j, j->entry->voices.at[i], ".pt");
        if (s == UTTER_OK) s = fetch_voice_file(j, j->entry->voices.at[i], ".txt");
        if (s == UTTER_CANCELLED || s == UTTER_MEMORY) return s;
        if (s == UTTER_OK) continue;
        while (json_array_size(j->files) > before) json_array_remove(j->files, json_array_size(j->files) - 1);
        say(j->pull, "left out the voice %s: %s", j->entry->voices.at[i], fail_message());
    }
    return UTTER_OK;
}

// ---- the manifest ----

static void date_of_today(char out[32]) {
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static json_t *make_manifest(const struct job *j) {
    const struct model_entry *e = j->entry;
    char date[32];
    date_of_today(date);
    json_t *voices = json_array();
    for (int i = 0; i < e->voices.n; i++) json_array_append_new(voices, json_string(e->voices.at[i]));
    return json_pack("{s:i, s:s, s:s, s:s, s:s*, s:s*, s:{s:s, s:s, s:s}, s:s, s:{s:s, s:s, s:b}, s:o, s:O, s:O}",
                     "format", 1, "name", e->name, "kind", model_kind_name(e->kind), "model", j->model, "language",
                     e->language, "codec", e->codec, "source", "endpoint", j->pull->hub->endpoint, "repository",
                     e->repository, "revision", e->revision, "date", date, "licence", "name", e->licence, "url",
                     e->licence_url, "accepted", e->licence_asks, "voices", voices, "files", j->files, "converted_from",
                     j->sources);
}

static status write_manifest(const struct job *j) {
    json_t *manifest = make_manifest(j);
    char *text = manifest ? json_dumps(manifest, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
    struct str path = {0};
    struct file_writer w = {0};
    store_path(j->pull->store, j->folder, "manifest.json", &path);
    status s = text ? str_status(&path) : fail_memory(4096, "a manifest");
    if (s == UTTER_OK) s = file_create(str_text(&path), &w);
    if (s == UTTER_OK) s = file_write(&w, text, strlen(text));
    if (s == UTTER_OK) s = file_write(&w, "\n", 1);
    if (s == UTTER_OK)
        s = file_commit(&w);
    else
        file_abandon(&w);
    str_free(&path);
    free(text);
    json_decref(manifest);
    return s;
}

// NAME.pull becomes NAME.
static status put_in_place(const struct job *j) {
    struct str from = {0}, to = {0}, source = {0};
    store_path(j->pull->store, j->folder, ".source", &source);
    store_path(j->pull->store, j->folder, NULL, &from);
    store_path(j->pull->store, j->entry->name, NULL, &to);
    status s = str_status(&from);
    if (s == UTTER_OK) s = str_status(&to);
    if (s == UTTER_OK) s = str_status(&source);
    if (s == UTTER_OK) remove(str_text(&source));
    if (s == UTTER_OK) s = remove_folder(str_text(&to));  // a damaged one, or it would have been kept
    if (s == UTTER_OK && rename(str_text(&from), str_text(&to)) != 0)
        s = fail(UTTER_IO, "cannot give %s its name: %s", str_text(&to), strerror(errno));
    str_free(&source);
    str_free(&from);
    str_free(&to);
    return s;
}

static status run(struct job *j) {
    const struct model_entry *e = j->entry;
    struct step step = {j->pull, e->repository};
    struct download_events events = {on_progress, on_wait, &step};
    j->files = json_array();
    j->sources = json_array();
    if (!j->files || !j->sources) return fail_memory(4096, "a manifest");
    TRY(hub_list(j->pull->hub, e->repository, e->revision, &events, &j->listing));
    TRY(choose(e->repository, &e->files, &j->listing, &j->weights));
    if (strcmp(j->weights->path, "manifest.json") == 0 || strncmp(j->weights->path, "voices/", 7) == 0)
        return fail(UTTER_FORMAT, "%s: weights may not be called %s", e->repository, j->weights->path);
    TRY(prepare_folder(j));
    TRY(fetch_all(j));
    TRY(make_gguf(j));
    TRY(fetch_voices(j));
    TRY(write_manifest(j));
    return put_in_place(j);
}

// True when it is there and whole; damaged ones are fetched again, and that is said.
static bool is_installed(const struct pull *p, const struct model_entry *e) {
    struct store_model m;
    status s = store_read(p->store, e->name, &m);
    if (s == UTTER_OK) store_model_free(&m);
    if (s != UTTER_OK && s != UTTER_INVALID) say(p, "fetching %s again: %s", e->name, fail_message());
    return s == UTTER_OK;
}

static status ask(const struct pull *p, const struct model_entry *e) {
    if (!e->licence_asks || (p->accept && p->accept(p->user, e))) return UTTER_OK;
    return fail(UTTER_INVALID,
                "%s comes under the %s (%s), which has not been accepted; read it, then add --accept-licence \"%s\"",
                e->name, e->licence, e->licence_url, e->licence);
}

static bool is_here(const struct pull *p, const char *name) {
    struct store_model there;
    if (store_read(p->store, name, &there) != UTTER_OK) return false;
    say(p, "%s is already here", store_title(&there));
    store_model_free(&there);
    return true;
}

// What cannot be used is not kept to be continued.
static void drop(const struct job *j) {
    char sentence[512];
    struct str folder = {0};
    snprintf(sentence, sizeof sentence, "%s", fail_message());
    store_path(j->pull->store, j->folder, NULL, &folder);
    if (str_status(&folder) == UTTER_OK) remove_folder(str_text(&folder));
    str_free(&folder);
    fail(UTTER_FORMAT, "%s cannot be used, nothing of it was kept: %s", j->entry->repository, sentence);
}

static status pull_one(const struct pull *p, const struct model_entry *e, const struct model_entry *heir,
                       bool unlisted) {
    if (is_here(p, e->name)) return UTTER_OK;
    TRY(ask(p, e));
    int held;
    TRY(lock(p, e->name, &held));
    status s = UTTER_OK;
    if (is_installed(p, e)) {
        say(p, "%s is here now", e->name);
    } else {
        struct job j = {.pull = p, .entry = e, .heir = heir, .unlisted = unlisted};
        snprintf(j.folder, sizeof j.folder, "%s.pull", e->name);
        s = run(&j);
        if (unlisted && j.model_refused) drop(&j);
        hub_listing_free(&j.listing);
        hub_listing_free(&j.semantic_listing);
        json_decref(j.files);
        json_decref(j.sources);
        free(j.model);
        if (s == UTTER_OK) say(p, "%s is here", unlisted ? e->repository : e->name);
    }
    close(held);
    return s;
}

// True when both are made of one checkpoint, and the encoder has yet to be made.
static bool shares_weights(const struct pull *p, const struct model_entry *codec, const struct model_entry *encoder) {
    struct store_model there;
    if (strcmp(codec->repository, encoder->repository) != 0 || strcmp(codec->revision, encoder->revision) != 0)
        return false;
    if (store_read(p->store, encoder->name, &there) != UTTER_OK) return true;
    store_model_free(&there);
    return false;
}

// The model, then its codec, then that one's encoder.
static status pull_with(const struct pull *p, const struct model_entry *e, bool unlisted) {
    const struct model_entry *codec = e->kind == MODEL_CODEC ? e : NULL, *encoder = NULL;
    if (e->codec) codec = registry_find(p->store->registry, e->codec);
    if (p->with_encoder && codec && codec->encoder) encoder = registry_find(p->store->registry, codec->encoder);
    if (p->with_encoder && !encoder && e->kind != MODEL_ENCODER)
        return fail(UTTER_INVALID, "no encoder is known for %s; utter models list names those that there are",
                    codec ? codec->name : e->name);
    if (e->kind != MODEL_CODEC) TRY(pull_one(p, e, NULL, unlisted));
    if (codec) TRY(pull_one(p, codec, encoder && shares_weights(p, codec, encoder) ? encoder : NULL, false));
    return encoder ? pull_one(p, encoder, NULL, false) : UTTER_OK;
}

// One that is here already is taken as it was found then, with no word to the hub.
static status pull_installed(const struct pull *p, const char *name, bool *done) {
    struct store_model m;
    *done = store_read(p->store, name, &m) == UTTER_OK;
    if (!*done) return UTTER_OK;
    const struct model_entry e = {
        .name = m.name, .repository = m.repository, .kind = m.kind, .codec = m.codec, .language = m.language};
    status s = UTTER_OK;
    if (p->type)
        s = fail(UTTER_INVALID, "%s is already here, as %s; utter models remove %s makes room for another type",
                 store_title(&m), m.file, store_title(&m));
    if (s == UTTER_OK) s = pull_with(p, &e, true);
    store_model_free(&m);
    return s;
}

static status pull_repository(const struct pull *p, const char *said) {
    char name[REGISTRY_MAX_NAME + 1], title[REGISTRY_MAX_NAME + 1];
    struct step step = {p, said};
    struct download_events events = {on_progress, on_wait, &step};
    struct repository *r;
    bool done;
    if (!registry_repository_name(said, name))
        return fail(UTTER_INVALID, "there is no model %s; utter models list names those that there are", said);
    TRY(pull_installed(p, name, &done));
    if (done) return UTTER_OK;
    char *cut = strstr(name, "--");
    snprintf(title, sizeof title, "%.*s/%s", (int)(cut - name), name, cut + 2);
    TRY(repository_read(p->hub, p->store->registry, title, p->type, &events, &r));
    const struct model_entry *e = repository_entry(r);
    if (repository_has_licence(r))
        say(p, "%s comes under the licence %s, see %s", title, e->licence, e->licence_url);
    else
        say(p, "%s names no licence, see %s", title, e->licence_url);
    status s = pull_with(p, e, true);
    repository_free(r);
    return s;
}

status pull_model(const struct pull *p, const char *name) {
    const struct model_entry *e = registry_find(p->store->registry, name);
    if (!e) return pull_repository(p, name);
    if (p->type)
        return fail(UTTER_INVALID,
                    "--type is for a repository that is on no list; %s has a type of its own, see utter "
                    "models list",
                    e->name);
    return pull_with(p, e, false);
}

// ---- remove, verify ----

status pull_remove(const struct pull *p, const char *said) {
    char name[REGISTRY_MAX_NAME + 1];
    store_name(p->store, said, name);
    if (!*name) return fail(UTTER_INVALID, "%s is no model's name", said);
    struct str folder = {0}, partial = {0};
    store_path(p->store, name, NULL, &folder);
    str_printf(&partial, "%s.pull", str_text(&folder));
    status s = str_status(&partial);
    if (s == UTTER_OK && access(str_text(&folder), F_OK) != 0 && access(str_text(&partial), F_OK) != 0)
        s = fail(UTTER_INVALID, "%s is not installed", said);
    int held = -1;
    if (s == UTTER_OK) s = lock(p, name, &held);
    // Under its other name it is no model any more, however the removal ends.
    if (s == UTTER_OK) s = remove_folder(str_text(&partial));
    if (s == UTTER_OK && access(str_text(&folder), F_OK) == 0 && rename(str_text(&folder), str_text(&partial)) != 0)
        s = fail(UTTER_IO, "cannot remove %s: %s", str_text(&folder), strerror(errno));
    if (s == UTTER_OK) s = remove_folder(str_text(&partial));
    if (held >= 0) close(held);
    str_free(&folder);
    str_free(&partial);
    return s;
}

static status verify_file(const struct pull *p, const struct store_model *m, const struct store_file *f) {
    struct str path = {0};
    char sha256[65], git[41];
    int64_t n = 0;
    struct job j = {.pull = p};
    store_path(p->store, m->name, f->path, &path);
    say(p, "checking %s of %s", f->path, store_title(m));
    status s = str_status(&path);
    if (s == UTTER_OK) s = sum_file(&j, str_text(&path), f->path, -1, &n, sha256, git);
    if (s == UTTER_OK && strcmp(sha256, f->sha256) != 0)
        s = fail(UTTER_FORMAT, "%s is damaged: %s is not what was fetched; utter models remove %s, then pull it again",
                 m->name, str_text(&path), m->name);
    str_free(&path);
    return s;
}

status pull_verify(const struct pull *p, const char *said) {
    struct store_model m;
    char name[REGISTRY_MAX_NAME + 1];
    store_name(p->store, said, name);
    if (!*name) return fail(UTTER_INVALID, "%s is no model's name", said);
    TRY(store_read(p->store, name, &m));
    status s = UTTER_OK;
    for (int i = 0; s == UTTER_OK && i < m.n; i++) s = verify_file(p, &m, &m.files[i]);
    store_model_free(&m);
    return s;
}
