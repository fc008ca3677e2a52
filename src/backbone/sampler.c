#include "backbone/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler_state.h"
#include "base/memory.h"

enum {
    INSERTION_MAX = 128,  // up to so many candidates a sorted list beats a radix sort
    MT_SHIFT = 397,
};

struct sampling sampling_neutts(void) {
    return (struct sampling){.temperature = 1.0f, .top_k = 50, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f};
}

/* C libraries round expf and logf differently; the double functions, rounded to float, agree. */
static float exp_float(float x) { return (float)exp((double)x); }
static float log_float(float x) { return (float)log((double)x); }

static void mt_seed(struct mt19937 *m, uint32_t seed);
static status check_settings(const struct sampling *s);

status sampler_new(const struct sampling *settings, uint32_t seed, int n_logits, struct sampler **out) {
    *out = NULL;
    TRY(check_settings(settings));
    if (n_logits < 1) return fail(UTTER_INTERNAL, "a sampler for %d logits was asked for", n_logits);
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a sampler");
    s->settings = *settings;
    s->n_logits = n_logits;
    s->penalties = settings->repeat_penalty != 1 || settings->frequency_penalty != 0 || settings->presence_penalty != 0;
    s->log_min_p = settings->min_p > 0 ? log_float(settings->min_p) : 0;
    mt_seed(&s->random, seed);

    s->sorts_all = settings->top_k <= 0 || settings->top_k > INSERTION_MAX;
    bool typical = settings->typical_p > 0 && settings->typical_p < 1;
    size_t room = s->sorts_all ? (size_t)n_logits : (size_t)settings->top_k;
    status result = alloc_for(&s->candidates, room, sizeof *s->candidates, "the sampler's candidates");
    if (result == UTTER_OK && (s->sorts_all || typical))
        result = alloc_for(&s->scratch, room, sizeof *s->scratch, "the sampler's candidates");
    if (result == UTTER_OK && s->penalties)
        result = alloc_for(&s->penalised, (size_t)n_logits, sizeof(float), "the sampler's logits");
    if (result != UTTER_OK) {
        sampler_free(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

void sampler_free(struct sampler *s) {
    if (!s) return;
    free_aligned(s->candidates);
    free_aligned(s->scratch);
    free_aligned(s->penalised);
    free(s);
}

const struct candidate *sampler_candidates(const struct sampler *s, int *n) {
    *n = s->n_candidates;
    return s->candidates;
}

static const float *penalise(struct sampler *s, const float *logits);
static void take_largest(struct sampler *s, const float *logits, int k);
static void sort_all(struct sampler *s, const float *logits);
static void keep_typical(struct sampler *s);
static void keep_top_p(struct sampler *s);
static void keep_min_p(struct sampler *s);
static void softmax(struct sampler *s);
static int draw(struct sampler *s);

status sampler_draw(struct sampler *s, const float *logits, int *out) {
    const struct sampling *set = &s->settings;
    const float *x = s->penalties ? penalise(s, logits) : logits;

    if (set->temperature == 0) {
        take_largest(s, x, 1);
    } else if (s->sorts_all) {
        sort_all(s, x);
        if (set->top_k > 0 && s->n_candidates > set->top_k) s->n_candidates = set->top_k;
    } else {
        take_largest(s, x, set->top_k);
    }
    if (s->n_candidates == 0)
        return fail(UTTER_SPEECH,
                    "none of the %d logits is a finite number: the model file is damaged, or the device failed",
                    s->n_logits);

    if (set->temperature > 0) {
        keep_typical(s);
        keep_top_p(s);
        keep_min_p(s);
        for (int i = 0; i < s->n_candidates; i++) s->candidates[i].logit /= set->temperature;
        if (!isfinite(s->candidates[0].logit))
            return fail(UTTER_SPEECH, "the logits are too large for a temperature of %g: the model file is damaged",
                        (double)set->temperature);
    }
    softmax(s);
    *out = s->candidates[draw(s)].index;
    s->history[s->n_drawn++ % SAMPLER_HISTORY] = *out;
    return UTTER_OK;
}

/* ---- settings ---- */

static status check_settings(const struct sampling *s) {
    // written so that NaN fails too
    if (!(s->temperature == 0 || (s->temperature >= 0.01f && s->temperature <= 100)))
        return fail(UTTER_INVALID, "a temperature of %g cannot be used: give 0 (greedy) or 0.01 to 100",
                    (double)s->temperature);
    if (isnan(s->top_p) || s->top_p < 0)
        return fail(UTTER_INVALID, "a top-p of %g cannot be used: give 0 to 1", (double)s->top_p);
    if (isnan(s->min_p) || s->min_p > 1)
        return fail(UTTER_INVALID, "a min-p of %g cannot be used: give 0 to 1", (double)s->min_p);
    if (isnan(s->typical_p)) return fail(UTTER_INVALID, "a typical-p that is no number cannot be used: give 0 to 1");
    if (!(s->repeat_penalty >= 0.01f && s->repeat_penalty <= 100))
        return fail(UTTER_INVALID, "a repeat penalty of %g cannot be used: give 0.01 to 100; 1 is none",
                    (double)s->repeat_penalty);
    if (!(fabsf(s->frequency_penalty) <= 1000) || !(fabsf(s->presence_penalty) <= 1000))
        return fail(UTTER_INVALID, "a frequency penalty of %g and a presence penalty of %g cannot be used: give 0 to 2",
                    (double)s->frequency_penalty, (double)s->presence_penalty);
    return UTTER_OK;
}

/* ---- the chain ---- */

static const float *penalise(struct sampler *s, const float *logits) {
    const struct sampling *set = &s->settings;
    memcpy(s->penalised, logits, (size_t)s->n_logits * sizeof *logits);
    int n = s->n_drawn < SAMPLER_HISTORY ? (int)s->n_drawn : SAMPLER_HISTORY;
    for (int i = 0; i < n; i++) {
        int32_t index = s->history[i];
        int before = 0, count = 0;
        for (int j = 0; j < n; j++) {
            if (s->history[j] != index) continue;
            count++;
            before += j < i;
        }
        if (before > 0) continue;  // done already
        float x = logits[index];
        if (x <= 0) {
            x *= set->repeat_penalty;
        } else {
            x /= set->repeat_penalty;
        }
        s->penalised[index] = x - ((float)count * set->frequency_penalty + set->presence_penalty);
    }
    return s->penalised;
}

static struct candidate candidate_of(int index, float logit) {
    return (struct candidate){.index = index, .logit = logit};
}

/* The k largest finite logits, in descending order, in one pass. The list is kept sorted: once it is full, few logits
   get past the smallest in it. */
static void take_largest(struct sampler *s, const float *logits, int k) {
    enum { BLOCK = 32 };
    struct candidate *list = s->candidates;
    int n = 0;
    for (int start = 0; start < s->n_logits; start += BLOCK) {
        int end = s->n_logits - start < BLOCK ? s->n_logits : start + BLOCK;
        if (n == k && end == start + BLOCK) {
            int larger = 0;  // a loop without a branch, so that the compiler makes it vectors
            for (int i = 0; i < BLOCK; i++) larger |= logits[start + i] > list[k - 1].logit;
            if (!larger) continue;
        }
        for (int i = start; i < end; i++) {
            float x = logits[i];
            if (!isfinite(x) || (n == k && !(x > list[k - 1].logit))) continue;
            int low = 0, high = n;  // the first place whose logit is smaller
            while (low < high) {
                int middle = (low + high) / 2;
                if (list[middle].logit >= x) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            if (n < k) n++;
            memmove(list + low + 1, list + low, (size_t)(n - 1 - low) * sizeof *list);
            list[low] = candidate_of(i, x);
        }
    }
    s->n_candidates = n;
}

/* Stable, ascending by key. */
static void sort_by_key(struct candidate *list, struct candidate *scratch, int n) {
    for (int shift = 0; shift < 32; shift += 8) {  // four passes: the result ends where it began
        int start[256] = {0};
        for (int i = 0; i < n; i++) start[(list[i].key >> shift) & 255]++;
        int sum = 0;
        for (int b = 0; b < 256; b++) {
            int count = start[b];
            start[b] = sum;
            sum += count;
        }
        for (int i = 0; i < n; i++) scratch[start[(list[i].key >> shift) & 255]++] = list[i];
        struct candidate *swap = list;
        list = scratch;
        scratch = swap;
    }
}

/* Keys that ascend with the float; + 0.0f makes -0 and 0 one. */
static uint32_t ascending_key(float x) {
    union {
        float f;
        uint32_t u;
    } v = {.f = x + 0.0f};
    return v.u & 0x80000000u ? ~v.u : v.u | 0x80000000u;
}

static void sort_by_logit(struct sampler *s) {
    for (int i = 0; i < s->n_candidates; i++) s->candidates[i].key = ~ascending_key(s->candidates[i].logit);
    sort_by_key(s->candidates, s->scratch, s->n_candidates);
}

static void sort_all(struct sampler *s, const float *logits) {
    int n = 0;
    for (int i = 0; i < s->n_logits; i++)
        if (isfinite(logits[i])) s->candidates[n++] = candidate_of(i, logits[i]);
    s->n_candidates = n;
    sort_by_logit(s);
}

static void softmax(struct sampler *s) {
    struct candidate *c = s->candidates;
    float largest = c[0].logit, sum = 0;
    for (int i = 0; i < s->n_candidates; i++) {
        c[i].p = exp_float(c[i].logit - largest);
        sum += c[i].p;
    }
    for (int i = 0; i < s->n_candidates; i++) c[i].p /= sum;
}

/* Locally typical sampling: the candidates whose surprise is nearest to the entropy, up to typical_p of the sum. */
static void keep_typical(struct sampler *s) {
    struct candidate *c = s->candidates;
    float p = s->settings.typical_p;
    if (p <= 0 || p >= 1) return;
    softmax(s);
    float entropy = 0;
    for (int i = 0; i < s->n_candidates; i++)
        if (c[i].p > 0) entropy += -c[i].p * log_float(c[i].p);
    for (int i = 0; i < s->n_candidates; i++) c[i].key = ascending_key(fabsf(-log_float(c[i].p) - entropy));
    sort_by_key(c, s->scratch, s->n_candidates);
    float sum = 0;
    int n = 0;
    while (n < s->n_candidates && !(sum > p)) sum += c[n++].p;
    s->n_candidates = n;
    sort_by_logit(s);
}

static void keep_top_p(struct sampler *s) {
    if (s->settings.top_p >= 1) return;
    softmax(s);
    float sum = 0;
    for (int i = 0; i < s->n_candidates; i++) {
        sum += s->candidates[i].p;
        if (sum >= s->settings.top_p) s->n_candidates = i + 1;
    }
}

static void keep_min_p(struct sampler *s) {
    if (s->settings.min_p <= 0) return;
    float least = s->candidates[0].logit + s->log_min_p;
    int n = 1;
    while (n < s->n_candidates && s->candidates[n].logit >= least) n++;
    s->n_candidates = n;
}

/* ---- chance ---- */

static void mt_seed(struct mt19937 *m, uint32_t seed) {
    m->word[0] = seed;
    for (uint32_t i = 1; i < MT_WORDS; i++) m->word[i] = 1812433253u * (m->word[i - 1] ^ (m->word[i - 1] >> 30)) + i;
    m->next = MT_WORDS;
}

static uint32_t mt_next(struct mt19937 *m) {
    if (m->next == MT_WORDS) {
        for (int i = 0; i < MT_WORDS; i++) {
            uint32_t y = (m->word[i] & 0x80000000u) | (m->word[(i + 1) % MT_WORDS] & 0x7fffffffu);
            m->word[i] = m->word[(i + MT_SHIFT) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        m->next = 0;
    }
    uint32_t y = m->word[m->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* As libstdc++'s discrete_distribution<int>: 64 random bits, the low word first, against the running sums. */
static int draw(struct sampler *s) {
    const struct candidate *c = s->candidates;
    if (s->n_candidates == 1) return 0;  // and no random number is used
    double total = 0;
    for (int i = 0; i < s->n_candidates; i++) total += (double)c[i].p;
    double low = mt_next(&s->random), high = mt_next(&s->random);
    double u = (low + high * 4294967296.0) / 18446744073709551616.0;
    if (u >= 1) u = nextafter(1, 0);
    double sum = 0;
    for (int i = 0; i < s->n_candidates - 1; i++) {
        sum += (double)c[i].p / total;
        if (sum >= u) return i;
    }
    return s->n_candidates - 1;
}
