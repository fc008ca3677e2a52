/* Where the server listens: an address, a Unix socket, or what systemd hands over (LISTEN_FDS). */
#ifndef UTTER_SERVER_LISTEN_H
#define UTTER_SERVER_LISTEN_H

#include <stdbool.h>

#include "base/str.h"

enum { MAX_LISTENERS = 8 };

struct listeners {
    int fds[MAX_LISTENERS];
    int n;
    bool beyond;       // some can be reached from other machines
    int port;          // of the first address; 0: none
    struct str where;  // "http://127.0.0.1:5555 and ..."
    char *unix_path;   // made here, to be removed; NULL: none
};

/* host NULL: 127.0.0.1; unix_path NULL: none; no_tcp: that alone. Sockets handed over replace all of these. */
status listeners_open(const char *host, int port, const char *unix_path, bool no_tcp, bool tls, struct listeners *out);
void listeners_close(struct listeners *l);

/* Tells systemd, where it asked to be told ("READY=1"). */
void listen_notify(const char *state);

#endif
