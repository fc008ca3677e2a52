#include "cli/voices_fetch.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/stop.h"
#include "engine/voice_folder.h"
#include "models/digest.h"
#include "models/download.h"

enum { MAX_VOICE_BYTES = 4 << 20, MAX_NAME_BYTES = 128, SHA256_DIGITS = 64 };

static bool begins(const char *text, const char *start) { return strncasecmp(text, start, strlen(start)) == 0; }

bool is_web_address(const char *text) { return begins(text, "https://") || begins(text, "http://"); }

// ---- the address ----

// For sentences: without what may be secret in it, a password or a signature.
static void title_of(const char *url, struct str *out) {
    const char *host = strstr(url, "://") + 3;
    size_t end = strcspn(host, "?#");
    const char *at = memchr(host, '@', strcspn(host, "/?#"));
    size_t skipped = at ? (size_t)(at + 1 - host) : 0;
    str_puts(out, "the voice at ");
    str_append(out, url, (size_t)(host - url));
    str_append(out, host + skipped, end - skipped);
}

static status read_sha256(const struct voice_address *a, char out[SHA256_DIGITS + 1]) {
    *out = 0;
    if (!a->sha256 && begins(a->url, "https://")) return UTTER_OK;
    if (!a->sha256)
        return fail(UTTER_INVALID,
                    "over http anybody on the way can change a voice: add its checksum with --sha256, as sha256sum "
                    "prints it, or take an https address");
    if (strlen(a->sha256) != SHA256_DIGITS || strspn(a->sha256, "0123456789abcdefABCDEF") != SHA256_DIGITS)
        return fail(UTTER_INVALID, "--sha256: \"%.80s\" is none; 64 hexadecimal digits are wanted, as sha256sum prints",
                    a->sha256);
    for (int i = 0; i <= SHA256_DIGITS; i++) out[i] = (char)tolower((unsigned char)a->sha256[i]);
    return UTTER_OK;
}

// ---- the transfer ----

static bool go_on(void *user, int64_t done, int64_t total) {
    (void)user, (void)done, (void)total;
    return !stop_requested();
}

static status fetch(const struct voice_address *a, const char *title, struct str *text) {
    const struct download_events events = {.progress = go_on};
    struct download d = {.url = a->url,
                         .what = title,
                         .n_bytes = -1,
                         .max_bytes = MAX_VOICE_BYTES,
                         .limits = download_limits_default(),
                         .events = &events};
    d.limits.stall_rate = 16384;  // so the largest comes within five minutes or not at all
    d.limits.n_attempts = 3;
    struct download_result result = {0};
    TRY(stop_begin());
    status s = download_text(&d, text, &result);
    if (s == UTTER_IO && result.http == 403 && strchr(a->url, '?'))
        return fail(s, "%s: the server does not allow it (HTTP 403); a signed address may have expired", title);
    return s;
}

static status check_sum(const char *title, const struct str *text, const char *wanted, char found[65]) {
    struct digest digest;
    char git[41];
    TRY(digest_start(&digest, -1));
    digest_add(&digest, str_text(text), text->len);
    digest_finish(&digest, found, git);
    if (!*wanted || strcmp(wanted, found) == 0) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s is not the one that was meant: its SHA-256 should be %s and is %s; nothing was kept",
                title, wanted, found);
}

// ---- what came ----

// Told before its checksum, which is wrong then, and says less.
static status refuse_page(const char *title, const struct str *text) {
    const char *p = str_text(text);
    if (strncmp(p, "\xEF\xBB\xBF", 3) == 0) p += 3;
    while (isspace((unsigned char)*p)) p++;
    if (*p != '<') return UTTER_OK;
    return fail(UTTER_FORMAT, "%s is a page and no voice file; take the address of the file itself", title);
}

static bool is_name(const char *name) {
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        if (*p < 0x20 || *p == 0x7f) return false;
    return *name && strlen(name) <= MAX_NAME_BYTES;
}

// Whether the codes are the codec's is seen when a model takes the voice.
static bool are_codes(const json_t *codes) {
    size_t n = json_array_size(codes);
    for (size_t i = 0; i < n; i++)
        if (json_integer_value(json_array_get(codes, i)) < 0 || !json_is_integer(json_array_get(codes, i)))
            return false;
    return n > 0;
}

static const char *text_of(const json_t *voice, const char *key) {
    return json_string_value(json_object_get(voice, key));
}

static status check_voice(const char *title, const json_t *voice) {
    const char *format = text_of(voice, "format"), *name = text_of(voice, "name");
    const char *what = NULL;
    if (!format || strcmp(format, "utter-voice") != 0)
        what = "\"format\" is not \"utter-voice\"";
    else if (json_integer_value(json_object_get(voice, "version")) != 1)
        what = "\"version\" is not 1";
    else if (!name || !is_name(name))
        what = "\"name\" is not a text of 1 to 128 bytes";
    else if (!text_of(voice, "token") && (!text_of(voice, "text") || !are_codes(json_object_get(voice, "codes"))))
        what = "it has neither \"text\" and \"codes\" (whole numbers from 0 on) nor a \"token\"";
    return what ? fail(UTTER_FORMAT, "%s is no voice file: %s", title, what) : UTTER_OK;
}

static status parse(const char *title, const struct str *text, json_t **out) {
    json_error_t error = {0};
    *out = json_loadb(str_text(text), text->len, JSON_REJECT_DUPLICATES, &error);
    if (!*out) return fail(UTTER_FORMAT, "%s is no voice file: %s (line %d)", title, error.text, error.line);
    return check_voice(title, *out);
}

// ---- keeping it ----

static status find_place(const struct voice_address *a, const char *name, struct str *path) {
    str_clear(path);
    if (a->out)
        str_puts(path, a->out);
    else
        TRY(voice_path(name, path));
    TRY(str_status(path));
    if (a->replace || access(path->data, F_OK) != 0) return UTTER_OK;
    return fail(UTTER_INVALID, "%s is there already; give the voice another --name, or --replace it", path->data);
}

// As it came, or under another name.
static status keep(const struct voice_address *a, const struct str *text, json_t *voice, const char *path) {
    struct str folder = {0};
    struct file_writer w = {0};
    char *renamed = NULL;
    status s = a->out ? UTTER_OK : voices_folder_make(&folder);
    str_free(&folder);
    if (s == UTTER_OK && a->name) {
        if (json_object_set_new(voice, "name", json_string(a->name)) != 0 || !(renamed = json_dumps(voice, 0)))
            s = fail(UTTER_INVALID, "--name: \"%s\" is not a text in UTF-8", a->name);
    }
    if (s == UTTER_OK) s = file_create(path, &w);
    if (s == UTTER_OK) s = renamed ? file_write(&w, renamed, strlen(renamed)) : file_write(&w, text->data, text->len);
    if (s == UTTER_OK) s = file_commit(&w);
    file_abandon(&w);
    free(renamed);
    return s;
}

status voice_fetch(const struct voice_address *a, const char *command) {
    struct str title = {0}, text = {0}, path = {0};
    char wanted[SHA256_DIGITS + 1], found[SHA256_DIGITS + 1];
    json_t *voice = NULL;
    title_of(a->url, &title);
    status s = str_status(&title);
    if (s == UTTER_OK) s = read_sha256(a, wanted);
    if (s == UTTER_OK && a->name && !is_name(a->name))
        s = fail(UTTER_INVALID, "--name: a voice's name has 1 to %d bytes and no control characters", MAX_NAME_BYTES);
    if (s == UTTER_OK && (a->name || a->out)) s = find_place(a, a->name, &path);
    if (s == UTTER_OK) s = fetch(a, title.data, &text);
    if (s == UTTER_OK) s = refuse_page(title.data, &text);
    if (s == UTTER_OK) s = check_sum(title.data, &text, wanted, found);
    if (s == UTTER_OK) s = parse(title.data, &text, &voice);
    const char *name = a->name ? a->name : text_of(voice, "name");
    if (s == UTTER_OK) s = find_place(a, name, &path);
    if (s == UTTER_OK) s = keep(a, &text, voice, path.data);
    if (s == UTTER_OK) fprintf(stderr, "utter %s: %s is in %s (SHA-256 %s)\n", command, name, path.data, found);
    json_decref(voice);
    str_free(&title);
    str_free(&text);
    str_free(&path);
    return s;
}
