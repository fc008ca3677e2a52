#include "models/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_MANIFEST = 1 << 20 };

static status find_root(struct str *out) {
    const char *own = getenv("UTTER_HOME"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && own[0])
        str_puts(out, own);
    else if (cache && cache[0] == '/')
        str_printf(out, "%s/utter", cache);
    else if (home && home[0])
        str_printf(out, "%s/.cache/utter", home);
    else
        return fail(UTTER_INVALID, "HOME is not set, so there is no place for models; set HOME or UTTER_HOME");
    return str_status(out);
}

status store_open(const char *root, struct store *out) {
    *out = (struct store){0};
    struct str path = {0}, user = {0};
    status s = UTTER_OK;
    if (root)
        str_puts(&path, root);
    else
        s = find_root(&path);
    if (s == UTTER_OK && !(out->root = strdup(str_text(&path)))) s = fail_memory(path.len, "a path");
    if (s == UTTER_OK && (getenv("XDG_CONFIG_HOME") || getenv("HOME"))) s = registry_user_path(&user);
    if (s == UTTER_OK) s = registry_open(user.len ? str_text(&user) : NULL, &out->registry);
    str_free(&path);
    str_free(&user);
    if (s != UTTER_OK) store_close(out);
    return s;
}

void store_close(struct store *s) {
    free(s->root);
    registry_close(s->registry);
    *s = (struct store){0};
}

void store_path(const struct store *s, const char *name, const char *below, struct str *out) {
    str_printf(out, "%s/models/%s%s%s", s->root, name, below ? "/" : "", below ? below : "");
}

// ---- manifests ----

static const char *text(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static status damaged(const char *name, const char *why) {
    return fail(UTTER_FORMAT, "the manifest of %s is damaged: %s; utter models remove %s, then pull it again", name,
                why, name);
}

static status read_files(const char *name, struct store_model *m) {
    const json_t *files = json_object_get(m->manifest, "files");
    size_t n = json_array_size(files);
    if (n == 0) return damaged(name, "it lists no files");
    m->files = calloc(n, sizeof *m->files);
    if (!m->files) return fail_memory(n * sizeof *m->files, "a manifest");
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(files, i), *bytes = json_object_get(o, "bytes");
        struct store_file f = {text(o, "path"), json_integer_value(bytes), text(o, "sha256")};
        if (!f.path || !path_stays_below(f.path) || !json_is_integer(bytes) || f.n_bytes < 0 || !f.sha256)
            return damaged(name, "a file lacks its path, size or checksum");
        if (__builtin_add_overflow(m->n_bytes, f.n_bytes, &m->n_bytes)) return damaged(name, "its sizes are too large");
        found = found || strcmp(f.path, m->file) == 0;
        m->files[m->n++] = f;
    }
    return found ? UTTER_OK : damaged(name, "it does not list its model file");
}

static status read_manifest(const char *name, struct store_model *m) {
    const json_t *o = m->manifest, *source = json_object_get(o, "source");
    const char *kind = text(o, "kind");
    if (json_integer_value(json_object_get(o, "format")) != 1)
        return damaged(name, "it is of a form that this utter does not know");
    m->name = text(o, "name");
    m->file = text(o, "model");
    if (!m->name || strcmp(m->name, name) != 0) return damaged(name, "it is another model's");
    if (!kind || !m->file) return damaged(name, "it has no kind or no model");
    m->kind = strcmp(kind, "codec") == 0 ? MODEL_CODEC : strcmp(kind, "encoder") == 0 ? MODEL_ENCODER : MODEL_BACKBONE;
    m->language = text(o, "language");
    m->codec = text(o, "codec");
    if (m->codec && !registry_name_ok(m->codec)) return damaged(name, "its codec has no name");
    m->repository = text(source, "repository");
    m->revision = text(source, "revision");
    m->licence = text(json_object_get(o, "licence"), "name");
    m->date = text(o, "date");
    return read_files(name, m);
}

static status check_sizes(const struct store *s, const struct store_model *m) {
    for (int i = 0; i < m->n; i++) {
        struct str path = {0};
        struct stat info;
        store_path(s, m->name, m->files[i].path, &path);
        status is = str_status(&path);
        if (is == UTTER_OK && (stat(str_text(&path), &info) != 0 || info.st_size != m->files[i].n_bytes))
            is = fail(UTTER_IO,
                      "%s is damaged: %s is gone or has another size; utter models remove %s, then pull it again",
                      m->name, str_text(&path), m->name);
        str_free(&path);
        TRY(is);
    }
    return UTTER_OK;
}

// UTTER_INVALID, with no word about what could be pulled.
static status read_model(const struct store *s, const char *name, struct store_model *out) {
    *out = (struct store_model){0};
    struct str path = {0};
    struct file_map map = {0};
    json_error_t error;
    store_path(s, name, "manifest.json", &path);
    status is = str_status(&path);
    if (is == UTTER_OK && (!registry_name_ok(name) || access(str_text(&path), F_OK) != 0))
        is = fail(UTTER_INVALID, "%s is not installed", name);
    if (is == UTTER_OK) is = file_map_open(str_text(&path), &map);
    if (is == UTTER_OK && map.size > MAX_MANIFEST) is = damaged(name, "it is too large");
    if (is == UTTER_OK) {
        out->manifest = json_loadb(map.data ? map.data : "", map.size, JSON_REJECT_DUPLICATES, &error);
        is = out->manifest ? read_manifest(name, out) : damaged(name, error.text);
    }
    if (is == UTTER_OK) is = check_sizes(s, out);
    file_map_close(&map);
    str_free(&path);
    if (is != UTTER_OK) store_model_free(out);
    return is;
}

status store_read(const struct store *s, const char *name, struct store_model *out) {
    status is = read_model(s, name, out);
    if (is == UTTER_INVALID && registry_find(s->registry, name))
        return fail(is, "%s is not installed; utter models pull %s fetches it", name, name);
    if (is == UTTER_INVALID)
        return fail(is, "there is no model %s; utter models list names those that there are", name);
    return is;
}

void store_model_free(struct store_model *m) {
    free(m->files);
    json_decref(m->manifest);
    *m = (struct store_model){0};
}

void store_name(const struct store *s, const char *said, char out[REGISTRY_MAX_NAME + 1]) {
    const struct model_entry *e = registry_find(s->registry, said);
    if (!e && strchr(said, '/') && registry_repository_name(said, out)) return;
    if (e) said = e->name;
    snprintf(out, REGISTRY_MAX_NAME + 1, "%s", registry_name_ok(said) ? said : "");
}

const char *store_title(const struct store_model *m) {
    char name[REGISTRY_MAX_NAME + 1];
    bool unlisted = m->repository && registry_repository_name(m->repository, name) && strcmp(name, m->name) == 0;
    return unlisted ? m->repository : m->name;
}

// ---- all of them ----

static int is_model(const struct dirent *e) {
    size_t len = strlen(e->d_name);
    return registry_name_ok(e->d_name) && !(len > 5 && strcmp(e->d_name + len - 5, ".pull") == 0);
}

status store_list(const struct store *s, struct store_model **out, int *n) {
    return store_list_telling(s, NULL, NULL, out, n);
}

status store_list_telling(const struct store *s, store_damaged_fn *damaged_one, void *user, struct store_model **out,
                          int *n) {
    *out = NULL;
    *n = 0;
    struct str folder = {0};
    str_printf(&folder, "%s/models", s->root);
    TRY(str_status(&folder));
    struct dirent **entries = NULL;
    int found = scandir(str_text(&folder), &entries, is_model, alphasort);
    status is = UTTER_OK;
    if (found < 0 && errno != ENOENT)
        is = fail(UTTER_IO, "cannot read the folder %s: %s", str_text(&folder), strerror(errno));
    if (found > 0 && !(*out = calloc((size_t)found, sizeof **out)))
        is = fail_memory(sizeof **out, "the list of models");
    for (int i = 0; i < found; i++) {
        status one = *out ? read_model(s, entries[i]->d_name, &(*out)[*n]) : UTTER_MEMORY;
        if (one == UTTER_OK)
            ++*n;
        else if (*out && damaged_one)
            damaged_one(user, entries[i]->d_name, fail_message());
        free(entries[i]);
    }
    free(entries);
    str_free(&folder);
    return is;
}

void store_list_free(struct store_model *list, int n) {
    for (int i = 0; i < n; i++) store_model_free(&list[i]);
    free(list);
}

// ---- names ----

static status resolve_codec(const struct store *s, const struct store_model *m, struct str *codec) {
    struct store_model c;
    status is = read_model(s, m->codec, &c);
    if (is == UTTER_INVALID)
        return fail(is, "%s needs the codec %s, which is not installed; utter models pull %s fetches it",
                    store_title(m), m->codec, m->codec);
    TRY(is);
    store_path(s, c.name, c.file, codec);
    store_model_free(&c);
    return str_status(codec);
}

status store_resolve_in(const struct store *s, const char *name, struct str *model, struct str *codec) {
    const struct model_entry *entry = registry_find(s->registry, name);
    struct store_model m;
    char known[REGISTRY_MAX_NAME + 1];
    store_name(s, name, known);
    status is = read_model(s, known, &m);
    if (is == UTTER_INVALID && access(name, F_OK) == 0) {
        str_puts(model, name);
        return str_status(model);
    }
    if (is == UTTER_INVALID && entry)
        return fail(is, "%s is not installed; utter models pull %s fetches it", entry->name, entry->name);
    if (is == UTTER_INVALID && strchr(name, '/') && *known)
        return fail(is,
                    "there is no file %s, and no repository of that name has been pulled; utter models pull %s would",
                    name, name);
    if (is == UTTER_INVALID)
        return fail(is, "there is no file and no model %s; utter models list names the models that there are", name);
    TRY(is);
    store_path(s, m.name, m.file, model);
    is = str_status(model);
    if (is == UTTER_OK && m.codec) is = resolve_codec(s, &m, codec);
    store_model_free(&m);
    return is;
}

status store_resolve(const char *name, struct str *model, struct str *codec) {
    struct store s;
    status is = store_open(NULL, &s);
    if (is != UTTER_OK && access(name, F_OK) == 0) {  // a file needs no store
        str_puts(model, name);
        return str_status(model);
    }
    TRY(is);
    is = store_resolve_in(&s, name, model, codec);
    store_close(&s);
    return is;
}

status store_language(const char *name, struct str *out) {
    struct store s;
    struct store_model m;
    char known[REGISTRY_MAX_NAME + 1];
    if (store_open(NULL, &s) != UTTER_OK) return UTTER_OK;
    store_name(&s, name, known);
    if (read_model(&s, known, &m) == UTTER_OK) {
        if (m.language) str_puts(out, m.language);
        store_model_free(&m);
    }
    store_close(&s);
    return str_status(out);
}
