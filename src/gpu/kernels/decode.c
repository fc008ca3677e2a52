/* One sequence, many tokens in one launch: norm, matrices, attention and sampling, all blocks on the card at once, for
   layers whose matrices have one block format (-DFORMAT=q4_0) and an embedding and head of that format or Q8_0.

   Every block owns tiles of 8 rows of every matrix and computes them from the whole input. Results go from block to
   block as packets of 16 bytes, without barriers: the lowest bit of each number in a packet tells in which layer it was
   written (the layers of all tokens are counted; odd and even are enough, since nobody can be two layers ahead of a
   block that has work), and who needs a packet looks until that bit comes. So a packet is complete or not there.
   Weights are sent for a layer before they are needed: here to the card's cache, in decode_staged.c to shared memory.

   Every wait ends: when the launch has taken longer than its limit, or another block gave up, waiting stops and the
   state's fault is set. */
#define STAGED 0
#include "gpu/kernels/decode_kernel.h"

KERNEL(JOIN(decode, FORMAT), struct decode_args, DECODE_THREADS) { decode(a); }
