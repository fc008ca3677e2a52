#include "audio/load.h"

#include <errno.h>
#include <math.h>
#include <sndfile.h>
#include <soxr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

enum { BLOCK_FRAMES = 4096, MAX_CHANNELS = 64, MIN_RATE = 1000, MAX_RATE = 768000 };

static const float full_scale = 0.9998f;

static status read_mono(const char *path, SNDFILE *file, const SF_INFO *info, double max_seconds, struct sound *out);
static status resample(const char *path, int rate_hz, struct sound *s);

static status too_long(const char *path, double seconds, double max_seconds) {
    if (seconds >= 120)
        return fail(UTTER_LIMIT, "%s is %.0f minutes long; at most %.0f s are taken", path, seconds / 60, max_seconds);
    return fail(UTTER_LIMIT, "%s is %.1f s long; at most %.0f s are taken", path, seconds, max_seconds);
}

static status check(const char *path, const SF_INFO *info, double max_seconds) {
    if (info->channels < 1 || info->channels > MAX_CHANNELS)
        return fail(UTTER_UNSUPPORTED, "%s has %d channels; utter reads up to %d", path, info->channels, MAX_CHANNELS);
    if (info->samplerate < MIN_RATE || info->samplerate > MAX_RATE)
        return fail(UTTER_UNSUPPORTED, "%s has %d samples a second; utter reads %d to %d", path, info->samplerate,
                    MIN_RATE, MAX_RATE);
    if (info->frames <= 0) return fail(UTTER_INVALID, "%s holds no sound: it is 0 s long", path);
    double seconds = (double)info->frames / info->samplerate;
    return info->frames < SF_COUNT_MAX && seconds > max_seconds ? too_long(path, seconds, max_seconds) : UTTER_OK;
}

status sound_load(const char *path, int rate_hz, double max_seconds, struct sound *out) {
    *out = (struct sound){0};
    struct stat facts;
    if (stat(path, &facts) != 0) return fail(UTTER_IO, "cannot open %s: %s", path, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return fail(UTTER_INVALID, "%s is no file; give a recording", path);
    SF_INFO info = {0};
    SNDFILE *file = sf_open(path, SFM_READ, &info);
    if (!file)
        return fail(UTTER_FORMAT, "%s cannot be read as sound: %s; give WAV, FLAC, Ogg, Opus or MP3", path,
                    sf_strerror(NULL));
    status s = check(path, &info, max_seconds);
    if (s == UTTER_OK) s = read_mono(path, file, &info, max_seconds, out);
    sf_close(file);
    if (s == UTTER_OK) s = resample(path, rate_hz, out);
    if (s != UTTER_OK) sound_free(out);
    return s;
}

void sound_free(struct sound *s) {
    free_aligned(s->samples);
    *s = (struct sound){0};
}

/* Adds a block's clipped samples; `run`: how many stand at full scale in a row, for each channel. */
static void count_clipped(const float *block, sf_count_t n, int n_channels, int64_t *run, int64_t *n_clipped) {
    for (sf_count_t i = 0; i < n; i++)
        for (int c = 0; c < n_channels; c++) {
            if (fabsf(block[i * n_channels + c]) < full_scale) {
                run[c] = 0;
                continue;
            }
            run[c]++;
            *n_clipped += run[c] == 1 ? 0 : run[c] == 2 ? 2 : 1;
        }
}

static status take_block(const char *path, const float *block, sf_count_t n, struct sound *out) {
    for (sf_count_t i = 0; i < n; i++) {
        float sum = 0;
        for (int c = 0; c < out->n_channels; c++) sum += block[i * out->n_channels + c];
        if (!isfinite(sum))
            return fail(UTTER_FORMAT, "%s holds samples that are not numbers (at %.2f s)", path,
                        (double)(out->n + i) / out->rate_hz);
        out->samples[out->n + i] = sum / (float)out->n_channels;
    }
    out->n += n;
    return UTTER_OK;
}

/* All of the file at its own rate. What a header says of the length is not trusted. */
static status read_mono(const char *path, SNDFILE *file, const SF_INFO *info, double max_seconds, struct sound *out) {
    int64_t most = (int64_t)(max_seconds * info->samplerate) + 1, room = info->frames < most ? info->frames : most;
    int64_t run[MAX_CHANNELS] = {0};
    float *block = NULL;
    out->rate_hz = out->file_rate_hz = info->samplerate;
    out->n_channels = info->channels;
    status s = alloc_for(&block, (size_t)BLOCK_FRAMES * (size_t)info->channels, sizeof *block, path);
    if (s == UTTER_OK) s = alloc_for(&out->samples, (size_t)room, sizeof *out->samples, path);
    while (s == UTTER_OK && out->n < room) {
        sf_count_t wanted = room - out->n < BLOCK_FRAMES ? room - out->n : BLOCK_FRAMES;
        sf_count_t n = sf_readf_float(file, block, wanted);
        if (n <= 0) break;
        count_clipped(block, n, info->channels, run, &out->n_clipped);
        s = take_block(path, block, n, out);
    }
    free_aligned(block);
    if (s == UTTER_OK && sf_error(file) != SF_ERR_NO_ERROR)
        s = fail(UTTER_FORMAT, "%s is damaged: %s", path, sf_strerror(file));
    if (s == UTTER_OK && out->n == 0) s = fail(UTTER_INVALID, "%s holds no sound: it is 0 s long", path);
    if (s == UTTER_OK && out->n >= most) s = too_long(path, (double)out->n / info->samplerate, max_seconds);
    return s;
}

static status resample(const char *path, int rate_hz, struct sound *s) {
    if (s->rate_hz == rate_hz) return UTTER_OK;
    double ratio = (double)rate_hz / s->rate_hz;
    int64_t n = (int64_t)ceil((double)s->n * ratio);
    float *samples;
    TRY(alloc_for(&samples, (size_t)n, sizeof *samples, path));
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    size_t n_done = 0;
    soxr_error_t error = soxr_oneshot(s->rate_hz, rate_hz, 1, s->samples, (size_t)s->n, NULL, samples, (size_t)n,
                                      &n_done, NULL, &quality, NULL);
    if (error) {
        free_aligned(samples);
        return fail(UTTER_INTERNAL, "%s cannot be resampled from %d Hz to %d: %s", path, s->rate_hz, rate_hz, error);
    }
    free_aligned(s->samples);  // what the filter did not reach stays silent
    s->samples = samples;
    s->n = n;
    s->rate_hz = rate_hz;
    return UTTER_OK;
}
