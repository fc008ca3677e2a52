/* Who may ask: keys, pages of other origins, rates. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "server/parts.h"

#define BURST_S 10.0

void refuse(struct request *r, int http_status, const char *code, const char *format, ...) {
    if (r->refusal) return;
    struct str message = {0};
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    str_puts(&message, text);
    r->refusal = http_status;
    r->refusal_code = code;
    r->refusal_message = message.data;
}

static const char *header(const struct request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result join_forwarded(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    struct str *out = user;
    if (strcasecmp(name, "X-Forwarded-For") == 0) str_printf(out, "%s%s", out->len > 0 ? "," : "", value ? value : "");
    return MHD_YES;
}

static void name_address(struct request *r) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct proxies *proxies = &r->server->proxies;
    struct in6_addr who;
    bool named = proxies_address(info ? info->client_addr : NULL, &who);
    if (proxies->n > 0 || proxies->local) {
        struct str forwarded = {0};
        MHD_get_connection_values(r->connection, MHD_HEADER_KIND, join_forwarded, &forwarded);
        proxies_resolve(proxies, str_text(&forwarded), &who, &named);
        str_free(&forwarded);
    }
    if (named)
        proxies_name(&who, r->caller);
    else
        strcpy(r->caller, "unix");
}

// ---- keys ----

// The key that came with the request, and with it its bounds.
static void check_key(struct request *r, double *rate, int *at_once) {
    struct server *s = r->server;
    if (!s->has_keys) return;
    const char *given = header(r, MHD_HTTP_HEADER_AUTHORIZATION);
    bool bearer = given && strncasecmp(given, "Bearer ", 7) == 0;
    const char *text = bearer ? given + 7 + strspn(given + 7, " ") : "";
    pthread_rwlock_rdlock(&s->settings_lock);
    const struct key *key = bearer ? keys_find(&s->keys, text, strlen(text)) : NULL;
    if (key) {
        strcpy(r->caller, key->name);
        if (key->rate >= 0) *rate = key->rate;
        if (key->at_once >= 0) *at_once = key->at_once;
    }
    pthread_rwlock_unlock(&s->settings_lock);
    if (key) return;
    refuse(
        r, 401, "invalid_api_key",
        given ? "this API key is not known here" : "an API key is needed: send the header Authorization: Bearer KEY");
}

// ---- origins ----

// Names that nobody can make point at this machine from outside: localhost and addresses.
static bool is_own_name(const char *host, size_t len) {
    if (len == 0) return false;
    if (*host == '[') return true;
    if (strspn(host, "0123456789.") >= len) return true;
    return len >= 9 && strncasecmp(host + len - 9, "localhost", 9) == 0 && (len == 9 || host[len - 10] == '.');
}

// Browsers say which page asks. A page of another origin may only when the server was told so; without keys neither may
// one whose name could have been made to point here.
static void check_origin(struct request *r) {
    const struct server *s = r->server;
    const char *origin = header(r, MHD_HTTP_HEADER_ORIGIN), *host = header(r, MHD_HTTP_HEADER_HOST);
    if (!origin) return;
    if (s->options.cors && (strcmp(s->options.cors, "*") == 0 || strcasecmp(s->options.cors, origin) == 0)) return;
    const char *scheme = strstr(origin, "://");
    const char *name = scheme ? scheme + 3 : "";
    size_t len = *name == '[' ? strcspn(name, "]") + 1 : strcspn(name, ":");
    bool same = host && *name && strcasecmp(name, host) == 0;
    if (same && (s->has_keys || is_own_name(name, len))) return;
    refuse(r, 403, "origin_not_allowed",
           "pages of %.200s may not ask this server; it would have to be started with "
           "--cors",
           origin);
}

void admit(struct request *r) {
    const struct server *s = r->server;
    double rate = s->limit.requests_per_minute;
    int at_once = s->limit.at_once;
    name_address(r);
    if (r->route->is_open) return;
    check_origin(r);
    if (!r->refusal) check_key(r, &rate, &at_once);
    if (r->refusal) return;
    if (limits_begin(s->limits, r->caller, rate, BURST_S, at_once, clock_ns(), &r->retry_s) == UTTER_OK)
        r->counted = true;
    else
        refuse(r, 429, "rate_limit_exceeded", "%s", fail_message());
}
