/* Any bytes as a safetensors file, and its conversion: a status, or a GGUF file that opens. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixtures/folder.h"
#include "fixtures/visit.h"
#include "models/convert.h"
#include "models/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char out[FIXTURE_PATH];

static void visit(const struct safetensors *s) {
    for (int64_t i = 0; i < safetensors_n_tensors(s); i++) {
        const struct safetensors_tensor *t = safetensors_at(s, i);
        for (size_t j = 0; j < t->n_bytes; j++) visit_sum += ((const uint8_t *)t->data)[j];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*out) {
        if (fixture_path("out.gguf", out) != UTTER_OK) return 0;
        atexit(fixture_cleanup);
    }
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0) return 0;
    char in[32];
    snprintf(in, sizeof in, "/proc/self/fd/%d", fd);
    struct safetensors *s;
    if (write(fd, data, size) == (ssize_t)size && safetensors_open(in, &s) == UTTER_OK) {
        visit(s);
        safetensors_close(s);
        block_type types[] = {BLOCK_F32, BLOCK_F16, BLOCK_Q8_0, BLOCK_Q4_0};
        if (convert_model(in, out, types[size % 4]) == UTTER_OK) {
            struct gguf *g;
            if (gguf_open(out, &g) != UTTER_OK) abort();  // what utter writes, utter reads
            gguf_close(g);
        }
    }
    close(fd);
    return 0;
}
