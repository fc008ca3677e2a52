/* Sampling, a block for each row of a generate call. */
#include "gpu/kernels/sampling.h"

/* As take_largest, in two looks at the logits, or -1 where that does not do: the k-th largest of the threads' largest
   is a bound that k logits reach, and seldom many more. The list may be longer than k. */
INLINE int take_likely(const float *logits, int n_logits, int k, u64 *list) {
    enum { AT_ONCE = 16, MOST = SAMPLE_THREADS / 4 };
    SHARED u32 largest[SAMPLE_THREADS], bound_shared;
    SHARED int found;
    if (k > MOST) return -1;
    u32 mine = 0;
    for (int first = thread_x(); first < n_logits; first += AT_ONCE * SAMPLE_THREADS) {
        float x[AT_ONCE];
        UNROLL for (int j = 0; j < AT_ONCE; j++) {
            int i = first + j * SAMPLE_THREADS;
            x[j] = i < n_logits ? logits[i] : INFINITE;
        }
        UNROLL for (int j = 0; j < AT_ONCE; j++) {
            u32 key = ascending_key(x[j]);
            if (is_finite(x[j]) && key > mine) mine = key;
        }
    }
    largest[thread_x()] = mine;
    if (thread_x() == 0) found = 0;
    barrier();
    if (warp() == 0) {
        u32 keys[SAMPLE_THREADS / WARP], bound = 0;
        UNROLL for (int j = 0; j < SAMPLE_THREADS / WARP; j++) keys[j] = largest[lane() + j * WARP];
        // bit by bit from the top, until hardly more than k reach it
        NO_UNROLL for (int bit = 31; bit >= 0; bit--) {
            float reach = 0;
            UNROLL for (int j = 0; j < SAMPLE_THREADS / WARP; j++) reach += keys[j] >= (bound | 1u << bit);
            int n = (int)warp_sum(reach);
            if (n < k) continue;
            bound |= 1u << bit;
            if (n < k + k / 8) break;
        }
        if (lane() == 0) bound_shared = bound;
    }
    barrier();
    u32 bound = bound_shared;
    if (bound == 0) return -1;  // hardly any are finite
    for (int first = thread_x(); mine >= bound && first < n_logits; first += AT_ONCE * SAMPLE_THREADS) {
        float x[AT_ONCE];
        UNROLL for (int j = 0; j < AT_ONCE; j++) {
            int i = first + j * SAMPLE_THREADS;
            x[j] = i < n_logits ? logits[i] : INFINITE;
        }
        UNROLL for (int j = 0; j < AT_ONCE; j++) {
            if (!is_finite(x[j]) || ascending_key(x[j]) < bound) continue;
            int to = __atomic_fetch_add(&found, 1, __ATOMIC_RELAXED);
            if (to < SAMPLE_LIST) list[to] = candidate_key(x[j], first + j * SAMPLE_THREADS);
        }
    }
    barrier();
    int n = found;
    barrier();
    return n <= SAMPLE_LIST ? n : -1;
}

KERNEL_SHARING(sample, struct sample_args, 512, 2) {
    SHARED u64 small_keys[SAMPLE_LIST], small_order[SAMPLE_LIST];
    SHARED float small_p[SAMPLE_LIST];
    int row = block_x();
    struct sequence *s = a->sequences + row;
    if (!s->active) {
        if (thread_x() == 0) rest(a, row);
        return;
    }
    float *logits = a->logits + (i64)row * a->n_logits;
    u64 *keys = AS_GENERIC(u64, small_keys), *order = AS_GENERIC(u64, small_order);
    float *p = AS_GENERIC(float, small_p);

    penalise(s, thread_x(), logits, 0, a->n_logits);
    int n, k = s->temperature == 0 ? 1 : s->top_k;
    if (k > 0 && k <= SAMPLE_LIST) {
        n = take_likely(logits, a->n_logits, k, keys);
        if (n < 0) n = take_largest(logits, a->n_logits, k, keys);
        int room = next_power_of_two(n);
        for (int i = n + thread_x(); i < room; i += SAMPLE_THREADS) keys[i] = 0;
        sort_descending(keys, room);
        if (n > k) n = k;
    } else {
        SHARED int n_finite;
        keys = a->keys + (i64)row * a->n_sort;
        order = a->order + (i64)row * a->n_sort;
        p = a->p + (i64)row * a->n_sort;
        if (thread_x() == 0) n_finite = 0;
        barrier();
        for (int i = thread_x(); i < a->n_sort; i += SAMPLE_THREADS) {
            int finite = i < a->n_logits && is_finite(logits[i]);
            keys[i] = finite ? candidate_key(logits[i], i) : 0;
            if (finite) __atomic_fetch_add(&n_finite, 1, __ATOMIC_RELAXED);
        }
        sort_descending(keys, a->n_sort);
        n = n_finite;
        if (k > 0 && n > k) n = k;
    }
    int drawn = choose(s, keys, order, p, n);
    if (thread_x() != 0) return;
    if (drawn < 0) {
        give_up(a, row);
    } else {
        advance(a, row, drawn);
    }
}
