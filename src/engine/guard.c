#include "engine/guard.h"

#include <math.h>

enum {
    MIN_RUN = 64,       // codes (1.3 s) that a repetition lasts before it counts; pauses in speech are shorter
    MIN_CYCLES = 4,     // and how often a cycle comes at least
    MIN_EXPECTED = 25,  // texts shorter than half a second may come out as any length
};
#define SHORTEST 0.4      // of the expected length; no one speaks more than twice as fast as they do
#define SILENCE_RMS 3e-4  // -70 dB of full scale

const char *verdict_text(enum verdict v) {
    switch (v) {
        case SPEECH_FINE:
            return "is fine";
        case SPEECH_REPEATS:
            return "repeats itself";
        case SPEECH_ENDLESS:
            return "does not end";
        case SPEECH_SHORT:
            return "ends too soon";
        case SPEECH_SILENT:
            return "is silent";
        case SPEECH_NOT_FINITE:
            return "has values that are no numbers";
    }
    return "is unknown";
}

void guard_start(struct guard *g, int expected, int budget) {
    *g = (struct guard){.expected = expected, .budget = budget};
}

enum verdict guard_code(struct guard *g, int32_t code, int *good) {
    enum verdict v = SPEECH_FINE;
    for (int period = 1; period <= GUARD_MAX_PERIOD && period <= g->n; period++) {
        bool same = g->recent[(g->n - period) % GUARD_MAX_PERIOD] == code;
        g->run[period] = same ? g->run[period] + 1 : 0;
        int enough = period * MIN_CYCLES > MIN_RUN ? period * MIN_CYCLES : MIN_RUN;
        if (v == SPEECH_FINE && g->run[period] >= enough) {
            v = SPEECH_REPEATS;
            *good = g->n + 1 - g->run[period];
        }
    }
    g->recent[g->n % GUARD_MAX_PERIOD] = code;
    g->n++;
    if (v == SPEECH_FINE && g->n >= g->budget) {
        v = SPEECH_ENDLESS;
        *good = g->n;
    }
    return v;
}

enum verdict guard_end(const struct guard *g) {
    if (g->n == 0) return SPEECH_SHORT;
    return g->expected >= MIN_EXPECTED && g->n < g->expected * SHORTEST ? SPEECH_SHORT : SPEECH_FINE;
}

enum verdict guard_sound(const struct guard *g, const float *pcm, int64_t n) {
    enum { SUMS = 8 };  // side by side, so that none waits for the one before
    double sums[SUMS] = {0}, sum = 0;
    int64_t whole = n - n % SUMS;
    for (int64_t i = 0; i < whole; i += SUMS)
        for (int k = 0; k < SUMS; k++) sums[k] += (double)pcm[i + k] * pcm[i + k];
    for (int64_t i = whole; i < n; i++) sum += (double)pcm[i] * pcm[i];
    for (int k = 0; k < SUMS; k++) sum += sums[k];
    if (!isfinite(sum)) return SPEECH_NOT_FINITE;
    if (n > 0 && g->expected >= MIN_EXPECTED && sqrt(sum / (double)n) < SILENCE_RMS) return SPEECH_SILENT;
    return SPEECH_FINE;
}
