#include "models/registry.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_ENTRIES = 1000, MAX_FILE = 1 << 20, MAX_TEXT = 512, MAX_OWN_NAME = 64 };

struct registry {
    json_t *built_in, *user;  // hold all texts of the entries; user may be NULL
    struct model_entry *entries;
    int n;
};

// assets/models.json (embed.sh).
extern const char registry_json[], registry_json_end[];

// Where a fault is: models[at] of the file.
struct place {
    const char *file;
    int at;
    const char *name;  // of the entry once it is known
};

bool path_stays_below(const char *path) {
    size_t len = strlen(path);
    if (len == 0 || len >= MAX_TEXT || path[0] == '/' || path[len - 1] == '/') return false;
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '\\') return false;
    for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
        size_t part = strcspn(p, "/");
        if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.')) return false;
    }
    return true;
}

static bool only(const char *text, const char *more) {
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(more, *p)) return false;
    return true;
}

bool registry_name_ok(const char *name) {
    return isalnum((unsigned char)name[0]) && strlen(name) <= REGISTRY_MAX_NAME && only(name, "._-");
}

static bool repository_ok(const char *name) {
    const char *slash = strchr(name, '/');
    return slash && !strchr(slash + 1, '/') && path_stays_below(name) && only(name, "._-/");
}

bool registry_repository_name(const char *repository, char out[REGISTRY_MAX_NAME + 1]) {
    const char *cut = strchr(repository, '/');
    size_t len = strlen(repository), skipped = cut ? 1 : 2;
    if (!cut) cut = strstr(repository, "--");
    if (!cut || cut == repository || len < skipped + 2 || len + 2 - skipped > REGISTRY_MAX_NAME) return false;
    int n = (int)(cut - repository);
    const char *name = cut + skipped;
    snprintf(out, REGISTRY_MAX_NAME + 1, "%.*s--%s", n, repository, name);
    size_t made = strlen(out);
    bool pull = made > 5 && strcmp(out + made - 5, ".pull") == 0;  // what half-fetched ones are called
    return isalnum((unsigned char)*name) && registry_name_ok(out) && !pull && strstr(out, "--") == out + n &&
           !strstr(name, "--");
}

// ---- reading ----

static status wrong(const struct place *at, const char *key, const char *wanted) {
    if (at->name) return fail(UTTER_FORMAT, "%s: model \"%s\": \"%s\" must be %s", at->file, at->name, key, wanted);
    return fail(UTTER_FORMAT, "%s: models[%d]: \"%s\" must be %s", at->file, at->at, key, wanted);
}

static bool is_text(const json_t *v) {
    size_t len = json_string_length(v);
    return json_is_string(v) && len > 0 && len < MAX_TEXT && strlen(json_string_value(v)) == len;
}

static status read_text(const struct place *at, const json_t *o, const char *key, bool needed, const char **out) {
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    if (!v && !needed) return UTTER_OK;
    if (!is_text(v)) return wrong(at, key, needed ? "there, a text" : "a text");
    *out = json_string_value(v);
    return UTTER_OK;
}

static status read_names(const struct place *at, const json_t *o, const char *key, bool needed,
                         struct model_names *out) {
    const json_t *list = json_object_get(o, key);
    if (!list && !needed) return UTTER_OK;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0 || n > REGISTRY_MAX_NAMES) return wrong(at, key, "a list of 1 to 16 texts");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!is_text(v) || !path_stays_below(json_string_value(v)))
            return wrong(at, key, "names of files, below the folder they are in");
        out->at[out->n++] = json_string_value(v);
    }
    return UTTER_OK;
}

static status no_other_keys(const struct place *at, const json_t *o, const char *const *known, size_t n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o, key, value) {
        bool found = false;
        for (size_t i = 0; i < n; i++) found = found || strcmp(key, known[i]) == 0;
        if (found) continue;
        if (at->name) return fail(UTTER_FORMAT, "%s: model \"%s\": unknown key \"%s\"", at->file, at->name, key);
        return fail(UTTER_FORMAT, "%s: unknown key \"%s\"", at->file, key);
    }
    return UTTER_OK;
}

const char *model_kind_name(enum model_kind kind) {
    return kind == MODEL_BACKBONE ? "backbone" : kind == MODEL_CODEC ? "codec" : "encoder";
}

static status read_kind(const struct place *at, const json_t *o, enum model_kind *out) {
    const char *kind;
    TRY(read_text(at, o, "kind", true, &kind));
    for (*out = MODEL_BACKBONE; *out <= MODEL_ENCODER; ++*out)
        if (strcmp(kind, model_kind_name(*out)) == 0) return UTTER_OK;
    return wrong(at, "kind", "backbone, codec or encoder");
}

// The licence's terms are in the file itself, or among those built in.
static status read_licence(const struct registry *r, const struct place *at, const json_t *file, const json_t *o,
                           struct model_entry *e) {
    TRY(read_text(at, o, "licence", true, &e->licence));
    const json_t *terms = json_object_get(json_object_get(file, "licences"), e->licence);
    if (!terms) terms = json_object_get(json_object_get(r->built_in, "licences"), e->licence);
    const json_t *url = json_object_get(terms, "url"), *asks = json_object_get(terms, "asks");
    if (!is_text(url) || !json_is_boolean(asks))
        return wrong(at, "licence",
                     "the name of an entry of \"licences\", which has \"url\" and \"asks\" (true or false)");
    e->licence_url = json_string_value(url);
    e->licence_asks = json_is_true(asks);
    return UTTER_OK;
}

static status read_voices(const struct place *at, const json_t *o, struct model_entry *e) {
    const json_t *voices = json_object_get(o, "voices");
    if (!voices) return UTTER_OK;
    static const char *const known[] = {"url", "names"};
    if (!json_is_object(voices)) return wrong(at, "voices", "an object with \"url\" and \"names\"");
    TRY(no_other_keys(at, voices, known, 2));
    TRY(read_text(at, voices, "url", true, &e->voices_url));
    if (strncmp(e->voices_url, "https://", 8) != 0 && strncmp(e->voices_url, "http://", 7) != 0)
        return wrong(at, "url", "an address of the web");
    TRY(read_names(at, voices, "names", true, &e->voices));
    for (int i = 0; i < e->voices.n; i++)
        if (!registry_name_ok(e->voices.at[i])) return wrong(at, "names", "of letters, digits, '.', '_' and '-'");
    return UTTER_OK;
}

static status read_semantic(const struct place *at, const json_t *o, struct model_entry *e) {
    const json_t *semantic = json_object_get(o, "semantic");
    static const char *const known[] = {"repository", "files", "with"};
    if (!semantic) return UTTER_OK;
    if (!json_is_object(semantic) || e->kind != MODEL_ENCODER)
        return wrong(at, "semantic", "an object with \"repository\" and \"files\", of an encoder");
    TRY(no_other_keys(at, semantic, known, 3));
    TRY(read_text(at, semantic, "repository", true, &e->semantic.repository));
    if (!repository_ok(e->semantic.repository)) return wrong(at, "repository", "OWNER/NAME");
    TRY(read_names(at, semantic, "files", true, &e->semantic.files));
    return read_names(at, semantic, "with", false, &e->semantic.with);
}

static status read_rest(const struct place *at, const json_t *o, struct model_entry *e) {
    const char *type;
    TRY(read_text(at, o, "about", false, &e->about));
    TRY(read_text(at, o, "repository", true, &e->repository));
    if (!repository_ok(e->repository)) return wrong(at, "repository", "OWNER/NAME");
    TRY(read_text(at, o, "revision", false, &e->revision));
    if (!e->revision) e->revision = "main";
    if (!only(e->revision, "._-/") || !path_stays_below(e->revision))
        return wrong(at, "revision", "a branch, a tag or a commit");
    TRY(read_names(at, o, "files", true, &e->files));
    TRY(read_names(at, o, "with", false, &e->with));
    TRY(read_text(at, o, "type", false, &type));
    e->type = BLOCK_F16;
    if (type && !block_type_by_name(type, &e->type)) return wrong(at, "type", "a type of weights, such as f16 or q8_0");
    TRY(read_text(at, o, "language", e->kind == MODEL_BACKBONE, &e->language));
    TRY(read_text(at, o, "codec", e->kind == MODEL_BACKBONE, &e->codec));
    if (e->kind != MODEL_BACKBONE && (e->codec || e->language))
        return wrong(at, e->codec ? "codec" : "language", "left out: only backbones have one");
    TRY(read_text(at, o, "encoder", false, &e->encoder));
    if (e->encoder && e->kind != MODEL_CODEC) return wrong(at, "encoder", "left out: only codecs have one");
    TRY(read_semantic(at, o, e));
    const json_t *bytes = json_object_get(o, "bytes");
    if (bytes && (!json_is_integer(bytes) || json_integer_value(bytes) <= 0))
        return wrong(at, "bytes", "a number of bytes");
    e->n_bytes = json_integer_value(bytes);
    return read_voices(at, o, e);
}

static status read_entry(const struct registry *r, struct place *at, const json_t *file, const json_t *o,
                         struct model_entry *e) {
    static const char *const known[] = {"name",  "about", "kind",   "repository", "revision",
                                        "files", "with",  "type",   "language",   "licence",
                                        "bytes", "codec", "voices", "encoder",    "semantic"};
    *e = (struct model_entry){0};
    if (!json_is_object(o)) return fail(UTTER_FORMAT, "%s: models[%d] must be an object", at->file, at->at);
    TRY(read_text(at, o, "name", true, &e->name));
    if (!registry_name_ok(e->name) || strlen(e->name) > MAX_OWN_NAME)
        return wrong(at, "name", "of letters, digits, '.', '_' and '-', at most 64, the first a letter or digit");
    at->name = e->name;
    TRY(no_other_keys(at, o, known, sizeof known / sizeof *known));
    TRY(read_kind(at, o, &e->kind));
    TRY(read_rest(at, o, e));
    if (!e->about) e->about = e->repository;
    return read_licence(r, at, file, o, e);
}

static struct model_entry *named(const struct registry *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->entries[i].name, name) == 0) return &r->entries[i];
    return NULL;
}

// Adds the entries of `file`; those of a name that is there already take its place.
static status read_file(struct registry *r, const char *path, const json_t *file, bool added) {
    static const char *const known[] = {"licences", "models"};
    struct place top = {.file = path};
    if (!json_is_object(file)) return fail(UTTER_FORMAT, "%s must hold a JSON object with \"models\"", path);
    TRY(no_other_keys(&top, file, known, 2));
    const json_t *licences = json_object_get(file, "licences"), *models = json_object_get(file, "models");
    if (licences && !json_is_object(licences)) return fail(UTTER_FORMAT, "%s: \"licences\" must be an object", path);
    size_t n = json_array_size(models);
    if (!json_is_array(models)) return fail(UTTER_FORMAT, "%s: \"models\" must be there, a list", path);
    if (n > MAX_ENTRIES) return fail(UTTER_LIMIT, "%s lists %zu models; at most %d are allowed", path, n, MAX_ENTRIES);
    struct model_entry *entries = realloc(r->entries, ((size_t)r->n + n + 1) * sizeof *entries);
    if (!entries) return fail_memory(n * sizeof *entries, "the list of models");
    r->entries = entries;
    int first = r->n;
    for (size_t i = 0; i < n; i++) {
        struct place at = {.file = path, .at = (int)i};
        struct model_entry e;
        TRY(read_entry(r, &at, file, json_array_get(models, i), &e));
        e.added = added;
        struct model_entry *same = named(r, e.name);
        if (same && (same >= &r->entries[first] || same->added == added))
            return fail(UTTER_FORMAT, "%s: model \"%s\" is there twice; keep one", path, e.name);
        if (same)
            *same = e;
        else
            r->entries[r->n++] = e;
    }
    return UTTER_OK;
}

static status check_codecs(const struct registry *r, const char *user_path) {
    for (int i = 0; i < r->n; i++) {
        const struct model_entry *e = &r->entries[i];
        const struct model_entry *codec = e->codec ? named(r, e->codec) : NULL;
        if (e->codec && (!codec || codec->kind != MODEL_CODEC))
            return fail(UTTER_FORMAT, "%s: model \"%s\": \"codec\" names \"%s\", which is no codec",
                        e->added ? user_path : "models.json", e->name, e->codec);
        const struct model_entry *encoder = e->encoder ? named(r, e->encoder) : NULL;
        if (e->encoder && (!encoder || encoder->kind != MODEL_ENCODER))
            return fail(UTTER_FORMAT, "%s: model \"%s\": \"encoder\" names \"%s\", which is no encoder",
                        e->added ? user_path : "models.json", e->name, e->encoder);
    }
    return UTTER_OK;
}

static status parse(const char *path, const char *data, size_t size, json_t **out) {
    json_error_t error;
    *out = json_loadb(data, size, JSON_REJECT_DUPLICATES, &error);
    if (*out) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s, line %d: %s", path, error.line, error.text);
}

static status read_user_file(struct registry *r, const char *path) {
    struct file_map map;
    TRY(file_map_open(path, &map));
    status s = UTTER_OK;
    if (map.size > MAX_FILE)
        s = fail(UTTER_LIMIT, "%s is larger than 1 MiB; it should be a short list of models", path);
    else
        s = parse(path, map.data ? map.data : "", map.size, &r->user);
    file_map_close(&map);
    return s == UTTER_OK ? read_file(r, path, r->user, true) : s;
}

status registry_open(const char *user_path, struct registry **out) {
    *out = NULL;
    struct registry *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(sizeof *r, "the list of models");
    status s = parse("models.json", registry_json, (size_t)(registry_json_end - registry_json), &r->built_in);
    if (s == UTTER_OK) s = read_file(r, "models.json", r->built_in, false);
    if (s == UTTER_OK && user_path && access(user_path, F_OK) == 0) s = read_user_file(r, user_path);
    if (s == UTTER_OK) s = check_codecs(r, user_path);
    if (s == UTTER_OK)
        *out = r;
    else
        registry_close(r);
    return s;
}

void registry_close(struct registry *r) {
    if (!r) return;
    json_decref(r->built_in);
    json_decref(r->user);
    free(r->entries);
    free(r);
}

int registry_count(const struct registry *r) { return r->n; }
const struct model_entry *registry_at(const struct registry *r, int i) { return &r->entries[i]; }

const struct model_entry *registry_find(const struct registry *r, const char *name) {
    const struct model_entry *found = named(r, name);
    for (int i = 0; !found && i < r->n; i++)
        if (strcmp(r->entries[i].repository, name) == 0) found = &r->entries[i];
    return found;
}

status registry_user_path(struct str *out) {
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config && config[0] == '/')
        str_printf(out, "%s/utter/models.json", config);
    else if (home && home[0])
        str_printf(out, "%s/.config/utter/models.json", home);
    else
        return fail(UTTER_INVALID, "HOME is not set, so there is no place for settings; set HOME or XDG_CONFIG_HOME");
    return str_status(out);
}
