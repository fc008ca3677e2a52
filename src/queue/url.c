#include "queue/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static status bad(const char *why) {
    return fail(UTTER_INVALID,
                "the Redis URL %s; it looks like redis://HOST:6379, rediss://USER:PASSWORD@HOST/0 or "
                "unix:///run/redis.sock",
                why);
}

// text[len] with its %XX, into out[size].
static bool decode(const char *text, size_t len, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < len + 0) {
            char hex[3] = {text[i + 1], text[i + 2], 0}, *end;
            long value = strtol(hex, &end, 16);
            if (*end || value == 0) return false;
            c = (char)value;
            i += 2;
        }
        if (n + 1 >= size) return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

static status parse_login(const char *text, size_t len, struct redis_url *out) {
    const char *colon = memchr(text, ':', len);
    size_t n_user = colon ? (size_t)(colon - text) : 0;
    const char *password = colon ? colon + 1 : text;
    if (!decode(text, n_user, out->user, sizeof out->user) ||
        !decode(password, (size_t)(text + len - password), out->password, sizeof out->password))
        return bad("has a user or password that cannot be read (% is written %25)");
    return UTTER_OK;
}

static status parse_host(const char *text, size_t len, struct redis_url *out) {
    const char *port = NULL;
    size_t n_host = len;
    if (len > 0 && text[0] == '[') {  // [::1]:6379
        const char *end = memchr(text, ']', len);
        if (!end) return bad("has an address with [ but without ]");
        if (end + 1 < text + len && end[1] == ':') port = end + 2;
        text++;
        n_host = (size_t)(end - text);
        len--;
    } else if ((port = memchr(text, ':', len))) {
        n_host = (size_t)(port - text);
        port++;
    }
    if (n_host == 0 || n_host >= sizeof out->host) return bad("names no host");
    memcpy(out->host, text, n_host);
    out->host[n_host] = 0;
    size_t n_port = port ? (size_t)(text + len - port) : 0;
    char *end;
    snprintf(out->port, sizeof out->port, "%.*s", port ? (int)n_port : 4, port ? port : "6379");
    long value = strtol(out->port, &end, 10);
    if (n_port > 5 || *end || value < 1 || value > 65535) return bad("has a port that is no number from 1 to 65535");
    return UTTER_OK;
}

status redis_url_parse(const char *text, struct redis_url *out) {
    *out = (struct redis_url){0};
    if (strncmp(text, "unix://", 7) == 0) {
        if (text[7] != '/' || strlen(text + 7) >= sizeof out->path)
            return bad("names no socket, or one with too long a path");
        strcpy(out->path, text + 7);
    } else if (strncmp(text, "redis://", 8) == 0 || strncmp(text, "rediss://", 9) == 0) {
        out->tls = text[5] == 's';
        const char *at = text + (out->tls ? 9 : 8), *slash = strchr(at, '/'), *end = slash ? slash : at + strlen(at);
        const char *login_end = NULL;
        for (const char *c = at; c < end; c++)
            if (*c == '@') login_end = c;
        if (login_end) TRY(parse_login(at, (size_t)(login_end - at), out));
        if (login_end) at = login_end + 1;
        TRY(parse_host(at, (size_t)(end - at), out));
        char *rest = "";
        long database = slash && slash[1] ? strtol(slash + 1, &rest, 10) : 0;
        if (*rest || database < 0 || database > 1000000) return bad("has a database that is no number");
        out->database = (int)database;
    } else {
        return bad("begins with none of redis://, rediss:// and unix://");
    }
    const char *password = getenv("REDIS_PASSWORD");
    if (password && !*out->password) snprintf(out->password, sizeof out->password, "%s", password);
    return UTTER_OK;
}

void redis_url_show(const struct redis_url *url, char out[400]) {
    if (*url->path)
        snprintf(out, 400, "unix://%s", url->path);
    else
        snprintf(out, 400, "redis%s://%s:%s/%d", url->tls ? "s" : "", url->host, url->port, url->database);
}
