#include "engine/clone.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "codec/encoder.h"
#include "engine/engine.h"
#include "engine/voice_folder.h"
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

struct voice_encoder {
    struct codec_encoder *encoder;
    struct device *device;
};

status voice_encoder_open(const char *encoder, const utter_options *options, struct voice_encoder **out) {
    struct gguf *g;
    struct log silent = {0};
    *out = NULL;
    struct voice_encoder *c = calloc(1, sizeof *c);
    if (!c) return fail_memory(sizeof *c, "an encoder");
    utter_options on_cpu = *options;
    on_cpu.device = "cpu";
    status s = gguf_open(encoder, &g);
    if (s == UTTER_OK) s = codec_encoder_load(g, &c->encoder);
    if (s == UTTER_OK && options->codec) s = check_codec(options->codec, c->encoder);
    if (s == UTTER_OK) s = open_device(&on_cpu, &silent, &c->device);
    if (s == UTTER_OK) s = c->device->ops->load_encoder(c->device, c->encoder);
    if (s != UTTER_OK) {
        voice_encoder_close(c);
        return s;
    }
    *out = c;
    return UTTER_OK;
}

void voice_encoder_close(struct voice_encoder *c) {
    if (!c) return;
    if (c->device) c->device->ops->close(c->device);
    codec_encoder_free(c->encoder);
    free(c);
}

const char *voice_encoder_codec(const struct voice_encoder *c) { return c->encoder->name; }

/* Says how long it has taken until it is told to stop. */
struct ticker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, running;
    voice_encoder_progress *progress;
    void *user;
};

static void *tick(void *argument) {
    struct ticker *t = argument;
    int64_t since = clock_ns();
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 500000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&t->changed, &t->lock, &until);
        if (!t->stop) t->progress(t->user, (double)(clock_ns() - since) * 1e-9);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void ticker_start(struct ticker *t) {
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->running = t->progress && pthread_create(&t->thread, NULL, tick, t) == 0;
}

static void ticker_stop(struct ticker *t) {
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (t->running) pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}

status voice_encoder_encode(struct voice_encoder *c, const struct clip *clip, voice_encoder_progress *progress,
                            void *user, int32_t **codes, int *n_codes) {
    struct ticker ticker = {.progress = progress, .user = user};
    TRY(alloc_for(codes, (size_t)(clip->n / c->encoder->config.hop) + 1, sizeof **codes, "a voice"));
    ticker_start(&ticker);
    status s = c->device->ops->analyse(c->device, clip->pcm, clip->n, *codes, n_codes, NO_DEADLINE);
    ticker_stop(&ticker);
    if (s == UTTER_OK) return UTTER_OK;
    free_aligned(*codes);
    *codes = NULL;
    return s;
}

status clip_encode(const struct clip *c, const char *encoder, const utter_options *options, int32_t **codes,
                   int *n_codes, char **codec) {
    struct voice_encoder *at_work;
    *codes = NULL;
    *codec = NULL;
    TRY(voice_encoder_open(encoder, options, &at_work));
    status s = voice_encoder_encode(at_work, c, NULL, NULL, codes, n_codes);
    if (s == UTTER_OK && !(*codec = strdup(voice_encoder_codec(at_work)))) {
        s = fail_memory(64, "a voice");
        free_aligned(*codes);
        *codes = NULL;
    }
    voice_encoder_close(at_work);
    return s;
}

/* ---- which encoder ---- */

static bool is_encoder_name(const char *name) {
    size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, ".gguf") == 0 && strstr(name, "encoder");
}

/* The first encoder beside a file, by name; none: `out` stays empty. */
static void encoder_beside(const char *file, struct str *out) {
    const char *slash = strrchr(file, '/');
    struct str folder = {0};
    if (slash)
        str_append(&folder, file, slash == file ? 1 : (size_t)(slash - file));
    else
        str_putc(&folder, '.');
    DIR *d = opendir(str_text(&folder));
    char best[256] = "";
    for (struct dirent *e; d && (e = readdir(d));)
        if (is_encoder_name(e->d_name) && (!*best || strcmp(e->d_name, best) < 0)) strcpy(best, e->d_name);
    if (d) closedir(d);
    if (*best) str_printf(out, "%s/%s", str_text(&folder), best);
    str_free(&folder);
}

/* The largest of those that have been pulled. */
static void encoder_in_store(struct str *out) {
    struct store store;
    struct store_model *list = NULL;
    int n = 0;
    int64_t most = 0;
    if (store_open(NULL, &store) != UTTER_OK) return;
    if (store_list(&store, &list, &n) == UTTER_OK)
        for (int i = 0; i < n; i++) {
            if (list[i].kind != MODEL_ENCODER || list[i].n_bytes <= most) continue;
            most = list[i].n_bytes;
            str_clear(out);
            store_path(&store, list[i].name, list[i].file, out);
        }
    store_list_free(list, n);
    store_close(&store);
}

status encoder_find(const char *name, const char *codec, struct str *out) {
    struct str other = {0};
    status s = UTTER_OK;
    if (name) {
        s = store_resolve(name, out, &other);
    } else {
        if (codec) encoder_beside(codec, out);
        if (out->len == 0 && voices_folder(&other) == UTTER_OK) encoder_beside(other.data, out);
        if (out->len == 0) encoder_in_store(out);
        if (out->len == 0)
            s = fail(UTTER_INVALID,
                     "there is no encoder to make a voice with; utter models pull neucodec-encoder fetches it (or "
                     "distill-neucodec-encoder, a tenth of its size)");
    }
    str_free(&other);
    return s == UTTER_OK ? str_status(out) : s;
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
