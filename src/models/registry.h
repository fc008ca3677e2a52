/* What models there are to pull: the releases that utter knows (assets/models.json, carried inside the program) and
   those that a user has added in a file of the same form. */
#ifndef UTTER_MODELS_REGISTRY_H
#define UTTER_MODELS_REGISTRY_H

#include "base/str.h"
#include "gguf/blocks.h"

enum model_kind { MODEL_BACKBONE, MODEL_CODEC, MODEL_ENCODER };

enum { REGISTRY_MAX_NAMES = 16 };  // of files and voices of one model
enum { REGISTRY_MAX_NAME = 144 };  // bytes

struct model_names {
    const char *at[REGISTRY_MAX_NAMES];
    int n;
};

struct model_entry {
    const char *name;   // what a person types: "neutts-air"
    const char *about;  // half a sentence
    enum model_kind kind;
    const char *repository;    // "neuphonic/neutts-air-q4-gguf"
    const char *revision;      // branch, tag or commit: "main"
    struct model_names files;  // patterns of the weights' file; the first that fits a file of the repository counts
    struct model_names with;   // names of files that are fetched too where the repository has them
    block_type type;           // of the matrices, when the weights must be converted to GGUF
    const char *language;      // as espeak-ng names it; NULL for codecs
    const char *licence, *licence_url;
    bool licence_asks;           // it must be accepted before the model is fetched
    int64_t n_bytes;             // about; 0: not known
    const char *codec;           // of a backbone: the entry that turns its codes into sound
    const char *encoder;         // of a codec: the entry that makes its codes of recordings; NULL: none is known
    struct {                     // of an encoder: where its semantic model is, when the weights lack it
        const char *repository;  // NULL: nowhere else
        struct model_names files, with;
    } semantic;
    const char *voices_url;     // folder of NAME.pt and NAME.txt; NULL: no voices
    struct model_names voices;  // the first is the model's default
    bool added;                 // by the user's file
};

/* "backbone", "codec" or "encoder" */
const char *model_kind_name(enum model_kind kind);

struct registry;

/* user_path: the user's file; need not exist. NULL: none. */
status registry_open(const char *user_path, struct registry **out);
void registry_close(struct registry *r);

int registry_count(const struct registry *r);
const struct model_entry *registry_at(const struct registry *r, int i);
/* By name or by repository; NULL if there is none. */
const struct model_entry *registry_find(const struct registry *r, const char *name);

/* Where a user's additions live: $XDG_CONFIG_HOME/utter/models.json. */
status registry_user_path(struct str *out);

/* True for what may stand as a model's name, which is a folder's name too. */
bool registry_name_ok(const char *name);

/* The name that a repository is installed under when no entry has it: OWNER--NAME for OWNER/NAME, which is taken too.
   False for what is no repository; hubs have none with "--" in its own name. */
bool registry_repository_name(const char *repository, char out[REGISTRY_MAX_NAME + 1]);

/* True for a name of file or folders and file that stays below the folder it is put in. */
bool path_stays_below(const char *path);

#endif
