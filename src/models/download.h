/* One address of the web into one file or text. What can break a transfer is expected: a broken one is taken up where
   it ended, a busy server is asked again later, one that says nothing is given up on, and what arrives is checked
   before it gets its name. */
#ifndef UTTER_MODELS_DOWNLOAD_H
#define UTTER_MODELS_DOWNLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct download_limits {
    int connect_ms;   // for a connection to come about
    int stall_s;      // slower than stall_rate for so long: the transfer is broken
    int stall_rate;   // bytes a second
    int n_attempts;   // in a row that get nowhere
    int backoff_ms;   // before the second attempt; doubled before each further one
    int max_wait_ms;  // a server that asks for a longer pause (Retry-After) is given up on
};

struct download_limits download_limits_default(void);

/* Who is told how it goes. */
struct download_events {
    /* total: -1 while not known. False stops the download. Called several times a second, also while nothing comes. */
    bool (*progress)(void *user, int64_t done, int64_t total);
    void (*wait)(void *user, const char *sentence);  // an attempt has failed, the next comes after a pause; may be NULL
    void *user;
};

struct download {
    const char *url;
    const char *token;   // NULL, or sent as a bearer's to the host of `url`, never to one that it redirects to
    const char *what;    // for sentences: "model.gguf of neuphonic/neutts-air"
    int64_t n_bytes;     // of the file; -1: not known
    int64_t max_bytes;   // when n_bytes is not known; 0: no bound
    const char *sha256;  // lower-case hexadecimal; NULL or "": not known
    const char *git;     // name as a git blob, likewise
    struct download_limits limits;
    const struct download_events *events;  // may be NULL
};

struct download_result {
    long http;           // last HTTP status; 0: none came
    char code[64];       // X-Error-Code, as Hugging Face explains its refusals
    char next[1024];     // where its Link header says that the listing goes on; "": nowhere
    char sha256[65];     // of what was written
    int64_t n_bytes;     // in the file
    int64_t n_received;  // over the network, so less than n_bytes after a resume
};

/* Writes `path`, whole and checked or not at all. While it comes it is PATH.part, which a broken transfer leaves there
   for the next call to continue (PATH.part.etag tells whether it still may). The folder must exist; no two calls for
   one path at a time. */
status download_file(const struct download *d, const char *path, struct download_result *result);

/* Appends at most max_bytes of text to *out. */
status download_text(const struct download *d, struct str *out, struct download_result *result);

#endif
