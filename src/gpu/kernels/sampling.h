/* The sampling chain of backbone/sampler.c, a block for each row: the same order of steps, the same random numbers, and
   sums in the same order, so that a seed gives the same tokens up to the rounding of the logits.

   A candidate is a 64-bit key: the logit's bits made to ascend with the number, then the index turned round, so that
   the largest key is the likeliest candidate and of equal logits the lower index comes first. */
#ifndef UTTER_GPU_KERNELS_SAMPLING_H
#define UTTER_GPU_KERNELS_SAMPLING_H

#include "gpu/kernels/args.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

#ifndef SAMPLE_THREADS
#define SAMPLE_THREADS 512
#endif

enum { MT_SHIFT_DEVICE = 397 };

/* Keys that ascend with the float; + 0.0f makes -0 and 0 one. */
INLINE u32 ascending_key(float x) {
    u32 u = bits_of_f32(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

INLINE float float_of_key(u32 key) { return f32_of_bits(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

INLINE u64 candidate_key(float logit, int index) { return (u64)ascending_key(logit) << 32 | (u32)~index; }
INLINE float logit_of(u64 key) { return float_of_key((u32)(key >> 32)); }
INLINE int index_of(u64 key) { return (int)~(u32)key; }

INLINE int next_power_of_two(int n) {
    int p = 1;
    while (p < n) p *= 2;
    return p;
}

/* Descending; n a power of two. */
INLINE void sort_descending(u64 *list, int n) {
    for (int size = 2; size <= n; size *= 2)
        for (int stride = size / 2; stride > 0; stride /= 2) {
            barrier();
            for (int i = thread_x(); i < n / 2; i += SAMPLE_THREADS) {
                int low = i / stride * 2 * stride + i % stride, high = low + stride;
                u64 x = list[low], y = list[high];
                if ((x < y) == ((low & size) == 0)) {
                    list[low] = y;
                    list[high] = x;
                }
            }
        }
    barrier();
}

/* Penalties on logits [next - first], which are those of the indices from `first` on. */
INLINE void penalise(const struct sequence *s, int thread, float *logits, int first, int next) {
    int n = s->n_drawn < HISTORY_DEVICE ? (int)s->n_drawn : HISTORY_DEVICE, i = thread;
    if (s->has_penalties && i < n && s->history[i] >= first && s->history[i] < next) {
        int index = s->history[i], count = 0, before = 0;
        for (int j = 0; j < n; j++) {
            if (s->history[j] != index) continue;
            count++;
            before += j < i;
        }
        if (before == 0) {
            float x = logits[index - first];
            x = x <= 0 ? x * s->repeat_penalty : x / s->repeat_penalty;
            logits[index - first] = x - ((float)count * s->frequency_penalty + s->presence_penalty);
        }
    }
    barrier();
}

/* Puts the k largest finite logits' keys into list, in no order, and returns how many there are. The k-th largest key
   is found byte by byte from the top. */
INLINE int take_largest(const float *logits, int n_logits, int k, u64 *list) {
    SHARED u32 histogram[256];
    SHARED u64 threshold_shared;
    SHARED int wanted_shared, found, done_shared;
    if (thread_x() == 0) {
        threshold_shared = 0;
        wanted_shared = k;
        found = 0;
        done_shared = 0;
    }
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (int i = thread_x(); i < 256; i += SAMPLE_THREADS) histogram[i] = 0;
        barrier();
        u64 prefix = threshold_shared;
        for (int i = thread_x(); i < n_logits; i += SAMPLE_THREADS) {
            float x = logits[i];
            u64 key = candidate_key(x, i);
            if (is_finite(x) && (shift == 56 || (key ^ prefix) >> (shift + 8) == 0))
                __atomic_fetch_add(&histogram[key >> shift & 255], 1u, __ATOMIC_RELAXED);
        }
        barrier();
        if (thread_x() == 0) {
            int wanted = wanted_shared, byte = 255;
            while (byte > 0 && (int)histogram[byte] < wanted) wanted -= (int)histogram[byte--];
            if ((int)histogram[byte] <= wanted) done_shared = 1;  // all of this byte belong (or there are fewer than k)
            threshold_shared |= (u64)byte << shift;
            wanted_shared = wanted;
        }
        barrier();
        if (done_shared) break;
    }
    u64 threshold = threshold_shared;
    for (int i = thread_x(); i < n_logits; i += SAMPLE_THREADS) {
        float x = logits[i];
        u64 key = candidate_key(x, i);
        if (is_finite(x) && key >= threshold) list[__atomic_fetch_add(&found, 1, __ATOMIC_RELAXED)] = key;
    }
    barrier();
    return found;
}

/* p[i] = softmax of the logits over the temperature. The sum is taken in order. */
INLINE void softmax(const u64 *keys, float *p, int n, float temperature) {
    SHARED float sum_shared;
    float largest = logit_of(keys[0]) / temperature;
    barrier();
    for (int i = thread_x(); i < n; i += SAMPLE_THREADS)
        p[i] = exp_f32_of_f64(logit_of(keys[i]) / temperature - largest);
    barrier();
    if (thread_x() == 0) {
        float sum = 0;
        UNROLL_SOME for (int i = 0; i < n; i++) sum += p[i];
        sum_shared = sum;
    }
    barrier();
    float sum = sum_shared;
    for (int i = thread_x(); i < n; i += SAMPLE_THREADS) p[i] /= sum;
    barrier();
}

/* Locally typical sampling of probabilities p; leaves the candidates sorted by logit again. */
INLINE int keep_typical(u64 *keys, u64 *order, const float *p, int n, float typical_p) {
    SHARED float entropy_shared;
    SHARED int kept;
    if (thread_x() == 0) {
        float entropy = 0;
        for (int i = 0; i < n; i++)
            if (p[i] > 0) entropy += -p[i] * log_f32_of_f64(p[i]);
        entropy_shared = entropy;
    }
    barrier();
    NO_UNROLL for (int by_logit = 0; by_logit < 2; by_logit++) {
        int room = next_power_of_two(n);
        for (int i = thread_x(); i < room; i += SAMPLE_THREADS) {
            if (by_logit) {
                keys[i] = i < n ? order[i] : 0;
            } else {
                float surprise = i < n ? -log_f32_of_f64(p[i]) - entropy_shared : 0;
                if (surprise < 0) surprise = -surprise;
                order[i] = i < n ? ~((u64)ascending_key(surprise) << 32 | (u32)i) : 0;
            }
        }
        sort_descending(by_logit ? keys : order, room);
        if (by_logit) break;
        if (thread_x() == 0) {
            float sum = 0;
            int i = 0;
            while (i < n && !(sum > typical_p)) sum += p[(u32)~order[i++]];
            kept = i;
        }
        barrier();
        n = kept;
        for (int i = thread_x(); i < n; i += SAMPLE_THREADS) order[i] = keys[(u32)~order[i]];
        barrier();
    }
    return n;
}

/* The next numbers of the generator, when those there are have been used up; draws take two, and there is an even
   number. By all threads together. */
INLINE void renew_random(struct sequence *s) {
    enum { AT_ONCE = MT_WORDS_DEVICE - MT_SHIFT_DEVICE };  // none of these depends on another of them
    int used_up = s->random_next >= MT_WORDS_DEVICE;
    barrier();
    if (!used_up) return;
    u32 *word = s->random;
    for (int first = 0; first < MT_WORDS_DEVICE; first += AT_ONCE) {
        int i = first + thread_x(), takes_part = thread_x() < AT_ONCE && i < MT_WORDS_DEVICE;
        u32 next = 0;
        if (takes_part) {
            u32 y = (word[i] & 0x80000000u) | (word[(i + 1) % MT_WORDS_DEVICE] & 0x7fffffffu);
            next = word[(i + MT_SHIFT_DEVICE) % MT_WORDS_DEVICE] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        barrier();
        if (takes_part) word[i] = next;
        barrier();
    }
    if (thread_x() == 0) s->random_next = 0;
    barrier();
}

INLINE u32 random_u32(struct sequence *s) {
    u32 y = s->random[s->random_next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* The draw of thread 0, with numbers of the generator at hand: 64 random bits against the running sums. quotients[n]: p
 * over their sum, as doubles. */
INLINE int draw(struct sequence *s, const u64 *quotients, int n) {
    double u = 0, each = 1;
    NO_UNROLL for (int i = 0; i < 2; i++) {
        u += random_u32(s) * each;
        each *= 4294967296.0;
    }
    u /= 18446744073709551616.0;
    if (u >= 1) u = f64_of_bits(0x3fefffffffffffffull);
    double sum = 0;
    int drawn = n - 1;
    UNROLL_SOME for (int i = 0; i < n - 1; i++) {
        sum += f64_of_bits(quotients[i]);
        drawn = sum >= u && i < drawn ? i : drawn;
    }
    return drawn;
}

/* What a drawn index does to the row: remembered, handed out, and the next forward pass prepared. That pass is run for
   the last token too, so that the slot can be gone on with. */
INLINE void advance(const struct sample_args *a, int row, int index) {
    struct sequence *s = a->sequences + row;
    a->out[row * a->steps + s->n_out++] = index;
    s->history[s->n_drawn++ % HISTORY_DEVICE] = index;
    a->tokens[row] = a->head_rows[index];
    a->positions[row] = s->n_past++;
    s->ended = index == s->end_index;
    s->active = !s->ended && s->n_past < a->n_ctx;
}

/* The row takes no part in the next forward pass. */
INLINE void rest(const struct sample_args *a, int row) {
    a->slots[row] = -1;
    a->tokens[row] = -1;
}

INLINE void give_up(const struct sample_args *a, int row) {
    a->sequences[row].fault = 1;
    a->sequences[row].active = 0;
    rest(a, row);
}

/* The chain after top-k: which of the n sorted candidates is drawn; its index, or -1 for a fault. All threads of the
   block call it with the same, and get the same; order and p have room for n rounded up to a power of two. */
INLINE int choose(struct sequence *s, u64 *keys, u64 *order, float *p, int n) {
    enum { TYPICAL, TOP, DRAW };
    SHARED double total_shared;
    SHARED int kept;
    if (n == 0) return -1;
    if (n == 1) return index_of(keys[0]);
    // one place for the steps' probabilities: the driver takes its time for every copy
    NO_UNROLL for (int step = TYPICAL; step <= DRAW; step++) {
        if (step == TYPICAL && !(s->typical_p > 0 && s->typical_p < 1)) continue;
        if (step == TOP && !(s->top_p < 1)) continue;
        if (step == DRAW && s->has_min_p) {
            float least = logit_of(keys[0]) + s->log_min_p;
            barrier();
            if (thread_x() == 0) {
                int n_kept = 0;  // keys descend
                UNROLL_SOME for (int i = 0; i < n; i++) n_kept += i == 0 || logit_of(keys[i]) >= least;
                kept = n_kept;
            }
            barrier();
            n = kept;
        }
        if (step == DRAW && !is_finite(logit_of(keys[0]) / s->temperature)) return -1;
        softmax(keys, p, n, step == DRAW ? s->temperature : 1);
        if (step == TYPICAL) n = keep_typical(keys, order, p, n, s->typical_p);
        if (step != TOP) continue;
        if (thread_x() == 0) {
            float sum = 0;
            int n_kept = n;
            UNROLL_SOME for (int i = 0; i < n; i++) {
                sum += p[i];
                n_kept = sum >= s->top_p && i + 1 < n_kept ? i + 1 : n_kept;
            }
            kept = n_kept;
        }
        barrier();
        n = kept;
    }
    if (thread_x() == 0) {
        double total = 0;
        UNROLL_SOME for (int i = 0; i < n; i++) total += (double)p[i];
        total_shared = total;
    }
    barrier();
    for (int i = thread_x(); i < n; i += SAMPLE_THREADS) order[i] = bits_of_f64((double)p[i] / total_shared);
    barrier();
    if (n > 1) renew_random(s);
    if (thread_x() == 0) kept = index_of(keys[n == 1 ? 0 : draw(s, order, n)]);
    barrier();
    int drawn = kept;
    barrier();
    return drawn;
}

#endif
