#include "models/torch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "models/pickle.h"
#include "models/zip.h"

/* The five parts of a legacy file are pickles one after another: a magic number, a version, facts of the machine that
   wrote it, the object, and the keys of its storages; then each storage, its number of elements (int64) first. */
static const uint8_t LEGACY_MAGIC[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
enum { LEGACY_VERSION = 1001, MAX_STORAGES = 1 << 20, MAX_NAME = 1024 };

#define REBUILD "torch._utils._rebuild_tensor"
#define REBUILD_V2 "torch._utils._rebuild_tensor_v2"
#define REBUILD_PARAMETER "torch._utils._rebuild_parameter"
#define SIZE "torch.Size"

static const char *const functions[] = {
    REBUILD,
    REBUILD_V2,
    REBUILD_PARAMETER,
    SIZE,
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.DoubleStorage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    NULL,
};

static bool storage_type(const char *function, enum tensor_type *out) {
    static const struct {
        const char *name;
        enum tensor_type type;
    } types[] = {
        {"torch.FloatStorage", TENSOR_F32},  {"torch.HalfStorage", TENSOR_F16}, {"torch.BFloat16Storage", TENSOR_BF16},
        {"torch.DoubleStorage", TENSOR_F64}, {"torch.LongStorage", TENSOR_I64}, {"torch.IntStorage", TENSOR_I32},
        {"torch.ShortStorage", TENSOR_I16},  {"torch.CharStorage", TENSOR_I8},  {"torch.ByteStorage", TENSOR_U8},
        {"torch.BoolStorage", TENSOR_BOOL},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, function) == 0) {
            *out = types[i].type;
            return true;
        }
    return false;
}

// A run of elements that tensors are views of.
struct storage {
    char *key;
    const void *data;
    size_t n_bytes;
    const struct zip_entry *entry;  // NULL in a legacy file
};

struct torch_file {
    const char *label;         // while it is opened
    struct zip *zip;           // NULL for a legacy file
    char *top;                 // the folder in the archive, with its '/'
    struct storage *storages;  // of a legacy file; [n_storages], sorted by key
    int64_t n_storages;
    struct tensor *tensors;  // [n_tensors], sorted by name; names are owned
    int64_t n_tensors;
    bool single;
};

// A file that is one tensor has no name for it.
static const char *called(const char *name) { return *name ? name : "(its only one)"; }

static status damaged(const struct torch_file *f, const char *name, const char *what) {
    return fail(UTTER_FORMAT, "%s: tensor %.80s %s", f->label, called(name), what);
}

/* ---- values of the pickle ---- */

static const struct pickle_value *argument(const struct pickle_value *call, size_t i) {
    return i < call->call[1]->n ? call->call[1]->items[i] : NULL;
}

// A whole number from 0.
static bool whole(const struct pickle_value *v, int64_t *out) {
    if (!v || v->kind != PICKLE_INT || v->number < 0) return false;
    *out = v->number;
    return true;
}

// A tuple of numbers, or a torch.Size of one. *n: how many.
static bool sizes(const struct pickle_value *v, int64_t *out, int *n) {
    if (v && v->kind == PICKLE_CALL && strcmp(v->call[0]->text, SIZE) == 0) v = argument(v, 0);
    if (!v || (v->kind != PICKLE_TUPLE && v->kind != PICKLE_LIST) || v->n > TENSOR_MAX_DIMS) return false;
    *n = (int)v->n;
    for (size_t i = 0; i < v->n; i++)
        if (!whole(v->items[i], &out[i])) return false;
    return true;
}

static bool is_tensor(const struct pickle_value *v) {
    return v->kind == PICKLE_CALL &&
           (strcmp(v->call[0]->text, REBUILD) == 0 || strcmp(v->call[0]->text, REBUILD_V2) == 0 ||
            strcmp(v->call[0]->text, REBUILD_PARAMETER) == 0);
}

/* ---- storages ---- */

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct storage *)a)->key, ((const struct storage *)b)->key);
}

static status find_storage(const struct torch_file *f, const char *name, const struct pickle_value *key,
                           struct storage *out) {
    char path[2 * MAX_NAME];
    if (key->kind != PICKLE_TEXT || key->n > MAX_NAME || memchr(key->text, 0, key->n))
        return damaged(f, name, "lies in a storage without a name");
    if (!f->zip) {
        snprintf(path, sizeof path, "%.*s", (int)key->n, key->text);
        struct storage wanted = {.key = path};
        const struct storage *s =
            f->n_storages ? bsearch(&wanted, f->storages, (size_t)f->n_storages, sizeof *f->storages, by_key) : NULL;
        if (!s)
            return fail(UTTER_FORMAT, "%s: tensor %.80s lies in the storage %.80s, which is missing", f->label,
                        called(name), path);
        *out = *s;
        return UTTER_OK;
    }
    int n = snprintf(path, sizeof path, "%sdata/%.*s", f->top, (int)key->n, key->text);
    const struct zip_entry *e = n > 0 && (size_t)n < sizeof path ? zip_find(f->zip, path) : NULL;
    if (!e)
        return fail(UTTER_FORMAT, "%s: tensor %.80s lies in the entry %.80s, which is missing", f->label, called(name),
                    path);
    *out = (struct storage){.data = e->data, .n_bytes = e->n_bytes, .entry = e};
    return UTTER_OK;
}

// The persistent id of a storage: ("storage", TYPE, key, device, number of elements), and a view in old files.
static status read_storage(const struct torch_file *f, const char *name, const struct pickle_value *v,
                           enum tensor_type *type, int64_t *n, struct storage *out) {
    const struct pickle_value *id = v && v->kind == PICKLE_PERSISTENT ? v->part : NULL;
    if (!id || id->kind != PICKLE_TUPLE || id->n < 5 || !pickle_is_text(id->items[0], "storage") ||
        id->items[1]->kind != PICKLE_FUNCTION || !storage_type(id->items[1]->text, type) || !whole(id->items[4], n))
        return damaged(f, name, "has no storage that utter knows");
    if (id->n > 5 && id->items[5]->kind != PICKLE_NONE)
        return fail(UTTER_UNSUPPORTED, "%s: tensor %.80s lies in a view of a storage; save it with a newer PyTorch",
                    f->label, called(name));
    TRY(find_storage(f, name, id->items[2], out));
    uint64_t n_bytes;
    if (!size_mul((uint64_t)*n, (uint64_t)tensor_type_bytes(*type), &n_bytes) || n_bytes != out->n_bytes)
        return fail(UTTER_FORMAT,
                    "%s: tensor %.80s lies in a storage of %" PRId64 " elements of %s, which has %zu bytes", f->label,
                    called(name), *n, tensor_type_name(*type), out->n_bytes);
    return UTTER_OK;
}

/* ---- tensors ---- */

// Whether the last element, too, lies in a storage of n elements that begins `offset` elements before the first.
static bool inside(const struct tensor *t, int64_t offset, int64_t n, int64_t n_elements) {
    if (n_elements == 0) return offset <= n;
    int64_t last = offset;
    for (int d = 0; d < t->n_dims; d++) {
        int64_t span;
        if (__builtin_mul_overflow(t->dims[d] - 1, t->strides[d], &span) || __builtin_add_overflow(last, span, &last))
            return false;
    }
    return last < n;
}

static status read_tensor(const struct torch_file *f, const struct pickle_value *v, struct tensor *t) {
    if (strcmp(v->call[0]->text, REBUILD_PARAMETER) == 0) {
        v = argument(v, 0);
        if (!v || !is_tensor(v) || strcmp(v->call[0]->text, REBUILD_PARAMETER) == 0)
            return damaged(f, t->name, "is a parameter of no tensor");
    }
    const struct pickle_value *storage = argument(v, 0);
    int64_t n = 0, offset = 0, n_elements = 0;
    int n_strides = 0;
    struct storage s = {0};
    TRY(read_storage(f, t->name, storage, &t->type, &n, &s));
    t->dtype = tensor_type_name(t->type);
    t->entry = s.entry;
    if (!sizes(argument(v, 2), t->dims, &t->n_dims))
        return damaged(f, t->name, "has a size that is not a list of at most 8 whole numbers from 0");
    if (!sizes(argument(v, 3), t->strides, &n_strides) || n_strides != t->n_dims || !whole(argument(v, 1), &offset))
        return damaged(f, t->name, "has strides or an offset that do not go with its size");
    // Fewer elements than the storage has: no view that repeats itself can stand for more than the file holds.
    if (!tensor_count(t, &n_elements) || n_elements > n || !inside(t, offset, n, n_elements))
        return fail(UTTER_FORMAT, "%s: tensor %.80s reaches beyond its storage, which has %" PRId64 " elements",
                    f->label, called(t->name), n);
    t->data = (const char *)s.data + (n_elements ? offset * tensor_type_bytes(t->type) : 0);
    return UTTER_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

// A tensor under a key that is a text; other entries are passed over.
static status add_entry(struct torch_file *f, const struct pickle_value *key, const struct pickle_value *value) {
    if (key->kind != PICKLE_TEXT || !is_tensor(value)) return UTTER_OK;
    if (key->n > MAX_NAME || memchr(key->text, 0, key->n))
        return fail(UTTER_FORMAT, "%s: a tensor's name is longer than %d bytes, or not a text", f->label, MAX_NAME);
    struct tensor *t = &f->tensors[f->n_tensors];
    t->name = strndup(key->text, key->n);
    if (!t->name) return fail_memory(key->n, "a tensor's name");
    f->n_tensors++;
    return read_tensor(f, value, t);
}

static status read_dictionary(struct torch_file *f, const struct pickle_value *root) {
    const char *const inner[] = {"state_dict", "model"};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        const struct pickle_value *v = pickle_get(root, inner[i]);
        if (v && v->kind == PICKLE_DICT) root = v;
    }
    f->tensors = calloc(root->n / 2 + 1, sizeof *f->tensors);
    if (!f->tensors) return fail_memory(root->n / 2 * sizeof *f->tensors, "a list of tensors");
    for (size_t i = 0; i + 1 < root->n; i += 2) TRY(add_entry(f, root->items[i], root->items[i + 1]));
    qsort(f->tensors, (size_t)f->n_tensors, sizeof *f->tensors, by_name);
    for (int64_t i = 1; i < f->n_tensors; i++)
        if (by_name(&f->tensors[i - 1], &f->tensors[i]) == 0)
            return fail(UTTER_FORMAT, "%s: tensor %.80s is there twice", f->label, f->tensors[i].name);
    return UTTER_OK;
}

static status read_root(struct torch_file *f, const struct pickle_value *root) {
    if (root->kind == PICKLE_DICT) return read_dictionary(f, root);
    if (!is_tensor(root)) return fail(UTTER_FORMAT, "%s holds neither a tensor nor a dictionary of tensors", f->label);
    f->single = true;
    f->tensors = calloc(1, sizeof *f->tensors);
    if (!f->tensors) return fail_memory(sizeof *f->tensors, "a tensor");
    f->tensors->name = strdup("");
    if (!f->tensors->name) return fail_memory(1, "a tensor's name");
    f->n_tensors = 1;
    return read_tensor(f, root, f->tensors);
}

/* ---- ZIP archives ---- */

// FOLDER/data.pkl, in whichever folder; there is one.
static status find_pickle(struct torch_file *f, const struct zip_entry **out) {
    static const char end[] = "/data.pkl";
    *out = NULL;
    for (int64_t i = 0; i < zip_n_entries(f->zip); i++) {
        const struct zip_entry *e = zip_at(f->zip, i);
        const char *slash = strchr(e->name, '/');
        if (!slash || strcmp(slash, end) != 0) continue;
        if (*out)
            return fail(UTTER_FORMAT, "%s: entries %.80s and %.80s are both its object", f->label, (*out)->name,
                        e->name);
        *out = e;
    }
    if (!*out) return fail(UTTER_FORMAT, "%s is a ZIP archive and no PyTorch file: it has no data.pkl", f->label);
    f->top = strndup((*out)->name, (size_t)(strchr((*out)->name, '/') - (*out)->name) + 1);
    return f->top ? UTTER_OK : fail_memory(strlen((*out)->name), "a name");
}

static status check_byte_order(const struct torch_file *f) {
    char name[2 * MAX_NAME];
    int n = snprintf(name, sizeof name, "%sbyteorder", f->top);
    const struct zip_entry *e = n > 0 && (size_t)n < sizeof name ? zip_find(f->zip, name) : NULL;
    if (!e || (e->n_bytes == 6 && memcmp(e->data, "little", 6) == 0)) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s was written on a big-endian machine; utter reads little-endian files", f->label);
}

static status read_zip(struct torch_file *f, const void *data, size_t size) {
    const struct zip_entry *e = NULL;
    struct pickle *p;
    size_t n_used;
    TRY(zip_open(f->label, data, size, &f->zip));
    TRY(find_pickle(f, &e));
    TRY(check_byte_order(f));
    TRY(zip_check(e, f->label));
    TRY(pickle_read(f->label, e->data, e->n_bytes, functions, &n_used, &p));
    status s = read_root(f, pickle_root(p));
    pickle_free(p);
    return s;
}

/* ---- legacy files ---- */

struct rest {
    const uint8_t *data;
    size_t size;
};

static status next_pickle(const struct torch_file *f, struct rest *r, struct pickle **out) {
    size_t n_used;
    TRY(pickle_read(f->label, r->data, r->size, functions, &n_used, out));
    r->data += n_used;
    r->size -= n_used;
    return UTTER_OK;
}

static status check_version(const struct torch_file *f, struct rest *r) {
    struct pickle *p;
    TRY(next_pickle(f, r, &p));
    const struct pickle_value *v = pickle_root(p);
    bool good = v->kind == PICKLE_INT && v->number == LEGACY_VERSION;
    pickle_free(p);
    if (!good) return fail(UTTER_UNSUPPORTED, "%s: its version is not %d", f->label, LEGACY_VERSION);
    TRY(next_pickle(f, r, &p));
    v = pickle_root(p);
    v = v->kind == PICKLE_DICT ? pickle_get(v, "little_endian") : NULL;
    good = v && v->kind == PICKLE_BOOL && v->truth;
    pickle_free(p);
    if (!good)
        return fail(UTTER_UNSUPPORTED, "%s was not written on a little-endian machine; utter reads such files only",
                    f->label);
    return UTTER_OK;
}

// How large the elements of a storage are is known to the tensors alone: their type, by the storage's key.
struct element_sizes {
    const struct pickle_value **ids;  // [n], sorted by key
    size_t n;
};

static int compare_text(const struct pickle_value *a, const struct pickle_value *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static int by_id(const void *a, const void *b) {
    return compare_text((*(const struct pickle_value *const *)a)->items[2],
                        (*(const struct pickle_value *const *)b)->items[2]);
}

// The id of the storage that a tensor is a view of; NULL when it is no such thing.
static const struct pickle_value *storage_id(const struct pickle_value *v) {
    for (int depth = 0; depth < 2 && v && is_tensor(v); depth++) v = argument(v, 0);
    v = v && v->kind == PICKLE_PERSISTENT ? v->part : NULL;
    return v && v->kind == PICKLE_TUPLE && v->n >= 5 && v->items[1]->kind == PICKLE_FUNCTION &&
                   v->items[2]->kind == PICKLE_TEXT
               ? v
               : NULL;
}

static void collect_ids(const struct pickle_value *v, struct element_sizes *out) {
    const struct pickle_value *id = storage_id(v);
    if (id) out->ids[out->n++] = id;
}

// Ids of all storages of the object: of a tensor, of a dictionary, or of the dictionaries in one.
static status collect(const struct pickle_value *root, struct element_sizes *out) {
    size_t n = 1;
    if (root->kind == PICKLE_DICT)
        for (size_t i = 1; i < root->n; i += 2) n += 1 + (root->items[i]->kind == PICKLE_DICT ? root->items[i]->n : 0);
    if (n > MAX_STORAGES) n = MAX_STORAGES;
    out->ids = calloc(n, sizeof *out->ids);
    if (!out->ids) return fail_memory(n * sizeof *out->ids, "a list of storages");
    if (root->kind != PICKLE_DICT) {
        collect_ids(root, out);
        return UTTER_OK;
    }
    size_t n_seen = 0;  // a dictionary may be in there many times
    for (size_t i = 1; i < root->n && n_seen < n; i += 2) {
        const struct pickle_value *v = root->items[i];
        collect_ids(v, out);
        n_seen++;
        for (size_t j = 1; v->kind == PICKLE_DICT && j < v->n && n_seen < n; j += 2, n_seen++)
            collect_ids(v->items[j], out);
    }
    qsort(out->ids, out->n, sizeof *out->ids, by_id);
    return UTTER_OK;
}

static int element_bytes(const struct element_sizes *sizes_of, const struct pickle_value *key) {
    size_t low = 0, high = sizes_of->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct pickle_value *id = sizes_of->ids[middle];
        int order = compare_text(id->items[2], key);
        enum tensor_type type;
        if (order == 0) return storage_type(id->items[1]->text, &type) ? tensor_type_bytes(type) : 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

static status place_storages(struct torch_file *f, struct rest *r, const struct pickle_value *keys,
                             const struct element_sizes *sizes_of) {
    if (keys->kind != PICKLE_LIST || keys->n > MAX_STORAGES)
        return fail(UTTER_FORMAT, "%s: the list of its storages is not there", f->label);
    f->storages = calloc(keys->n + 1, sizeof *f->storages);
    if (!f->storages) return fail_memory(keys->n * sizeof *f->storages, "a list of storages");
    for (size_t i = 0; i < keys->n; i++) {
        const struct pickle_value *key = keys->items[i];
        if (key->kind != PICKLE_TEXT || key->n > MAX_NAME || memchr(key->text, 0, key->n))
            return fail(UTTER_FORMAT, "%s: storage %zu has no name", f->label, i);
        int bytes = element_bytes(sizes_of, key);
        uint64_t n = 0, n_bytes = 0;
        if (bytes == 0)
            return fail(UTTER_UNSUPPORTED, "%s: storage %.*s belongs to no tensor that utter knows", f->label,
                        (int)(key->n < 80 ? key->n : 80), key->text);
        if (r->size >= sizeof n) memcpy(&n, r->data, sizeof n);
        if (r->size < sizeof n || !size_mul(n, (uint64_t)bytes, &n_bytes) || n_bytes > r->size - sizeof n)
            return fail(UTTER_FORMAT,
                        "%s is cut off or damaged: storage %zu has %" PRIu64
                        " elements, and %zu bytes are left; get "
                        "it again",
                        f->label, i, n, r->size);
        struct storage *s = &f->storages[f->n_storages];
        *s = (struct storage){strndup(key->text, key->n), r->data + sizeof n, (size_t)n_bytes, NULL};
        if (!s->key) return fail_memory(key->n, "a storage's name");
        f->n_storages++;
        r->data += sizeof n + n_bytes;
        r->size -= sizeof n + (size_t)n_bytes;
    }
    qsort(f->storages, (size_t)f->n_storages, sizeof *f->storages, by_key);
    return UTTER_OK;
}

static status read_legacy(struct torch_file *f, const void *data, size_t size) {
    struct rest r = {data, size};
    struct pickle *object, *keys = NULL;
    struct element_sizes sizes_of = {0};
    if (size < sizeof LEGACY_MAGIC || memcmp(data, LEGACY_MAGIC, sizeof LEGACY_MAGIC) != 0) {
        TRY(next_pickle(f, &r, &object));  // for the sentence, when it is more than plain values
        pickle_free(object);
        return fail(UTTER_FORMAT, "%s is a pickle and no PyTorch file", f->label);
    }
    r.data += sizeof LEGACY_MAGIC;
    r.size -= sizeof LEGACY_MAGIC;
    TRY(check_version(f, &r));
    TRY(next_pickle(f, &r, &object));
    status s = next_pickle(f, &r, &keys);
    if (s == UTTER_OK) s = collect(pickle_root(object), &sizes_of);
    if (s == UTTER_OK) s = place_storages(f, &r, pickle_root(keys), &sizes_of);
    if (s == UTTER_OK) s = read_root(f, pickle_root(object));
    free(sizes_of.ids);
    pickle_free(keys);
    pickle_free(object);
    return s;
}

/* ---- opening ---- */

bool torch_looks_like(const void *data, size_t size) {
    return size >= 4 && (memcmp(data, "PK\3\4", 4) == 0 || *(const uint8_t *)data == 0x80);
}

status torch_open(const char *label, const void *data, size_t size, struct torch_file **out) {
    *out = NULL;
    if (size == 0) return fail(UTTER_FORMAT, "%s is empty; get it again", label);
    if (!torch_looks_like(data, size))
        return fail(UTTER_FORMAT, "%s is not a PyTorch file: it is neither a ZIP archive nor a pickle", label);
    struct torch_file *f = calloc(1, sizeof *f);
    if (!f) return fail_memory(sizeof *f, "a PyTorch file");
    f->label = label;
    status s = *(const uint8_t *)data == 0x80 ? read_legacy(f, data, size) : read_zip(f, data, size);
    f->label = NULL;  // was the caller's
    if (s != UTTER_OK) {
        torch_close(f);
        return s;
    }
    *out = f;
    return UTTER_OK;
}

void torch_close(struct torch_file *f) {
    if (!f) return;
    for (int64_t i = 0; i < f->n_tensors; i++) free((char *)f->tensors[i].name);
    for (int64_t i = 0; i < f->n_storages; i++) free(f->storages[i].key);
    free(f->tensors);
    free(f->storages);
    zip_close(f->zip);
    free(f->top);
    free(f);
}

int64_t torch_n_tensors(const struct torch_file *f) { return f->n_tensors; }

const struct tensor *torch_at(const struct torch_file *f, int64_t i) { return &f->tensors[i]; }

bool torch_is_single(const struct torch_file *f) { return f->single; }
