/* Weights as operands of the tensor cores. A lane takes whole groups of a row, 32 weights; which weights meet in one
   product does not matter as long as the activations come in the same order. That order within a group is: for each
   quarter q (of weights 4q.. and 16 + 4q.., as they share bytes in the 4-bit types) weights 0 2 1 3 of its first
   four, then of its last four. */
#ifndef UTTER_GPU_KERNELS_FRAGMENTS_H
#define UTTER_GPU_KERNELS_FRAGMENTS_H

#include "gpu/kernels/weights.h"

/* Formats that are unpacked by a few instructions for two weights; the others go by way of floats. */
INLINE int is_direct(enum format f) { return f == AS_q4_0 || f == AS_q8_0 || f == AS_f16; }

/* A group as loaded. */
struct raw_group {
    u32x4 quants[4];     // Q4_0: one, Q8_0: two, F16: four
    u32 scale;           // d; nothing is done with it here, so that nothing waits for the load
    struct group group;  // of the other formats
};

INLINE struct raw_group load_raw(const struct weights *w, enum format f, int row, int g) {
    struct raw_group r = {0};
    if (row >= w->rows || g >= w->groups) return r;
    u64 i = (u64)row * (u64)w->groups + (u64)g;
    const u32x4 *quants = (const u32x4 *)w->quants;
    switch (f) {
        case AS_q4_0:
            r.quants[0] = load_constant(quants + i);
            break;
        case AS_q8_0:
            UNROLL for (int j = 0; j < 2; j++) r.quants[j] = load_constant(quants + 2 * i + j);
            break;
        case AS_f16:
            UNROLL for (int j = 0; j < 4; j++) r.quants[j] = load_constant(quants + 4 * i + j);
            return r;
        default:
            r.group = load_group(w, f, row, g);
            return r;
    }
    r.scale = load_constant_half((const u16 *)w->scales + i);
    return r;
}

/* Asks for the group to be brought into the cache of the card; lanes whose neighbours ask for the same 32 bytes do not.
 */
INLINE void prefetch_raw(const struct weights *w, enum format f, int row, int g) {
    if (row >= w->rows || g >= w->groups) return;
    u64 i = (u64)row * (u64)w->groups + (u64)g;
    if (f != AS_q4_0 || g % 2 == 0) prefetch((const u8 *)w->quants + i * (f == AS_q4_0 ? 16 : 32));
    if (g % 4 == 0) prefetch((const u16 *)w->scales + i);
}

/* Quarter q as four pairs, in the order above. */
INLINE void pairs_of_raw(const struct raw_group *r, enum format f, int q, u32 out[4]) {
    u32 scales = r->scale * 0x10001u;
    switch (f) {
        case AS_q4_0: {
            u32 word = r->quants[0][q];
            // a half of 0x6400 + n is the number 1024 + n
            UNROLL for (int j = 0; j < 4; j++) {
                u32 nibbles = (word >> (j % 2 * 8 + j / 2 * 4) & 0x000f000fu) | 0x64006400u;
                out[j] = multiply_pairs(subtract_pairs(nibbles, 0x64086408u), scales);
            }
            break;
        }
        case AS_q8_0:
            UNROLL for (int j = 0; j < 4; j++) {
                u32 word = r->quants[j / 2][q] ^ 0x80808080u;
                u32 bytes = (word >> (j % 2 * 8) & 0x00ff00ffu) | 0x64006400u;
                out[j] = multiply_pairs(subtract_pairs(bytes, 0x64806480u), scales);
            }
            break;
        case AS_f16:
            UNROLL for (int h = 0; h < 2; h++) {
                u32 a = r->quants[2 * h + q / 2][q % 2 * 2], b = r->quants[2 * h + q / 2][q % 2 * 2 + 1];
                out[2 * h] = (a & 0xffff) | b << 16;
                out[2 * h + 1] = a >> 16 | (b & 0xffff0000u);
            }
            break;
        default: {
            float v[8];
            quarter_of_group(&r->group, f, q, v);
            UNROLL for (int h = 0; h < 2; h++) {
                out[2 * h] = pair_of_halves(v[4 * h], v[4 * h + 2]);
                out[2 * h + 1] = pair_of_halves(v[4 * h + 1], v[4 * h + 3]);
            }
        }
    }
}

/* Where activation k of a row goes. */
INLINE int place_of(int index) {
    u32 k = (u32)index, j = k % 4;
    return (int)(k / GROUP * GROUP + k % 16 / 4 * 8 + k % GROUP / 16 * 4 + (j % 2 * 2 + j / 2));
}

/* A float that a half can hold. */
INLINE float within_half(float x) { return x > 65504 ? 65504 : x < -65504 ? -65504 : x; }

/* Four activations, of places in a row: k, k + 1, k + 2, k + 3 with k a multiple of 4. */
INLINE void put_four(u16 *row, int k, float v0, float v1, float v2, float v3) {
    u32 *to = (u32 *)(row + place_of(k));
    to[0] = pair_of_halves(within_half(v0), within_half(v2));
    to[1] = pair_of_halves(within_half(v1), within_half(v3));
}

#endif
