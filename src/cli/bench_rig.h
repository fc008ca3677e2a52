/* What is measured: the two networks on a device, and a whole engine. Each repetition is a call of its own, so
   that whoever compares programs can take turns. */
#ifndef UTTER_CLI_BENCH_RIG_H
#define UTTER_CLI_BENCH_RIG_H

#include "engine/engine.h"

/* What the project was asked to be quick with. */
#define BENCH_SENTENCE "Testing CUDA GPU acceleration for faster inference..."

/* The networks alone on a device of their own. */
struct rig {
    struct backbone *backbone;
    struct codec *codec;
    struct device *device;
    int n_slots, n_ctx;
    int *at;                    // [n_slots] positions in use
    struct sampler **samplers;  // [n_slots]
    struct generation *work;    // [n_slots]
    int32_t *indices;           // [n_slots, RIG_STEPS]
    struct synthesis *pieces;   // [n_pieces]
    int n_pieces;
};

enum { RIG_STEPS = 64, RIG_SPREAD = 512 };

/* The files of the networks that an engine speaks with; NULL: built in. Free them. */
struct rig_files {
    char *backbone, *codec;
};
status rig_files_of(const utter *u, struct rig_files *out);
void rig_files_free(struct rig_files *f);

/* Loads them onto the device that the options name, with a slot for each of n_slots streams. */
status rig_open(const utter_options *options, const struct rig_files *files, int n_slots, struct rig *r);
/* Safe on a zeroed one, and after a failed rig_open. */
void rig_close(struct rig *r);

/* Whether a slot holds `n` positions. */
bool rig_fits(const struct rig *r, int n);

/* Seconds that reading n made-up tokens into slot 0 takes. */
status rig_prefill(struct rig *r, int n, double *seconds);

/* Seconds that `steps` (<= RIG_STEPS) sampled codes take for each of n_streams at once, all of them `depth` tokens deep
   or up to RIG_SPREAD deeper, since they are made where the last ones ended. */
status rig_decode(struct rig *r, int n_streams, int depth, int steps, double *seconds);

/* Seconds that n_pieces decodes of n_frames frames take in one call. */
status rig_codec(struct rig *r, int n_frames, int n_pieces, double *seconds);

struct spoken {
    double first_s;  // from the request to the first sample
    double total_s;
    double audio_s;
    int64_t n_codes;
    bool unended;  // the model did not end by itself; what it had said until the limit was taken
};

enum speaking {
    SPEAK_WHOLE,   // a sentence at a time
    SPEAK_STREAM,  // in pieces
    SPEAK_FIRST,   // in pieces, and no further than the first of them
};

/* A text with the engine's first voice, or the one called `voice`. */
status bench_speak(utter *u, const char *text, const char *voice, enum speaking how, struct spoken *out);

/* Of this process, in bytes. */
struct memory_use {
    int64_t resident, peak;
    int64_t anonymous;  // of `resident`: not pages of files
};
void memory_use(struct memory_use *out);

#endif
