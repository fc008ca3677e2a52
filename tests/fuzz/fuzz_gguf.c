/* Any bytes as a GGUF file: a status, or a file whose every part can be read. */
#include "fixtures/visit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    visit_gguf_bytes(data, size);
    return 0;
}
