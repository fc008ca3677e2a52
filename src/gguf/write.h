/* Writing GGUF files (version 3). Metadata and tensors are announced first, data is streamed after that, so that a
   file larger than memory can be written. */
#ifndef UTTER_GGUF_WRITE_H
#define UTTER_GGUF_WRITE_H

#include "gguf/gguf.h"

struct gguf_writer;

/* The file gets its name when gguf_writer_finish succeeds. */
status gguf_writer_open(const char *path, struct gguf_writer **out);

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *w, const char *key, float value);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_put_string(struct gguf_writer *w, const char *key, const char *value);
void gguf_put_i32_array(struct gguf_writer *w, const char *key, const int32_t *values, size_t n);
void gguf_put_f32_array(struct gguf_writer *w, const char *key, const float *values, size_t n);
void gguf_put_string_array(struct gguf_writer *w, const char *key, const char *const *values, size_t n);

/* n keys with their values as they lie in another file (gguf_key_bytes). */
void gguf_put_key_bytes(struct gguf_writer *w, const void *bytes, size_t n_bytes, int64_t n);

/* Announces a tensor; dims[0] is the innermost dimension. */
void gguf_put_tensor(struct gguf_writer *w, const char *name, block_type type, int n_dims, const int64_t *dims);

/* Data of the announced tensors, in that order, in any number of calls each; padding is added between tensors. */
status gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes);

/* Checks that every announced byte came, and gives the file its name. Frees the writer whatever the result. */
status gguf_writer_finish(struct gguf_writer *w);
/* Throws the file away. NULL is allowed. */
void gguf_writer_abandon(struct gguf_writer *w);

#endif
