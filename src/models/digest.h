/* Checksums of files as model hubs name them: SHA-256 of the content, and for small files git's name of a blob. */
#ifndef UTTER_MODELS_DIGEST_H
#define UTTER_MODELS_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct digest {
    struct evp_md_ctx_st *sha256, *git;
};

/* n_bytes: of the whole content, which a blob's name begins with; negative: not known, and no blob's name is made. */
status digest_start(struct digest *d, int64_t n_bytes);
void digest_add(struct digest *d, const void *data, size_t n_bytes);
/* Lower-case hexadecimal; git is "" when it was not made. Frees. */
void digest_finish(struct digest *d, char sha256[65], char git[41]);
/* Frees with no result. Safe on a zeroed one. */
void digest_drop(struct digest *d);

/* Adds a whole file; *n_bytes: how many there were. stop: NULL, or asked now and then; true ends it: UTTER_CANCELLED.
 */
typedef bool digest_stop(void *user);
status digest_add_file(struct digest *d, const char *path, int64_t *n_bytes, digest_stop *stop, void *user);

#endif
