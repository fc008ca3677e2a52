#include "server/proxies.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = INET6_ADDRSTRLEN };

struct proxy_range {
    struct in6_addr address;
    int bits;
};

static void map_v4(const void *v4, struct in6_addr *out) {
    memset(out, 0, sizeof *out);
    out->s6_addr[10] = out->s6_addr[11] = 0xff;
    memcpy(out->s6_addr + 12, v4, 4);
}

bool proxies_address(const struct sockaddr *a, struct in6_addr *out) {
    if (a && a->sa_family == AF_INET)
        map_v4(&((const struct sockaddr_in *)a)->sin_addr, out);
    else if (a && a->sa_family == AF_INET6)
        *out = ((const struct sockaddr_in6 *)a)->sin6_addr;
    else
        return false;
    return true;
}

void proxies_name(const struct in6_addr *a, char name[MAX_CALLER]) {
    struct in6_addr network = *a;
    if (IN6_IS_ADDR_V4MAPPED(a)) {
        inet_ntop(AF_INET, a->s6_addr + 12, name, MAX_CALLER);
        return;
    }
    memset(network.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &network, name, MAX_CALLER);
}

// text[n]: an address of either kind.
static bool read_address(const char *text, size_t n, struct in6_addr *out, bool *is_v4) {
    char copy[MAX_TEXT];
    struct in_addr v4;
    if (n == 0 || n >= sizeof copy) return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    *is_v4 = inet_pton(AF_INET, copy, &v4) == 1;
    if (*is_v4) map_v4(&v4, out);
    return *is_v4 || inet_pton(AF_INET6, copy, out) == 1;
}

// ---- the list ----

static bool read_range(const char *text, size_t n, struct proxy_range *out) {
    const char *slash = memchr(text, '/', n);
    bool is_v4;
    if (!read_address(text, slash ? (size_t)(slash - text) : n, &out->address, &is_v4)) return false;
    int most = is_v4 ? 32 : 128, bits = most;
    if (slash) {
        size_t n_digits = n - (size_t)(slash + 1 - text);
        if (n_digits == 0 || n_digits > 3 || strspn(slash + 1, "0123456789") < n_digits) return false;
        bits = atoi(slash + 1);
    }
    out->bits = bits + 128 - most;
    return bits <= most;
}

status proxies_parse(const char *list, struct proxies *out) {
    *out = (struct proxies){0};
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ",");
        struct proxy_range *grown = realloc(out->ranges, (size_t)(out->n + 1) * sizeof *grown);
        if (grown) out->ranges = grown;
        if (grown && n == 4 && strncmp(at, "unix", n) == 0)
            out->local = true;
        else if (grown && read_range(at, n, &grown[out->n]))
            out->n++;
        else {
            proxies_free(out);
            return grown ? fail(UTTER_INVALID,
                                "\"%.*s\" is no address of a proxy; say for example 10.0.0.1, 192.168.0.0/16 or unix",
                                n < 60 ? (int)n : 60, at)
                         : fail_memory(sizeof *grown, "proxies");
        }
        at += n + (at[n] == ',');
    }
    return UTTER_OK;
}

void proxies_free(struct proxies *p) {
    free(p->ranges);
    *p = (struct proxies){0};
}

// ---- who asks ----

static bool in_range(const struct proxy_range *r, const struct in6_addr *a) {
    int whole = r->bits / 8, rest = r->bits % 8;
    if (memcmp(r->address.s6_addr, a->s6_addr, (size_t)whole) != 0) return false;
    return rest == 0 || (r->address.s6_addr[whole] ^ a->s6_addr[whole]) >> (8 - rest) == 0;
}

static bool is_proxy(const struct proxies *p, const struct in6_addr *a) {
    for (int i = 0; i < p->n; i++)
        if (in_range(&p->ranges[i], a)) return true;
    return false;
}

// One of the header's addresses, which some proxies write with a port: 1.2.3.4:5678, [::1]:5678.
static bool read_hop(const char *text, size_t n, struct in6_addr *out) {
    bool is_v4;
    while (n > 0 && (*text == ' ' || *text == '\t')) text++, n--;
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t')) n--;
    const char *end = n > 0 && *text == '[' ? memchr(text, ']', n) : NULL;
    if (end) return read_address(text + 1, (size_t)(end - text) - 1, out, &is_v4);
    const char *colon = memchr(text, ':', n);
    if (colon && !memchr(colon + 1, ':', n - (size_t)(colon + 1 - text))) n = (size_t)(colon - text);
    return read_address(text, n, out, &is_v4);
}

void proxies_resolve(const struct proxies *p, const char *forwarded, struct in6_addr *who, bool *named) {
    size_t n = strlen(forwarded);
    struct in6_addr hop;
    while (n > 0 && (*named ? is_proxy(p, who) : p->local)) {
        size_t begin = n;
        while (begin > 0 && forwarded[begin - 1] != ',') begin--;
        if (!read_hop(forwarded + begin, n - begin, &hop)) return;
        *who = hop;
        *named = true;
        n = begin > 0 ? begin - 1 : 0;
    }
}
