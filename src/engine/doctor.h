/* A look at everything that speech needs, in order: what was found, and for what fails cause and cure. */
#ifndef UTTER_ENGINE_DOCTOR_H
#define UTTER_ENGINE_DOCTOR_H

#include <jansson.h>

#include "base/status.h"

enum finding_state {
    FINDING_OK,
    FINDING_NONE,  // not there, or not tried, and not needed
    FINDING_FAILED,
};

struct finding {
    const char *check;  // "processor", "model", ...
    enum finding_state state;
    const char *sentence;  // what was found; for a failure cause and cure
    const json_t *facts;   // the same for programs: an object
};

/* Called with each finding as soon as it is known; it lives until the call returns. */
typedef void finding_fn(void *user, const struct finding *f);

struct doctor_options {
    /* As for utter_open; model may be the name of one that has been pulled, too. */
    utter_options engine;
    bool quick;  // no self-test, no measurements
    finding_fn *found;
    void *user;
};

/* *works: speech can be had as the options ask for it. A GPU that cannot be used counts only if it is asked for by
   name. Fails only where the examination itself cannot go on (out of memory). */
status doctor_run(const struct doctor_options *options, bool *works);

#endif
