/* The engine behind include/utter.h: one model, one codec, their voices, one device. */
#ifndef UTTER_ENGINE_ENGINE_H
#define UTTER_ENGINE_ENGINE_H

#include "base/log.h"
#include "engine/device.h"
#include "engine/runners.h"
#include "engine/voice.h"

struct utter {
    struct log log;
    struct backbone *backbone;
    struct codec *codec;
    struct runners runners;
    int n_ctx;                 // positions of a slot
    double frames_per_symbol;  // of the model, for voices that do not tell
    int join_frames;           // sentences are joined up to this length
    int max_frames;            // and cut beyond this one
    pthread_rwlock_t voices_lock;
    struct voice_list voices;
    char *description;
};

/* Opens a backbone or codec by path; NULL: the built-in one. */
status open_backbone(const char *path, struct backbone **out);
status open_codec(const char *path, struct codec **out);
/* Positions that a slot of this model gets. */
int slot_positions(const struct backbone *b);
/* The device that the options ask for. */
status open_device(const utter_options *options, const struct log *log, struct device **out);

#endif
