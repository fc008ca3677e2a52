#include "models/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { MAX_HEADER = 16 << 20 };  // bytes; the largest checkpoints have a few hundred KB

struct safetensors {
    char *path;
    struct file_map map;
    json_t *header;  // names, dtypes and metadata live in it
    int64_t n_tensors;
    struct safetensors_tensor *tensors;  // [n_tensors], sorted by name
};

struct dtype {
    const char *name;
    int n_bytes;
    bool is_float;
    block_type type;
};

static const struct dtype *dtype_by_name(const char *name) {
    static const struct dtype dtypes[] = {
        {"F32", 4, true, BLOCK_F32}, {"F16", 2, true, BLOCK_F16}, {"BF16", 2, true, BLOCK_BF16}, {"F64", 8, false, 0},
        {"I64", 8, false, 0},        {"U64", 8, false, 0},        {"I32", 4, false, 0},          {"U32", 4, false, 0},
        {"I16", 2, false, 0},        {"U16", 2, false, 0},        {"I8", 1, false, 0},           {"U8", 1, false, 0},
        {"BOOL", 1, false, 0},       {"F8_E4M3", 1, false, 0},    {"F8_E5M2", 1, false, 0},
    };
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

// A whole number >= 0 of an array, or the failure that says what it is instead.
static status whole_number(const struct safetensors *s, const char *name, const char *field, const json_t *array,
                           size_t i, uint64_t *out) {
    const json_t *v = json_array_get(array, i);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return fail(UTTER_FORMAT, "%s: tensor %.80s: element %zu of %s is not a whole number from 0", s->path, name, i,
                    field);
    *out = (uint64_t)json_integer_value(v);
    return UTTER_OK;
}

static status read_shape(const struct safetensors *s, const json_t *shape, struct safetensors_tensor *t, uint64_t *n) {
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return fail(UTTER_FORMAT, "%s: tensor %.80s: \"shape\" is not a list of at most %d numbers", s->path, t->name,
                    SAFETENSORS_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    *n = 1;
    for (int d = 0; d < t->n_dims; d++) {
        uint64_t dim = 0;
        TRY(whole_number(s, t->name, "\"shape\"", shape, (size_t)d, &dim));
        if (!size_mul(*n, dim, n) || *n > INT64_MAX)
            return fail(UTTER_FORMAT, "%s: tensor %.80s: dimension %d is %" PRIu64 ", which makes it too large",
                        s->path, t->name, d, dim);
        t->dims[d] = (int64_t)dim;
    }
    return UTTER_OK;
}

static status read_tensor(const struct safetensors *s, const char *name, const json_t *info, uint64_t data_start,
                          struct safetensors_tensor *t) {
    t->name = name;
    t->dtype = json_string_value(json_object_get(info, "dtype"));
    const struct dtype *dtype = t->dtype ? dtype_by_name(t->dtype) : NULL;
    if (!dtype)
        return fail(UTTER_FORMAT, "%s: tensor %.80s: \"dtype\" is %.40s, which does not exist", s->path, name,
                    t->dtype ? t->dtype : "not there");
    t->is_float = dtype->is_float;
    t->type = dtype->type;
    uint64_t n = 0, n_bytes, begin = 0, end = 0, size = s->map.size - data_start;
    TRY(read_shape(s, json_object_get(info, "shape"), t, &n));
    const json_t *offsets = json_object_get(info, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return fail(UTTER_FORMAT, "%s: tensor %.80s: \"data_offsets\" is not a list of two numbers", s->path, name);
    TRY(whole_number(s, name, "\"data_offsets\"", offsets, 0, &begin));
    TRY(whole_number(s, name, "\"data_offsets\"", offsets, 1, &end));
    if (begin > end || end > size)
        return fail(UTTER_FORMAT,
                    "%s is cut off or damaged: tensor %.80s lies at bytes %" PRIu64 " to %" PRIu64 " of %" PRIu64
                    "; get it again",
                    s->path, name, begin, end, size);
    if (!size_mul(n, (uint64_t)dtype->n_bytes, &n_bytes) || n_bytes != end - begin)
        return fail(UTTER_FORMAT,
                    "%s: tensor %.80s has %" PRIu64 " elements of %s, and \"data_offsets\" gives it %" PRIu64 " bytes",
                    s->path, name, n, dtype->name, end - begin);
    t->n_bytes = (size_t)n_bytes;
    t->data = (const char *)s->map.data + data_start + begin;
    return UTTER_OK;
}

static int by_place(const void *a, const void *b) {
    const struct safetensors_tensor *x = a, *y = b;
    return x->data != y->data ? (x->data < y->data ? -1 : 1) : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct safetensors_tensor *)a)->name, ((const struct safetensors_tensor *)b)->name);
}

static status check_overlaps(const struct safetensors *s) {
    qsort(s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_place);
    for (int64_t i = 1; i < s->n_tensors; i++) {
        const struct safetensors_tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];
        if ((const char *)a->data + a->n_bytes > (const char *)b->data)
            return fail(UTTER_FORMAT, "%s: tensors %.80s and %.80s lie over one another", s->path, a->name, b->name);
    }
    return UTTER_OK;
}

static status check_metadata(const struct safetensors *s, json_t *metadata) {
    if (!metadata) return UTTER_OK;
    if (!json_is_object(metadata)) return fail(UTTER_FORMAT, "%s: \"__metadata__\" is not an object", s->path);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return fail(UTTER_FORMAT, "%s: \"__metadata__\": %.80s is not a string", s->path, key);
    }
    return UTTER_OK;
}

static status parse(struct safetensors *s) {
    uint64_t len;
    if (s->map.size < sizeof len)
        return fail(UTTER_FORMAT, "%s is not a safetensors file: it has %zu bytes", s->path, s->map.size);
    memcpy(&len, s->map.data, sizeof len);
    if (len > s->map.size - sizeof len || len > MAX_HEADER)
        return fail(UTTER_FORMAT,
                    "%s is cut off or not a safetensors file: the header's length is %" PRIu64
                    "; %zu bytes are left, and "
                    "at most %d are read",
                    s->path, len, s->map.size - sizeof len, MAX_HEADER);
    json_error_t error;
    s->header = json_loadb((const char *)s->map.data + sizeof len, (size_t)len, JSON_REJECT_DUPLICATES, &error);
    if (!s->header)
        return fail(UTTER_FORMAT, "%s: the safetensors header cannot be read: %s (byte %d)", s->path, error.text,
                    error.position);
    if (!json_is_object(s->header)) return fail(UTTER_FORMAT, "%s: the safetensors header is not an object", s->path);
    TRY(check_metadata(s, json_object_get(s->header, "__metadata__")));

    s->tensors = calloc(json_object_size(s->header) + 1, sizeof *s->tensors);
    if (!s->tensors) return fail_memory(json_object_size(s->header) * sizeof *s->tensors, "a list of tensors");
    const char *name;
    json_t *info;
    json_object_foreach(s->header, name, info) {
        if (strcmp(name, "__metadata__") == 0) continue;
        TRY(read_tensor(s, name, info, sizeof len + len, &s->tensors[s->n_tensors]));
        s->n_tensors++;
    }
    TRY(check_overlaps(s));
    qsort(s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_name);
    return UTTER_OK;
}

status safetensors_open(const char *path, struct safetensors **out) {
    *out = NULL;
    struct safetensors *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a safetensors file");
    s->path = strdup(path);
    status result = s->path ? file_map_open(path, &s->map) : fail_memory(strlen(path), "a file name");
    if (result == UTTER_OK) result = parse(s);
    if (result != UTTER_OK) {
        safetensors_close(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

void safetensors_close(struct safetensors *s) {
    if (!s) return;
    json_decref(s->header);
    file_map_close(&s->map);
    free(s->tensors);
    free(s->path);
    free(s);
}

int64_t safetensors_n_tensors(const struct safetensors *s) { return s->n_tensors; }

const struct safetensors_tensor *safetensors_at(const struct safetensors *s, int64_t i) { return &s->tensors[i]; }

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name) {
    struct safetensors_tensor wanted = {.name = name};
    return bsearch(&wanted, s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_name);
}

const char *safetensors_metadata(const struct safetensors *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}
