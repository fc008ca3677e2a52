/* Who asks, when a proxy or a load balancer asks for him: the header X-Forwarded-For, which is believed of those
   addresses alone that the server was told of. */
#ifndef UTTER_SERVER_PROXIES_H
#define UTTER_SERVER_PROXIES_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/status.h"

enum { MAX_CALLER = 64 };

struct proxies {
    struct proxy_range *ranges;  // [n]
    int n;
    bool local;  // whoever comes over the Unix socket
};

/* "10.0.0.1,192.168.0.0/16,fd00::/8,unix"; NULL: none. */
status proxies_parse(const char *list, struct proxies *out);
void proxies_free(struct proxies *p);

/* IPv4 addresses as IPv6 has them (::ffff:1.2.3.4); false: it is no address. */
bool proxies_address(const struct sockaddr *a, struct in6_addr *out);
/* As limits and turns know it. An IPv6 caller has 64 bits to choose addresses from; he is one caller with all. */
void proxies_name(const struct in6_addr *a, char name[MAX_CALLER]);
/* forwarded: what X-Forwarded-For says, the nearest last. *who: the peer's address in, and out that of the nearest who
   is no proxy; `named` says whether there is one, as a Unix socket's peer has none. */
void proxies_resolve(const struct proxies *p, const char *forwarded, struct in6_addr *who, bool *named);

#endif
