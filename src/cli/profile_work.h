/* What the networks' stages have to do at least: bytes of weights and cache to be read, operations to be done. */
#ifndef UTTER_CLI_PROFILE_WORK_H
#define UTTER_CLI_PROFILE_WORK_H

#include "cli/profile_stages.h"
#include "engine/engine.h"

struct work {
    double bytes, operations;  // an operation is a multiplication or an addition
    bool on_bytes;             // the weights are small integers, so that instructions for bytes do
};

/* Of the spans of one stage, "prefill", "decode" or "codec"; nothing for the others. */
struct work work_of(const utter *u, const struct spans *s, const char *stage);

#endif
