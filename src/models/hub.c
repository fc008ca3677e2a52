#include "models/hub.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "models/registry.h"

enum { MAX_LISTING = 4 << 20, MAX_FILES = 50000, MAX_PAGES = 100, MAX_TOKEN = 512 };

// ---- the environment ----

static const char *env(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static bool is_true(const char *value) {
    static const char *const yes[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; value && i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(value, yes[i]) == 0) return true;
    return false;
}

// A token goes into a header: nothing but visible ASCII can be one.
static status set_token(struct hub *h, const char *text, size_t len, const char *from) {
    while (len > 0 && isspace((unsigned char)*text)) text++, len--;
    while (len > 0 && isspace((unsigned char)text[len - 1])) len--;
    if (len == 0) return UTTER_OK;
    bool ok = len <= MAX_TOKEN;
    for (size_t i = 0; ok && i < len; i++) ok = text[i] > 0x20 && text[i] < 0x7f;
    if (!ok) return fail(UTTER_INVALID, "%s holds no access token: one line of letters and digits is wanted", from);
    h->token = strndup(text, len);
    return h->token ? UTTER_OK : fail_memory(len, "an access token");
}

static void token_path(struct str *out) {
    const char *home = env("HOME"), *cache = env("XDG_CACHE_HOME");
    if (env("HF_TOKEN_PATH"))
        str_puts(out, env("HF_TOKEN_PATH"));
    else if (env("HF_HOME"))
        str_printf(out, "%s/token", env("HF_HOME"));
    else if (cache)
        str_printf(out, "%s/huggingface/token", cache);
    else if (home)
        str_printf(out, "%s/.cache/huggingface/token", home);
}

static status find_token(struct hub *h) {
    if (env("HF_TOKEN")) return set_token(h, env("HF_TOKEN"), strlen(env("HF_TOKEN")), "HF_TOKEN");
    struct str path = {0};
    struct file_map map = {0};
    token_path(&path);
    status s = str_status(&path);
    if (s == UTTER_OK && path.len > 0 && file_map_open(str_text(&path), &map) == UTTER_OK && map.size > 0)
        s = set_token(h, map.data, map.size, str_text(&path));
    file_map_close(&map);
    str_free(&path);
    return s;
}

status hub_open(struct hub *out) {
    *out = (struct hub){.offline = is_true(env("HF_HUB_OFFLINE")), .limits = download_limits_default()};
    const char *endpoint = env("HF_ENDPOINT") ? env("HF_ENDPOINT") : "https://huggingface.co";
    if (strncasecmp(endpoint, "https://", 8) != 0 && strncasecmp(endpoint, "http://", 7) != 0)
        return fail(UTTER_INVALID, "HF_ENDPOINT is \"%s\"; an address that begins with https:// is wanted", endpoint);
    size_t len = strlen(endpoint);
    while (endpoint[len - 1] == '/') len--;
    out->endpoint = strndup(endpoint, len);
    status s = out->endpoint ? find_token(out) : fail_memory(len, "an address");
    if (s != UTTER_OK) hub_close(out);
    return s;
}

void hub_close(struct hub *h) {
    free(h->endpoint);
    free(h->token);
    *h = (struct hub){0};
}

// ---- what may go wrong ----

static status check_online(const struct hub *h, const char *what) {
    if (!h->offline) return UTTER_OK;
    return fail(UTTER_IO, "%s is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset it to go online",
                what);
}

// The sentence for an HTTP status, by what the hub means with it.
static status explain(const struct hub *h, const char *repository, const char *what, const struct download_result *r,
                      status s) {
    bool gated = strcmp(r->code, "GatedRepo") == 0, entry = strcmp(r->code, "EntryNotFound") == 0,
         revision = strcmp(r->code, "RevisionNotFound") == 0;
    const char *host = h->endpoint;
    if (r->http == 401 && h->token && !gated)
        return fail(s,
                    "%s refuses the access token (HTTP 401), or there is no repository %s; make a new token at "
                    "%s/settings/tokens and put it into HF_TOKEN",
                    host, repository, host);
    if (r->http == 401)
        return fail(s,
                    "%s shows %s to those who are known to it only (HTTP 401), if there is such a repository; "
                    "accept its terms at %s/%s, make a token at %s/settings/tokens and put it into HF_TOKEN",
                    host, repository, host, repository, host);
    if (r->http == 403)
        return fail(s,
                    "%s keeps %s from you (HTTP 403): accept its terms at %s/%s while logged in, and let HF_TOKEN "
                    "hold a token of that account that may read it",
                    host, repository, host, repository);
    if (r->http == 404 && (entry || revision))
        return fail(s, "%s: %s has no such %s (HTTP 404); it may have been renamed, see %s/%s", what, repository,
                    entry ? "file" : "revision", host, repository);
    if (r->http == 404)
        return fail(s, "%s is not at %s (HTTP 404); it may have been moved or renamed, see %s/%s", what, host, host,
                    repository);
    return s;
}

// ---- addresses ----

static void append_escaped(struct str *out, const char *path, bool slashes) {
    for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
        if (isalnum(*p) || strchr("-._~", *p) || (slashes && *p == '/'))
            str_putc(out, (char)*p);
        else
            str_printf(out, "%%%02X", *p);
    }
}

// ---- listings ----

static status bad_listing(const char *repository, const char *why) {
    return fail(UTTER_FORMAT, "the listing of %s cannot be used: %s", repository, why);
}

static bool hex_of(const char *text, size_t n, char *out) {
    out[0] = 0;
    if (!text) return true;
    if (strncmp(text, "sha256:", 7) == 0) text += 7;
    if (strlen(text) != n || strspn(text, "0123456789abcdef") != n) return false;
    memcpy(out, text, n + 1);
    return true;
}

static status read_file(const char *repository, const json_t *o, struct hub_file *out) {
    const json_t *size = json_object_get(o, "size"), *lfs = json_object_get(o, "lfs");
    const char *path = json_string_value(json_object_get(o, "path"));
    if (!path || !json_is_integer(size) || json_integer_value(size) < 0)
        return bad_listing(repository, "a file has no path or no size");
    if (!path_stays_below(path))
        return fail(UTTER_FORMAT,
                    "the listing of %s names the file \"%s\", which would lead out of its folder; "
                    "nothing was fetched",
                    repository, path);
    const char *sum = json_string_value(json_object_get(lfs, "oid"));
    if (!sum) sum = json_string_value(json_object_get(lfs, "sha256"));
    if (!hex_of(sum, 64, out->sha256) || (lfs && !json_is_null(lfs) && !sum))
        return bad_listing(repository, "a checksum is none");
    if (!sum && !hex_of(json_string_value(json_object_get(o, "oid")), 40, out->git))
        return bad_listing(repository, "a checksum is none");
    out->n_bytes = json_integer_value(size);
    out->path = strdup(path);
    return out->path ? UTTER_OK : fail_memory(strlen(path), "a file name");
}

// Appends the files of a page.
static status read_page(const char *repository, const json_t *list, struct hub_listing *out) {
    size_t n = json_array_size(list);
    if (!json_is_array(list)) return bad_listing(repository, "it is no list");
    if (n + (size_t)out->n > MAX_FILES) return bad_listing(repository, "it has more than 50,000 files");
    struct hub_file *files = realloc(out->files, ((size_t)out->n + n + 1) * sizeof *files);
    if (!files) return fail_memory(n * sizeof *files, "a listing");
    out->files = files;
    memset(&files[out->n], 0, (n + 1) * sizeof *files);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(o, "type"));
        if (!type) return bad_listing(repository, "an entry has no type");
        if (strcmp(type, "file") == 0) {
            TRY(read_file(repository, o, &out->files[out->n]));
            out->n++;
        }
    }
    return UTTER_OK;
}

// *next: the address of the page behind it, "" behind the last.
static status list_page(const struct hub *h, const char *repository, const char *url,
                        const struct download_events *events, struct hub_listing *out, char next[1024]) {
    struct str text = {0};
    struct download d = {.url = url,
                         .token = h->token,
                         .what = repository,
                         .n_bytes = -1,
                         .max_bytes = MAX_LISTING,
                         .limits = h->limits,
                         .events = events};
    struct download_result result = {0};
    json_error_t error;
    status s = download_text(&d, &text, &result);
    if (s == UTTER_IO) s = explain(h, repository, repository, &result, s);
    json_t *list = s == UTTER_OK ? json_loadb(str_text(&text), text.len, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (s == UTTER_OK && !list) s = bad_listing(repository, error.text);
    if (s == UTTER_OK) s = read_page(repository, list, out);
    memcpy(next, result.next, sizeof result.next);
    json_decref(list);
    str_free(&text);
    return s;
}

status hub_list(const struct hub *h, const char *repository, const char *revision, const struct download_events *events,
                struct hub_listing *out) {
    *out = (struct hub_listing){0};
    TRY(check_online(h, repository));
    struct str url = {0};
    char next[1024] = "";
    str_printf(&url, "%s/api/models/%s/tree/", h->endpoint, repository);
    append_escaped(&url, revision, false);
    str_puts(&url, "?recursive=true");
    status s = str_status(&url);
    if (s == UTTER_OK) s = list_page(h, repository, url.data, events, out, next);
    // The token goes along, so the next page must be at the same place.
    size_t len = strlen(h->endpoint);
    for (int i = 1; s == UTTER_OK && next[0]; i++) {
        char page[1024];
        memcpy(page, next, sizeof page);
        if (strncmp(page, h->endpoint, len) != 0 || page[len] != '/')
            s = bad_listing(repository, "its next page is somewhere else");
        else if (i >= MAX_PAGES)
            s = bad_listing(repository, "its pages do not end");
        else
            s = list_page(h, repository, page, events, out, next);
    }
    str_free(&url);
    if (s != UTTER_OK) hub_listing_free(out);
    return s;
}

void hub_listing_free(struct hub_listing *l) {
    for (int i = 0; i < l->n; i++) free(l->files[i].path);
    free(l->files);
    *l = (struct hub_listing){0};
}

status hub_card(const struct hub *h, const char *repository, const struct download_events *events, json_t **out) {
    *out = NULL;
    TRY(check_online(h, repository));
    struct str url = {0}, text = {0};
    str_printf(&url, "%s/api/models/%s", h->endpoint, repository);
    struct download d = {.url = str_text(&url),
                         .token = h->token,
                         .what = repository,
                         .n_bytes = -1,
                         .max_bytes = MAX_LISTING,
                         .limits = h->limits,
                         .events = events};
    struct download_result result = {0};
    status s = str_status(&url);
    if (s == UTTER_OK) s = download_text(&d, &text, &result);
    if (s == UTTER_OK) *out = json_loadb(str_text(&text), text.len, JSON_REJECT_DUPLICATES, NULL);
    str_free(&url);
    str_free(&text);
    return s == UTTER_CANCELLED || s == UTTER_MEMORY ? s : UTTER_OK;
}

// ---- files ----

status hub_fetch(const struct hub *h, const char *repository, const char *revision, const struct hub_file *file,
                 const char *path, const struct download_events *events, struct download_result *result) {
    *result = (struct download_result){0};
    TRY(check_online(h, repository));
    struct str url = {0}, what = {0};
    str_printf(&url, "%s/%s/resolve/", h->endpoint, repository);
    append_escaped(&url, revision, false);
    str_putc(&url, '/');
    append_escaped(&url, file->path, true);
    str_printf(&what, "%s of %s", file->path, repository);
    struct download d = {.url = str_text(&url),
                         .token = h->token,
                         .what = str_text(&what),
                         .n_bytes = file->n_bytes,
                         .sha256 = file->sha256,
                         .git = file->git,
                         .limits = h->limits,
                         .events = events};
    status s = str_status(&url);
    if (s == UTTER_OK) s = str_status(&what);
    if (s == UTTER_OK) {
        s = download_file(&d, path, result);
        if (s == UTTER_IO) s = explain(h, repository, str_text(&what), result, s);
    }
    str_free(&url);
    str_free(&what);
    return s;
}
