#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "gguf/internal.h"

// The integer of type `type` at p; false for another kind and for what int64_t cannot hold.
static bool read_i64(gguf_value_type type, const uint8_t *p, int64_t *out) {
    union {
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
    } v;
    switch (type) {
        case GGUF_U8:
            *out = *p;
            return true;
        case GGUF_I8:
            *out = (int8_t)*p;
            return true;
        case GGUF_U16:
            memcpy(&v, p, 2);
            *out = v.u16;
            return true;
        case GGUF_I16:
            memcpy(&v, p, 2);
            *out = v.i16;
            return true;
        case GGUF_U32:
            memcpy(&v, p, 4);
            *out = v.u32;
            return true;
        case GGUF_I32:
            memcpy(&v, p, 4);
            *out = v.i32;
            return true;
        case GGUF_I64:
            memcpy(out, p, 8);
            return true;
        case GGUF_U64:
            memcpy(&v, p, 8);
            if (v.u64 > INT64_MAX) return false;
            *out = (int64_t)v.u64;
            return true;
        default:
            return false;
    }
}

static bool read_f64(gguf_value_type type, const uint8_t *p, double *out) {
    if (type == GGUF_F32) {
        float v;
        memcpy(&v, p, 4);
        *out = v;
        return true;
    }
    if (type == GGUF_F64) {
        memcpy(out, p, 8);
        return true;
    }
    int64_t v;
    if (!read_i64(type, p, &v)) return false;
    *out = (double)v;
    return true;
}

bool gguf_get_i64(const struct gguf *g, const char *key, int64_t *out) {
    const struct gguf_key *k = gguf_find_key(g, key);
    return k && read_i64(k->type, k->value, out);
}

bool gguf_get_f64(const struct gguf *g, const char *key, double *out) {
    const struct gguf_key *k = gguf_find_key(g, key);
    return k && read_f64(k->type, k->value, out);
}

bool gguf_get_bool(const struct gguf *g, const char *key, bool *out) {
    const struct gguf_key *k = gguf_find_key(g, key);
    if (!k || k->type != GGUF_BOOL) return false;
    *out = *k->value;
    return true;
}

bool gguf_get_string(const struct gguf *g, const char *key, struct gguf_string *out) {
    const struct gguf_key *k = gguf_find_key(g, key);
    if (!k || k->type != GGUF_STRING) return false;
    *out = k->string;
    return true;
}

bool gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out) {
    const struct gguf_key *k = gguf_find_key(g, key);
    if (!k || k->type != GGUF_ARRAY) return false;
    *out = k->array;
    return true;
}

static size_t width(gguf_value_type type) {
    if (type == GGUF_U64 || type == GGUF_I64 || type == GGUF_F64) return 8;
    if (type == GGUF_U32 || type == GGUF_I32 || type == GGUF_F32) return 4;
    return type == GGUF_U16 || type == GGUF_I16 ? 2 : 1;
}

bool gguf_array_i64(const struct gguf_array *a, size_t i, int64_t *out) {
    return i < a->n && a->data && read_i64(a->type, (const uint8_t *)a->data + i * width(a->type), out);
}

bool gguf_array_f64(const struct gguf_array *a, size_t i, double *out) {
    return i < a->n && a->data && read_f64(a->type, (const uint8_t *)a->data + i * width(a->type), out);
}

static status missing(const struct gguf *g, const char *key, const char *kind) {
    if (!gguf_find_key(g, key))
        return fail(UTTER_FORMAT, "%s: key %.80s is missing; wanted %s", gguf_label(g), key, kind);
    return fail(UTTER_FORMAT, "%s: key %.80s is not %s", gguf_label(g), key, kind);
}

status gguf_need_i64(const struct gguf *g, const char *key, int64_t low, int64_t high, int64_t *out) {
    if (!gguf_get_i64(g, key, out)) return missing(g, key, "a whole number");
    if (*out >= low && *out <= high) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s: key %.80s is %" PRId64 "; wanted %" PRId64 " to %" PRId64, gguf_label(g), key, *out,
                low, high);
}

status gguf_need_f64(const struct gguf *g, const char *key, double low, double high, double *out) {
    if (!gguf_get_f64(g, key, out)) return missing(g, key, "a number");
    if (*out >= low && *out <= high) return UTTER_OK;  // not so for NaN
    return fail(UTTER_FORMAT, "%s: key %.80s is %g; wanted %g to %g", gguf_label(g), key, *out, low, high);
}
