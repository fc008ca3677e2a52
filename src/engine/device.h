/* The device contract: what the engine asks of whatever runs the two networks. One contract, an implementation each in
   cpu/ and gpu/, one parity test over the same fixtures.

   A slot is one sequence with its cache. A device has two lanes, the backbone's (reset, prefill, generate) and the
   codec's (synthesize, analyse): a lane's calls are made by one thread at a time, the two lanes may be used at once.
   Different devices are independent. Every call takes a deadline (clock_ns); a device that misses it returns
   UTTER_DEADLINE.

   On the CPU what a sequence gets does not depend on what else shares its call, on how its prompt was cut into prefill
   calls, or on the number of threads: the same bits. A GPU may take other kernels for more sequences. */
#ifndef UTTER_ENGINE_DEVICE_H
#define UTTER_ENGINE_DEVICE_H

#include "backbone/backbone.h"
#include "backbone/sampler.h"
#include "base/log.h"
#include "codec/encoder.h"

struct device;

/* One slot's part of a generate call. */
struct generation {
    int slot;
    struct sampler *sampler;  // settings and random state of this sequence
    int32_t *indices;  // out [steps]: indices into the head's rows (backbone_head_rows): with a speech-only head,
                       // codes, then n_codes for the end
    int n;             // out: how many were generated
    int end_index;     // in: index that ends the sequence; -1: none
    bool ended;        // out: end_index came (it is the last of indices)
};

/* One piece of a synthesize call; each is decoded for itself. */
struct synthesis {
    const int32_t *codes;  // [n]
    int n;
    float *pcm;  // out [n * hop]
};

struct device_ops {
    /* The weights stay the caller's and must outlive the device. Once each. */
    status (*load_backbone)(struct device *d, const struct backbone *b, bool speech_only, int n_slots, int n_ctx);
    status (*load_codec)(struct device *d, const struct codec *c);

    /* Empties the slot's cache. */
    void (*reset)(struct device *d, int slot);
    /* Empties it but for what the slot has read already of a prompt that begins like tokens[n]; returns how many of them
       that is, fewer than n: prefill is to go on behind them. NULL on devices that keep nothing. */
    int (*keep)(struct device *d, int slot, const int32_t *tokens, int n);
    /* Appends tokens[n] to the slot and leaves the last position ready for generate.
       logits: NULL, or float [n, n_head] for every position given. UTTER_LIMIT beyond n_ctx. */
    status (*prefill)(struct device *d, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline);
    /* Up to `steps` tokens for each of generations[n], sampled on the device; stops a slot at its end token, or at the
       end of the context (then n < steps and not ended). */
    status (*generate)(struct device *d, struct generation *generations, int n, int steps, int64_t deadline);
    /* Codes of pieces[n] to samples. */
    status (*synthesize)(struct device *d, const struct synthesis *pieces, int n, int64_t deadline);

    /* For cloning; NULL on devices that cannot. The weights stay the caller's, once. pcm[n] at 16 kHz ->
       codes[n / hop]. */
    status (*load_encoder)(struct device *d, const struct codec_encoder *e);
    status (*analyse)(struct device *d, const float *pcm, int64_t n, int32_t *codes, int *n_codes, int64_t deadline);

    /* Bytes of its memory that is taken by what is loaded. From any thread. */
    int64_t (*n_bytes)(const struct device *d);
    /* One line: what it is, which kernels, how much memory. Lives as long as the device. */
    const char *(*describe)(const struct device *d);
    void (*close)(struct device *d);
};

/* Each implementation's struct starts with this. */
struct device {
    const struct device_ops *ops;
};

#endif
