/* The model and the codec: whether they can be read, and whether they are what was fetched. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "engine/builtin.h"
#include "engine/choose.h"
#include "engine/doctor_parts.h"
#include "gpu/driver.h"
#include "models/digest.h"
#include "models/store.h"

#define CHECKSUM_LIMIT_NS ((int64_t)300 * 1000000000)

// What is passed over on the way to the model is worth knowing.
static void tell_passed_over(void *user, utter_log_level level, const char *sentence) {
    if (level == UTTER_LOG_WARNING) doctor_found(user, "models", FINDING_NONE, NULL, "%s", sentence);
}

// The model that say takes when none is named. Opened on the CPU: a GPU's faults are other checks' findings.
static status take_installed(struct doctor *d) {
    utter_options options = d->engine;
    options.device = "cpu";
    options.kernels = NULL;
    options.n_streams = 1;
    options.log = tell_passed_over;
    options.log_user = d;
    TRY(name_installed(&options, &d->taken));
    if (d->taken.len == 0) return UTTER_OK;
    d->engine.model = d->taken.data;
    snprintf(d->title, sizeof d->title, "%s: ", d->taken.data);
    return UTTER_OK;
}

status doctor_resolve(struct doctor *d) {
    if (!d->engine.model && !d->engine.codec) TRY(take_installed(d));
    const char *model = d->engine.model;
    if (model && strcmp(model, BUILT_IN_NAME) != 0) TRY(store_resolve(model, &d->model, &d->codec_path));
    TRY(str_status(&d->model));
    return str_status(&d->codec_path);
}

/* ---- checksums ---- */

// The checksum recorded for the file at `path`, when a pulled model has it; *sha256 is "" otherwise.
static status recorded(const char *path, char sha256[65], char name[128]) {
    *sha256 = 0;
    char *wanted = realpath(path, NULL);
    struct store store;
    struct store_model *list = NULL;
    int n = 0;
    status s = wanted ? store_open(NULL, &store) : UTTER_OK;
    if (!wanted || s != UTTER_OK) {
        free(wanted);
        return s;
    }
    s = store_list(&store, &list, &n);
    for (int i = 0; s == UTTER_OK && i < n && !*sha256; i++) {
        for (int f = 0; f < list[i].n; f++) {
            struct str at = {0};
            store_path(&store, list[i].name, list[i].files[f].path, &at);
            char *real = realpath(str_text(&at), NULL);
            str_free(&at);
            bool same = real && strcmp(real, wanted) == 0;
            free(real);
            if (!same || !list[i].files[f].sha256) continue;
            snprintf(sha256, 65, "%s", list[i].files[f].sha256);
            snprintf(name, 128, "%s", list[i].name);
            break;
        }
    }
    store_list_free(list, n);
    store_close(&store);
    free(wanted);
    return s;
}

static bool too_long(void *user) { return clock_ns() > *(const int64_t *)user; }

// What the file's checksum tells, as the end of a sentence; UTTER_FORMAT when it is not the recorded one.
static status check_sum(const char *path, json_t *facts, struct str *out) {
    char wanted[65], name[128], sha256[65], git[41];
    TRY(recorded(path, wanted, name));
    struct digest digest;
    int64_t n_bytes, until = clock_ns() + CHECKSUM_LIMIT_NS;
    TRY(digest_start(&digest, -1));
    status s = digest_add_file(&digest, path, &n_bytes, too_long, &until);
    if (s != UTTER_OK) {
        digest_drop(&digest);
        if (s == UTTER_CANCELLED)
            return fail(UTTER_DEADLINE, "%s could not be read within %d s; copy it to a faster disk", path,
                        (int)(CHECKSUM_LIMIT_NS / 1000000000));
        return s;
    }
    digest_finish(&digest, sha256, git);
    json_object_set_new(facts, "sha256", json_string(sha256));
    if (*wanted && strcmp(wanted, sha256) != 0)
        return fail(UTTER_FORMAT,
                    "%s is damaged: its checksum is not that of what was fetched; utter models remove %s, "
                    "then pull it again",
                    path, name);
    if (*wanted)
        str_printf(out, "the checksum is that of what was fetched as %s", name);
    else
        str_printf(out, "SHA-256 %s (no pulled model's, so there is none to compare with)", sha256);
    return str_status(out);
}

/* ---- the files ---- */

// A finding for the network in the file at `path` ("": built in) that calls itself `name`.
static void tell_network(struct doctor *d, const char *check, const char *path, const char *name, size_t n_bytes) {
    json_t *facts = json_pack("{s:s*, s:b, s:I}", "name", name, "built_in", !*path, "bytes", (json_int_t)n_bytes);
    char size[32];
    struct str sum = {0};
    driver_size_text(n_bytes, size);
    if (!*path) {
        doctor_found(d, check, FINDING_OK, facts, "%s, %s, built in", name, size);
    } else if (check_sum(path, facts, &sum) == UTTER_OK) {
        doctor_found(d, check, FINDING_OK, facts, "%s, %s; %s", name, size, str_text(&sum));
    } else {
        doctor_failed(d, check, facts);
    }
    str_free(&sum);
}

static size_t bytes_at(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

static void check_backbone(struct doctor *d) {
    const char *path = str_text(&d->model);
    status s = open_backbone(*path ? path : NULL, &d->backbone);
    if (s == UTTER_OK) s = backbone_check_speech(d->backbone);
    if (s != UTTER_OK) {
        backbone_free(d->backbone);
        d->backbone = NULL;
        doctor_failed(d, "model", NULL);
        return;
    }
    tell_network(d, "model", path, d->backbone->name,
                 *path ? bytes_at(path) : (size_t)(builtin_backbone_end - builtin_backbone));
}

// The codec that the engine takes for the model.
static status find_codec(struct doctor *d) {
    utter_options options = d->engine;
    if (options.codec) {
        struct str ignored = {0};
        str_clear(&d->codec_path);
        status s = store_resolve(options.codec, &d->codec_path, &ignored);
        str_free(&ignored);
        return s;
    }
    if (!d->backbone || !d->model.len || d->codec_path.len) return UTTER_OK;
    options.device = "cpu";
    options.kernels = NULL;
    options.n_streams = 1;
    utter *u;
    TRY(utter_open(&options, &u));
    str_puts(&d->codec_path, u->codec->label);
    utter_close(u);
    return str_status(&d->codec_path);
}

static void check_codec(struct doctor *d) {
    status s = find_codec(d);
    const char *path = str_text(&d->codec_path);
    if (s == UTTER_OK) s = open_codec(*path ? path : NULL, &d->codec);
    if (s == UTTER_OK && d->backbone && d->backbone->n_codes != d->codec->config.n_codes)
        s = fail(UTTER_FORMAT, "%s writes %d speech codes and %s reads %d; take the codec that the model was made for",
                 d->backbone->label, d->backbone->n_codes, d->codec->label, d->codec->config.n_codes);
    if (s != UTTER_OK) {
        codec_free(d->codec);
        d->codec = NULL;
        doctor_failed(d, "codec", NULL);
        return;
    }
    tell_network(d, "codec", path, d->codec->name,
                 *path ? bytes_at(path) : (size_t)(builtin_codec_end - builtin_codec));
}

void doctor_models(struct doctor *d, status resolved) {
    if (resolved != UTTER_OK) {
        doctor_failed(d, "model", NULL);
        return;
    }
    check_backbone(d);
    check_codec(d);
}
