/* NumPy .npy files (format 1.0 and 2.0): little-endian, C order, float32, int32 or int64. */
#ifndef UTTER_BASE_NPY_H
#define UTTER_BASE_NPY_H

#include <stdint.h>

#include "base/status.h"

enum { NPY_MAX_DIMS = 4 };

enum npy_type { NPY_F32, NPY_I32 };

struct npy {
    enum npy_type type;
    int n_dims;
    int64_t dims[NPY_MAX_DIMS];
    int64_t n;   // elements in all
    void *data;  // float [n] or int32_t [n]; owned
};

/* Reads a file; float64 becomes float32, int64 becomes int32 (a value that does not fit is refused). */
status npy_read(const char *path, struct npy *out);
void npy_free(struct npy *a);
/* Writes whole or not at all. */
status npy_write(const char *path, enum npy_type type, const void *data, int n_dims, const int64_t *dims);

#endif
