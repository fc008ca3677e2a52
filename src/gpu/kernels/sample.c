/* Sampling, a block for each row of a generate call. */
#include "gpu/kernels/sampling.h"

KERNEL(sample, struct sample_args, 512) {
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
        n = take_largest(logits, a->n_logits, k, keys);
        int room = next_power_of_two(n);
        for (int i = n + thread_x(); i < room; i += SAMPLE_THREADS) keys[i] = 0;
        sort_descending(keys, room);
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
