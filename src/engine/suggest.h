/* Which release of NeuTTS speaks faster than real time on this machine: measured, on a slice of the networks with
   random weights, and scaled by what the whole ones read and compute. */
#ifndef UTTER_ENGINE_SUGGEST_H
#define UTTER_ENGINE_SUGGEST_H

#include "gguf/blocks.h"
#include "utter.h"

enum { SUGGEST_TYPES = 3, SUGGEST_RELEASES = 2, SUGGEST_MAX = SUGGEST_TYPES * SUGGEST_RELEASES };

/* How fast the slice ran. */
struct suggest_speed {
    char device[256];
    bool is_gpu;
    double bytes_s[SUGGEST_TYPES];  // of weights that writing codes reads, for each type of suggest_types
    double products_s;              // multiply-adds of the codec
    int64_t memory_bytes;           // that can be used on this device
};

struct suggestion {
    const char *model;  // what utter models pull takes
    const char *about;
    block_type type;
    int64_t token_bytes;      // of weights that a code reads
    int64_t memory_bytes;     // with the codec
    double codes_s;           // codes a second
    double real_time_factor;  // seconds of work for a second of speech, codec included
    bool fits;                // into memory
};

extern const block_type suggest_types[SUGGEST_TYPES];
/* Multiply-adds of NeuCodec for a second of speech that is streamed. */
extern const double suggest_codec_products;

/* Measures the device that the options name, for about two seconds. */
status suggest_measure(const utter_options *options, struct suggest_speed *out);

/* What follows for each release and type, best first: out[SUGGEST_MAX]. */
void suggest_scale(const struct suggest_speed *speed, struct suggestion *out);

/* The first that fits and is faster than real time with a fifth to spare; -1: none is. */
int suggest_pick(const struct suggestion *list);

#endif
