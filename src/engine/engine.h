/* The engine behind include/utter.h: one model, one codec, their voices, one device. */
#ifndef UTTER_ENGINE_ENGINE_H
#define UTTER_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/log.h"
#include "engine/device.h"
#include "engine/runners.h"
#include "engine/voice.h"

/* Those that may be asked for. Streams and callers hold pointers into them, so that none is freed before the engine
   is: those that a reload takes away are kept aside, and used again when they come back. */
struct engine_voices {
    pthread_rwlock_t lock;  // over list
    struct voice_list list;
    pthread_mutex_t reloading;  // over what follows
    struct voice_list retired;
    char *folder;  // of the voices that were fetched with the model; NULL: none
    char *added;   // utter_options.voices
    int n_threads;
};

struct utter {
    struct log log;
    struct backbone *backbone;
    struct codec *codec;
    struct runners runners;
    int n_ctx;                 // positions of a slot
    double frames_per_symbol;  // of the model, for voices that do not tell
    int join_frames;           // sentences are joined up to this length
    int max_frames;            // and cut beyond this one
    struct engine_voices voices;
    char *description;
    atomic_llong n_tokens, n_retries;  // of all streams so far
};

/* The voices that the model carries, those that were fetched with it (`model` is its file; NULL: the built-in one), and
   those of the user that speak its codes. */
void engine_voices_init(struct engine_voices *v);
status engine_voices_open(utter *u, const char *model, const utter_options *options);
void engine_voices_free(struct engine_voices *v);
status engine_voices_find(utter *u, const char *name, const struct voice **out);

/* Opens a backbone or codec by path; NULL: the built-in one. */
status open_backbone(const char *path, struct backbone **out);
status open_codec(const char *path, struct codec **out);
/* Positions that a slot of this model gets. */
int slot_positions(const struct backbone *b);
/* The device that the options ask for. */
status open_device(const utter_options *options, const struct log *log, struct device **out);

#endif
