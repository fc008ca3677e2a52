#include "cpu/codec_istft.h"

#include <kissfft/kiss_fftr.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A thread's own room. */
struct lane {
    kiss_fftr_cfg plan;
    float *spectrum;  // [n_fft + 2] real and imaginary parts of n_fft / 2 + 1 bins
    float *norm;      // [hop] sums of squared windows
};

struct istft {
    int n_fft, hop;
    float *window;   // [n_fft], with the transform's 1 / n_fft
    float *squares;  // [n_fft] of the window without it
    int n_lanes;
    struct lane *lanes;  // [n_lanes]
    size_t n_bytes;
};

struct run {
    struct istft *s;
    float *head;
    int64_t n;
    float *pcm;
};

static status lane_make(const struct istft *s, struct lane *lane);
static void transform_frames(void *argument, int thread, int n_threads);
static void add_frames(void *argument, int thread, int n_threads);

status istft_new(const struct codec_config *config, int n_threads, struct istft **out) {
    *out = NULL;
    struct istft *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "the codec's inverse transform");
    s->n_fft = config->n_fft;
    s->hop = config->hop;
    size_t n_fft = (size_t)s->n_fft;
    status result = alloc_for(&s->window, n_fft, sizeof *s->window, "the codec's window");
    if (result == UTTER_OK) result = alloc_for(&s->squares, n_fft, sizeof *s->squares, "the codec's window");
    if (result == UTTER_OK) result = alloc_for(&s->lanes, (size_t)n_threads, sizeof *s->lanes, "the codec's threads");
    for (int i = 0; i < n_threads && result == UTTER_OK; i++) {
        s->n_lanes = i + 1;
        result = lane_make(s, &s->lanes[i]);
    }
    if (result != UTTER_OK) {
        istft_free(s);
        return result;
    }
    codec_istft_window(config, s->window);
    for (size_t i = 0; i < n_fft; i++) {
        s->squares[i] = s->window[i] * s->window[i];
        s->window[i] /= (float)s->n_fft;
    }
    s->n_bytes = sizeof *s + (2 * n_fft + (size_t)n_threads * (2 * n_fft + (size_t)s->hop)) * sizeof(float);
    *out = s;
    return UTTER_OK;
}

void istft_free(struct istft *s) {
    if (!s) return;
    for (int i = 0; i < s->n_lanes; i++) {
        kiss_fftr_free(s->lanes[i].plan);
        free_aligned(s->lanes[i].spectrum);
        free_aligned(s->lanes[i].norm);
    }
    free_aligned(s->lanes);
    free_aligned(s->window);
    free_aligned(s->squares);
    free(s);
}

void istft_run(struct istft *s, struct pool *pool, float *head, int64_t n, float *pcm) {
    struct run run = {.s = s, .head = head, .n = n, .pcm = pcm};
    pool_run(pool, transform_frames, &run);
    pool_run(pool, add_frames, &run);
}

size_t istft_bytes(const struct istft *s) { return s->n_bytes; }

static status lane_make(const struct istft *s, struct lane *lane) {
    TRY(alloc_for(&lane->spectrum, (size_t)s->n_fft + 2, sizeof *lane->spectrum, "the codec's spectrum"));
    TRY(alloc_for(&lane->norm, (size_t)s->hop, sizeof *lane->norm, "the codec's overlap-add"));
    lane->plan = kiss_fftr_alloc(s->n_fft, 1, NULL, NULL);
    return lane->plan ? UTTER_OK : fail_memory((size_t)s->n_fft * 8, "the codec's inverse transform");
}

/* ---- functions of one number, free of branches so that loops over them become vectors ---- */

static inline float bits_to_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t float_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* min(e^x, CODEC_MAX_MAGNITUDE) to about a unit in the last place, and never less than e^-87; NaN stays NaN.
   x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor series. */
static inline float bounded_exp(float x) {
    x = x > 80.0f ? 80.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float to_whole = 0x1.8p23f;  // adding it leaves no room for a fraction
    float shifted = x * 1.44269504f + to_whole;
    float n = shifted - to_whole;
    float r = x - n * 0.693145752f;  // ln 2 in two parts, the first short enough to make n times it exact
    r = r - n * 1.42860677e-6f;
    float e = 1.0f / 5040;
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    e *= bits_to_float((float_to_bits(shifted) + 127) << 23);
    return e > CODEC_MAX_MAGNITUDE ? CODEC_MAX_MAGNITUDE : e;
}

/* e^(i x). Quarter turns are taken off in double, so that large phases stay exact (beyond 1e8 neighbouring floats are
   turns apart, and a phase means nothing); Taylor series do the rest. */
static inline void turn(float x, float *cos_out, float *sin_out) {
    const double to_whole = 0x1.8p52;
    double quarters = (double)x * 0.63661977236758134308;  // of a turn: x / (pi / 2)
    double shifted = quarters + to_whole;
    float a = (float)((quarters - (shifted - to_whole)) * 1.57079632679489661923);  // |a| <= pi / 4
    double fourth = (shifted - to_whole) * 0.25, fraction = fourth - ((fourth + to_whole) - to_whole);
    float q = (float)fraction * 4;  // -2, -1, 0, 1, 2 quarters
    float b = a * a;
    float s = -1.0f / 5040 + b * (1.0f / 362880);
    s = 1.0f / 120 + b * s;
    s = -1.0f / 6 + b * s;
    s = a + a * b * s;
    float c = 1.0f / 40320 - b * (1.0f / 3628800);
    c = -1.0f / 720 + b * c;
    c = 1.0f / 24 + b * c;
    c = -0.5f + b * c;
    c = 1.0f + b * c;
    float q2 = q * q;
    float cos_q = (6 - 7 * q2 + q2 * q2) / 6, sin_q = q * (4 - q2) / 3;  // exact: 1, 0, -1, and 0, +-1, 0
    *cos_out = c * cos_q - s * sin_q;
    *sin_out = s * cos_q + c * sin_q;
}

/* ---- jobs ---- */

/* spectrum: real and imaginary parts of n bins. Two loops, since GCC makes vectors of the second only by itself. */
static void make_spectrum(float *restrict magnitude, const float *restrict phase, float *restrict spectrum, int n) {
    for (int i = 0; i < n; i++) magnitude[i] = bounded_exp(magnitude[i]);
    for (int i = 0; i < n; i++) {
        float c, s;
        turn(phase[i], &c, &s);
        spectrum[2 * i] = magnitude[i] * c;
        spectrum[2 * i + 1] = magnitude[i] * s;
    }
}

/* Each frame's windowed samples, [n_fft], take the place of its magnitudes and phases. */
static void transform_frames(void *argument, int thread, int n_threads) {
    struct run *run = argument;
    struct istft *s = run->s;
    struct lane *lane = &s->lanes[thread];
    int n_bins = s->n_fft / 2 + 1;
    int64_t begin, end;
    pool_share(run->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *row = run->head + t * (s->n_fft + 2);
        make_spectrum(row, row + n_bins, lane->spectrum, n_bins);
        kiss_fftri(lane->plan, (const kiss_fft_cpx *)lane->spectrum, row);
        for (int i = 0; i < s->n_fft; i++) row[i] *= s->window[i];
    }
}

/* Adds up the frames over one hop of the output at a time. */
static void add_frames(void *argument, int thread, int n_threads) {
    struct run *run = argument;
    struct istft *s = run->s;
    float *restrict norm = s->lanes[thread].norm;
    int64_t hop = s->hop, n_fft = s->n_fft, dropped = (n_fft - hop) / 2;
    int64_t begin, end;
    pool_share(run->n, 1, thread, n_threads, &begin, &end);
    for (int64_t block = begin; block < end; block++) {
        float *restrict out = run->pcm + block * hop;
        int64_t first = block * hop + dropped;  // of the block, counted from the start of frame 0
        memset(out, 0, (size_t)hop * sizeof *out);
        memset(norm, 0, (size_t)hop * sizeof *norm);
        int64_t t = first < n_fft ? 0 : (first - n_fft) / hop + 1;
        for (; t < run->n && t * hop < first + hop; t++) {
            int64_t at = t * hop - first;  // of the frame in the block
            int64_t from = at > 0 ? at : 0, to = at + n_fft < hop ? at + n_fft : hop;
            const float *restrict frame = run->head + t * (n_fft + 2);
            for (int64_t i = from; i < to; i++) {
                out[i] += frame[i - at];
                norm[i] += s->squares[i - at];
            }
        }
        for (int64_t i = 0; i < hop; i++) out[i] /= norm[i];
    }
}
