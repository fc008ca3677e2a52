#include "models/onnx.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/str.h"

enum {
    MAX_NAME = 1024,
    MAX_TENSORS = 1 << 20,
    // Kinds of field.
    VARINT = 0,
    FIXED64 = 1,
    BYTES = 2,
    FIXED32 = 5,
    // Fields of ModelProto, GraphProto, NodeProto and TensorProto.
    MODEL_GRAPH = 7,
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    NODE_INPUT = 1,
    NODE_NAME = 3,
    NODE_OP_TYPE = 4,
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_EXTERNAL_DATA = 13,
    TENSOR_DATA_LOCATION = 14,
};

struct onnx {
    struct tensor *tensors;  // [n_tensors], sorted by name; names are owned
    int64_t n_tensors, capacity;
};

// A message, or what is left of it.
struct message {
    const char *label;
    const uint8_t *at, *end;
};

struct field {
    int number, kind;
    uint64_t value;        // VARINT
    struct message bytes;  // BYTES
};

static status damaged(const struct message *m) {
    return fail(UTTER_FORMAT, "%s is cut off or damaged: a field of the ONNX model ends early; get it again", m->label);
}

static status take_varint(struct message *m, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end) return damaged(m);
        uint8_t byte = *m->at++;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return UTTER_OK;
    }
    return damaged(m);
}

static status take_field(struct message *m, struct field *f) {
    uint64_t tag = 0, n = 0;
    TRY(take_varint(m, &tag));
    *f = (struct field){.number = tag >> 3 <= INT32_MAX ? (int)(tag >> 3) : 0, .kind = (int)(tag & 7)};
    switch (f->kind) {
        case VARINT:
            return take_varint(m, &f->value);
        case BYTES:
            TRY(take_varint(m, &n));
            break;
        case FIXED64:
            n = 8;
            break;
        case FIXED32:
            n = 4;
            break;
        default:
            return fail(UTTER_FORMAT, "%s is damaged, or no ONNX model: a field is of the kind %d", m->label, f->kind);
    }
    if (n > (uint64_t)(m->end - m->at)) return damaged(m);
    f->bytes = (struct message){m->label, m->at, m->at + n};
    m->at += n;
    return UTTER_OK;
}

static char *text_of(const struct message *m) {
    size_t n = (size_t)(m->end - m->at);
    return strndup((const char *)m->at, n < MAX_NAME ? n : MAX_NAME);
}

/* ---- initialisers ---- */

static enum tensor_type type_of(uint64_t data_type) {
    switch (data_type) {  // TensorProto.DataType
        case 1:
            return TENSOR_F32;
        case 2:
            return TENSOR_U8;
        case 3:
            return TENSOR_I8;
        case 5:
            return TENSOR_I16;
        case 6:
            return TENSOR_I32;
        case 7:
            return TENSOR_I64;
        case 9:
            return TENSOR_BOOL;
        case 10:
            return TENSOR_F16;
        case 11:
            return TENSOR_F64;
        case 16:
            return TENSOR_BF16;
        default:
            return TENSOR_OTHER;
    }
}

static status add_dim(struct tensor *t, const struct message *m, uint64_t dim) {
    if (t->n_dims == TENSOR_MAX_DIMS)
        return fail(UTTER_FORMAT, "%s: an initialiser has more than %d dimensions", m->label, TENSOR_MAX_DIMS);
    if (dim > INT64_MAX) return fail(UTTER_FORMAT, "%s: an initialiser has a negative dimension", m->label);
    t->dims[t->n_dims++] = (int64_t)dim;
    return UTTER_OK;
}

struct initializer {
    struct tensor t;
    struct message raw, floats, name;
    bool external;
};

static status read_fields(struct message m, struct initializer *in) {
    struct field f;
    while (m.at < m.end) {
        TRY(take_field(&m, &f));
        if (f.number == TENSOR_DIMS && f.kind == VARINT) TRY(add_dim(&in->t, &m, f.value));
        while (f.number == TENSOR_DIMS && f.kind == BYTES && f.bytes.at < f.bytes.end) {
            uint64_t dim = 0;
            TRY(take_varint(&f.bytes, &dim));
            TRY(add_dim(&in->t, &m, dim));
        }
        if (f.number == TENSOR_DATA_TYPE && f.kind == VARINT) in->t.type = type_of(f.value);
        if (f.number == TENSOR_NAME && f.kind == BYTES) in->name = f.bytes;
        if (f.number == TENSOR_RAW_DATA && f.kind == BYTES) in->raw = f.bytes;
        if (f.number == TENSOR_FLOAT_DATA && f.kind == BYTES) in->floats = f.bytes;
        if (f.number == TENSOR_EXTERNAL_DATA) in->external = true;
        if (f.number == TENSOR_DATA_LOCATION && f.kind == VARINT && f.value == 1) in->external = true;
    }
    return UTTER_OK;
}

static status add_initializer(struct onnx *o, struct message m) {
    struct initializer in = {.t = {.type = TENSOR_OTHER}};
    TRY(read_fields(m, &in));
    struct tensor *t = &in.t;
    char *name = text_of(&in.name);
    if (!name) return fail_memory(MAX_NAME, "a tensor's name");
    t->name = name;
    t->dtype = tensor_type_name(t->type);
    const struct message *data = in.raw.at ? &in.raw : t->type == TENSOR_F32 ? &in.floats : NULL;
    int64_t n = 0, n_bytes = 0;
    status s = UTTER_OK;
    if (in.external)
        s = fail(UTTER_UNSUPPORTED,
                 "%s keeps its weights in another file (initialiser %.80s); utter reads ONNX models that hold theirs, "
                 "and the PyTorch or safetensors file of the same model",
                 m.label, name);
    else if (o->n_tensors == MAX_TENSORS)
        s = fail(UTTER_LIMIT, "%s has more than %d initialisers", m.label, MAX_TENSORS);
    else if (!tensor_count(t, &n) || __builtin_mul_overflow(n, tensor_type_bytes(t->type), &n_bytes))
        s = fail(UTTER_FORMAT, "%s: initialiser %.80s is too large", m.label, name);
    else if (data && data->end - data->at != n_bytes)
        s = fail(UTTER_FORMAT, "%s: initialiser %.80s has %" PRId64 " elements of %s and %zu bytes", m.label, name, n,
                 t->dtype, (size_t)(data->end - data->at));
    if (s == UTTER_OK && (!data || !data->at)) t->type = n == 0 ? t->type : TENSOR_OTHER;  // kept in a way of no weight
    if (s == UTTER_OK && o->n_tensors == o->capacity) {
        int64_t capacity = o->capacity ? 2 * o->capacity : 256;
        struct tensor *grown = realloc(o->tensors, (size_t)capacity * sizeof *grown);
        if (grown) {
            o->tensors = grown;
            o->capacity = capacity;
        } else {
            s = fail_memory((size_t)capacity * sizeof *grown, "a list of tensors");
        }
    }
    if (s != UTTER_OK) {
        free(name);
        return s;
    }
    t->data = data ? data->at : NULL;
    tensor_pack(t);
    o->tensors[o->n_tensors++] = *t;
    return UTTER_OK;
}

/* ---- names ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static void sort(struct onnx *o) {
    if (o->n_tensors) qsort(o->tensors, (size_t)o->n_tensors, sizeof *o->tensors, by_name);
}

static struct tensor *find(struct onnx *o, const char *name) {
    struct tensor wanted = {.name = name};
    return o->n_tensors ? bsearch(&wanted, o->tensors, (size_t)o->n_tensors, sizeof *o->tensors, by_name) : NULL;
}

// "/generator/backbone/transformers.0/att/c_attn/MatMul" -> "generator.backbone.transformers.0.att.c_attn.weight"
static char *name_of_node(const char *node) {
    static const char end[] = "/MatMul";
    size_t n = strlen(node), m = sizeof end - 1;
    if (*node != '/' || n <= m + 1 || strcmp(node + n - m, end) != 0) return NULL;
    struct str name = {0};
    for (const char *p = node + 1; p < node + n - m; p++) str_putc(&name, *p == '/' ? '.' : *p);
    str_puts(&name, ".weight");
    if (name.failed) str_free(&name);
    return name.data;
}

// Only matrices that a node multiplies by get a name in this way; which of them has to be new.
struct renaming {
    struct tensor *tensor;
    char *name;
};

static status read_node(struct onnx *o, struct message m, struct renaming *out) {
    struct message inputs[2] = {{0}}, node = {0};
    int n_inputs = 0;
    bool multiplies = false;
    struct field f;
    *out = (struct renaming){0};
    while (m.at < m.end) {
        TRY(take_field(&m, &f));
        if (f.kind != BYTES) continue;
        if (f.number == NODE_INPUT && n_inputs++ < 2) inputs[n_inputs - 1] = f.bytes;
        if (f.number == NODE_NAME) node = f.bytes;
        if (f.number == NODE_OP_TYPE)
            multiplies = f.bytes.end - f.bytes.at == 6 && memcmp(f.bytes.at, "MatMul", 6) == 0;
    }
    if (!multiplies || n_inputs != 2 || !node.at) return UTTER_OK;
    char *input = text_of(&inputs[1]), *path = text_of(&node);
    if (input && path && strncmp(input, "onnx::MatMul_", 13) == 0) {
        out->tensor = find(o, input);
        out->name = out->tensor && out->tensor->n_dims == 2 ? name_of_node(path) : NULL;
    }
    free(input);
    free(path);
    return UTTER_OK;
}

static status add_initializers(struct onnx *o, struct message graph) {
    struct field f;
    while (graph.at < graph.end) {
        TRY(take_field(&graph, &f));
        if (f.number == GRAPH_INITIALIZER && f.kind == BYTES) TRY(add_initializer(o, f.bytes));
    }
    return UTTER_OK;
}

// Turned names are set aside until all nodes are read, since they are looked up in order.
static status name_matrices(struct onnx *o, struct message graph) {
    struct renaming *renamings = calloc((size_t)o->n_tensors + 1, sizeof *renamings);
    if (!renamings) return fail_memory((size_t)o->n_tensors * sizeof *renamings, "a list of tensors");
    int64_t n = 0;
    struct field f;
    status s = UTTER_OK;
    while (s == UTTER_OK && graph.at < graph.end) {
        struct renaming r = {0};
        s = take_field(&graph, &f);
        if (s == UTTER_OK && f.number == GRAPH_NODE && f.kind == BYTES) s = read_node(o, f.bytes, &r);
        if (!r.name) continue;
        if (n < o->n_tensors)
            renamings[n++] = r;
        else
            free(r.name);
    }
    for (int64_t i = 0; i < n; i++) {
        struct tensor *t = renamings[i].tensor;
        if (s != UTTER_OK || strncmp(t->name, "onnx::", 6) != 0) {  // a matrix of two nodes keeps its first name
            free(renamings[i].name);
            continue;
        }
        free((char *)t->name);
        t->name = renamings[i].name;
        int64_t rows = t->dims[0], stride = t->strides[0];
        t->dims[0] = t->dims[1];
        t->strides[0] = t->strides[1];
        t->dims[1] = rows;
        t->strides[1] = stride;
    }
    free(renamings);
    return s;
}

static status parse(struct onnx *o, struct message model) {
    struct message graph = {0};
    struct field f;
    while (model.at < model.end) {
        TRY(take_field(&model, &f));
        if (f.number == MODEL_GRAPH && f.kind == BYTES) graph = f.bytes;
    }
    if (!graph.at) return fail(UTTER_FORMAT, "%s is no ONNX model: it has no graph", model.label);
    TRY(add_initializers(o, graph));
    sort(o);
    TRY(name_matrices(o, graph));
    sort(o);
    for (int64_t i = 1; i < o->n_tensors; i++)
        if (by_name(&o->tensors[i - 1], &o->tensors[i]) == 0)
            return fail(UTTER_FORMAT, "%s: tensor %.80s is there twice", model.label, o->tensors[i].name);
    return UTTER_OK;
}

/* ---- opening ---- */

bool onnx_looks_like(const void *data, size_t size) {
    const uint8_t *p = data;  // ir_version, a small number, comes first; then text fields or the graph
    return size >= 4 && p[0] == 8 && p[1] < 64 && (p[2] & 7) == BYTES;
}

status onnx_open(const char *label, const void *data, size_t size, struct onnx **out) {
    *out = NULL;
    struct onnx *o = calloc(1, sizeof *o);
    if (!o) return fail_memory(sizeof *o, "an ONNX model");
    status s = parse(o, (struct message){label, data, (const uint8_t *)data + size});
    if (s != UTTER_OK) {
        onnx_close(o);
        return s;
    }
    *out = o;
    return UTTER_OK;
}

void onnx_close(struct onnx *o) {
    if (!o) return;
    for (int64_t i = 0; i < o->n_tensors; i++) free((char *)o->tensors[i].name);
    free(o->tensors);
    free(o);
}

int64_t onnx_n_tensors(const struct onnx *o) { return o->n_tensors; }

const struct tensor *onnx_at(const struct onnx *o, int64_t i) { return &o->tensors[i]; }
