#include "gpu/kernels/codec_attention.h"

KERNEL(codec_attention, struct codec_attention_args, 128) {
    SHARED u16 __attribute__((aligned(128))) q[64 * CODEC_HEAD_DIM];
    SHARED u16 __attribute__((aligned(128))) kv[2 * 2 * 64 * CODEC_HEAD_DIM];
    attend_tile(a, 1, 64, SHARED_PLACE(q), SHARED_PLACE(kv));
}
