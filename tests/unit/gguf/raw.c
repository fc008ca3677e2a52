#include "raw.h"

#include <stdlib.h>
#include <string.h>

void raw_number(struct raw *r, const char *what, int width, uint64_t value) {
    if (r->n_fields < RAW_MAX_FIELDS) r->fields[r->n_fields++] = (struct raw_field){r->bytes.len, width, what};
    str_append(&r->bytes, (const char *)&value, (size_t)width);
}

void raw_text(struct raw *r, const char *what, const char *text) {
    raw_number(r, what, 8, strlen(text));
    str_puts(&r->bytes, text);
}

void raw_start(struct raw *r, uint32_t version, uint64_t n_tensors, uint64_t n_keys) {
    str_puts(&r->bytes, "GGUF");
    raw_number(r, "version", 4, version);
    raw_number(r, "number of tensors", 8, n_tensors);
    raw_number(r, "number of keys", 8, n_keys);
}

void raw_key(struct raw *r, const char *key, gguf_value_type type) {
    raw_text(r, "key length", key);
    raw_number(r, "value type", 4, type);
}

void raw_tensor(struct raw *r, const char *name, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset) {
    raw_text(r, "name length", name);
    raw_number(r, "number of dimensions", 4, (uint64_t)n_dims);
    for (int d = 0; d < n_dims; d++) raw_number(r, "dimension", 8, dims[d]);
    raw_number(r, "tensor type", 4, type);
    raw_number(r, "offset", 8, offset);
}

void raw_pad(struct raw *r, size_t alignment) {
    while (r->bytes.len % alignment && !r->bytes.failed) str_putc(&r->bytes, 0);
}

static uint64_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static uint64_t double_bits(double f) {
    uint64_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static void array(struct raw *r, const char *key, gguf_value_type type, uint64_t n) {
    raw_key(r, key, GGUF_ARRAY);
    raw_number(r, "element type", 4, type);
    raw_number(r, "number of elements", 8, n);
}

size_t raw_sample(struct raw *r, uint32_t version) {
    raw_start(r, version, 3, 16);
    static const struct {
        const char *key;
        gguf_value_type type;
        int width;
        uint64_t value;
    } numbers[] = {
        {"u8", GGUF_U8, 1, 200},      {"i8", GGUF_I8, 1, 0xff},         {"u16", GGUF_U16, 2, 65535},
        {"i16", GGUF_I16, 2, 0xfffe}, {"u32", GGUF_U32, 4, 4000000000}, {"i32", GGUF_I32, 4, 0xfffffffd},
        {"bool", GGUF_BOOL, 1, 1},    {"u64", GGUF_U64, 8, UINT64_MAX}, {"i64", GGUF_I64, 8, UINT64_MAX - 3},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        raw_key(r, numbers[i].key, numbers[i].type);
        raw_number(r, "value", numbers[i].width, numbers[i].value);
    }
    raw_key(r, "f32", GGUF_F32);
    raw_number(r, "value", 4, float_bits(-1.5f));
    raw_key(r, "f64", GGUF_F64);
    raw_number(r, "value", 8, double_bits(1e100));
    raw_key(r, "string", GGUF_STRING);
    raw_text(r, "string length", "hello");
    array(r, "strings", GGUF_STRING, 3);
    raw_text(r, "string length", "a");
    raw_text(r, "string length", "");
    raw_text(r, "string length", "ccc");
    array(r, "i32s", GGUF_I32, 2);
    raw_number(r, "element", 4, 7);
    raw_number(r, "element", 4, 0xffffffff);
    array(r, "bools", GGUF_BOOL, 2);
    raw_number(r, "element", 1, 0);
    raw_number(r, "element", 1, 1);
    raw_key(r, "general.alignment", GGUF_U32);
    raw_number(r, "alignment", 4, 64);
    raw_tensor(r, "vector", 1, (uint64_t[]){4}, BLOCK_F32, 0);
    raw_tensor(r, "matrix", 2, (uint64_t[]){32, 2}, BLOCK_Q8_0, 64);
    raw_tensor(r, "convolution", 3, (uint64_t[]){4, 3, 2}, BLOCK_F16, 192);
    raw_pad(r, 64);
    size_t start = r->bytes.len;
    str_append(&r->bytes, (const char *)(const float[]){0, 1, 2, 3}, 16);
    raw_pad(r, 64);
    for (int i = 0; i < 68; i++) str_putc(&r->bytes, (char)i);
    raw_pad(r, 64);
    for (int i = 0; i < 48; i++) str_putc(&r->bytes, (char)i);
    return start;
}

size_t raw_find(const struct raw *r, const char *what, int n) {
    for (int i = 0; i < r->n_fields; i++)
        if (strcmp(r->fields[i].what, what) == 0 && n-- == 0) return r->fields[i].at;
    abort();  // the test asks for what is not there
}
