/* What this machine's memory and arithmetic can do, measured. */
#ifndef UTTER_CLI_PROFILE_MACHINE_H
#define UTTER_CLI_PROFILE_MACHINE_H

#include "base/status.h"

struct machine_peaks {
    int n_threads;
    double bytes_s;      // memory read by all threads, from a buffer far beyond the caches
    double float_ops_s;  // multiplications and additions of floats
    double byte_ops_s;   // the same of bytes by dot product instructions; 0 where there are none that are known here
    const char *float_by, *byte_by;  // which instructions: "AVX-512", "AVX-512 VNNI" ...
};

/* Takes about half a second. n_threads 0: one for each core. */
status machine_peaks(int n_threads, struct machine_peaks *out);

#endif
