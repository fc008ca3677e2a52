/* Memory: overflow-safe sizes and aligned blocks. */
#ifndef UTTER_BASE_MEMORY_H
#define UTTER_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* *out = a * b (a + b); false on overflow. */
static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool size_add(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }

/* `count` elements of `size` bytes, zeroed, aligned to 64 bytes; free with free_aligned. At least 64 bytes of slack
   beyond the end may be read (not written), so that vector loads need no tail case. NULL when there is not enough. */
void *alloc_aligned(size_t count, size_t size);
void free_aligned(void *p);

/* The same with the failure's sentence: *out is a pointer to the pointer to set. */
status alloc_for(void *out, size_t count, size_t size, const char *what);

#endif
