/* Pickles read as data. A pickle is a program that may call anything; this reader calls nothing. It builds the plain
   values that the pickle describes, keeps a call of a function as a note of its name and arguments, and refuses, by
   name, every function that its user does not list. (Protocols 2 to 5; the opcodes are those of pickletools.)

   Memory is in proportion to the pickle's bytes, time too, and nothing recurses: a value may be a part of several
   others, or of itself, so whoever walks through one must not follow it without bound. */
#ifndef UTTER_MODELS_PICKLE_H
#define UTTER_MODELS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,  // bytes; also whole numbers beyond 64 bits, as they stand in the file
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,  // an OrderedDict too
    PICKLE_FUNCTION,
    PICKLE_CALL,
    PICKLE_PERSISTENT,
};

struct pickle_value {
    enum pickle_kind kind;
    bool truth;              // BOOL
    size_t n;                // bytes of TEXT and BYTES; items of TUPLE and LIST; items of DICT, two for each key
    union {
        int64_t number;                     // INT
        double real;                        // FLOAT
        const char *text;                   // TEXT and BYTES, inside the pickle; FUNCTION: its name, NUL-terminated
        const struct pickle_value **items;  // TUPLE, LIST, DICT: key, value, key, value, ...
        const struct pickle_value *part;    // PERSISTENT: what identifies it
        const struct pickle_value *call[2]; // CALL: FUNCTION and TUPLE of arguments
    };
};

struct pickle;

/* Reads the pickle that starts at data[size], which must outlive the result. `functions`: names such as
   "torch._utils._rebuild_tensor_v2" that may be called, NULL at the end; collections.OrderedDict always may. *n_used:
   the bytes it took, as other things may follow. */
status pickle_read(const char *label, const void *data, size_t size, const char *const *functions, size_t *n_used,
                   struct pickle **out);
void pickle_free(struct pickle *p);
const struct pickle_value *pickle_root(const struct pickle *p);

/* Whether a value is the text `text`. */
bool pickle_is_text(const struct pickle_value *v, const char *text);
/* The value of a dictionary under a text; NULL if there is none. */
const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key);

#endif
