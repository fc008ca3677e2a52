#include "torch_builder.h"

#include <string.h>

#include "models/zip.h"

static void put(struct str *s, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) str_putc(s, i < 8 ? (char)(value >> (8 * i)) : 0);
}

void zip_builder_add(struct zip_builder *b, const char *name, const void *data, size_t n_bytes) {
    uint64_t at = b->data.len;
    size_t name_len = strlen(name);
    uint32_t crc = zip_crc32(data, n_bytes);
    str_puts(&b->data, "PK\3\4");
    put(&b->data, 0, 2 + 2);
    put(&b->data, 0, 2 + 4 + 4 + 4 + 4);  // as torch.save does, sizes are in the directory alone
    put(&b->data, name_len, 2);
    put(&b->data, 5, 2);
    str_puts(&b->data, name);
    str_append(&b->data, "FB\1\0\0", 5);
    str_append(&b->data, data, n_bytes);

    struct str *d = &b->directory;
    str_puts(d, "PK\1\2");
    put(d, 0, 2 + 2 + 2 + 2 + 4);
    put(d, crc, 4);
    put(d, b->zip64 ? UINT32_MAX : n_bytes, 4);
    put(d, b->zip64 ? UINT32_MAX : n_bytes, 4);
    put(d, name_len, 2);
    put(d, b->zip64 ? 28 : 0, 2);
    put(d, 0, 2 + 2 + 2 + 4);
    put(d, b->zip64 ? UINT32_MAX : at, 4);
    str_puts(d, name);
    if (b->zip64) {
        put(d, 1, 2);
        put(d, 24, 2);
        put(d, n_bytes, 8);
        put(d, n_bytes, 8);
        put(d, at, 8);
    }
    b->n++;
}

void zip_builder_end(struct zip_builder *b) {
    struct str *z = &b->data;
    uint64_t start = z->len, size = b->directory.len, n = (uint64_t)b->n;
    str_append(z, b->directory.data, b->directory.len);
    if (b->zip64) {
        uint64_t at = z->len;
        str_puts(z, "PK\6\6");
        put(z, 44, 8);
        put(z, 0, 2 + 2 + 4);
        put(z, 0, 4);
        put(z, n, 8);
        put(z, n, 8);
        put(z, size, 8);
        put(z, start, 8);
        str_puts(z, "PK\6\7");
        put(z, 0, 4);
        put(z, at, 8);
        put(z, 1, 4);
    }
    str_puts(z, "PK\5\6");
    put(z, 0, 4);
    put(z, b->zip64 ? UINT16_MAX : n, 2);
    put(z, b->zip64 ? UINT16_MAX : n, 2);
    put(z, b->zip64 ? UINT32_MAX : size, 4);
    put(z, b->zip64 ? UINT32_MAX : start, 4);
    put(z, 0, 2);
}

void zip_builder_free(struct zip_builder *b) {
    str_free(&b->data);
    str_free(&b->directory);
    *b = (struct zip_builder){0};
}

void put_text(struct str *p, const char *text) {
    str_putc(p, 'X');
    put(p, strlen(text), 4);
    str_puts(p, text);
}

void put_int(struct str *p, int32_t number) {
    str_putc(p, 'J');
    put(p, (uint32_t)number, 4);
}

void put_function(struct str *p, const char *module, const char *name) { str_printf(p, "c%s\n%s\n", module, name); }

static void put_tuple(struct str *p, int n, const int *numbers) {
    str_putc(p, '(');
    for (int i = 0; i < n; i++) put_int(p, numbers[i]);
    str_putc(p, 't');
}

void put_tensor(struct str *p, const char *storage, const char *key, int64_t n_elements, int offset, int n_dims,
                const int *dims, const int *strides) {
    put_function(p, "torch._utils", "_rebuild_tensor_v2");
    str_puts(p, "((");
    put_text(p, "storage");
    put_function(p, "torch", storage);
    put_text(p, key);
    put_text(p, "cpu");
    put_int(p, (int32_t)n_elements);
    str_puts(p, "tQ");
    put_int(p, offset);
    put_tuple(p, n_dims, dims);
    put_tuple(p, n_dims, strides);
    str_putc(p, '\x89');
    put_function(p, "collections", "OrderedDict");
    str_puts(p, ")RtR");
}
