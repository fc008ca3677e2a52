/* What the networks' stages have to do at least: bytes of weights and cache to be read, operations to be done. */
#ifndef UTTER_CLI_PROFILE_WORK_H
#define UTTER_CLI_PROFILE_WORK_H

#include "cli/profile_machine.h"
#include "cli/profile_stages.h"
#include "engine/engine.h"

struct work {
    double bytes, operations;  // an operation is a multiplication or an addition
    enum arithmetic on;        // the plainest that the weights' type can be multiplied by
};

/* Of the spans of one stage, "prefill", "decode" or "codec"; nothing for the others. */
struct work work_of(const utter *u, const struct spans *s, const char *stage);

/* Bytes of all weights that the stage reads again and again: the backbone's for each code, the codec's for each piece.
 */
size_t work_weights(const utter *u, const char *stage);

#endif
