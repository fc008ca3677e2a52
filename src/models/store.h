/* The models on this machine: a folder for each, with a manifest that says what is in it. Nothing here goes online.

   ROOT/models/NAME/manifest.json   ROOT: $UTTER_HOME, else $XDG_CACHE_HOME/utter, else ~/.cache/utter
   ROOT/models/NAME/...             the files that the manifest lists
   ROOT/models/NAME/voices/         recorded voices' codes and transcripts, for models that come with some
   ROOT/models/NAME.pull/           a pull that has not finished, continued by the next one
   ROOT/models/.NAME.lock           held by whoever changes NAME */
#ifndef UTTER_MODELS_STORE_H
#define UTTER_MODELS_STORE_H

#include <jansson.h>

#include "models/registry.h"

struct store {
    char *root;
    struct registry *registry;
};

/* root: NULL for the one that the environment says. */
status store_open(const char *root, struct store *out);
void store_close(struct store *s);

struct store_file {
    const char *path;  // below the model's folder
    int64_t n_bytes;
    const char *sha256;
};

/* A model that is installed; its texts live in `manifest`. */
struct store_model {
    const char *name;
    enum model_kind kind;
    const char *file;      // the GGUF, one of `files`
    const char *language;  // of backbones, as `codec`
    const char *codec;     // name of another model
    const char *repository, *revision, *date, *licence;
    struct store_file *files;  // [n]
    int n;
    int64_t n_bytes;   // of all files
    json_t *manifest;  // the whole
};

/* The name that a model goes by here, which a person may say as it is or as its repository; "" for what can be none. */
void store_name(const struct store *s, const char *said, char out[REGISTRY_MAX_NAME + 1]);

/* What a person calls it: its repository when no list of models has named it. */
const char *store_title(const struct store_model *m);

/* UTTER_INVALID when it is not installed; UTTER_FORMAT for a damaged manifest; UTTER_IO when a file of it is gone or
   of another size. */
status store_read(const struct store *s, const char *name, struct store_model *out);
void store_model_free(struct store_model *m);

/* All that can be read, by name; *out: [*n], free each and the list (store_list_free). */
status store_list(const struct store *s, struct store_model **out, int *n);
/* The same; `damaged` is told of every folder that holds no whole model, with the sentence that says why. */
typedef void store_damaged_fn(void *user, const char *name, const char *sentence);
status store_list_telling(const struct store *s, store_damaged_fn *damaged, void *user, struct store_model **out,
                          int *n);
void store_list_free(struct store_model *list, int n);

/* ROOT/models/NAME and then "/" `below`, unless that is NULL. */
void store_path(const struct store *s, const char *name, const char *below, struct str *out);

/* What `name` stands for, as a command's --model: the name or the repository of a model that is installed (or could
   be: then the sentence says how), else a file. *codec is left empty for a file, and for a codec; UTTER_INVALID when
   there is nothing of that name, or its codec is not installed. */
status store_resolve(const char *name, struct str *model, struct str *codec);
status store_resolve_in(const struct store *s, const char *name, struct str *model, struct str *codec);

/* The language that the installed model `name` has by its list or its card; nothing is appended where there is none. */
status store_language(const char *name, struct str *out);

#endif
