#include "cpu/pages.h"

#include <stdint.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

status pages_new(size_t n_bytes, bool streamed, const char *what, struct pages *out) {
    *out = (struct pages){0};
    if (n_bytes == 0) n_bytes = 1;
    const size_t whole =
        streamed && n_bytes <= SIZE_MAX - HUGE_PAGE ? (n_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE : n_bytes;
    void *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return fail_memory(whole, what);
#ifdef MADV_HUGEPAGE
    if (streamed) madvise(p, whole, MADV_HUGEPAGE);  // a wish: nothing is lost when it is not granted
#endif
    *out = (struct pages){p, whole};
    return UTTER_OK;
}

void pages_free(struct pages *p) {
    if (p->data) munmap(p->data, p->n_bytes);
    *p = (struct pages){0};
}
