#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "models/convert_parts.h"

status metadata_object(const struct plan *p, const char *key, json_t **out) {
    *out = NULL;
    const char *text = checkpoint_metadata(p->file, key);
    if (!text) return UTTER_OK;
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return fail(UTTER_FORMAT, "%s: __metadata__ \"%s\" cannot be read: %s (character %d)", p->path, key, error.text,
                    error.position);
    if (!json_is_object(object)) {
        json_decref(object);
        return fail(UTTER_FORMAT, "%s: __metadata__ \"%s\" is not a JSON object", p->path, key);
    }
    *out = object;
    return UTTER_OK;
}

static status wrong_value(const struct plan *p, const char *key, const char *wanted) {
    return fail(UTTER_FORMAT, "%s: metadata %.80s is not %s", p->path, key, wanted);
}

static status put_strings(const struct plan *p, struct gguf_writer *w, const char *key, const json_t *array) {
    size_t n = json_array_size(array);
    const char **texts = calloc(n + 1, sizeof *texts);
    if (!texts) return fail_memory(n * sizeof *texts, key);
    status s = UTTER_OK;
    for (size_t i = 0; i < n && s == UTTER_OK; i++) {
        texts[i] = json_string_value(json_array_get(array, i));
        if (!texts[i]) s = wrong_value(p, key, "an array of strings alone");
    }
    if (s == UTTER_OK) gguf_put_string_array(w, key, texts, n);
    free(texts);
    return s;
}

static status put_numbers(const struct plan *p, struct gguf_writer *w, const char *key, const json_t *array) {
    size_t n = json_array_size(array);
    int32_t *whole = NULL;
    float *real = NULL;
    status s = alloc_for(&whole, n, sizeof *whole, key);
    if (s == UTTER_OK) s = alloc_for(&real, n, sizeof *real, key);
    bool all_whole = true;
    for (size_t i = 0; i < n && s == UTTER_OK; i++) {
        const json_t *v = json_array_get(array, i);
        real[i] = (float)json_number_value(v);
        if (json_is_integer(v) && json_integer_value(v) >= INT32_MIN && json_integer_value(v) <= INT32_MAX)
            whole[i] = (int32_t)json_integer_value(v);
        else if (json_is_real(v) && isfinite(real[i]))
            all_whole = false;
        else
            s = wrong_value(p, key, "an array of numbers alone, each within 32 bits");
    }
    if (s == UTTER_OK && all_whole) gguf_put_i32_array(w, key, whole, n);
    if (s == UTTER_OK && !all_whole) gguf_put_f32_array(w, key, real, n);
    free_aligned(whole);
    free_aligned(real);
    return s;
}

status metadata_put(const struct plan *p, struct gguf_writer *w, const char *key, const json_t *value) {
    if (*key == 0 || strlen(key) > 1000)
        return fail(UTTER_FORMAT, "%s: a metadata key is %zu bytes long", p->path, strlen(key));
    switch (json_typeof(value)) {
        case JSON_STRING:
            gguf_put_string(w, key, json_string_value(value));
            return UTTER_OK;
        case JSON_TRUE:
        case JSON_FALSE:
            gguf_put_bool(w, key, json_is_true(value));
            return UTTER_OK;
        case JSON_INTEGER:
            if (json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
                return wrong_value(p, key, "a whole number from 0 to 4294967295");
            gguf_put_u32(w, key, (uint32_t)json_integer_value(value));
            return UTTER_OK;
        case JSON_REAL:
            if (!isfinite((float)json_real_value(value))) return wrong_value(p, key, "a number within 32 bits");
            gguf_put_f32(w, key, (float)json_real_value(value));
            return UTTER_OK;
        case JSON_ARRAY:  // an empty one is taken for strings: vocabularies may have no merges
            return json_array_size(value) && json_is_number(json_array_get(value, 0)) ? put_numbers(p, w, key, value)
                                                                                      : put_strings(p, w, key, value);
        default:
            return wrong_value(p, key, "a string, a boolean, a number or an array of them");
    }
}
