/* The parts of speech and the whole, in this process. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/bench.h"
#include "cli/stop.h"

enum { WINDOW = 81, LONG = 500, PIECES = 32, STEPS = 32, BATCH_STEPS = 8, CPU_BATCH = 64, GPU_BATCH = 256 };
enum { CPU_BATCH_DEPTH = 16, GPU_BATCH_DEPTH = 128 };

/* ---- repetitions ---- */

struct measure {
    status (*once)(struct rig *r, const struct measure *m, double *seconds);
    int a, b, c;
    double amount;  // value = amount / seconds; 0: seconds
};

static status stopped(void) {
    return stop_requested() ? fail(UTTER_CANCELLED, "stopped before all was measured") : UTTER_OK;
}

// One that is not counted, then as many as a second and a half has room for, three at least.
static status repeat(const struct bench *b, struct rig *r, const struct measure *m, struct series *out) {
    const double most = b->quick ? 0.2 : 1.5;
    const int least = b->quick ? 1 : 3;
    double seconds, total = 0;
    *out = (struct series){0};
    TRY(m->once(r, m, &seconds));
    while (out->n < SERIES_MAX && (out->n < least || total < most)) {
        TRY(stopped());
        TRY(m->once(r, m, &seconds));
        series_add(out, m->amount > 0 ? m->amount / seconds : seconds);
        total += seconds;
    }
    return UTTER_OK;
}

static status row(struct bench *b, struct rig *r, const char *key, const char *what, const char *unit,
                  const struct measure *m) {
    struct series values;
    bench_progress(b, "%s", what);
    TRY(repeat(b, r, m, &values));
    bench_row(b, key, what, unit, &values);
    return UTTER_OK;
}

static status once_prefill(struct rig *r, const struct measure *m, double *seconds) {
    return rig_prefill(r, m->a, seconds);
}
static status once_decode(struct rig *r, const struct measure *m, double *seconds) {
    return rig_decode(r, m->a, m->b, m->c, seconds);
}
static status once_codec(struct rig *r, const struct measure *m, double *seconds) {
    return rig_codec(r, m->a, m->b, seconds);
}

/* ---- loading ---- */

static status load_rows(struct bench *b, utter **u) {
    struct series load = {0};
    utter_options options = b->options;
    options.n_streams = 1;
    bench_progress(b, "load");
    for (int i = 0; i < (b->quick ? 1 : 3); i++) {
        utter_close(*u);
        TRY(stopped());
        const int64_t since = clock_ns();
        TRY(utter_open(&options, u));
        series_add(&load, (double)(clock_ns() - since) * 1e-9);
    }
    bench_row(b, "load_s", "load model and codec", "s", &load);
    return UTTER_OK;
}

// From the start of a process of its own until it says that it could speak.
static status start_once(const struct bench *b, double *seconds) {
    char threads[16];
    snprintf(threads, sizeof threads, "%d", b->options.n_threads);
    const char *argv[16] = {b->argv0, "bench", "--ready"};
    int n = 3;
    const struct {
        const char *name, *value;
    } options[] = {{"--model", b->options.model},
                   {"--codec", b->options.codec},
                   {"--device", b->options.device},
                   {"--kernels", b->options.kernels},
                   {"--threads", b->options.n_threads ? threads : NULL}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!options[i].value) continue;
        argv[n++] = options[i].name;
        argv[n++] = options[i].value;
    }
    int out[2];
    if (pipe(out) != 0) return fail(UTTER_IO, "no pipe can be had: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    posix_spawn_file_actions_addclose(&actions, out[1]);
    pid_t child;
    extern char **environ;
    const int64_t since = clock_ns();
    int error = posix_spawn(&child, b->argv0, &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    char byte;
    ssize_t got = error ? 0 : read(out[0], &byte, 1);
    *seconds = (double)(clock_ns() - since) * 1e-9;
    close(out[0]);
    if (error) return fail(UTTER_IO, "cannot start %s: %s", b->argv0, strerror(error));
    waitpid(child, NULL, 0);
    return got == 1 ? UTTER_OK : fail(UTTER_IO, "a process that was to load the model ended without a word");
}

static status start_row(struct bench *b) {
    struct series values = {0};
    bench_progress(b, "process start to ready");
    for (int i = 0; i < (b->quick ? 1 : 3); i++) {
        double seconds = 0;
        TRY(stopped());
        TRY(start_once(b, &seconds));
        series_add(&values, seconds);
    }
    bench_row(b, "ready_s", "process start to ready", "s", &values);
    return UTTER_OK;
}

/* ---- a sentence ---- */

// Begins otherwise each time, or nothing of its prompt would have to be read again.
static status speak_anew(struct bench *b, utter *u, int number, enum speaking how, struct spoken *out) {
    struct str text = {0};
    str_printf(&text, "%d %s", number, b->text);
    status s = str_status(&text);
    if (s == UTTER_OK) s = bench_speak(u, str_text(&text), b->voice, how, out);
    str_free(&text);
    return s;
}

static status sentence_rows(struct bench *b, utter *u) {
    struct series whole = {0}, first = {0}, streamed = {0}, factor = {0};
    struct spoken spoken = {0};
    bench_progress(b, "sentence");
    for (int i = -1; i < (b->quick ? 1 : 3); i++) {
        TRY(stopped());
        TRY(speak_anew(b, u, 2 * i + 3, SPEAK_WHOLE, &spoken));
        if (i >= 0) series_add(&whole, spoken.total_s);
        if (i >= 0) series_add(&factor, spoken.audio_s / spoken.total_s);
        TRY(stopped());
        TRY(speak_anew(b, u, 2 * i + 4, SPEAK_STREAM, &spoken));
        if (i >= 0) series_add(&first, spoken.first_s);
        if (i >= 0) series_add(&streamed, spoken.total_s);
    }
    char what[128];
    snprintf(what, sizeof what, "sentence of %.1f s, whole", spoken.audio_s);
    bench_row(b, "sentence_s", what, "s", &whole);
    bench_row(b, "sentence_real_time", "  times real time", "x", &factor);
    bench_row(b, "first_sound_s", "sentence streamed: first sound", "s", &first);
    bench_row(b, "streamed_s", "sentence streamed: all", "s", &streamed);
    json_object_set_new(b->about, "sentence",
                        json_pack("{s:I, s:f, s:b}", "codes", (json_int_t)spoken.n_codes, "audio_s", spoken.audio_s,
                                  "unended", spoken.unended));
    if (spoken.unended && !b->json)
        printf("  (the model did not end the sentence; what it said until the limit, %lld codes, was taken)\n",
               (long long)spoken.n_codes);
    return UTTER_OK;
}

static status memory_rows(struct bench *b, utter *u) {
    struct memory_use use;
    utter_state state;
    memory_use(&use);
    TRY(utter_state_get(u, &state));
    struct series resident = {0}, peak = {0}, device = {0};
    series_add(&resident, (double)use.resident / 1e6);
    series_add(&peak, (double)use.peak / 1e6);
    series_add(&device, (double)state.device_bytes / 1e6);
    bench_row(b, "resident_mb", "memory of the process, resident", "MB", &resident);
    bench_row(b, "peak_mb", "  the most so far", "MB", &peak);
    if (state.is_gpu) bench_row(b, "device_mb", "memory of the device", "MB", &device);
    return UTTER_OK;
}

/* ---- the networks ---- */

static status network_rows(struct bench *b, struct rig *r) {
    static const int prompts[] = {128, 512}, depths[] = {0, 512, 1500}, frames[] = {WINDOW, LONG};
    char key[48], what[64];
    for (int i = 0; i < 2; i++) {
        if (!rig_fits(r, prompts[i])) continue;
        snprintf(key, sizeof key, "prefill_%d", prompts[i]);
        snprintf(what, sizeof what, "prompt of %d", prompts[i]);
        TRY(row(b, r, key, what, "tokens/s", &(struct measure){once_prefill, prompts[i], 0, 0, prompts[i]}));
    }
    for (int i = 0; i < 3; i++) {
        if (!rig_fits(r, depths[i] + RIG_SPREAD)) continue;
        snprintf(key, sizeof key, "decode_%d", depths[i]);
        snprintf(what, sizeof what, "codes, %d deep", depths[i]);
        TRY(row(b, r, key, what, "codes/s", &(struct measure){once_decode, 1, depths[i], STEPS, STEPS}));
    }
    const struct codec_config *c = &r->codec->config;
    for (int i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "codec_%d", frames[i]);
        snprintf(what, sizeof what, "codec, %d frames", frames[i]);
        TRY(row(b, r, key, what, "s of sound/s",
                &(struct measure){once_codec, frames[i], 1, 0, (double)frames[i] * c->hop / c->sample_rate}));
    }
    return UTTER_OK;
}

static status batch_rows(struct bench *b, const struct rig_files *files, bool is_gpu) {
    struct rig r = {0};
    const int depth = is_gpu ? GPU_BATCH_DEPTH : CPU_BATCH_DEPTH;
    int most = is_gpu ? GPU_BATCH : CPU_BATCH;
    bench_progress(b, "load for %d streams", most);
    status s = rig_open(&b->options, files, most, &r);
    while (s == UTTER_MEMORY && most > 1) {  // a smaller card has room for fewer
        rig_close(&r);
        most /= 4;
        s = rig_open(&b->options, files, most, &r);
    }
    char key[48], what[64];
    for (int n = 1; n <= most && s == UTTER_OK; n *= 4) {
        snprintf(key, sizeof key, "batch_%d", n);
        snprintf(what, sizeof what, "%d stream%s at once, %d deep", n, n > 1 ? "s" : "", depth);
        s = row(b, &r, key, what, "codes/s",
                &(struct measure){once_decode, n, depth, BATCH_STEPS, (double)n * BATCH_STEPS});
    }
    if (s == UTTER_OK && is_gpu) {
        const struct codec_config *c = &r.codec->config;
        snprintf(what, sizeof what, "codec, %d x %d frames", PIECES, LONG);
        s = row(b, &r, "codec_32x500", what, "s of sound/s",
                &(struct measure){once_codec, LONG, PIECES, 0, (double)PIECES * LONG * c->hop / c->sample_rate});
    }
    rig_close(&r);
    return s;
}

static status speech_rows(struct bench *b, utter **u, struct rig_files *files, bool *is_gpu) {
    TRY(load_rows(b, u));
    utter_state state;
    TRY(utter_state_get(*u, &state));
    *is_gpu = state.is_gpu;
    json_object_set_new(b->about, "device", json_string(state.device));
    json_object_set_new(b->about, "describe", json_string(utter_describe(*u)));
    if (!b->json) printf("%s\n", utter_describe(*u));
    TRY(start_row(b));
    TRY(sentence_rows(b, *u));
    TRY(memory_rows(b, *u));
    return rig_files_of(*u, files);
}

status bench_local(struct bench *b) {
    struct rig r = {0};
    struct rig_files files = {0};
    utter *u = NULL;
    bool is_gpu = false;
    status s = speech_rows(b, &u, &files, &is_gpu);
    utter_close(u);  // its memory is the rigs' from here on
    // what "auto" became is what is measured
    if (!b->options.device || strcmp(b->options.device, "auto") == 0) b->options.device = is_gpu ? "gpu" : "cpu";
    if (s == UTTER_OK) s = rig_open(&b->options, &files, 1, &r);
    if (s == UTTER_OK) s = network_rows(b, &r);
    rig_close(&r);
    if (s == UTTER_OK) s = batch_rows(b, &files, is_gpu);
    rig_files_free(&files);
    return s;
}
