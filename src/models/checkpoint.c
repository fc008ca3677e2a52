#include "models/checkpoint.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"
#include "models/onnx.h"
#include "models/safetensors.h"
#include "models/torch.h"

enum { MAX_PARTS = 1000, MAX_INDEX = 64 << 20 };

// One file; one of the three is not NULL.
struct part {
    char *path;
    struct file_map map;  // safetensors map themselves
    struct safetensors *safetensors;
    struct torch_file *torch;
    struct onnx *onnx;
};

struct checkpoint {
    char *path, *folder;
    struct part *parts;  // [n_parts]
    int n_parts;
    struct tensor *tensors;  // [n_tensors], sorted by name; names are the parts'
    int64_t n_tensors;
};

/* ---- one file ---- */

static struct tensor of_safetensors(const struct safetensors_tensor *s) {
    struct tensor t = {.name = s->name, .dtype = s->dtype, .type = TENSOR_OTHER, .n_dims = s->n_dims, .data = s->data};
    for (int type = 0; type < TENSOR_OTHER; type++)
        if (strcmp(tensor_type_name(type), s->dtype) == 0) t.type = type;
    memcpy(t.dims, s->dims, (size_t)s->n_dims * sizeof *t.dims);
    tensor_pack(&t);
    return t;
}

static int64_t part_n_tensors(const struct part *p) {
    return p->safetensors ? safetensors_n_tensors(p->safetensors)
           : p->torch     ? torch_n_tensors(p->torch)
                          : onnx_n_tensors(p->onnx);
}

static struct tensor part_at(const struct part *p, int64_t i) {
    return p->safetensors ? of_safetensors(safetensors_at(p->safetensors, i))
           : p->torch     ? *torch_at(p->torch, i)
                          : *onnx_at(p->onnx, i);
}

// A safetensors file begins with the length of its header, a JSON object. Looked for first: a length may begin with the
// byte that a pickle begins with.
static bool safetensors_look_like(const char *data, size_t size) { return size > 8 && data[8] == '{'; }

static status open_part(const char *path, struct part *p) {
    p->path = strdup(path);
    if (!p->path) return fail_memory(strlen(path), "a file name");
    TRY(file_map_open(path, &p->map));
    const void *data = p->map.data;
    size_t size = p->map.size;
    if (size == 0) return fail(UTTER_FORMAT, "%s is empty; get it again", path);
    if (safetensors_look_like(data, size)) {
        file_map_close(&p->map);
        return safetensors_open(path, &p->safetensors);
    }
    if (torch_looks_like(data, size)) return torch_open(p->path, data, size, &p->torch);
    if (onnx_looks_like(data, size)) return onnx_open(p->path, data, size, &p->onnx);
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0)
        return fail(UTTER_INVALID, "%s is a GGUF file already; \"utter models quantize\" gives it another type", path);
    if (size >= 40 && memcmp(data, "version https://git-lfs", 23) == 0)
        return fail(UTTER_FORMAT, "%s is a pointer of Git LFS and not the file itself; get it with \"git lfs pull\"",
                    path);
    return fail(UTTER_FORMAT, "%s is not a model that utter converts: neither safetensors, nor PyTorch, nor ONNX",
                path);
}

static void close_part(struct part *p) {
    safetensors_close(p->safetensors);
    torch_close(p->torch);
    onnx_close(p->onnx);
    file_map_close(&p->map);
    free(p->path);
}

/* ---- folders ---- */

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static status join(const char *folder, const char *name, struct str *out) {
    str_clear(out);
    str_printf(out, "%s/%s", folder, name);
    return str_status(out);
}

static status add_part(struct checkpoint *c, const char *path) {
    struct part *grown = realloc(c->parts, (size_t)(c->n_parts + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a list of files");
    c->parts = grown;
    c->parts[c->n_parts++] = (struct part){0};
    return open_part(path, &c->parts[c->n_parts - 1]);
}

static bool has_part(const struct checkpoint *c, const char *path) {
    for (int i = 0; i < c->n_parts; i++)
        if (strcmp(c->parts[i].path, path) == 0) return true;
    return false;
}

// The files that an index's "weight_map" names, each a file of the same folder.
static status add_indexed(struct checkpoint *c, const char *index, const json_t *root) {
    const json_t *weights = json_object_get(root, "weight_map");
    if (!json_is_object(weights) || json_object_size(weights) == 0)
        return fail(UTTER_FORMAT, "%s has no \"weight_map\"", index);
    struct str path = {0};
    const char *name;
    json_t *value;
    status s = UTTER_OK;
    json_object_foreach((json_t *)weights, name, value) {
        const char *file = json_string_value(value);
        if (!file || strchr(file, '/') || *file == '.')
            s = fail(UTTER_FORMAT, "%s: the file of %.80s is not a file's name", index, name);
        if (s == UTTER_OK) s = join(c->folder, file, &path);
        if (s == UTTER_OK && !has_part(c, path.data))
            s = c->n_parts < MAX_PARTS ? add_part(c, path.data)
                                       : fail(UTTER_LIMIT, "%s names more than %d files", index, MAX_PARTS);
        if (s != UTTER_OK) break;
    }
    str_free(&path);
    return s;
}

static status open_index(struct checkpoint *c, const char *index) {
    struct file_map m;
    TRY(file_map_open(index, &m));
    json_error_t error = {0};
    json_t *root = m.size && m.size <= MAX_INDEX ? json_loadb(m.data, m.size, JSON_REJECT_DUPLICATES, &error) : NULL;
    file_map_close(&m);
    status s = root ? add_indexed(c, index, root) : fail(UTTER_FORMAT, "%s cannot be read: %s", index, error.text);
    json_decref(root);
    return s;
}

static status open_folder(struct checkpoint *c) {
    static const struct {
        const char *name;
        bool index;
    } files[] = {{"model.safetensors", false},
                 {"model.safetensors.index.json", true},
                 {"pytorch_model.bin", false},
                 {"pytorch_model.bin.index.json", true}};
    struct str path = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        status s = join(c->folder, files[i].name, &path);
        if (s == UTTER_OK && access(path.data, F_OK) != 0) continue;
        if (s == UTTER_OK) s = files[i].index ? open_index(c, path.data) : add_part(c, path.data);
        str_free(&path);
        return s;
    }
    str_free(&path);
    return fail(UTTER_IO, "%s has no model.safetensors and no pytorch_model.bin, nor an index of one", c->path);
}

/* ---- all of it ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static status list_tensors(struct checkpoint *c) {
    int64_t n = 0;
    for (int i = 0; i < c->n_parts; i++) n += part_n_tensors(&c->parts[i]);
    c->tensors = calloc((size_t)n + 1, sizeof *c->tensors);
    if (!c->tensors) return fail_memory((size_t)n * sizeof *c->tensors, "a list of tensors");
    for (int i = 0; i < c->n_parts; i++)
        for (int64_t j = 0; j < part_n_tensors(&c->parts[i]); j++)
            c->tensors[c->n_tensors++] = part_at(&c->parts[i], j);
    qsort(c->tensors, (size_t)n, sizeof *c->tensors, by_name);
    for (int64_t i = 1; i < n; i++)
        if (by_name(&c->tensors[i - 1], &c->tensors[i]) == 0)
            return fail(UTTER_FORMAT, "%s: tensor %.80s is there twice", c->path, c->tensors[i].name);
    return UTTER_OK;
}

static status open_parts(struct checkpoint *c) {
    bool folder = is_folder(c->path);
    const char *slash = strrchr(c->path, '/');
    c->folder = folder ? strdup(c->path) : slash ? strndup(c->path, (size_t)(slash - c->path) + 1) : strdup(".");
    if (!c->folder) return fail_memory(strlen(c->path), "a file name");
    TRY(folder ? open_folder(c) : add_part(c, c->path));
    return list_tensors(c);
}

status checkpoint_open(const char *path, struct checkpoint **out) {
    *out = NULL;
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c) return fail_memory(sizeof *c, "a checkpoint");
    c->path = strdup(path);
    status s = c->path ? open_parts(c) : fail_memory(strlen(path), "a file name");
    if (s != UTTER_OK) {
        checkpoint_close(c);
        return s;
    }
    *out = c;
    return UTTER_OK;
}

void checkpoint_close(struct checkpoint *c) {
    if (!c) return;
    for (int i = 0; i < c->n_parts; i++) close_part(&c->parts[i]);
    free(c->parts);
    free(c->tensors);
    free(c->folder);
    free(c->path);
    free(c);
}

const char *checkpoint_path(const struct checkpoint *c) { return c->path; }

const char *checkpoint_folder(const struct checkpoint *c) { return c->folder; }

int64_t checkpoint_n_tensors(const struct checkpoint *c) { return c->n_tensors; }

const struct tensor *checkpoint_at(const struct checkpoint *c, int64_t i) { return &c->tensors[i]; }

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name) {
    struct tensor wanted = {.name = name};
    return bsearch(&wanted, c->tensors, (size_t)c->n_tensors, sizeof *c->tensors, by_name);
}

const char *checkpoint_metadata(const struct checkpoint *c, const char *key) {
    for (int i = 0; i < c->n_parts; i++) {
        const char *text = c->parts[i].safetensors ? safetensors_metadata(c->parts[i].safetensors, key) : NULL;
        if (text) return text;
    }
    return NULL;
}
