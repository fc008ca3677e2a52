/* Any bytes as a pickle, and as a checkpoint of PyTorch (ZIP or legacy), ONNX or safetensors: a status, or values that
   can all be read. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixtures/visit.h"
#include "models/checkpoint.h"
#include "models/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit_tensor(const struct tensor *t) {
    enum { CHUNK = 256 };
    float floats[CHUNK];
    int64_t ints[CHUNK], n;
    if (t->type == TENSOR_OTHER || !tensor_count(t, &n)) return;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        if (tensor_is_float(t)) {
            tensor_read_floats(t, at, m, floats);
            visit_sum += floats[m - 1] > 0;
        } else {
            tensor_read_ints(t, at, m, ints);
            visit_sum += (uint64_t)ints[m - 1];
        }
    }
    (void)tensor_check(t, "sample");
}

// As deep as the fuzzer can see to the end of: values may be a part of themselves.
static void visit_value(const struct pickle_value *v, int depth) {
    visit_sum += (uint64_t)v->kind + v->n;
    if (v->kind == PICKLE_TEXT || v->kind == PICKLE_BYTES)
        for (size_t i = 0; i < v->n; i++) visit_sum += (uint8_t)v->text[i];
    if (depth == 0) return;
    if (v->kind == PICKLE_TUPLE || v->kind == PICKLE_LIST || v->kind == PICKLE_DICT)
        for (size_t i = 0; i < v->n; i++) visit_value(v->items[i], depth - 1);
    if (v->kind == PICKLE_PERSISTENT) visit_value(v->part, depth - 1);
    if (v->kind == PICKLE_CALL) visit_value(v->call[1], depth - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const functions[] = {"torch._utils._rebuild_tensor_v2", "torch.IntStorage", NULL};
    struct pickle *p;
    size_t used;
    if (pickle_read("sample", data, size, functions, &used, &p) == UTTER_OK) {
        if (used > size) abort();
        visit_value(pickle_root(p), 2);
        pickle_free(p);
    }
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0) return 0;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct checkpoint *c;
    if (write(fd, data, size) == (ssize_t)size && checkpoint_open(path, &c) == UTTER_OK) {
        for (int64_t i = 0; i < checkpoint_n_tensors(c); i++) visit_tensor(checkpoint_at(c, i));
        checkpoint_close(c);
    }
    close(fd);
    return 0;
}
