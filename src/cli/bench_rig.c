#include "cli/bench_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

static double seconds_since(int64_t since) { return (double)(clock_ns() - since) * 1e-9; }

// Networks of files are called by their paths.
static status file_of(const char *label, char **out) {
    *out = NULL;
    if (access(label, R_OK) != 0) return UTTER_OK;
    *out = strdup(label);
    return *out ? UTTER_OK : fail_memory(strlen(label), "a path");
}

status rig_files_of(const utter *u, struct rig_files *out) {
    *out = (struct rig_files){0};
    TRY(file_of(u->backbone->label, &out->backbone));
    return file_of(u->codec->label, &out->codec);
}

void rig_files_free(struct rig_files *f) {
    free(f->backbone);
    free(f->codec);
    *f = (struct rig_files){0};
}

static status make_samplers(struct rig *r) {
    for (int i = 0; i < r->n_slots; i++) {
        TRY(sampler_new(&r->backbone->sampling, (uint32_t)i + 1, r->backbone->n_codes + 1, &r->samplers[i]));
        r->work[i] = (struct generation){
            .slot = i, .sampler = r->samplers[i], .indices = r->indices + (size_t)i * RIG_STEPS, .end_index = -1};
    }
    return UTTER_OK;
}

status rig_open(const utter_options *options, const struct rig_files *files, int n_slots, struct rig *r) {
    *r = (struct rig){.n_slots = n_slots};
    TRY(open_backbone(files->backbone, &r->backbone));
    TRY(open_codec(files->codec, &r->codec));
    TRY(open_device(options, &(struct log){0}, &r->device));
    r->n_ctx = slot_positions(r->backbone);
    TRY(r->device->ops->load_backbone(r->device, r->backbone, true, n_slots, r->n_ctx));
    TRY(r->device->ops->load_codec(r->device, r->codec));
    const size_t n = (size_t)n_slots;
    TRY(alloc_for(&r->at, n, sizeof *r->at, "the slots"));
    TRY(alloc_for(&r->samplers, n, sizeof *r->samplers, "the samplers"));
    TRY(alloc_for(&r->work, n, sizeof *r->work, "the streams"));
    TRY(alloc_for(&r->indices, n * RIG_STEPS, sizeof *r->indices, "the codes"));
    return make_samplers(r);
}

static void free_pieces(struct rig *r) {
    for (int i = 0; i < r->n_pieces; i++) {
        free_aligned((int32_t *)r->pieces[i].codes);
        free_aligned(r->pieces[i].pcm);
    }
    free_aligned(r->pieces);
    r->pieces = NULL;
    r->n_pieces = 0;
}

void rig_close(struct rig *r) {
    free_pieces(r);
    for (int i = 0; r->samplers && i < r->n_slots; i++) sampler_free(r->samplers[i]);
    free_aligned(r->samplers);
    free_aligned(r->work);
    free_aligned(r->indices);
    free_aligned(r->at);
    if (r->device) r->device->ops->close(r->device);
    codec_free(r->codec);
    backbone_free(r->backbone);
    *r = (struct rig){0};
}

bool rig_fits(const struct rig *r, int n) { return n <= r->n_ctx; }

/* ---- the backbone ---- */

static status read_prompt(struct rig *r, int slot, int n) {
    const struct backbone *b = r->backbone;
    int32_t *tokens;
    TRY(alloc_for(&tokens, (size_t)n, sizeof *tokens, "a prompt"));
    for (int i = 0; i < n; i++) tokens[i] = b->code_token[(int64_t)i * 7919 % b->n_codes];
    r->device->ops->reset(r->device, slot);
    status s = r->device->ops->prefill(r->device, slot, tokens, n, NULL, NO_DEADLINE);
    r->at[slot] = s == UTTER_OK ? n : 0;
    free_aligned(tokens);
    return s;
}

status rig_prefill(struct rig *r, int n, double *seconds) {
    const int64_t since = clock_ns();
    TRY(read_prompt(r, 0, n));
    *seconds = seconds_since(since);
    return UTTER_OK;
}

status rig_decode(struct rig *r, int n_streams, int depth, int steps, double *seconds) {
    if (depth < 1) depth = 1;  // something must have been read
    for (int i = 0; i < n_streams; i++)
        if (r->at[i] < depth || r->at[i] > depth + RIG_SPREAD || !rig_fits(r, r->at[i] + steps))
            TRY(read_prompt(r, i, depth));
    const int64_t since = clock_ns();
    TRY(r->device->ops->generate(r->device, r->work, n_streams, steps, NO_DEADLINE));
    *seconds = seconds_since(since);
    for (int i = 0; i < n_streams; i++) {
        if (r->work[i].n != steps)
            return fail(UTTER_INTERNAL, "stream %d of %d wrote %d codes of %d", i + 1, n_streams, r->work[i].n, steps);
        r->at[i] += steps;
    }
    return UTTER_OK;
}

/* ---- the codec ---- */

static status make_pieces(struct rig *r, int n_frames, int n_pieces) {
    const struct codec_config *c = &r->codec->config;
    if (r->n_pieces == n_pieces && r->pieces[0].n == n_frames) return UTTER_OK;
    free_pieces(r);
    TRY(alloc_for(&r->pieces, (size_t)n_pieces, sizeof *r->pieces, "the pieces"));
    for (r->n_pieces = 0; r->n_pieces < n_pieces;) {
        struct synthesis *p = &r->pieces[r->n_pieces++];
        int32_t *codes;
        TRY(alloc_for(&codes, (size_t)n_frames, sizeof *codes, "codes"));
        *p = (struct synthesis){.codes = codes, .n = n_frames};
        for (int i = 0; i < n_frames; i++) codes[i] = (int32_t)((uint32_t)i * 2654435761u >> 8) % c->n_codes;
        TRY(alloc_for(&p->pcm, (size_t)n_frames * (size_t)c->hop, sizeof *p->pcm, "samples"));
    }
    return UTTER_OK;
}

status rig_codec(struct rig *r, int n_frames, int n_pieces, double *seconds) {
    TRY(make_pieces(r, n_frames, n_pieces));
    const int64_t since = clock_ns();
    TRY(r->device->ops->synthesize(r->device, r->pieces, n_pieces, NO_DEADLINE));
    *seconds = seconds_since(since);
    return UTTER_OK;
}

/* ---- all of it ---- */

static status read_all(utter_stream *s, int64_t since, enum speaking how, struct spoken *out, int64_t *n_samples) {
    float samples[4096];
    for (size_t n;;) {
        TRY(utter_read(s, samples, sizeof samples / sizeof *samples, &n));
        if (n == 0 || (how == SPEAK_FIRST && *n_samples > 0)) return UTTER_OK;
        if (*n_samples == 0) out->first_s = seconds_since(since);
        *n_samples += (int64_t)n;
    }
}

status bench_speak(utter *u, const char *text, const char *voice, enum speaking how, struct spoken *out) {
    *out = (struct spoken){0};
    utter_request request = utter_request_default();
    request.text = text;
    request.voice = voice;
    request.streaming = how != SPEAK_WHOLE;
    request.retries = 0;  // a model of random weights never ends: what it says until the limit is taken
    utter_stream *s;
    int64_t n_samples = 0;
    const int64_t since = clock_ns();
    TRY(utter_speak(u, &request, &s));
    status result = read_all(s, since, how, out, &n_samples);
    out->total_s = seconds_since(since);
    utter_report report;
    utter_stream_report(s, &report);
    out->n_codes = report.n_codes;
    out->unended = report.n_failed > 0;
    out->audio_s = (double)n_samples / utter_sample_rate(u);
    utter_stream_close(s);
    return result;
}

void memory_use(struct memory_use *out) {
    *out = (struct memory_use){0};
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long long kib;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) out->peak = kib * 1024;
        if (sscanf(line, "VmRSS: %lld", &kib) == 1) out->resident = kib * 1024;
        if (sscanf(line, "RssAnon: %lld", &kib) == 1) out->anonymous = kib * 1024;
    }
    if (f) fclose(f);
}
