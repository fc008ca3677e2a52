/* Reading an encoder's tensors and numbers, each refused with a sentence when it is not as it must be. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/memory.h"
#include "codec/encoder_parts.h"

status encoder_need_int(const struct gguf *g, const char *key, int low, int high, int *out) {
    int64_t value;
    TRY(gguf_need_i64(g, key, low, high, &value));
    *out = (int)value;
    return UTTER_OK;
}

status encoder_need_ints(const struct gguf *g, const char *key, int n_max, int low, int high, int *values, int *n) {
    struct gguf_array array;
    if (!gguf_get_array(g, key, &array)) return fail(UTTER_FORMAT, "%s: the array %s is missing", gguf_label(g), key);
    if (array.n < 1 || array.n > (size_t)n_max)
        return fail(UTTER_UNSUPPORTED, "%s: %s has %zu elements, not 1..%d", gguf_label(g), key, array.n, n_max);
    for (size_t i = 0; i < array.n; i++) {
        int64_t value;
        if (!gguf_array_i64(&array, i, &value) || value < low || value > high)
            return fail(UTTER_FORMAT, "%s: element %zu of %s is no whole number from %d to %d", gguf_label(g), i, key,
                        low, high);
        values[i] = (int)value;
    }
    *n = (int)array.n;
    return UTTER_OK;
}

status encoder_outputs(const struct gguf *g, const char *name, int *out) {
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    if (!t) return fail(UTTER_FORMAT, "%s: tensor %s is missing", gguf_label(g), name);
    int64_t n = t->dims[t->n_dims - 1];
    if (n < 1 || n > ENCODER_MAX_WIDTH)
        return fail(UTTER_FORMAT, "%s: tensor %s has %lld outputs, not 1..%d", gguf_label(g), name, (long long)n,
                    ENCODER_MAX_WIDTH);
    *out = (int)n;
    return UTTER_OK;
}

const char *encoder_name(char *name, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, ENCODER_NAME_SIZE, format, arguments);
    va_end(arguments);
    return name;
}

status encoder_load_vector(struct codec_encoder *e, const char *name, int64_t n, float **out) {
    TRY(gguf_vector(e->file, name, n, out));
    e->vectors[e->n_vectors++] = *out;
    return UTTER_OK;
}

status encoder_load_floats(struct codec_encoder *e, const char *name, int64_t rows, int64_t cols, float **out) {
    struct matrix m;
    TRY(gguf_matrix(e->file, name, rows, cols, &m));
    float *values;
    TRY(alloc_for(&values, (size_t)(rows * cols), sizeof *values, name));
    e->vectors[e->n_vectors++] = values;
    for (int64_t r = 0; r < rows; r++)
        dequantize_row(m.type, (const uint8_t *)m.data + (size_t)r * block_row_bytes(m.type, cols), values + r * cols,
                       cols);
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite(values[i]))
            return fail(UTTER_FORMAT, "%s: element %lld of tensor %s is no finite number; the file is damaged",
                        e->label, (long long)i, name);
    *out = values;
    return UTTER_OK;
}

status encoder_load_norm(struct codec_encoder *e, const char *prefix, int64_t n, struct encoder_norm *out) {
    char name[ENCODER_NAME_SIZE];
    TRY(encoder_load_vector(e, encoder_name(name, "%s.weight", prefix), n, &out->weight));
    return encoder_load_vector(e, encoder_name(name, "%s.bias", prefix), n, &out->bias);
}

status encoder_load_linear(struct codec_encoder *e, const char *prefix, int64_t rows, int64_t channels, enum bias bias,
                           struct encoder_linear *out) {
    char name[ENCODER_NAME_SIZE];
    const struct gguf_tensor *t = gguf_find_tensor(e->file, encoder_name(name, "%s.weight", prefix));
    int64_t taps = t && t->n_dims == 3 && t->dims[0] == channels ? t->dims[1] : 1;
    if (taps > ENCODER_MAX_TAPS)
        return fail(UTTER_UNSUPPORTED, "%s: tensor %s has %lld taps, more than %d", e->label, name, (long long)taps,
                    ENCODER_MAX_TAPS);
    TRY(gguf_matrix(e->file, name, rows, taps * channels, &out->w));
    if (bias) TRY(encoder_load_vector(e, encoder_name(name, "%s.bias", prefix), rows, &out->bias));
    out->taps = (int)taps;
    out->index = e->n_linears;
    e->linears[e->n_linears++] = out;
    return UTTER_OK;
}

status encoder_load_conv(struct codec_encoder *e, const char *prefix, int64_t rows, int64_t channels, enum bias bias,
                         struct encoder_linear *out) {
    TRY(encoder_load_linear(e, prefix, rows, channels, bias, out));
    if (out->taps % 2) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s: tensor %s.weight has %d taps; only odd numbers are known", e->label, prefix,
                out->taps);
}

status encoder_load_snake(struct codec_encoder *e, const char *prefix, int64_t n, struct encoder_snake *out) {
    char name[ENCODER_NAME_SIZE];
    TRY(encoder_load_vector(e, encoder_name(name, "%s.act.alpha", prefix), n, &out->frequency));
    TRY(encoder_load_vector(e, encoder_name(name, "%s.act.beta", prefix), n, &out->amplitude));
    for (int64_t i = 0; i < n; i++) {  // both are stored as logarithms
        out->frequency[i] = expf(out->frequency[i]);
        out->amplitude[i] = 1 / (expf(out->amplitude[i]) + 1e-9f);
        if (!isfinite(out->frequency[i]))
            return fail(UTTER_FORMAT, "%s: %s.act.alpha has a value beyond all bounds; the file is damaged", e->label,
                        prefix);
    }
    return UTTER_OK;
}

status encoder_load_depthwise(struct codec_encoder *e, const char *name, int64_t channels, int *taps, float **out) {
    const struct gguf_tensor *t = gguf_find_tensor(e->file, name);
    if (!t) return fail(UTTER_FORMAT, "%s: tensor %s is missing", e->label, name);
    if (t->dims[0] != 1 || t->dims[1] > ENCODER_MAX_TAPS)
        return fail(UTTER_FORMAT, "%s: tensor %s is not [1, taps, channels] with up to %d taps", e->label, name,
                    ENCODER_MAX_TAPS);
    int64_t n = t->dims[1];
    float *by_channel;
    TRY(encoder_load_floats(e, name, channels, n, &by_channel));
    TRY(alloc_for(out, (size_t)(channels * n), sizeof **out, name));
    e->vectors[e->n_vectors++] = *out;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t k = 0; k < n; k++) (*out)[k * channels + c] = by_channel[c * n + k];
    *taps = (int)n;
    return UTTER_OK;
}
