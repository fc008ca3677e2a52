#include "cpu/pages.h"

#include <sys/mman.h>

status pages_new(size_t n_bytes, const char *what, struct pages *out) {
    *out = (struct pages){0};
    if (n_bytes == 0) n_bytes = 1;
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return fail_memory(n_bytes, what);
    *out = (struct pages){p, n_bytes};
    return UTTER_OK;
}

void pages_stream(const struct pages *p) {
#ifdef MADV_HUGEPAGE
    madvise(p->data, p->n_bytes, MADV_HUGEPAGE);  // a wish: nothing is lost when it is not granted
#endif
}

void pages_free(struct pages *p) {
    if (p->data) munmap(p->data, p->n_bytes);
    *p = (struct pages){0};
}
