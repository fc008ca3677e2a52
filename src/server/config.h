/* The file of --config: by which names models and voices may be asked for, and limits. JSON:

       {"models": ["tts-1", "my-name"],
        "voices": {"alloy": "slt", "echo": "sam"},
        "limits": {"queue": 256, "queue_per_caller": 0, "characters": 4096, "deadline_s": 600,
                   "requests_per_minute": 0, "at_once": 0, "connections": 4096}}

   Every part may be left out. Names of OpenAI's models and voices are known without it. */
#ifndef UTTER_SERVER_CONFIG_H
#define UTTER_SERVER_CONFIG_H

#include <stdbool.h>

#include "base/status.h"

struct limits_config {  // negative: not said
    int queue, queue_per_caller, characters, deadline_s, requests_per_minute, at_once, connections;
};

struct name_pair {
    char *name, *stands_for;
};

struct config {
    char **models;  // [n_models] names by which the one model may be asked for
    int n_models;
    struct name_pair *voices;  // [n_voices]
    int n_voices;
    struct limits_config limits;
};

/* path NULL: what holds without a file. */
status config_load(const char *path, struct config *out);
void config_free(struct config *c);

bool config_has_model(const struct config *c, const char *name);
/* The voice that `name` stands for; NULL: none. `name` itself is not looked for among the engine's voices here. */
const char *config_voice(const struct config *c, const char *name);
/* Which of the engine's voices OpenAI's `name` stands for when nothing is said: 0 or 1; -1: it is no such name. */
int config_openai_voice(const char *name);

#endif
