/* A hub of models that speaks as Hugging Face does: listings of repositories and their files.

   The environment means what it means to Hugging Face's own tools: HF_ENDPOINT (https://huggingface.co), HF_TOKEN (else
   the file HF_TOKEN_PATH, else token in HF_HOME, $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface), HF_HUB_OFFLINE.
 */
#ifndef UTTER_MODELS_HUB_H
#define UTTER_MODELS_HUB_H

#include <jansson.h>

#include "models/download.h"

struct hub {
    char *endpoint;  // no slash at its end
    char *token;     // NULL: none
    bool offline;
    struct download_limits limits;
};

status hub_open(struct hub *out);
void hub_close(struct hub *h);

struct hub_file {
    char *path;  // below the repository; never leads out of it
    int64_t n_bytes;
    char sha256[65];  // of large files (LFS); "" otherwise
    char git[41];     // name as a git blob, of the others; "" otherwise
};

struct hub_listing {
    struct hub_file *files;  // [n]
    int n;
};

/* All files of the repository at that revision. */
status hub_list(const struct hub *h, const char *repository, const char *revision, const struct download_events *events,
                struct hub_listing *out);
void hub_listing_free(struct hub_listing *l);

/* What the hub says of the repository, an object; NULL when it says nothing that can be read. json_decref it. */
status hub_card(const struct hub *h, const char *repository, const struct download_events *events, json_t **out);

/* Fetches one of them to `path` (download_file). */
status hub_fetch(const struct hub *h, const char *repository, const char *revision, const struct hub_file *file,
                 const char *path, const struct download_events *events, struct download_result *result);

#endif
