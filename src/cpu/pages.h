/* Memory straight from the system: zeroed, and real only where it is touched. */
#ifndef UTTER_CPU_PAGES_H
#define UTTER_CPU_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct pages {
    void *data;
    size_t n_bytes;
};

/* `streamed`: read from end to end again and again, so the system is asked for huge pages. */
status pages_new(size_t n_bytes, bool streamed, const char *what, struct pages *out);
/* Safe on a zeroed one. */
void pages_free(struct pages *p);

#endif
