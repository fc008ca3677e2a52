/* The kernel of decode.c where shared memory has room for a block's part of a layer, as on cards of many
   multiprocessors: weights are copied there a layer ahead, so that nobody waits for memory. */
#define STAGED 1
#include "gpu/kernels/decode_kernel.h"

KERNEL(JOIN(decode_staged, FORMAT), struct decode_args, DECODE_THREADS) { decode(a); }
