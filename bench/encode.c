/* What encoding costs, and how near to the original it stays: for each format the processor's time for the whole, the
   rate, and the signal over the error in dB; and the noise over what the ear lets pass in dB, the mean of all frames.
   bench_encode SECONDS FILE...   that many seconds of each file, mono; the mean of the files */
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audio/encode.h"
#include "audio/load.h"
#include "audio/memory_file.h"

enum { RATE = 24000, FRAME = 1024, BANDS = 24, MAX_LATE = 1600, RUNS = 20, MAX_SECONDS = 60 };

static void check(status s) {
    if (s == UTTER_OK) return;
    fprintf(stderr, "bench_encode: %s\n", fail_message());
    exit(1);
}

static double processor_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

// ---- there and back ----

struct bytes {
    char data[4 << 20];
    size_t n;
};

static status take(void *user, const void *data, size_t n) {
    struct bytes *b = user;
    if (b->n + n > sizeof b->data) return fail(UTTER_LIMIT, "the sound is too long to measure");
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return UTTER_OK;
}

static double encode(enum audio_format f, const float *samples, size_t n, struct bytes *out) {
    struct audio_encoder *e;
    double since = processor_ms();
    out->n = 0;
    check(audio_encoder_new(f, RATE, take, out, &e));
    for (size_t at = 0; at < n; at += RATE / 2)
        check(audio_encoder_push(e, samples + at, n - at < RATE / 2 ? n - at : RATE / 2));
    check(audio_encoder_end(e));
    audio_encoder_free(e);
    return processor_ms() - since;
}

// False: libsndfile does not read the format.
static bool decode(const struct bytes *b, float *samples, size_t capacity) {
    struct memory_file file = {.in = b->data, .len = b->n};
    SF_INFO info = {0};
    SNDFILE *f = memory_file_open(&file, SFM_READ, &info);
    if (!f) return false;
    memset(samples, 0, capacity * sizeof *samples);
    sf_read_float(f, samples, (sf_count_t)capacity);
    sf_close(f);
    return true;
}

// ---- how near ----

static double db(double ratio) { return 10 * log10(fmax(ratio, 1e-12)); }

// By how many samples the decoded sound is late.
static int lateness(const float *wanted, const float *got, size_t n) {
    int best = 0;
    double least = HUGE_VAL;
    for (int late = 0; late < MAX_LATE; late++) {
        double error = 0;
        for (size_t i = 0; i < n; i += 3) error += pow((double)got[i + (size_t)late] - (double)wanted[i], 2);
        if (error < least) least = error, best = late;
    }
    return best;
}

static double signal_over_error(const float *wanted, const float *got, size_t n) {
    double power = 0, error = 1e-12;
    for (size_t i = 0; i < n; i++) {
        power += pow((double)wanted[i], 2);
        error += pow((double)got[i] - (double)wanted[i], 2);
    }
    return db(power / error);
}

// Power in each critical band (Zwicker's formula) of a frame.
static void band_power(const double *frame, double power[BANDS]) {
    static double complex x[FRAME], t[FRAME];
    for (int i = 0; i < FRAME; i++) x[i] = frame[i] * (0.5 - 0.5 * cos(2 * M_PI * (i + 0.5) / FRAME));
    for (int n = FRAME, s = 1; n > 1; n /= 2, s *= 2) {  // Stockham's transform
        for (int p = 0; p < n / 2; p++)
            for (int q = 0; q < s; q++) {
                double complex a = x[q + s * p], b = x[q + s * (p + n / 2)];
                t[q + s * 2 * p] = a + b;
                t[q + s * (2 * p + 1)] = (a - b) * cexp(-2 * M_PI * I * p / n);
            }
        memcpy(x, t, sizeof x);
    }
    for (int b = 0; b < BANDS; b++) power[b] = 0;
    for (int k = 1; k < FRAME / 2; k++) {
        double hz = (double)k * RATE / FRAME, bark = 13 * atan(0.00076 * hz) + 3.5 * atan(pow(hz / 7500, 2));
        power[(int)bark < BANDS ? (int)bark : BANDS - 1] += pow(cabs(x[k]), 2);
    }
}

// The error of a frame over what its sound masks: spread to the bands around (27 dB a band downwards, 10 upwards), 14
// dB below, and never less than a faint noise.
static double noise_over_mask(const float *wanted, const float *got) {
    double sound[FRAME], error[FRAME], p[BANDS], e[BANDS], ratio = 0;
    for (int i = 0; i < FRAME; i++) {
        sound[i] = (double)wanted[i];
        error[i] = (double)got[i] - (double)wanted[i];
    }
    band_power(sound, p);
    band_power(error, e);
    for (int b = 0; b < BANDS; b++) {
        double mask = 1e-6 * FRAME;
        for (int from = 0; from < BANDS; from++)
            mask += p[from] * pow(10, (b >= from ? -10 * (b - from) : 27 * (b - from)) / 10.0 - 1.4);
        ratio += e[b] / mask / BANDS;
    }
    return db(ratio);
}

static double mean_noise_over_mask(const float *wanted, const float *got, size_t n) {
    double sum = 0;
    int n_frames = 0;
    for (size_t at = 0; at + FRAME <= n; at += FRAME / 2) {
        double power = 0;
        for (int i = 0; i < FRAME; i++) power += pow((double)wanted[at + (size_t)i], 2);
        if (power / FRAME < 1e-6) continue;  // a pause
        sum += noise_over_mask(wanted + at, got + at);
        n_frames++;
    }
    return n_frames ? sum / n_frames : 0;
}

// ---- the table ----

static void bench(const char *name, char **paths, int n_paths, double seconds) {
    static struct bytes b;
    enum audio_format f;
    double ms = 0, rate = 0, snr = 0, mask = 0;
    bool decoded = true;
    if (audio_format_parse(name, &f) != UTTER_OK) {
        printf("%-5s %s\n", name, fail_message());
        return;
    }
    for (int i = 0; i < n_paths; i++) {
        struct sound sound;
        check(sound_load(paths[i], RATE, MAX_SECONDS, &sound));
        const float *samples = sound.samples;
        size_t n = (double)sound.n > seconds * RATE ? (size_t)(seconds * RATE) : (size_t)sound.n;
        float *got = calloc(n + MAX_LATE, sizeof *got);
        if (!got) check(fail_memory(n * sizeof *got, "samples"));
        double best = HUGE_VAL;
        for (int run = 0; run < RUNS; run++) best = fmin(best, encode(f, samples, n, &b));
        ms += best / n_paths;
        rate += (double)b.n * 8 / 1000 * RATE / (double)n / n_paths;
        decoded &= decode(&b, got, n + MAX_LATE);
        int late = lateness(samples, got, n);
        snr += signal_over_error(samples, got + late, n) / n_paths;
        mask += mean_noise_over_mask(samples, got + late, n) / n_paths;
        free(got);
        sound_free(&sound);
    }
    printf("%-5s %7.3f ms  %4.0f kbit/s", name, ms, rate);
    printf(decoded ? "  signal over error %5.1f dB, noise over mask %5.1f dB\n" : "\n", snr, mask);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"pcm", "wav", "flac", "mp3", "opus", "aac", "ogg"};
    double seconds = argc > 2 ? atof(argv[1]) : 0;
    if (seconds <= 0) {
        fprintf(stderr, "usage: bench_encode SECONDS FILE...\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) bench(names[i], argv + 2, argc - 2, seconds);
    return 0;
}
