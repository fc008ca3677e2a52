/* Wyoming's events on a socket: a line of JSON, more JSON if it says so, and bytes if it says so. Everything is
   bounded, in length and in time, for the other side may be anybody. */
#ifndef UTTER_SERVER_WYOMING_WIRE_H
#define UTTER_SERVER_WYOMING_WIRE_H

#include <jansson.h>
#include <stdint.h>

#include "base/str.h"

enum { WIRE_LINE = 64 * 1024, WIRE_DATA = 256 * 1024, WIRE_PAYLOAD = 1024 * 1024 };  // bytes at most

struct wire {
    int fd;           // non-blocking
    int64_t idle_ns;  // how long may pass between events; with 10 s at most, until one is whole or is read
    char *in;         // [WIRE_LINE] received, not yet read: in[begin, end)
    size_t begin, end;
    struct str out;
};

struct wire_event {
    json_t *header, *data;  // free with wire_event_free
    const char *type;       // NULL: the other side has ended
};

/* Owns fd from then on, also when it fails. */
status wire_open(struct wire *w, int fd, int64_t idle_ns);
/* Says goodbye: what was written is left to arrive, for a second at most. */
void wire_close(struct wire *w);

/* Waits for an event; its bytes, which no request has, are passed over. UTTER_FORMAT and UTTER_LIMIT for what is none,
   UTTER_DEADLINE for one that takes too long, or for silence. */
status wire_read(struct wire *w, struct wire_event *out);
void wire_event_free(struct wire_event *e);

/* Takes `data`, which may be NULL. UTTER_CANCELLED when the other side has gone, UTTER_DEADLINE when it does not read.
 */
status wire_write(struct wire *w, const char *type, json_t *data, const void *payload, size_t n);

#endif
