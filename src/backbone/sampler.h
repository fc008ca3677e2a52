/* The sampling chain that llama-cpp-python 0.3.16 runs: penalties, top-k, typical, top-p, min-p, temperature,
   draw by mt19937; the same seed gives the same tokens on any machine. Facts: llama.cpp 4227c9b, llama-sampling.cpp.
   Where llama.cpp leaves the order open (equal logits), the lower index comes first here. */
#ifndef UTTER_BACKBONE_SAMPLER_H
#define UTTER_BACKBONE_SAMPLER_H

#include <stdint.h>

#include "base/status.h"

struct sampling {
    float temperature;                          // 0: greedy
    int top_k;                                  // <= 0: off
    float typical_p;                            // <= 0 or >= 1: off
    float top_p;                                // >= 1: off
    float min_p;                                // <= 0: off
    float repeat_penalty;                       // 1: off
    float frequency_penalty, presence_penalty;  // 0: off
};

/* What NeuTTS asks for: temperature 1.0, top-k 50, top-p 0.95, min-p 0.05, repeat penalty 1.0. */
struct sampling sampling_neutts(void);

enum { SAMPLER_HISTORY = 64 };

struct sampler;  // settings, random state, history, room for the candidates

/* n_logits: how many logits each call will give. */
status sampler_new(const struct sampling *settings, uint32_t seed, int n_logits, struct sampler **out);
void sampler_free(struct sampler *s);

/* Draws an index 0..n-1 from logits[n] (n as given to sampler_new) and remembers it for the penalties. Logits that
   are not finite count as impossible; UTTER_SPEECH when none is finite. */
status sampler_draw(struct sampler *s, const float *logits, int *out);

struct candidate {
    int32_t index;  // of the logit
    float logit;    // after penalties and temperature
    float p;
    uint32_t key;  // what candidates are sorted by
};

/* The *n candidates that the last draw chose from, likeliest first; for tests and debugging. */
const struct candidate *sampler_candidates(const struct sampler *s, int *n);

#endif
