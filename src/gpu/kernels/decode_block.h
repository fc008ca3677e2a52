/* decode.c: what a block of it knows, where it keeps it, and how it hears from the others. */
#ifndef UTTER_GPU_KERNELS_DECODE_BLOCK_H
#define UTTER_GPU_KERNELS_DECODE_BLOCK_H

#define SAMPLE_THREADS DECODE_THREADS
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/sampling.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
static const enum format format = JOIN(AS, FORMAT);

enum {
    WARPS = DECODE_THREADS / WARP,
    PITCH = GROUP + 8,  // of a group of activations: the reads of a warp fall into different banks
    AHEAD = 1,          // units whose weights a warp has in registers before it needs them
    D = DECODE_HEAD_DIM,
    STEP = 4,  // groups that a warp takes at once, one for each of four lanes
};

#define LOG2_E 1.44269504f
#define NO_WEIGHT -1e30f

/* What a layer multiplies. */
enum decode_product { QKV, ATTN_OUT, INNER, DOWN };

/* This block's tiles of a product. */
struct tiles {
    i32 first, n;
    i32 per_tile;  // units
    u32 share;     // 65536 / per_tile, rounded up: divides numbers of units without a division
};

struct shared {
    volatile i32 gave_up;
    i32 token;
    i64 until;  // timer_ns at which waiting ends
    struct decode_args args;
    struct tiles tiles[DECODE_PRODUCTS];
    i32 head_first, head_n;  // tiles of the head: 16 rows
    float sums[WARPS];
    u64 largest[WARPS];
    i32 n_candidates, n_own;
    u64 first_own;
    u16 __attribute__((aligned(16))) queries[DECODE_GROUP * D],
        newest[2 * D];  // halves; key and value of the new position
    float largest_score[WARPS][DECODE_GROUP], weight[WARPS][DECODE_GROUP];
    union {
        float __attribute__((aligned(16))) mixed[WARPS][DECODE_GROUP][D + 4];  // of each warp
        struct {                                                               // of sampling
            u64 keys[SAMPLE_LIST], order[SAMPLE_LIST];
            float p[SAMPLE_LIST];
        };
    };
    struct sequence sequence;
};
_Static_assert(sizeof(struct shared) <= DECODE_STATIC_BYTES, "the launch asks for room for it");

struct block {
    const struct decode_args *a;
    struct shared *s;
    int thread;
    u32 parity;  // of the layer
};

INLINE struct block this_block(u32 parity) {
    struct shared *s = DYNAMIC_SHARED(struct shared);
    // never negative, which the compiler sees by the mask
    return (struct block){.a = &s->args, .s = s, .thread = thread_x() & (DECODE_THREADS - 1), .parity = parity};
}

#define LANE (b->thread % WARP)
#define WARP_NOW (b->thread / WARP)

/* What follows struct shared. */
#define ROOM(b, type, place) ((type *)(DYNAMIC_SHARED(unsigned char) + (b)->a->place))
INLINE const struct decode_layer *layer_of(const struct block *b, int i) {
    return ROOM(b, const struct decode_layer, at_layers) + i;
}
INLINE float *residual_of(const struct block *b) { return ROOM(b, float, at_residual); }    // [own tiles, 8]
INLINE float *part_of(const struct block *b) { return ROOM(b, float, at_part); }            // [units, 16]
INLINE u16 *activations_of(const struct block *b) { return ROOM(b, u16, at_activations); }  // [groups, PITCH]
INLINE float *logits_of(const struct block *b) { return ROOM(b, float, at_logits); }        // [own rows of the head]

/* ---- waiting ---- */

INLINE int goes_on_waiting(const struct block *b, int *looks) {
    pause();
    if ((++*looks & 255) == 0 && (*(volatile u32 *)&b->a->state->fault || timer_ns() > b->s->until)) {
        b->s->gave_up = 1;
        *(volatile u32 *)&b->a->state->fault = 1;
    }
    return !b->s->gave_up;
}

INLINE u32 marked(float f, u32 parity) { return (bits_of_f32(f) & ~1u) | parity; }
INLINE u32 marked_pair(float first, float second, u32 parity) {
    return (pair_of_halves(within_half(first), within_half(second)) & 0xfffefffeu) | parity * 0x10001u;
}

INLINE int is_marked(u32x4 v, u32 mask, u32 parity) {
    u32 want = parity ? mask : 0;
    return (((v[0] ^ want) | (v[1] ^ want) | (v[2] ^ want) | (v[3] ^ want)) & mask) == 0;
}

/* A packet of four floats, or of eight halves. */
INLINE u32x4 receive(const struct block *b, const u32x4 *p, u32 mask) {
    int looks = 0;
    u32x4 v = load_shared_by_blocks(p);
    while (!is_marked(v, mask, b->parity) && goes_on_waiting(b, &looks)) v = load_shared_by_blocks(p);
    return v;
}

enum { FLOATS = 1, HALVES = 0x10001 };

#endif
