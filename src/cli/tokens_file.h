/* Lists of token ids or codes in .npy files. */
#ifndef UTTER_CLI_TOKENS_FILE_H
#define UTTER_CLI_TOKENS_FILE_H

#include <limits.h>

#include "base/npy.h"

/* Reads whole numbers of any shape as one list; free with npy_free. */
static inline status read_ids(const char *path, struct npy *out) {
    TRY(npy_read(path, out));
    if (out->type == NPY_I32 && out->n <= INT_MAX) return UTTER_OK;
    bool is_int = out->type == NPY_I32;
    npy_free(out);
    return fail(UTTER_FORMAT,
                is_int ? "%s is too long" : "%s holds fractions; whole numbers (int32 or int64) are wanted", path);
}

#endif
