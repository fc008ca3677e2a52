/* A connection, plain or by TLS, whose every wait has an end. */
#ifndef UTTER_QUEUE_SOCKET_H
#define UTTER_QUEUE_SOCKET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/url.h"

struct connection {
    int fd;              // -1: closed
    struct ssl_st *tls;  // NULL: plain
    struct ssl_ctx_st *context;
    const atomic_bool *stop;
};

/* Failures are UTTER_IO, or UTTER_CANCELLED when *stop. `label` is the URL for messages. */
status connection_open(struct connection *c, const struct redis_url *url, const char *label, int64_t deadline);
void connection_close(struct connection *c);
status connection_write(struct connection *c, const void *data, size_t n, int64_t deadline);
/* At least one byte, into buffer[size]. */
status connection_read(struct connection *c, void *buffer, size_t size, size_t *n, int64_t deadline);

#endif
