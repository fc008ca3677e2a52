#include "builder.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

void builder_start(struct builder *b) { *b = (struct builder){.header = json_object()}; }

void builder_free(struct builder *b) {
    json_decref(b->header);
    str_free(&b->data);
    *b = (struct builder){0};
}

void builder_add(struct builder *b, const char *name, const char *dtype, int n_dims, const int64_t *dims,
                 const void *data, size_t n_bytes) {
    json_t *shape = json_array();
    for (int d = 0; d < n_dims; d++) json_array_append_new(shape, json_integer(dims[d]));
    json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                             (json_int_t)b->data.len, (json_int_t)(b->data.len + n_bytes));
    json_object_set_new(b->header, name, info);
    str_append(&b->data, data, n_bytes);
}

json_t *builder_tensor(const struct builder *b, const char *name) { return json_object_get(b->header, name); }

void builder_remove(struct builder *b, const char *name) { json_object_del(b->header, name); }

void builder_rename(struct builder *b, const char *from, const char *to) {
    json_t *info = json_incref(json_object_get(b->header, from));
    json_object_del(b->header, from);
    json_object_set_new(b->header, to, info);
}

void builder_metadata(struct builder *b, const char *key, const char *text) {
    json_t *metadata = json_object_get(b->header, "__metadata__");
    if (!metadata) {
        metadata = json_object();
        json_object_set_new(b->header, "__metadata__", metadata);
    }
    json_object_set_new(metadata, key, json_string(text));
}

status write_safetensors(const char *path, const char *header, size_t header_len, const void *data, size_t n_bytes) {
    struct file_writer w;
    uint64_t len = header_len;
    TRY(file_create(path, &w));
    status s = file_write(&w, &len, sizeof len);
    if (s == UTTER_OK) s = file_write(&w, header, header_len);
    if (s == UTTER_OK) s = file_write(&w, data, n_bytes);
    if (s == UTTER_OK) s = file_commit(&w);
    file_abandon(&w);
    return s;
}

status builder_write(const struct builder *b, const char *path) {
    TRY(str_status(&b->data));
    char *header = json_dumps(b->header, JSON_COMPACT);
    if (!header) return fail_memory(b->data.len, "a test's header");
    status s = write_safetensors(path, header, strlen(header), b->data.data, b->data.len);
    free(header);
    return s;
}
