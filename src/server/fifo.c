#include "server/fifo.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_BYTES = 16 << 10 };  // an empty one larger than this gives its memory back

status fifo_put(struct fifo *f, const void *bytes, size_t n) {
    if (n == 0) return UTTER_OK;
    if (f->at + f->len + n > f->cap && f->len > 0) memmove(f->data, f->data + f->at, f->len);
    if (f->at + f->len + n > f->cap) f->at = 0;
    if (f->len + n > f->cap) {
        size_t cap = f->cap * 2 > f->len + n ? f->cap * 2 : f->len + n;
        char *grown = realloc(f->data, cap);
        if (!grown) return fail_memory(cap, "sound that waits for its reader");
        f->data = grown;
        f->cap = cap;
    }
    memcpy(f->data + f->at + f->len, bytes, n);
    f->len += n;
    return UTTER_OK;
}

size_t fifo_take(struct fifo *f, void *bytes, size_t n) {
    if (n > f->len) n = f->len;
    if (n > 0) memcpy(bytes, f->data + f->at, n);
    f->at += n;
    f->len -= n;
    if (f->len > 0) return n;
    f->at = 0;
    if (f->cap > KEEP_BYTES) fifo_free(f);
    return n;
}

void fifo_free(struct fifo *f) {
    free(f->data);
    *f = (struct fifo){0};
}
