#include "book/render.h"

#include <ebur128.h>
#include <math.h>
#include <stdlib.h>

#include "audio/tempo.h"

#define MAX_PEAK_DBTP -1.0
#define QUIET 0.004f       // peak of what counts as silence at the edges: -48 dBFS
#define LEAD_S 0.03        // kept before the first sound
#define TAIL_S 0.08        // and after the last
#define FADE_S 0.01        // where an edge is cut
#define FIRST_PAUSE_S 0.5  // before the first word of a file
#define LAST_PAUSE_S 1.0   // behind its last

enum { AT_ONCE = 4096 };

// ---- units in order ----

// The part of samples[n] to keep.
static void trim(const struct rendering *r, float *samples, int64_t n, int64_t *from, int64_t *to) {
    int64_t first = 0, last = n;
    while (first < n && fabsf(samples[first]) < QUIET) first++;
    while (last > first && fabsf(samples[last - 1]) < QUIET) last--;
    *from = first - (int64_t)(LEAD_S * r->rate_hz);
    *to = last + (int64_t)(TAIL_S * r->rate_hz);
    if (*from < 0) *from = 0;
    if (*to > n) *to = n;
    int64_t fade = (int64_t)(FADE_S * r->rate_hz), length = *to - *from;
    for (int64_t i = 0; i < fade && i < length; i++) {
        float at = (float)i / (float)fade;
        if (*from > 0) samples[*from + i] *= at;
        if (*to < n) samples[*to - 1 - i] *= at;
    }
}

static status silence(const struct rendering *r, double seconds, render_fn *fn, void *user) {
    static const float zeros[AT_ONCE];
    for (int64_t left = (int64_t)(seconds / r->speed * r->rate_hz); left > 0; left -= AT_ONCE)
        TRY(fn(user, zeros, (size_t)(left < AT_ONCE ? left : AT_ONCE)));
    return UTTER_OK;
}

static status louder(float *samples, size_t n, float gain, render_fn *fn, void *user) {
    for (size_t i = 0; i < n; i++) samples[i] *= gain;
    return n > 0 ? fn(user, samples, n) : UTTER_OK;
}

static status pull(struct tempo *tempo, float gain, render_fn *fn, void *user) {
    for (;;) {
        float samples[AT_ONCE];
        size_t n;
        TRY(tempo_pull(tempo, samples, AT_ONCE, &n));
        if (n == 0) return UTTER_OK;
        TRY(louder(samples, n, gain, fn, user));
    }
}

// Each unit by itself, so that its sound does not depend on its neighbours.
static status faster(const struct rendering *r, const float *samples, size_t n, float gain, render_fn *fn, void *user) {
    struct tempo *tempo;
    TRY(tempo_new(r->rate_hz, r->speed, &tempo));
    status s = UTTER_OK;
    for (size_t at = 0; at < n && s == UTTER_OK; at += AT_ONCE) {
        s = tempo_push(tempo, samples + at, n - at < AT_ONCE ? n - at : AT_ONCE);
        if (s == UTTER_OK) s = pull(tempo, gain, fn, user);
    }
    if (s == UTTER_OK) s = tempo_end(tempo);
    if (s == UTTER_OK) s = pull(tempo, gain, fn, user);
    tempo_free(tempo);
    return s;
}

static status unit(const struct rendering *r, int i, float gain, render_fn *fn, void *user) {
    float *samples;
    int64_t n, from, to;
    TRY(spool_read(r->spool, i, &samples, &n));
    if (!samples) return UTTER_OK;
    trim(r, samples, n, &from, &to);
    const size_t count = (size_t)(to - from);
    status s = r->speed == 1 ? louder(samples + from, count, gain, fn, user)
                             : faster(r, samples + from, count, gain, fn, user);
    free(samples);
    return s;
}

status render_chapter(const struct rendering *r, const struct rendered_chapter *chapter, bool alone, render_fn *fn,
                      void *user) {
    bool opens = alone || chapter->first_unit == 0, ends = alone || chapter->end_unit == r->units->n;
    for (int i = chapter->first_unit; i < chapter->end_unit; i++) {
        double pause = boundary_pause_s(r->units->all[i].before);
        if (i == chapter->first_unit && opens) pause = FIRST_PAUSE_S;
        TRY(silence(r, pause - LEAD_S - TAIL_S, fn, user));
        TRY(unit(r, i, (float)chapter->gain, fn, user));
    }
    return ends && chapter->end_unit > chapter->first_unit ? silence(r, LAST_PAUSE_S, fn, user) : UTTER_OK;
}

// ---- loudness ----

struct meter {
    ebur128_state *state;
    int64_t n;
};

static status meter_add(void *user, const float *samples, size_t n) {
    struct meter *m = user;
    m->n += (int64_t)n;
    return ebur128_add_frames_float(m->state, samples, n) == EBUR128_SUCCESS
               ? UTTER_OK
               : fail_memory(n * sizeof *samples, "measuring the loudness");
}

static double true_peak(ebur128_state *state) {
    double peak = 0;
    return ebur128_true_peak(state, 0, &peak) == EBUR128_SUCCESS ? peak : 0;
}

static double gain_for(double loudness, double wanted, double peak) {
    if (!isfinite(loudness)) return 1;
    double gain = pow(10, (wanted - loudness) / 20), most = peak > 0 ? pow(10, MAX_PEAK_DBTP / 20) / peak : gain;
    return gain < most ? gain : most;
}

static void find_units(const struct rendering *r, struct rendered_chapter *chapters) {
    for (int c = 0, at = 0; c < r->b->n_chapters; c++) {
        chapters[c] = (struct rendered_chapter){.first_unit = at, .gain = 1};
        while (at < r->units->n && r->units->all[at].chapter == c) at++;
        chapters[c].end_unit = at;
    }
}

status render_measure(const struct rendering *r, double loudness_lufs, struct rendered_chapter *chapters,
                      double *measured_lufs) {
    const size_t n = (size_t)r->b->n_chapters;
    find_units(r, chapters);
    ebur128_state **states = calloc(n, sizeof(ebur128_state *));
    status s = states ? UTTER_OK : fail_memory(n * sizeof *states, "measuring the loudness");
    int64_t at = 0;
    for (size_t i = 0; i < n && s == UTTER_OK; i++) {
        // of books of many hours: a histogram has a size that does not grow
        states[i] = ebur128_init(1, (unsigned long)r->rate_hz,
                                 EBUR128_MODE_I | EBUR128_MODE_TRUE_PEAK | EBUR128_MODE_HISTOGRAM);
        struct meter m = {.state = states[i]};
        s = states[i] ? render_chapter(r, &chapters[i], false, meter_add, &m)
                      : fail_memory(1, "measuring the loudness");
        chapters[i].first_sample = at;
        chapters[i].n_samples = m.n;
        at += m.n;
    }
    double all = NAN;
    if (s == UTTER_OK) ebur128_loudness_global_multiple(states, n, &all);
    for (size_t i = 0; i < n && s == UTTER_OK && !isnan(loudness_lufs); i++) {
        double loudness = NAN;
        ebur128_loudness_global(states[i], &loudness);
        if (!isfinite(loudness)) loudness = all;  // too short to be measured by itself
        chapters[i].gain = gain_for(loudness, loudness_lufs, true_peak(states[i]));
    }
    for (size_t i = 0; states && i < n; i++)
        if (states[i]) ebur128_destroy(&states[i]);
    free(states);
    *measured_lufs = isfinite(all) ? all : NAN;
    return s;
}
