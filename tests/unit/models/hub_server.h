/* A hub on this machine, for tests: answers as told, route by route, and remembers what it was asked. */
#ifndef UTTER_TESTS_MODELS_HUB_SERVER_H
#define UTTER_TESTS_MODELS_HUB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hub_fault {
    FAULT_NONE,
    FAULT_CUT,          // the connection ends after `after` bytes of the body
    FAULT_STALL,        // nothing more comes after `after` bytes
    FAULT_STATUS,       // answers with `http` and no body
    FAULT_LENGTH,       // announces `length` bytes
    FAULT_CHUNKED,      // announces no length
    FAULT_RANGE,        // sends a range whatever If-Range says
    FAULT_OTHER_RANGE,  // sends the file's beginning as if that were the range
    FAULT_HEADERS,      // sends far too many headers
};

struct hub_route {
    char path[200];
    const void *data;  // [n]; not copied
    size_t n;
    char etag[100];         // with its quotes; "": none
    char linked_etag[100];  // X-Linked-ETag
    char link[300];         // Link
    char location[300];     // not "": answers 302
    enum hub_fault fault;
    int times;  // the fault is in the first so many answers; 0: in all
    size_t after;
    int64_t length;
    unsigned http;
    char code[40];         // X-Error-Code
    char retry_after[40];  // Retry-After
    int n_asked;           // requests so far
};

struct hub_request {
    char path[200], query[100], range[60], if_range[100], authorization[200];
};

struct hub_server;

struct hub_server *hub_server_start(const char *address);  // "127.0.0.1"
void hub_server_stop(struct hub_server *s);
/* "http://127.0.0.1:12345" */
const char *hub_server_url(const struct hub_server *s);

/* A new route, or the one that is there already; change it only while nothing is asked. */
struct hub_route *hub_server_at(struct hub_server *s, const char *path);

int hub_server_n_requests(const struct hub_server *s);
const struct hub_request *hub_server_request(const struct hub_server *s, int i);

#endif
