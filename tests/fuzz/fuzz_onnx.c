/* Any bytes as an ONNX model: a status, or a list of weights that can be read. */
#include <stdlib.h>
#include <string.h>

#include "fixtures/visit.h"
#include "models/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(const struct tensor *t) {
    int64_t n;
    float value;
    visit_sum += strlen(t->name) + strlen(t->dtype);
    if (!tensor_count(t, &n) || n == 0 || !tensor_is_float(t)) return;
    tensor_read_floats(t, 0, 1, &value);
    visit_sum += value > 0;
    tensor_read_floats(t, n - 1, 1, &value);
    visit_sum += value > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size ? size : 1);  // of exactly that size, so that a checker sees what lies outside
    if (!copy) return 0;
    if (size) memcpy(copy, data, size);
    struct onnx *o;
    if (onnx_open("sample", copy, size, &o) == UTTER_OK) {
        for (int64_t i = 0; i < onnx_n_tensors(o); i++) visit(onnx_at(o, i));
        onnx_close(o);
    }
    free(copy);
    return 0;
}
