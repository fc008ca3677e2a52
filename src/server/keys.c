#include "server/keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/file.h"

enum { MAX_FILE_BYTES = 1 << 20, RANDOM_BYTES = 32 };

static bool sha256(const void *data, size_t n, unsigned char out[32]) {
    unsigned n_out = 32;
    return EVP_Digest(data, n, out, &n_out, EVP_sha256(), NULL) == 1;
}

static bool parse_hex(const char *text, unsigned char out[32]) {
    for (int i = 0; i < 32; i++) {
        char two[3] = {text[2 * i], text[2 * i] ? text[2 * i + 1] : 0, 0};
        char *end;
        if (strspn(two, "0123456789abcdefABCDEF") != 2) return false;
        out[i] = (unsigned char)strtoul(two, &end, 16);
    }
    return text[64] == 0;
}

static status parse_option(const char *path, int number, const char *word, struct key *key) {
    const char *equals = strchr(word, '=');
    char *end = NULL;
    double value = equals ? strtod(equals + 1, &end) : -1;
    if (!equals || end == equals + 1 || *end || !(value >= 0 && value <= 1e6))
        return fail(UTTER_FORMAT, "%s, line %d: \"%.40s\" is no rate=N or at-once=N", path, number, word);
    if (strncmp(word, "rate=", 5) == 0)
        key->rate = value;
    else if (strncmp(word, "at-once=", 8) == 0)
        key->at_once = (int)value;
    else
        return fail(UTTER_FORMAT, "%s, line %d: \"%.40s\" is not known; rate=N and at-once=N are", path, number, word);
    return UTTER_OK;
}

// One line, which is changed.
static status parse_line(const char *path, int number, char *line, struct key *key) {
    *key = (struct key){.rate = -1, .at_once = -1};
    char *rest, *name = strtok_r(line, " \t\r", &rest), *hash = strtok_r(NULL, " \t\r", &rest);
    if (!name || strlen(name) >= sizeof key->name)
        return fail(UTTER_FORMAT, "%s, line %d: a key's name has 1 to %zu bytes", path, number, sizeof key->name - 1);
    strcpy(key->name, name);
    if (!hash || strncmp(hash, "sha256:", 7) != 0 || !parse_hex(hash + 7, key->sha256))
        return fail(UTTER_FORMAT,
                    "%s, line %d: after the name comes sha256: with 64 hexadecimal digits; make a line "
                    "with utter serve --new-key NAME",
                    path, number);
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest));) TRY(parse_option(path, number, word, key));
    return UTTER_OK;
}

static status add(struct keys *k, const struct key *key, const char *path, int number) {
    for (int i = 0; i < k->n; i++)
        if (strcmp(k->keys[i].name, key->name) == 0)
            return fail(UTTER_FORMAT, "%s, line %d: there is a key named %s already", path, number, key->name);
    struct key *grown = realloc(k->keys, (size_t)(k->n + 1) * sizeof *grown);
    if (!grown) return fail_memory((size_t)(k->n + 1) * sizeof *grown, "keys");
    k->keys = grown;
    k->keys[k->n++] = *key;
    return UTTER_OK;
}

static status parse(const char *path, char *text, struct keys *out) {
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        if (line[strspn(line, " \t\r")] == 0 || *line == '#') continue;
        struct key key;
        TRY(parse_line(path, number, line, &key));
        TRY(add(out, &key, path, number));
    }
    return UTTER_OK;
}

status keys_load(const char *path, struct keys *out) {
    *out = (struct keys){0};
    struct file_map m;
    TRY(file_map_open(path, &m));
    status s = UTTER_OK;
    struct str text = {0};
    if (m.size > MAX_FILE_BYTES)
        s = fail(UTTER_LIMIT, "%s has %zu bytes; a file of keys has at most %d", path, m.size, MAX_FILE_BYTES);
    else
        str_append(&text, m.data ? m.data : "", m.size);
    if (s == UTTER_OK) s = str_status(&text);
    if (s == UTTER_OK && text.data) s = parse(path, text.data, out);
    if (s == UTTER_OK && out->n == 0)
        s = fail(UTTER_FORMAT, "%s holds no key; make one with utter serve --new-key NAME", path);
    str_free(&text);
    file_map_close(&m);
    if (s != UTTER_OK) keys_free(out);
    return s;
}

void keys_free(struct keys *k) {
    free(k->keys);
    *k = (struct keys){0};
}

const struct key *keys_find(const struct keys *k, const char *text, size_t len) {
    unsigned char digest[32];
    if (!sha256(text, len, digest)) return NULL;
    const struct key *found = NULL;
    for (int i = 0; i < k->n; i++)  // all of them, whichever it is
        if (CRYPTO_memcmp(k->keys[i].sha256, digest, sizeof digest) == 0) found = &k->keys[i];
    return found;
}

status keys_new(const char *name, struct str *key, struct str *line) {
    unsigned char random[RANDOM_BYTES], digest[32];
    if (!*name || strlen(name) >= sizeof((struct key *)0)->name || strpbrk(name, " \t\r\n#"))
        return fail(UTTER_INVALID, "\"%.60s\" cannot name a key: 1 to %zu bytes, without spaces and #", name,
                    sizeof((struct key *)0)->name - 1);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(UTTER_IO, "the system gives no random bytes: %s", strerror(errno));
    str_puts(key, "sk-utter-");
    for (size_t i = 0; i < sizeof random; i++) str_printf(key, "%02x", random[i]);
    TRY(str_status(key));
    if (!sha256(key->data, key->len, digest)) return fail(UTTER_INTERNAL, "SHA-256 is not there");
    str_printf(line, "%s sha256:", name);
    for (size_t i = 0; i < sizeof digest; i++) str_printf(line, "%02x", digest[i]);
    return str_status(line);
}
