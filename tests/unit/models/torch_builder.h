/* PyTorch files put together for tests. */
#ifndef UTTER_TESTS_UNIT_MODELS_TORCH_BUILDER_H
#define UTTER_TESTS_UNIT_MODELS_TORCH_BUILDER_H

#include <stdint.h>

#include "base/str.h"

/* A ZIP archive of stored entries. */
struct zip_builder {
    struct str data, directory;
    int n;
    bool zip64;  // sizes, places and counts stand in the zip64 records alone
};

void zip_builder_add(struct zip_builder *b, const char *name, const void *data, size_t n_bytes);
/* Ends the archive; its bytes are b->data. */
void zip_builder_end(struct zip_builder *b);
void zip_builder_free(struct zip_builder *b);

/* Pieces of pickles. */
void put_text(struct str *p, const char *text);
void put_int(struct str *p, int32_t number);
void put_function(struct str *p, const char *module, const char *name);
/* A tensor of n_elements in the storage `key`. */
void put_tensor(struct str *p, const char *storage, const char *key, int64_t n_elements, int offset, int n_dims,
                const int *dims, const int *strides);

#endif
