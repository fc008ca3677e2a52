#include "server/config.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const openai_models[] = {"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"};

// Which sound more like a woman's voice (0: the first of ours) and which like a man's (1: the second).
static const struct {
    const char *name;
    int voice;
} openai_voices[] = {
    {"alloy", 0}, {"ash", 1},  {"ballad", 1}, {"cedar", 1}, {"coral", 0},   {"echo", 1},  {"fable", 1},
    {"marin", 0}, {"nova", 0}, {"onyx", 1},   {"sage", 0},  {"shimmer", 0}, {"verse", 1},
};

int config_openai_voice(const char *name) {
    for (size_t i = 0; i < sizeof openai_voices / sizeof *openai_voices; i++)
        if (strcmp(openai_voices[i].name, name) == 0) return openai_voices[i].voice;
    return -1;
}

bool config_has_model(const struct config *c, const char *name) {
    for (int i = 0; i < c->n_models; i++)
        if (strcmp(c->models[i], name) == 0) return true;
    return false;
}

const char *config_voice(const struct config *c, const char *name) {
    for (int i = 0; i < c->n_voices; i++)
        if (strcmp(c->voices[i].name, name) == 0) return c->voices[i].stands_for;
    return NULL;
}

// ---- the file ----

static status add_model(struct config *c, const char *name) {
    if (config_has_model(c, name)) return UTTER_OK;
    char **grown = realloc(c->models, (size_t)(c->n_models + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "names of models");
    c->models = grown;
    c->models[c->n_models] = strdup(name);
    if (!c->models[c->n_models]) return fail_memory(strlen(name), "names of models");
    c->n_models++;
    return UTTER_OK;
}

static status take_models(const char *path, const json_t *models, struct config *c) {
    if (models && !json_is_array(models)) return fail(UTTER_FORMAT, "%s: \"models\" is no list of names", path);
    size_t i;
    json_t *name;
    json_array_foreach(models, i, name) {
        if (!json_is_string(name)) return fail(UTTER_FORMAT, "%s: model %zu is no text", path, i);
        TRY(add_model(c, json_string_value(name)));
    }
    return UTTER_OK;
}

static status take_voices(const char *path, json_t *voices, struct config *c) {
    if (voices && !json_is_object(voices))
        return fail(UTTER_FORMAT, "%s: \"voices\" is no object of names and the voices they stand for", path);
    c->voices = calloc(json_object_size(voices) + 1, sizeof *c->voices);
    if (!c->voices) return fail_memory(json_object_size(voices) * sizeof *c->voices, "names of voices");
    const char *name;
    json_t *value;
    json_object_foreach(voices, name, value) {
        if (!json_is_string(value)) return fail(UTTER_FORMAT, "%s: voice \"%s\" stands for no name", path, name);
        struct name_pair *pair = &c->voices[c->n_voices++];
        *pair = (struct name_pair){strdup(name), strdup(json_string_value(value))};
        if (!pair->name || !pair->stands_for) return fail_memory(strlen(name), "names of voices");
    }
    return UTTER_OK;
}

static status take_limits(const char *path, json_t *limits, struct limits_config *out) {
    const struct {
        const char *name;
        int *value;
        int least;
    } known[] = {
        {"queue", &out->queue, 1},
        {"queue_per_caller", &out->queue_per_caller, 0},
        {"characters", &out->characters, 1},
        {"deadline_s", &out->deadline_s, 1},
        {"requests_per_minute", &out->requests_per_minute, 0},
        {"at_once", &out->at_once, 0},
        {"connections", &out->connections, 1},
    };
    if (limits && !json_is_object(limits)) return fail(UTTER_FORMAT, "%s: \"limits\" is no object", path);
    const char *name;
    json_t *value;
    json_object_foreach(limits, name, value) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i].name, name) != 0) i++;
        if (i == sizeof known / sizeof *known)
            return fail(UTTER_FORMAT, "%s: there is no limit \"%.60s\"; see utter-serve(1)", path, name);
        json_int_t n = json_integer_value(value);
        if (!json_is_integer(value) || n < known[i].least || n > 10000000)
            return fail(UTTER_FORMAT, "%s: limit \"%s\" must be a whole number from %d to 10000000", path, name,
                        known[i].least);
        *known[i].value = (int)n;
    }
    return UTTER_OK;
}

static status check_keys(const char *path, json_t *root) {
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) if (strcmp(name, "models") && strcmp(name, "voices") &&
                                               strcmp(name, "limits")) return fail(UTTER_FORMAT,
                                                                                   "%s: \"%.60s\" is not known; "
                                                                                   "models, voices and limits are",
                                                                                   path, name);
    return UTTER_OK;
}

static status take(const char *path, json_t *root, struct config *c) {
    if (!json_is_object(root)) return fail(UTTER_FORMAT, "%s is no JSON object", path);
    TRY(check_keys(path, root));
    TRY(take_models(path, json_object_get(root, "models"), c));
    TRY(take_voices(path, json_object_get(root, "voices"), c));
    return take_limits(path, json_object_get(root, "limits"), &c->limits);
}

status config_load(const char *path, struct config *out) {
    *out = (struct config){.limits = {-1, -1, -1, -1, -1, -1, -1}};
    status s = UTTER_OK;
    for (size_t i = 0; s == UTTER_OK && i < sizeof openai_models / sizeof *openai_models; i++)
        s = add_model(out, openai_models[i]);
    if (s == UTTER_OK && path) {
        json_error_t error;
        json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        s = root ? take(path, root, out)
                 : fail(UTTER_FORMAT, "cannot read %s: %s (line %d)", path, error.text, error.line);
        json_decref(root);
    }
    if (s != UTTER_OK) config_free(out);
    return s;
}

void config_free(struct config *c) {
    for (int i = 0; i < c->n_models; i++) free(c->models[i]);
    for (int i = 0; i < c->n_voices; i++) {
        free(c->voices[i].name);
        free(c->voices[i].stands_for);
    }
    free(c->models);
    free(c->voices);
    *c = (struct config){0};
}
