/* What this machine's memory and arithmetic can do, measured. */
#ifndef UTTER_CLI_PROFILE_MACHINE_H
#define UTTER_CLI_PROFILE_MACHINE_H

#include <stddef.h>

#include "base/status.h"

/* Multiplications and additions, by what is multiplied; tiles are those of AMX, of bfloat16. */
enum arithmetic { ON_FLOATS, ON_WORDS, ON_BYTES, ON_TILES, N_ARITHMETIC };

struct machine_peaks {
    int n_threads;
    double bytes_s;                // memory read by all threads, from a buffer far beyond the caches
    double ops_s[N_ARITHMETIC];    // 0 where there are no instructions for it that are known here
    const char *by[N_ARITHMETIC];  // which: "AVX-512", "AVX-512 VNNI" ...; "" where there are none
};

/* Takes about half a second. n_threads 0: one for each core. What `out` has already stays where it is more: other
   programs may be in the way of one measurement or another. Zeroed at first. */
status machine_peaks(int n_threads, struct machine_peaks *out);

/* Bytes a second when all threads read the same n_bytes again and again: those of a cache, where they fit one. Raises
 * *bytes_s to that. */
status machine_bandwidth(int n_threads, size_t n_bytes, double *bytes_s);

#endif
