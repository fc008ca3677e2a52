#include "engine/clone.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "codec/encoder.h"
#include "engine/engine.h"
#include "models/store.h"

enum { FRAME = CLONE_RATE_HZ / 50, MARGIN = CLONE_RATE_HZ / 10, MAX_NAME_BYTES = 128 };

static const double silence_db = -60;       // below full scale: a recording with nothing louder holds no speech
static const double below_loudest_db = 40;  // what is quieter than this at both ends is cut off
static const double quiet_db = -100;        // of digital silence

/* ---- the clip ---- */

static double level_db(const float *pcm, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)pcm[i] * pcm[i];
    double db = 10 * log10(sum / (double)n + 1e-12);
    return db < quiet_db ? quiet_db : db;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Levels of frames, of 20 ms each, sorted: what a tenth of them are below and above. */
static status measure(const double *levels, int64_t n, double *low, double *high) {
    double *sorted;
    TRY(alloc_for(&sorted, (size_t)n, sizeof *sorted, "a recording"));
    memcpy(sorted, levels, (size_t)n * sizeof *levels);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    *low = sorted[n / 10];
    *high = sorted[n - 1 - n / 10];
    free_aligned(sorted);
    return UTTER_OK;
}

/* Speech begins and ends where a frame stands out of the noise, or would be heard beside the loudest one. */
static void cut_ends(const double *levels, int64_t n_frames, double noise_db, struct clip *c, const float *pcm,
                     int64_t n) {
    double loudest = quiet_db;
    for (int64_t i = 0; i < n_frames; i++) loudest = fmax(loudest, levels[i]);
    double threshold = fmax(loudest - below_loudest_db, fmin(noise_db + 6, loudest - 20));
    int64_t first = 0, last = n_frames - 1;
    while (first < last && levels[first] < threshold) first++;
    while (last > first && levels[last] < threshold) last--;
    int64_t begin = first * FRAME - MARGIN, end = (last + 1) * FRAME + MARGIN;
    if (begin < 0) begin = 0;
    if (end > n || last == n_frames - 1) end = n;
    c->pcm = pcm + begin;
    c->n = end - begin;
    c->seconds = (double)c->n / CLONE_RATE_HZ;
}

status clip_find(const char *label, const float *pcm, int64_t n, struct clip *out) {
    *out = (struct clip){0};
    int64_t n_frames = n / FRAME;
    if (n_frames < 1)
        return fail(UTTER_INVALID,
                    "%s is %.2f s long, too short to hear a voice in; 3 to 15 s of one person speaking are best", label,
                    (double)n / CLONE_RATE_HZ);
    double *levels, low, high, loudest = quiet_db;
    TRY(alloc_for(&levels, (size_t)n_frames, sizeof *levels, "a recording"));
    for (int64_t i = 0; i < n_frames; i++) {
        levels[i] = level_db(pcm + i * FRAME, FRAME);
        loudest = fmax(loudest, levels[i]);
    }
    status s = measure(levels, n_frames, &low, &high);
    if (s == UTTER_OK && loudest < silence_db)
        s = fail(UTTER_INVALID, "%s holds nothing but silence (%.0f dB at most); check the microphone", label, loudest);
    if (s == UTTER_OK) {
        cut_ends(levels, n_frames, low, out, pcm, n);
        out->snr_db = high - low;
    }
    if (s == UTTER_OK && out->seconds > CLONE_MAX_SECONDS)
        s = fail(UTTER_LIMIT, "%s has %.1f s of sound; at most %d s can be encoded, and 3 to 15 s are best: cut it",
                 label, out->seconds, CLONE_MAX_SECONDS);
    free_aligned(levels);
    return s;
}

PRINTF_LIKE(3, 4)
static void say(clip_warn_fn *warn, void *user, const char *format, ...) {
    va_list arguments;
    char sentence[400];
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    warn(user, sentence);
}

void clip_judge(const struct clip *c, int64_t n_clipped, const char *transcript, clip_warn_fn *warn, void *user) {
    if (c->seconds < 3)
        say(warn, user, "%.1f s of speech are little: the voice will be less like the speaker; 3 to 15 s are best",
            c->seconds);
    if (c->seconds > 15)
        say(warn, user,
            "%.1f s of speech are more than is of use: they leave less room for what is to be said; 3 to 15 s "
            "are best",
            c->seconds);
    if (c->snr_db < 20)
        say(warn, user,
            "the recording is noisy (about %.0f dB between speech and what is behind it), and the voice will "
            "have that noise; a quiet room and a near microphone help",
            c->snr_db);
    if (n_clipped >= 8)
        say(warn, user,
            "the recording is too loud: %lld samples are clipped, which is heard in the voice; record again "
            "with less gain",
            (long long)n_clipped);
    double symbols = count_symbols(transcript), rate = symbols / c->seconds;
    if (rate > 30 || rate < 4)
        say(warn, user,
            "the transcript has %.0f letters for %.1f s of speech, which is hardly what was said; it has to be "
            "that of the recording, word for word",
            symbols, c->seconds);
}

/* ---- encoding ---- */

/* Codes mean something to the codec alone that the encoder belongs to. */
static status check_codec(const char *name, const struct codec_encoder *encoder) {
    struct str path = {0}, ignored = {0};
    struct codec *codec = NULL;
    status s = store_resolve(name, &path, &ignored);
    if (s == UTTER_OK) s = open_codec(str_text(&path), &codec);
    if (s == UTTER_OK && (codec->config.n_codes != encoder->config.n_codes || strcasecmp(codec->name, encoder->name)))
        s = fail(UTTER_INVALID, "%s is the encoder of %s with %d codes, and %s is %s with %d: give the codec's own",
                 encoder->label, encoder->name, encoder->config.n_codes, codec->label, codec->name,
                 codec->config.n_codes);
    codec_free(codec);
    str_free(&path);
    str_free(&ignored);
    return s;
}

status clip_encode(const struct clip *c, const char *encoder_path, const utter_options *options, int32_t **codes,
                   int *n_codes, char **codec) {
    struct gguf *g;
    struct codec_encoder *encoder = NULL;
    struct device *device = NULL;
    struct log silent = {0};
    *codes = NULL;
    *codec = NULL;
    TRY(gguf_open(encoder_path, &g));
    TRY(codec_encoder_load(g, &encoder));
    utter_options on_cpu = *options;
    on_cpu.device = "cpu";
    status s = options->codec ? check_codec(options->codec, encoder) : UTTER_OK;
    if (s == UTTER_OK) s = open_device(&on_cpu, &silent, &device);
    if (s == UTTER_OK) s = device->ops->load_encoder(device, encoder);
    if (s == UTTER_OK) s = alloc_for(codes, (size_t)(c->n / encoder->config.hop) + 1, sizeof **codes, "a voice");
    if (s == UTTER_OK) s = device->ops->analyse(device, c->pcm, c->n, *codes, n_codes, NO_DEADLINE);
    if (s == UTTER_OK) {
        *codec = strdup(encoder->name);
        if (!*codec) s = fail_memory(strlen(encoder->name), "a voice");
    }
    if (device) device->ops->close(device);
    codec_encoder_free(encoder);
    if (s != UTTER_OK) {
        free_aligned(*codes);
        *codes = NULL;
    }
    return s;
}

/* ---- the file ---- */

static json_t *object_of(const struct voice_draft *v) {
    json_t *codes = json_array();
    for (int i = 0; codes && i < v->n_codes; i++) json_array_append_new(codes, json_integer(v->codes[i]));
    return json_pack("{s:s, s:i, s:s, s:s*, s:s*, s:s, s:s, s:o}", "format", "utter-voice", "version", 1, "name",
                     v->name, "language", v->language, "note", v->note, "text", v->text, "codec", v->codec, "codes",
                     codes);
}

static int write_part(const char *data, size_t n, void *user) { return file_write(user, data, n) == UTTER_OK ? 0 : -1; }

status voice_write(const struct voice_draft *v, const char *path) {
    if (!*v->name || strlen(v->name) > MAX_NAME_BYTES)
        return fail(UTTER_INVALID, "a voice's name has 1 to %d bytes; this one has %zu", MAX_NAME_BYTES,
                    strlen(v->name));
    json_t *object = object_of(v);
    if (!object) return fail(UTTER_INVALID, "the voice's name, note or transcript is not a text in UTF-8");
    struct file_writer w = {0};
    status s = file_create(path, &w);
    if (s == UTTER_OK && json_dump_callback(object, write_part, &w, 0) != 0) s = UTTER_IO;
    if (s == UTTER_OK) s = file_write(&w, "\n", 1);
    if (s == UTTER_OK) s = file_commit(&w);
    file_abandon(&w);
    json_decref(object);
    return s;
}
