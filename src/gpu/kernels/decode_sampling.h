/* decode.c: the head's rows, and drawing a token from the logits of all blocks; each draws for itself, and all alike.
 */
#ifndef UTTER_GPU_KERNELS_DECODE_SAMPLING_H
#define UTTER_GPU_KERNELS_DECODE_SAMPLING_H

#include "gpu/kernels/decode_products.h"

/* This block's rows of the head; how many steps of its depth there are. */
struct head_rows {
    int first, next, steps;
};

INLINE struct head_rows head_rows_of(const struct block *b) {
    int first = b->s->head_first * 16;
    return (struct head_rows){first, min_int(first + b->s->head_n * 16, b->a->head.rows),
                              (b->a->head.groups + STEP - 1) / STEP};
}

/* A warp takes 16 rows at a time, a step after the other; the weights of the next steps are on their way. */
enum { HEAD_AHEAD = JOIN(AS, FORMAT) == AS_q4_0 ? 3 : 2 };
struct head_ahead {
    struct raw_group weights[HEAD_AHEAD][2];
    int row, step;  // of what comes after them
};

INLINE void load_ahead(const struct block *b, enum format f, const struct head_rows *rows, struct head_ahead *h,
                       int i) {
    const struct weights *w = &b->a->head;
    int row = h->row < rows->next ? h->row : w->rows;  // nothing is loaded
    UNROLL for (int j = 0; j < 2; j++) h->weights[i][j] =
        load_raw(w, f, row + 8 * j + LANE / 4, h->step * STEP + LANE % 4);
    int last = ++h->step == rows->steps;
    h->step = last ? 0 : h->step;
    h->row += last ? WARPS * 16 : 0;
}

INLINE void look_ahead_of_head(const struct block *b, enum format f, const struct head_rows *rows,
                               struct head_ahead *h) {
    h->row = rows->first + WARP_NOW * 16;
    h->step = 0;
    UNROLL for (int i = 0; i < HEAD_AHEAD; i++) load_ahead(b, f, rows, h, i);
}

/* Logits of this block's rows. */
INLINE void multiply_head(const struct block *b, enum format f, const struct head_rows *rows, struct head_ahead *h) {
    int row = rows->first + WARP_NOW * 16, step = 0, g = LANE / 4;
    float low = 0, high = 0;
    NO_UNROLL while (row < rows->next) {
        UNROLL for (int i = 0; i < HEAD_AHEAD; i++) {
            if (row >= rows->next) continue;
            struct raw_group here[2] = {h->weights[i][0], h->weights[i][1]};
            load_ahead(b, f, rows, h, i);
            float l, r;
            multiply_groups(b, &here[0], &here[1], f, activations_of(b), step * STEP, step * STEP, &l, &r);
            low += l;
            high += r;
            if (++step < rows->steps) continue;
            if (LANE % 4 == 0 && row + g < rows->next) logits_of(b)[row - rows->first + g] = low;
            if (LANE % 4 == 0 && row + 8 + g < rows->next) logits_of(b)[row - rows->first + 8 + g] = high;
            step = 0;
            row += WARPS * 16;
            low = high = 0;
        }
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

INLINE int rank_in_list(u64 key, const u64 *list, int n) {
    int rank = 0;
    UNROLL_SOME for (int i = 0; i < n; i++) rank += list[i] > key;
    return rank;
}

/* The k-th largest (or, with fewer, smallest) of list[n] of distinct keys (0: none) goes to *kth; called by all. */
INLINE u64 kth_of_list(const struct block *b, const u64 *list, int n, int k) {
    if (b->thread == 0) b->s->order[0] = 0;
    barrier();
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = list[i];
        if (mine && rank_in_list(mine, list, n) == k - 1) b->s->order[0] = mine;
    }
    barrier();
    u64 found = b->s->order[0];
    barrier();
    return found;
}

/* Takes the keys of all blocks that are not below the threshold to s->order, in any order; the number of them may be
   more than SAMPLE_LIST, then those have no room. A block's first packet tells how many it has. Rounds may follow each
   other, and a block can be one ahead of others that still read: two places in turns. */
INLINE int gather_candidates(const struct block *b, int first, int next, u64 threshold, u32 *round) {
    struct shared *s = b->s;
    if (b->thread == 0) s->n_candidates = s->n_own = 0;
    barrier();
    ++*round;
    u32x4 *packets = b->a->candidate_packets + (i64)(*round % 2 * (u32)grid_x()) * SAMPLE_LIST;
    u32x4 *own = packets + (i64)block_x() * SAMPLE_LIST;
    for (int i = b->thread; i < next - first; i += DECODE_THREADS) {
        u64 key = key_in_block(b, first, i);
        if (key == 0 || key < threshold) continue;
        int at = __atomic_fetch_add(&s->n_own, 1, __ATOMIC_RELAXED);
        if (at == 0) s->first_own = key;
        if (at > 0 && at < SAMPLE_LIST) store_shared_by_blocks(own + at, packet_of_key(key, 0, *round));
    }
    barrier();
    if (b->thread == 0) store_shared_by_blocks(own, packet_of_key(s->first_own, (u32)s->n_own, *round));
    for (int i = b->thread; i < grid_x(); i += DECODE_THREADS) {
        const u32x4 *theirs = packets + (i64)i * SAMPLE_LIST;
        u32x4 p = receive_round(b, theirs, *round);
        int n = (int)p[2], at = __atomic_fetch_add(&s->n_candidates, n, __ATOMIC_RELAXED);
        for (int j = 0; j < n && at + j < SAMPLE_LIST && !s->gave_up; j++) {
            if (j > 0) p = receive_round(b, theirs + j, *round);
            s->order[at + j] = key_of_packet(p);
        }
    }
    barrier();
    int total = s->n_candidates;
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
        n = gather_candidates(b, first, next, tried, round);
        if (s->gave_up || (n <= SAMPLE_LIST && (n >= k || tried == threshold))) break;
        // too many: halve the distance to a threshold that is too high
        if (n < k) {
            over = tried;
        } else {
            threshold = tried;
        }
    }
    n = min_int(n, SAMPLE_LIST);
    for (int i = b->thread; i < n; i += DECODE_THREADS) {
        u64 mine = s->order[i];
        s->keys[rank_in_list(mine, s->order, n)] = mine;
    }
    barrier();
    return min_int(n, k);
}

/* Draws the next token in every block alike; false when there is none. *round: of the last packets, which are told
   apart by it; also when there is no token. */
PART int sample_next(u32 *round) {
    struct block fresh = this_block(0), *b = &fresh;
    const struct decode_args *a = b->a;
    struct shared *s = b->s;
    struct sequence *q = &s->sequence;
    struct head_rows rows = head_rows_of(b);
    int first = rows.first, next = rows.next;
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
