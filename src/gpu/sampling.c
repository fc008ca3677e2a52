#include <math.h>
#include <string.h>

#include "backbone/sampler_state.h"
#include "gpu/internal.h"

_Static_assert((int)MT_WORDS_DEVICE == (int)MT_WORDS && (int)HISTORY_DEVICE == (int)SAMPLER_HISTORY,
               "kernels and sampler remember the same");

void gpu_sequence_of_sampler(const struct sampler *s, struct sequence *out) {
    const struct sampling *set = &s->settings;
    out->temperature = set->temperature;
    out->top_k = set->top_k > 0 ? set->top_k : 0;
    out->typical_p = set->typical_p;
    out->top_p = set->top_p;
    out->has_min_p = set->min_p > 0;
    out->log_min_p = s->log_min_p;
    out->has_penalties = s->penalties;
    out->repeat_penalty = set->repeat_penalty;
    out->frequency_penalty = set->frequency_penalty;
    out->presence_penalty = set->presence_penalty;
    out->n_drawn = s->n_drawn;
    memcpy(out->history, s->history, sizeof out->history);
    out->random_next = s->random.next;
    memcpy(out->random, s->random.word, sizeof out->random);
}

void gpu_sampler_of_sequence(const struct sequence *s, struct sampler *out) {
    out->n_drawn = s->n_drawn;
    memcpy(out->history, s->history, sizeof out->history);
    out->random.next = s->random_next;
    memcpy(out->random.word, s->random, sizeof out->random.word);
}
