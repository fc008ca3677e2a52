/* decode.c: the head's rows, and drawing a token from the logits of all blocks; each draws for itself, and all alike.
 */
#ifndef UTTER_GPU_KERNELS_DECODE_SAMPLING_H
#define UTTER_GPU_KERNELS_DECODE_SAMPLING_H

#include "gpu/kernels/decode_products.h"

INLINE void head_rows_of(const struct block *b, int *first, int *next) {
    *first = b->s->head.first * 16;
    *next = min_int(*first + b->s->head.n * 16, b->a->head.rows);
}

/* Logits of this block's rows. */
INLINE void multiply_head(const struct block *b, enum format f) {
    const struct weights *w = &b->a->head;
    int first, next, steps = (w->groups + STEP - 1) / STEP, g = LANE / 4, t = LANE % 4;
    head_rows_of(b, &first, &next);
    NO_UNROLL for (int row = first + WARP_NOW * 16; row < next; row += WARPS * 16) {
        float low = 0, high = 0;
        struct raw_group here[2], coming[2];
        coming[0] = load_raw(w, f, row + g, t);
        coming[1] = load_raw(w, f, row + 8 + g, t);
        NO_UNROLL for (int step = 0; step < steps; step++) {
            here[0] = coming[0], here[1] = coming[1];
            if (step + 1 < steps) {
                coming[0] = load_raw(w, f, row + g, (step + 1) * STEP + t);
                coming[1] = load_raw(w, f, row + 8 + g, (step + 1) * STEP + t);
            }
            float l, h;
            multiply_groups(b, &here[0], &here[1], f, activations_of(b), step * STEP, step * STEP, &l, &h);
            low += l;
            high += h;
        }
        if (t == 0 && row + g < next) logits_of(b)[row - first + g] = low;
        if (t == 0 && row + 8 + g < next) logits_of(b)[row - first + 8 + g] = high;
    }
    barrier();
}

INLINE u64 key_in_block(const struct block *b, int first, int i) {
    float x = logits_of(b)[i];
    return is_finite(x) ? candidate_key(x, first + i) : 0;
}

INLINE u64 max_u64(u64 x, u64 y) { return x > y ? x : y; }
INLINE u64 shuffle_xor_u64(u64 v, int mask) {
    u32 low = (u32)v, high = (u32)(v >> 32);
    low = bits_of_f32(shuffle_xor_f32(f32_of_bits(low), mask));
    high = bits_of_f32(shuffle_xor_f32(f32_of_bits(high), mask));
    return (u64)high << 32 | low;
}

/* The largest of the block's keys below `below`, 0 for none; all threads get it. */
INLINE u64 largest_in_block(const struct block *b, int first, int next, u64 below) {
    u64 largest = 0;
    for (int i = b->thread; i < next - first; i += DECODE_THREADS) {
        u64 key = key_in_block(b, first, i);
        if (key < below) largest = max_u64(largest, key);
    }
    UNROLL for (int mask = 16; mask; mask /= 2) largest = max_u64(largest, shuffle_xor_u64(largest, mask));
    if (LANE == 0) b->s->largest[WARP_NOW] = largest;
    barrier();
    largest = 0;
    UNROLL for (int w = 0; w < WARPS; w++) largest = max_u64(largest, b->s->largest[w]);
    barrier();
    return largest;
}

/* Packets of sampling carry the number of their round. */
INLINE u32x4 packet_of_key(u64 key, u32 more, u32 round) { return (u32x4){(u32)key, (u32)(key >> 32), more, round}; }
INLINE u64 key_of_packet(u32x4 p) { return p[0] | (u64)p[1] << 32; }

INLINE u32x4 receive_round(const struct block *b, const u32x4 *p, u32 round) {
    int looks = 0;
    u32x4 v = load_shared_by_blocks(p);
    while (v[3] != round && goes_on_waiting(b, &looks)) v = load_shared_by_blocks(p);
    return v;
}

/* The k-th largest (or, with fewer, smallest) of list[n] of distinct keys (0: none) goes to *kth; called by all. */
INLINE u64 kth_of_list(const struct block *b, const u64 *list, int n, int k) {
    if (b->thread == 0) b->s->order[0] = 0;
    barrier();
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = list[i];
        int rank = 0;
        for (int j = 0; j < n; j++) rank += list[j] > mine;
        if (mine && rank == k - 1) b->s->order[0] = mine;
    }
    barrier();
    u64 found = b->s->order[0];
    barrier();
    return found;
}

/* Rounds of counting may follow each other, and a block can be one ahead of others that still read: two places in
 * turns.
 */
INLINE u32x4 *counts_of(const struct decode_args *a, u32 round) { return a->count_packets + round % 2 * (u32)grid_x(); }

/* How many keys of all blocks are not below the threshold; those of this block go to its list as they are counted. */
INLINE int count_candidates(const struct block *b, int first, int next, u64 threshold, u32 *round) {
    struct shared *s = b->s;
    const struct decode_args *a = b->a;
    if (b->thread == 0) {
        s->n_candidates = 0;
        s->n_total = 0;
    }
    barrier();
    ++*round;
    u32x4 *mine = a->candidate_packets + (i64)block_x() * SAMPLE_LIST;
    for (int i = b->thread; i < next - first; i += DECODE_THREADS) {
        u64 key = key_in_block(b, first, i);
        if (key == 0 || key < threshold) continue;
        int at = __atomic_fetch_add(&s->n_candidates, 1, __ATOMIC_RELAXED);
        if (at < SAMPLE_LIST) store_shared_by_blocks(mine + at, packet_of_key(key, 0, *round));
    }
    barrier();
    u32x4 *counts = counts_of(a, *round);
    if (b->thread == 0) store_shared_by_blocks(counts + block_x(), packet_of_key(0, (u32)s->n_candidates, *round));
    for (int i = b->thread; i < grid_x(); i += DECODE_THREADS) {
        u32 n = receive_round(b, counts + i, *round)[2];
        __atomic_fetch_add(&s->n_total, n, __ATOMIC_RELAXED);
    }
    barrier();
    int total = (int)s->n_total;
    barrier();
    return total;
}

/* keys[n]: the k largest of all blocks, in order; n may be less when fewer are finite. */
INLINE int gather_largest(const struct block *b, int first, int next, int k, u32 *round) {
    struct shared *s = b->s;
    const struct decode_args *a = b->a;
    int each = (k + grid_x() - 1) / grid_x();  // of every block
    ++*round;
    u64 below = ~0ull;
    for (int i = 0; i < each; i++) {
        below = largest_in_block(b, first, next, below);
        if (b->thread == 0)
            store_shared_by_blocks(a->largest_packets + block_x() * each + i, packet_of_key(below, 0, *round));
    }
    for (int i = b->thread; i < grid_x() * each; i += DECODE_THREADS)
        s->keys[i] = key_of_packet(receive_round(b, a->largest_packets + i, *round));
    barrier();
    // at least k keys are not below the k-th of these
    u64 threshold = kth_of_list(b, s->keys, grid_x() * each, k), over = ~0ull;
    if (threshold == 0) threshold = 1;
    int n;
    NO_UNROLL for (u64 tried = threshold;; tried = threshold + (over - threshold) / 2) {
        n = count_candidates(b, first, next, tried, round);
        if (s->gave_up || (n <= SAMPLE_LIST && (n >= k || tried == threshold))) break;
        // too many: halve the distance to a threshold that is too high
        if (n < k) {
            over = tried;
        } else {
            threshold = tried;
        }
    }
    if (b->thread == 0) s->n_candidates = 0;
    barrier();
    for (int i = b->thread; i < grid_x(); i += DECODE_THREADS) {
        int mine = (int)min_int((int)load_shared_by_blocks(counts_of(a, *round) + i)[2], SAMPLE_LIST);
        for (int j = 0; j < mine && !s->gave_up; j++) {
            u64 key = key_of_packet(receive_round(b, a->candidate_packets + (i64)i * SAMPLE_LIST + j, *round));
            int at = __atomic_fetch_add(&s->n_candidates, 1, __ATOMIC_RELAXED);
            if (at < SAMPLE_LIST) s->order[at] = key;
        }
    }
    barrier();
    n = min_int(s->n_candidates, SAMPLE_LIST);
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = s->order[i];
        int rank = 0;
        for (int j = 0; j < n; j++) rank += s->order[j] > mine;
        s->keys[rank] = mine;
    }
    barrier();
    return min_int(n, k);
}

/* Draws the next token in every block alike; false when there is none. *round: of the last packets, which are told
   apart by it; also when there is no token. */
INLINE int sample_next(u32 *round) {
    struct block fresh = this_block(0), *b = &fresh;
    const struct decode_args *a = b->a;
    struct shared *s = b->s;
    struct sequence *q = &s->sequence;
    int first, next;
    head_rows_of(b, &first, &next);
    penalise(q, b->thread, logits_of(b), first, next);
    int n = gather_largest(b, first, next, q->temperature == 0 ? 1 : q->top_k, round);
    if (s->gave_up) return 0;
    int drawn = choose(q, s->keys, s->order, s->p, n);
    if (b->thread == 0) {
        if (drawn < 0) {
            q->fault = 1;
            q->active = 0;
        } else {
            if (block_x() == 0) a->out[q->n_out] = drawn;
            q->n_out++;
            q->history[q->n_drawn++ % HISTORY_DEVICE] = drawn;
            q->n_past++;
            q->ended = drawn == q->end_index;
            q->active = !q->ended && q->n_past < a->n_ctx;
            s->token = a->head_rows[drawn];
        }
    }
    barrier();
    return drawn >= 0;
}

#endif
