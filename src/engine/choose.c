#include "engine/choose.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gguf/gguf.h"
#include "models/store.h"

struct candidate {
    char *name;
    int64_t n_weights, n_bytes;  // of the backbone
};

static void tell_damaged(void *user, const char *name, const char *sentence) {
    (void)name;
    log_say(user, UTTER_LOG_WARNING, "%s (passed over)", sentence);
}

static status weigh(const char *path, struct candidate *c) {
    struct gguf *g;
    TRY(gguf_open(path, &g));
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        c->n_weights += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];  // gguf_open has seen that it fits
        c->n_bytes += (int64_t)t->n_bytes;
    }
    gguf_close(g);
    return UTTER_OK;
}

static status fill(const struct store *store, const struct store_model *m, struct candidate *c) {
    struct str model = {0}, codec = {0};
    *c = (struct candidate){.name = strdup(store_title(m))};
    status s = c->name ? store_resolve_in(store, m->name, &model, &codec) : fail_memory(strlen(m->name), "a model");
    if (s == UTTER_OK) s = weigh(str_text(&model), c);
    str_free(&model);
    str_free(&codec);
    if (s != UTTER_OK) free(c->name);
    return s;
}

static int better_first(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->n_weights != y->n_weights) return x->n_weights > y->n_weights ? -1 : 1;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

// The installed backbones whose codec is installed too, best first.
static status find_candidates(const struct log *log, struct candidate **out, int *n) {
    struct store store;
    struct store_model *models = NULL;
    int n_models = 0;
    *out = NULL;
    *n = 0;
    TRY(store_open(NULL, &store));
    status s = store_list_telling(&store, tell_damaged, (void *)log, &models, &n_models);
    if (s == UTTER_OK && n_models > 0 && !(*out = calloc((size_t)n_models, sizeof **out)))
        s = fail_memory((size_t)n_models * sizeof **out, "the list of models");
    for (int i = 0; s == UTTER_OK && i < n_models; i++) {
        if (models[i].kind != MODEL_BACKBONE) continue;
        if (fill(&store, &models[i], &(*out)[*n]) == UTTER_OK) {
            ++*n;
            continue;
        }
        log_say(log, UTTER_LOG_WARNING, "%s (passed over)", fail_message());
    }
    if (*n > 1) qsort(*out, (size_t)*n, sizeof **out, better_first);
    store_list_free(models, n_models);
    store_close(&store);
    return s;
}

// A mistake in the options is nobody's model.
static bool is_of_the_model(status s) {
    return s == UTTER_FORMAT || s == UTTER_IO || s == UTTER_UNSUPPORTED || s == UTTER_MEMORY;
}

// *taken: the name of what has been opened; NULL: nothing.
static status open_first(const utter_options *options, const struct log *log, const struct candidate *list, int n,
                         const char **taken, utter **out) {
    for (int i = 0; i < n; i++) {
        utter_options with = *options;
        with.model = list[i].name;
        status s = utter_open(&with, out);
        if (s == UTTER_OK && utter_voice_count(*out) > 0) {
            log_say(log, UTTER_LOG_INFO, "%s is the %s%s; --model takes another", list[i].name,
                    n == 1 ? "model that is installed" : "installed model with the most weights",
                    i > 0 ? " that can be used" : "");
            *taken = list[i].name;
            return UTTER_OK;
        }
        if (s == UTTER_OK) {
            fail(UTTER_INVALID, "%s has no voice; utter voices add RECORDING makes one", list[i].name);
            utter_close(*out);
            *out = NULL;
        } else if (!is_of_the_model(s))
            return s;
        log_say(log, UTTER_LOG_WARNING, "%s (passed over)", fail_message());
    }
    log_say(log, UTTER_LOG_INFO, "no %s; the built-in one speaks",
            n ? "installed model can be used" : "model is installed that can be used");
    return UTTER_OK;
}

static status open_best(const utter_options *options, struct str *name, utter **out) {
    const struct log log = {options->log, options->log_user};
    struct candidate *list;
    const char *taken = NULL;
    int n;
    *out = NULL;
    if (find_candidates(&log, &list, &n) != UTTER_OK)
        log_say(&log, UTTER_LOG_WARNING, "%s (the built-in model speaks)", fail_message());
    status s = open_first(options, &log, list, n, &taken, out);
    if (taken) str_puts(name, taken);
    for (int i = 0; i < n; i++) free(list[i].name);
    free(list);
    return s;
}

status open_installed(const utter_options *options, utter **out) {
    struct str name = {0};
    status s = open_best(options, &name, out);
    str_free(&name);
    return s;
}

status name_installed(const utter_options *options, struct str *name) {
    utter *u;
    TRY(open_best(options, name, &u));
    utter_close(u);
    return str_status(name);
}
