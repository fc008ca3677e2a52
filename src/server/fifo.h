/* Bytes on their way from the thread that makes them to the one that sends them. Not locked: its owner is. */
#ifndef UTTER_SERVER_FIFO_H
#define UTTER_SERVER_FIFO_H

#include <stddef.h>

#include "base/status.h"

struct fifo {
    char *data;  // [cap], the bytes are data[at .. at + len)
    size_t at, len, cap;
};

status fifo_put(struct fifo *f, const void *bytes, size_t n);
/* Up to n bytes from the front; how many. */
size_t fifo_take(struct fifo *f, void *bytes, size_t n);
void fifo_free(struct fifo *f);

#endif
