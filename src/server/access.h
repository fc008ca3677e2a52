/* What the server says on standard error: a line for each request, and sentences; as text or as JSON. */
#ifndef UTTER_SERVER_ACCESS_H
#define UTTER_SERVER_ACCESS_H

#include <stdint.h>

#include "base/status.h"
#include "server/order.h"

enum access_format { ACCESS_TEXT, ACCESS_JSON, ACCESS_OFF };

status access_format_parse(const char *name, enum access_format *out);

/* One request that is over. Texts may be what a client sent, of any bytes. */
struct access_entry {
    const char *id, *trace, *caller, *method, *path;  // trace: "" without
    int http_status;                                  // 0: the connection was lost before there was an answer
    int64_t n_bytes;                                  // of the answer's body
    double seconds;
    const char *voice, *format;  // NULL: nothing was spoken
    int n_characters;
    const struct outcome *outcome;  // NULL: nothing was spoken
    const char *error;              // NULL: none
};

void access_request(enum access_format f, const struct access_entry *e);
void access_sentence(enum access_format f, utter_log_level level, const char *sentence);

#endif
