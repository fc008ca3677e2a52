#include "base/npy.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"

// The value behind 'key': in the header's Python dictionary; NULL if it is not there.
static const char *header_value(const char *header, const char *key) {
    const char *p = strstr(header, key);
    if (!p) return NULL;
    p += strlen(key);
    while (*p == ' ' || *p == ':' || *p == '\'') p++;
    return p;
}

static status parse_shape(const char *path, const char *p, struct npy *out) {
    if (!p || *p != '(') return fail(UTTER_FORMAT, "%s: the header has no shape; is it a .npy file?", path);
    out->n = 1;
    for (p++; *p && *p != ')';) {
        if (*p == ' ' || *p == ',') {
            p++;
            continue;
        }
        char *end;
        long long d = strtoll(p, &end, 10);
        if (end == p || d < 0) return fail(UTTER_FORMAT, "%s: the header's shape cannot be read", path);
        if (out->n_dims == NPY_MAX_DIMS) return fail(UTTER_FORMAT, "%s: more than %d dimensions", path, NPY_MAX_DIMS);
        uint64_t n;
        if (!size_mul((uint64_t)out->n, (uint64_t)d, &n) || n > INT64_MAX / 8)
            return fail(UTTER_FORMAT, "%s: dimension %lld makes the array too large", path, d);
        out->dims[out->n_dims++] = d;
        out->n = (int64_t)n;
        p = end;
    }
    return UTTER_OK;
}

static status convert(const char *path, const char *descr, const unsigned char *body, struct npy *out) {
    bool is_float = descr[1] == 'f', wide = descr[2] == '8';
    out->type = is_float ? NPY_F32 : NPY_I32;
    TRY(alloc_for(&out->data, (size_t)out->n, 4, path));
    if (!wide) {
        if (out->n) memcpy(out->data, body, (size_t)out->n * 4);
        return UTTER_OK;
    }
    for (int64_t i = 0; i < out->n; i++) {
        if (is_float) {
            double v;
            memcpy(&v, body + i * 8, 8);
            ((float *)out->data)[i] = (float)v;
        } else {
            int64_t v;
            memcpy(&v, body + i * 8, 8);
            if (v < INT32_MIN || v > INT32_MAX)
                return fail(UTTER_FORMAT, "%s: element %lld is %lld, beyond 32 bits", path, (long long)i, (long long)v);
            ((int32_t *)out->data)[i] = (int32_t)v;
        }
    }
    return UTTER_OK;
}

static status parse(const char *path, const struct file_map *m, struct npy *out) {
    const unsigned char *p = m->data;
    if (m->size < 12 || memcmp(p, "\x93NUMPY", 6) != 0) return fail(UTTER_FORMAT, "%s is not a .npy file", path);
    size_t start = p[6] == 1 ? 10 : 12;
    size_t header_len = p[6] == 1 ? (size_t)(p[8] | p[9] << 8)
                                  : (size_t)p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (header_len > m->size - start) return fail(UTTER_FORMAT, "%s is cut off inside its header", path);
    char header[1024];
    if (header_len >= sizeof header) return fail(UTTER_FORMAT, "%s: the header is %zu bytes long", path, header_len);
    memcpy(header, p + start, header_len);
    header[header_len] = 0;

    const char *descr = header_value(header, "'descr'");
    const char *order = header_value(header, "'fortran_order'");
    if (!descr || !order || strncmp(order, "False", 5) != 0)
        return fail(UTTER_UNSUPPORTED, "%s: only arrays in C order can be read; save it with numpy.ascontiguousarray",
                    path);
    if (strncmp(descr, "<f4'", 4) != 0 && strncmp(descr, "<f8'", 4) != 0 && strncmp(descr, "<i4'", 4) != 0 &&
        strncmp(descr, "<i8'", 4) != 0)
        return fail(UTTER_UNSUPPORTED, "%s: elements of kind '%.3s'; wanted '<f4', '<f8', '<i4' or '<i8'", path, descr);
    TRY(parse_shape(path, header_value(header, "'shape'"), out));
    size_t width = descr[2] == '8' ? 8 : 4;
    if ((uint64_t)out->n * width > m->size - start - header_len)
        return fail(UTTER_FORMAT, "%s is cut off: %lld elements are announced, %zu bytes are there", path,
                    (long long)out->n, m->size - start - header_len);
    return convert(path, descr, p + start + header_len, out);
}

status npy_read(const char *path, struct npy *out) {
    *out = (struct npy){0};
    struct file_map m;
    TRY(file_map_open(path, &m));
    status s = parse(path, &m, out);
    file_map_close(&m);
    if (s != UTTER_OK) npy_free(out);
    return s;
}

void npy_free(struct npy *a) {
    free_aligned(a->data);
    *a = (struct npy){0};
}

status npy_write(const char *path, enum npy_type type, const void *data, int n_dims, const int64_t *dims) {
    struct str h = {0};
    str_printf(&h, "{'descr': '%s', 'fortran_order': False, 'shape': (", type == NPY_F32 ? "<f4" : "<i4");
    int64_t n = 1;
    for (int i = 0; i < n_dims; i++) {
        str_printf(&h, n_dims == 1 ? "%lld," : i ? ", %lld" : "%lld", (long long)dims[i]);
        n *= dims[i];
    }
    str_puts(&h, "), }");
    while ((10 + h.len + 1) % 64 != 0 && !h.failed) str_putc(&h, ' ');
    str_putc(&h, '\n');
    status s = str_status(&h);
    struct file_writer w = {0};
    if (s == UTTER_OK) s = file_create(path, &w);
    unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)h.len, (unsigned char)(h.len >> 8)};
    if (s == UTTER_OK) s = file_write(&w, start, sizeof start);
    if (s == UTTER_OK) s = file_write(&w, h.data, h.len);
    if (s == UTTER_OK) s = file_write(&w, data, (size_t)n * 4);
    if (s == UTTER_OK) s = file_commit(&w);
    file_abandon(&w);
    str_free(&h);
    return s;
}
