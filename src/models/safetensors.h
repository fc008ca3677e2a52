/* safetensors files, mapped and read in place; as hostile as GGUF ones until checked. */
#ifndef UTTER_MODELS_SAFETENSORS_H
#define UTTER_MODELS_SAFETENSORS_H

#include "gguf/blocks.h"

enum { SAFETENSORS_MAX_DIMS = 8 };

struct safetensors;

struct safetensors_tensor {
    const char *name;
    int n_dims;
    int64_t dims[SAFETENSORS_MAX_DIMS]; // outermost first, as the file says
    const char *dtype;                  // as the file says: "F32"
    bool is_float;                      // dtype is F32, F16 or BF16; others can be listed but not read
    block_type type;                    // if is_float
    const void *data;                   // inside the file, unaligned
    size_t n_bytes;
};

status safetensors_open(const char *path, struct safetensors **out);
void safetensors_close(struct safetensors *s);
int64_t safetensors_n_tensors(const struct safetensors *s);
const struct safetensors_tensor *safetensors_at(const struct safetensors *s, int64_t i);
const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name);
/* A string of the header's __metadata__; NULL if it is not there. */
const char *safetensors_metadata(const struct safetensors *s, const char *key);

#endif
