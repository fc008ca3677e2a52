/* Features of the semantic branch, as transformers' SeamlessM4TFeatureExtractor computes them: 80 log-mel bins every
   10 ms, normalised over the recording, two rows a frame. In double, as there; kissfft is built for floats, so the
   transform is here. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/encoder_parts.h"

enum {
    WINDOW = 400,  // samples, 25 ms
    STEP = 160,
    N_FFT = 512,
    FFT_BITS = 9,
    N_BINS = N_FFT / 2 + 1,
    N_MELS = ENCODER_FEATURES / 2,
};

static const double pi = 3.14159265358979323846;

struct number {  // a complex one
    double re, im;
};

struct tables {
    double window[WINDOW];
    struct number turns[N_FFT / 2];  // exp(-2 pi i k / N_FFT)
    int order[N_FFT];                // index with its bits reversed
    double mel[N_MELS][N_BINS];
};

static double mel_of(double hz) { return 1127 * log(1 + hz / 700); }

/* Kaldi's triangles, in mel, from 20 Hz to half the rate. */
static void fill_mel(struct tables *t) {
    double low = mel_of(20), step = (mel_of(ENCODER_SAMPLE_RATE / 2.0) - low) / (N_MELS + 1);
    for (int m = 0; m < N_MELS; m++) {
        double left = low + m * step, centre = left + step, right = centre + step;
        for (int k = 0; k < N_BINS; k++) {
            double at = mel_of((double)k * ENCODER_SAMPLE_RATE / N_FFT);
            double rise = (at - left) / (centre - left), fall = (right - at) / (right - centre);
            t->mel[m][k] = fmax(0, fmin(rise, fall));
        }
    }
}

static void fill_tables(struct tables *t) {
    for (int i = 0; i < WINDOW; i++) t->window[i] = pow(0.5 - 0.5 * cos(2 * pi * i / (WINDOW - 1)), 0.85);
    for (int k = 0; k < N_FFT / 2; k++)
        t->turns[k] = (struct number){cos(2 * pi * k / N_FFT), -sin(2 * pi * k / N_FFT)};
    for (int i = 0; i < N_FFT; i++) {
        int r = 0;
        for (int b = 0; b < FFT_BITS; b++) r |= (i >> b & 1) << (FFT_BITS - 1 - b);
        t->order[i] = r;
    }
    fill_mel(t);
}

/* Decimation in time; x is in bit-reversed order. */
static void transform(const struct tables *t, struct number x[N_FFT]) {
    for (int half = 1; half < N_FFT; half *= 2)
        for (int at = 0; at < N_FFT; at += 2 * half)
            for (int k = 0; k < half; k++) {
                const struct number turn = t->turns[k * (N_FFT / 2 / half)], a = x[at + k], c = x[at + half + k];
                const struct number b = {c.re * turn.re - c.im * turn.im, c.re * turn.im + c.im * turn.re};
                x[at + k] = (struct number){a.re + b.re, a.im + b.im};
                x[at + half + k] = (struct number){a.re - b.re, a.im - b.im};
            }
}

/* pcm[WINDOW] -> row[N_MELS] */
static void log_mel(const struct tables *t, const float *pcm, float *row) {
    struct number x[N_FFT];
    double samples[WINDOW], mean = 0, power[N_BINS];
    for (int i = 0; i < WINDOW; i++) mean += samples[i] = (double)pcm[i] * 32768;
    mean /= WINDOW;
    for (int i = 0; i < WINDOW; i++) samples[i] -= mean;
    memset(x, 0, sizeof x);
    for (int i = 0; i < WINDOW; i++) {
        double before = i ? samples[i - 1] : samples[0];
        x[t->order[i]].re = (samples[i] - 0.97 * before) * t->window[i];
    }
    transform(t, x);
    for (int k = 0; k < N_BINS; k++) {
        double re = (float)x[k].re, im = (float)x[k].im;  // kept in single precision there
        power[k] = re * re + im * im;
    }
    for (int m = 0; m < N_MELS; m++) {
        double sum = 0;
        for (int k = 0; k < N_BINS; k++) sum += t->mel[m][k] * power[k];
        row[m] = (float)log(fmax(sum, 1.192092955078125e-07));
    }
}

static void normalise(float *rows, int64_t n) {
    for (int m = 0; m < N_MELS; m++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) sum += rows[i * N_MELS + m];
        double mean = sum / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double d = rows[i * N_MELS + m] - mean;
            squares += d * d;
        }
        double scale = 1 / sqrt(squares / (double)(n - 1) + 1e-7);
        for (int64_t i = 0; i < n; i++) rows[i * N_MELS + m] = (float)((rows[i * N_MELS + m] - mean) * scale);
    }
}

status encoder_features(const struct cpu_encoder *e, const float *pcm, int64_t n_frames, float *out) {
    struct tables *t;
    TRY(alloc_for(&t, 1, sizeof *t, "the features"));
    fill_tables(t);
    for (int64_t i = 0; i < 2 * n_frames; i++) log_mel(t, pcm + i * STEP, out + i * N_MELS);
    free_aligned(t);
    encoder_show(e, "fbank", 0, out, 2 * n_frames, N_MELS);
    normalise(out, 2 * n_frames);
    encoder_show(e, "features", 0, out, n_frames, ENCODER_FEATURES);
    return encoder_in_time(e);
}
