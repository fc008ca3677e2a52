/* The parts of the doctor among themselves. */
#ifndef UTTER_ENGINE_DOCTOR_PARTS_H
#define UTTER_ENGINE_DOCTOR_PARTS_H

#include "base/str.h"
#include "engine/doctor.h"
#include "engine/engine.h"

enum { DOCTOR_MAX_CARDS = 16, TRIAL_CODES = 20, TRIAL_FRAMES = 40 };

/* A card, as the driver tells. */
struct card {
    char name[128];
    int capability;  // 90 for 9.0
    size_t n_bytes, free_bytes;
    bool free_known;
    bool usable;      // opens and computes what the CPU computes
    char fault[512];  // why not
};

struct doctor {
    const struct doctor_options *options;
    utter_options engine;  // as asked for, and with the model that say takes where none was named
    bool works;
    struct str taken;              // that model's name; empty: one was named, or the built-in one is taken
    char title[160];               // the same before a description: "neutts-air: "
    struct str model, codec_path;  // empty: built in
    struct backbone *backbone;     // NULL until their checks
    struct codec *codec;
    struct card cards[DOCTOR_MAX_CARDS];
    int n_cards;
    char no_cards[512];  // why there are none
};

/* Tells a finding. Takes `facts` over; it may be NULL. */
void doctor_found(struct doctor *d, const char *check, enum finding_state state, json_t *facts, const char *format, ...)
    PRINTF_LIKE(5, 6);
/* The same for what failed, with fail_message() as the sentence; speech does not work without it. */
void doctor_failed(struct doctor *d, const char *check, json_t *facts);

/* doctor_machine.c */
void doctor_processor(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_phonemes(struct doctor *d);
void doctor_sound(struct doctor *d);

/* doctor_models.c */
/* Finds the model that the options name, or else the one that say would take; what is wrong with it is doctor_models'
   finding. */
status doctor_resolve(struct doctor *d);
void doctor_models(struct doctor *d, status resolved);

/* doctor_leftovers.c: what guides for other programs have people install. */
void doctor_leftovers(struct doctor *d);

/* doctor_cards.c */
void doctor_driver(struct doctor *d);

/* doctor_devices.c: opens the devices, has them prove and show what they can do. */
void doctor_devices(struct doctor *d);

/* ---- a small case that every device must compute alike (doctor_trial.c) ---- */

struct trial {
    const struct backbone *backbone;
    const struct codec *codec;
    struct token_list prompt;
    int32_t *head;  // [n_codes + 1] tokens of the indices that generate gives
    int n_ctx;
    int32_t frames[TRIAL_FRAMES];  // codes to decode
};

struct trial_result {
    int n;
    int32_t codes[TRIAL_CODES];
    float *pcm;  // [n_pcm]
    int64_t n_pcm;
};

status trial_new(const struct backbone *b, const struct codec *c, struct trial *out);
void trial_free(struct trial *t);

/* Puts the networks on the device. */
status trial_load(const struct trial *t, struct device *device);
/* Greedy codes and a decode. *out: trial_result_free. */
status trial_run(const struct trial *t, struct device *device, int64_t deadline, struct trial_result *out);
void trial_result_free(struct trial_result *r);
/* UTTER_OK when the results are alike: codes equal (up to where two are equally likely: *n_equal of them), samples
   within 0.001. Otherwise UTTER_DEVICE with how they differ. `device` made `wanted`. */
status trial_compare(const struct trial *t, struct device *device, const struct trial_result *wanted,
                     const struct trial_result *got, int64_t deadline, int *n_equal);

struct trial_speed {
    double tokens_s;  // codes written a second
    double audio_s;   // seconds of sound decoded a second
};
status trial_measure(const struct trial *t, struct device *device, int64_t deadline, struct trial_speed *out);

#endif
