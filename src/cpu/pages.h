/* Memory straight from the system: zeroed, and real only where it is touched. */
#ifndef UTTER_CPU_PAGES_H
#define UTTER_CPU_PAGES_H

#include <stddef.h>

#include "base/status.h"

struct pages {
    void *data;
    size_t n_bytes;
};

status pages_new(size_t n_bytes, const char *what, struct pages *out);
/* Asks for huge pages, before anything is touched: good for what is read from end to end again and again. */
void pages_stream(const struct pages *p);
/* Safe on a zeroed one. */
void pages_free(struct pages *p);

#endif
