/* What a sampler remembers, for devices that draw themselves: they take the state up before a call and put it back
   after it. */
#ifndef UTTER_BACKBONE_SAMPLER_STATE_H
#define UTTER_BACKBONE_SAMPLER_STATE_H

#include <stdbool.h>

#include "backbone/sampler.h"

enum { MT_WORDS = 624 };

struct mt19937 {
    uint32_t word[MT_WORDS];
    int next;  // MT_WORDS: all are used up
};

struct sampler {
    struct sampling settings;
    bool penalties;
    bool sorts_all;  // top-k is off, or too large for a list kept sorted
    float log_min_p;
    int n_logits;
    struct mt19937 random;

    int32_t history[SAMPLER_HISTORY];  // indices drawn last, as a ring
    int64_t n_drawn;

    float *penalised;              // [n_logits]; NULL when there are no penalties
    struct candidate *candidates;  // [n_candidates] in use, likeliest first
    struct candidate *scratch;     // room to sort in; NULL where nothing is
    int n_candidates;
};

#endif
