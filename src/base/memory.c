#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

void *alloc_aligned(size_t count, size_t size) {
    uint64_t n;
    if (!size_mul(count, size, &n) || n > SIZE_MAX - 2 * ALIGNMENT) return NULL;
    size_t n_bytes = ((size_t)n + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *p = aligned_alloc(ALIGNMENT, n_bytes);
    if (p) memset(p, 0, n_bytes);
    return p;
}

void free_aligned(void *p) { free(p); }

status alloc_for(void *out, size_t count, size_t size, const char *what) {
    void *p = alloc_aligned(count, size);
    memcpy(out, &p, sizeof p);
    if (p) return UTTER_OK;
    uint64_t n;
    return fail_memory(size_mul(count, size, &n) ? (size_t)n : SIZE_MAX, what);
}
