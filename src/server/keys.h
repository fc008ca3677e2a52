/* API keys. The file holds what of them is needed to know them again, a line each:

       NAME sha256:64-hexadecimal-digits [rate=REQUESTS-A-MINUTE] [at-once=N]

   Empty lines and lines that begin with # are left out. */
#ifndef UTTER_SERVER_KEYS_H
#define UTTER_SERVER_KEYS_H

#include "base/str.h"

struct key {
    char name[48];
    unsigned char sha256[32];
    double rate;  // requests a minute; negative: not said
    int at_once;  // negative: not said
};

struct keys {
    struct key *keys;  // [n]
    int n;
};

status keys_load(const char *path, struct keys *out);
void keys_free(struct keys *k);

/* The key `text`, or NULL. Takes as long for a wrong one as for a right one, and the same for each. */
const struct key *keys_find(const struct keys *k, const char *text, size_t len);

/* A new key for `name`, and its line for the file. */
status keys_new(const char *name, struct str *key, struct str *line);

#endif
