/* Bringing models to this machine, checking them, and taking them away. */
#ifndef UTTER_MODELS_PULL_H
#define UTTER_MODELS_PULL_H

#include <stdatomic.h>

#include "models/hub.h"
#include "models/store.h"

/* Makes the GGUF file `out` of the checkpoint `in`. */
typedef status convert_fn(const char *in, const char *out, block_type type);

struct pull {
    const struct store *store;
    const struct hub *hub;                                    // pull_model alone needs it
    convert_fn *convert;                                      // for weights that are no GGUF
    int64_t lock_wait_ms;                                     // for another process that changes the same model
    const atomic_bool *stop;                                  // NULL, or true once everything is to end
    bool (*accept)(void *user, const struct model_entry *e);  // the licence asks: is it accepted? NULL: no
    void (*say)(void *user, const char *sentence);            // what is being done; NULL: nobody listens
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);  // total -1: not known; may be NULL
    void *user;
};

/* Fetches the model of that name or repository, and the codec that it needs, unless they are there. */
status pull_model(const struct pull *p, const char *name);

/* Takes an installed or half-fetched model away. */
status pull_remove(const struct pull *p, const char *name);

/* Reads every file of an installed model and compares its checksum; the first that differs is in the sentence. */
status pull_verify(const struct pull *p, const char *name);

#endif
