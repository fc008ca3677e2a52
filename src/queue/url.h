/* Where a Redis is. */
#ifndef UTTER_QUEUE_URL_H
#define UTTER_QUEUE_URL_H

#include <stdbool.h>

#include "base/status.h"

struct redis_url {
    bool tls;
    char path[108];  // of a Unix socket; "" otherwise
    char host[256], port[8];
    char user[128], password[256];  // "" when none
    int database;
};

status redis_url_parse(const char *text, struct redis_url *out);

/* For messages: without the password. */
void redis_url_show(const struct redis_url *url, char out[400]);

#endif
