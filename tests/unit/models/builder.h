/* safetensors files put together for tests. */
#ifndef UTTER_TESTS_UNIT_MODELS_BUILDER_H
#define UTTER_TESTS_UNIT_MODELS_BUILDER_H

#include <jansson.h>

#include "base/str.h"

struct builder {
    json_t *header;  // an object; tests may change it before builder_write
    struct str data;
};

void builder_start(struct builder *b);
void builder_free(struct builder *b);

/* A tensor with n_bytes of data; dims outermost first. */
void builder_add(struct builder *b, const char *name, const char *dtype, int n_dims, const int64_t *dims,
                 const void *data, size_t n_bytes);
/* The description of a tensor: "dtype", "shape", "data_offsets". */
json_t *builder_tensor(const struct builder *b, const char *name);
void builder_remove(struct builder *b, const char *name);
/* Renames a tensor. */
void builder_rename(struct builder *b, const char *from, const char *to);
/* A string of __metadata__. */
void builder_metadata(struct builder *b, const char *key, const char *text);

status builder_write(const struct builder *b, const char *path);

/* A file made of a header's text and n bytes of data. */
status write_safetensors(const char *path, const char *header, size_t header_len, const void *data, size_t n_bytes);

#endif
