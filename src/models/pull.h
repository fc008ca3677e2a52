/* Bringing models to this machine, checking them, and taking them away. */
#ifndef UTTER_MODELS_PULL_H
#define UTTER_MODELS_PULL_H

#include <stdatomic.h>

#include "models/hub.h"
#include "models/store.h"

/* What makes GGUF of checkpoints (models/convert.h). */
struct pull_convert {
    status (*model)(const char *in, const char *out, block_type type);
    status (*encoder)(const char *in, const char *semantic, const char *out, block_type type);
    status (*needs_semantic)(const char *in, bool *out);
    status (*speaks)(const char *path);  // whether a GGUF file is a model that can speak, else why not
};

struct pull {
    const struct store *store;
    const struct hub *hub;                                    // pull_model alone needs it
    struct pull_convert convert;                              // for weights that are no GGUF
    const char *type;                                         // NULL, or of a repository's weights: "q4_0"
    bool with_encoder;                                        // and the encoder of the codec
    int64_t lock_wait_ms;                                     // for another process that changes the same model
    const atomic_bool *stop;                                  // NULL, or true once everything is to end
    bool (*accept)(void *user, const struct model_entry *e);  // the licence asks: is it accepted? NULL: no
    void (*say)(void *user, const char *sentence);            // what is being done; NULL: nobody listens
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);  // total -1: not known; may be NULL
    void *user;
};

/* Fetches the model of that name or repository, the codec that it needs, and its encoder if that is wanted, unless they
   are there. A repository that the registry does not have is installed as OWNER--NAME, if it holds a model that speaks
   (models/repository.h). */
status pull_model(const struct pull *p, const char *name);

/* Takes an installed or half-fetched model away. */
status pull_remove(const struct pull *p, const char *name);

/* Reads every file of an installed model and compares its checksum; the first that differs is in the sentence. */
status pull_verify(const struct pull *p, const char *name);

#endif
