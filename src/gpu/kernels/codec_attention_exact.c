/* On pairs of halves, as good as with floats. */
#include "gpu/kernels/codec_attention.h"

KERNEL(codec_attention_exact, struct codec_attention_args, 128) {
    SHARED u16 __attribute__((aligned(128))) q[2 * 64 * CODEC_HEAD_DIM];
    SHARED u16 __attribute__((aligned(128))) kv[2 * 4 * 32 * CODEC_HEAD_DIM];
    attend_tile(a, 3, 32, SHARED_PLACE(q), SHARED_PLACE(kv));
}
