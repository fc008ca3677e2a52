/* utter's side of a comparison: measures one repetition each time it is asked.

       worker MODEL CODEC THREADS [DEVICE [SLOTS]]

   Reads commands from standard input, a line each, and answers with "ok" and numbers, or "error" and a sentence:

       open                          seconds until everything is loaded
       prefill TOKENS                seconds
       decode STREAMS DEPTH STEPS    seconds; at DEPTH or up to 512 tokens deeper
       codec FRAMES PIECES           seconds
       encode SECONDS                seconds, for so much of a recording, by the encoder that lies beside the codec
       speak HOW TEXT                seconds to the first sample, to the last, seconds of sound, codes written;
                                     HOW: 0 whole, 1 streamed, 2 streamed and no further than the first sound
       memory                        bytes resident, the most ever, and of the first what is no file's

   The peers (bench/peers/) answer to the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench_rig.h"
#include "engine/clone.h"

struct worker {
    utter_options options;
    int n_slots;
    utter *u;        // for what is spoken
    struct rig rig;  // for the parts; at most one of the two is open, so that memory is that of one
    struct voice_encoder *encoder;
    struct rig_files files;
};

static status open_speech(struct worker *w, double *seconds) {
    rig_close(&w->rig);
    const int64_t since = clock_ns();
    if (!w->u) TRY(utter_open(&w->options, &w->u));
    *seconds = (double)(clock_ns() - since) * 1e-9;
    rig_files_free(&w->files);
    return rig_files_of(w->u, &w->files);
}

static status open_parts(struct worker *w) {
    double seconds;
    if (w->rig.device) return UTTER_OK;
    TRY(open_speech(w, &seconds));
    utter_close(w->u);
    w->u = NULL;
    return rig_open(&w->options, &w->files, w->n_slots, &w->rig);
}

static status speak(struct worker *w, enum speaking how, const char *text) {
    double seconds;
    struct spoken spoken;
    TRY(open_speech(w, &seconds));
    TRY(bench_speak(w->u, text, NULL, how, &spoken));
    printf("ok %.6f %.6f %.3f %lld\n", spoken.first_s, spoken.total_s, spoken.audio_s, (long long)spoken.n_codes);
    return UTTER_OK;
}

/* Noise, as long as a recording: what is said in it does not change what there is to do. */
static status encode(struct worker *w, int recording_s, double *seconds) {
    struct clip clip = {.n = (int64_t)recording_s * CLONE_RATE_HZ, .seconds = recording_s};
    struct str path = {0};
    float *pcm;
    int32_t *codes;
    int n_codes;
    if (!w->encoder) {
        status s = encoder_find(NULL, w->options.codec, &path);
        if (s == UTTER_OK) s = voice_encoder_open(str_text(&path), &w->options, &w->encoder);
        str_free(&path);
        TRY(s);
    }
    TRY(alloc_for(&pcm, (size_t)clip.n, sizeof *pcm, "a recording"));
    uint32_t random = 1;
    for (int64_t i = 0; i < clip.n; i++)
        pcm[i] = (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-24f - 0.5f;
    clip.pcm = pcm;
    const int64_t since = clock_ns();
    status s = voice_encoder_encode(w->encoder, &clip, NULL, NULL, &codes, &n_codes);
    *seconds = (double)(clock_ns() - since) * 1e-9;
    if (s == UTTER_OK) free_aligned(codes);
    free_aligned(pcm);
    return s;
}

static status answer(struct worker *w, const char *line) {
    int a, b, c, n = 0;
    double seconds = 0;
    if (sscanf(line, "speak %d %n", &a, &n) == 1 && n > 0 && a >= 0 && a <= SPEAK_FIRST) return speak(w, a, line + n);
    if (strcmp(line, "memory") == 0) {
        struct memory_use use;
        memory_use(&use);
        printf("ok %lld %lld %lld\n", (long long)use.resident, (long long)use.peak, (long long)use.anonymous);
        return UTTER_OK;
    }
    if (strcmp(line, "open") == 0) {
        TRY(open_speech(w, &seconds));
    } else if (sscanf(line, "prefill %d", &a) == 1) {
        TRY(open_parts(w));
        TRY(rig_prefill(&w->rig, a, &seconds));
    } else if (sscanf(line, "decode %d %d %d", &a, &b, &c) == 3 && a <= w->n_slots && c <= RIG_STEPS) {
        TRY(open_parts(w));
        TRY(rig_decode(&w->rig, a, b, c, &seconds));
    } else if (sscanf(line, "codec %d %d", &a, &b) == 2) {
        TRY(open_parts(w));
        TRY(rig_codec(&w->rig, a, b, &seconds));
    } else if (sscanf(line, "encode %d", &a) == 1 && a > 0 && a <= CLONE_MAX_SECONDS) {
        TRY(encode(w, a, &seconds));
    } else {
        return fail(UTTER_INVALID, "unknown: %s", line);
    }
    printf("ok %.6f\n", seconds);
    return UTTER_OK;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: worker MODEL CODEC THREADS [DEVICE [SLOTS]]\n");
        return 2;
    }
    struct worker w = {.options = utter_options_default(), .n_slots = argc > 5 ? atoi(argv[5]) : 1};
    w.options.model = argv[1];
    w.options.codec = argv[2];
    w.options.n_threads = atoi(argv[3]);
    w.options.device = argc > 4 ? argv[4] : "cpu";
    w.options.n_streams = 1;
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (answer(&w, line) != UTTER_OK) printf("error %s\n", fail_message());
        fflush(stdout);
    }
    voice_encoder_close(w.encoder);
    rig_close(&w.rig);
    utter_close(w.u);
    rig_files_free(&w.files);
    return 0;
}
