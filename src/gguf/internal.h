/* What gguf.c and metadata.c share: a key as it was read. */
#ifndef UTTER_GGUF_INTERNAL_H
#define UTTER_GGUF_INTERNAL_H

#include "gguf/gguf.h"

struct gguf_key {
    char *name;  // owned
    gguf_value_type type;
    const uint8_t *value;  // a number or a boolean, inside the file, unaligned
    struct gguf_string string;
    struct gguf_array array;  // .strings is owned
};

/* NULL if there is none of that name. */
const struct gguf_key *gguf_find_key(const struct gguf *g, const char *name);

#endif
