/* The voices of an engine: the model's, those in folders, and those added by file. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/engine.h"
#include "engine/voice_folder.h"
#include "engine/voice_recordings.h"

static int is_voice_file(const struct dirent *e) {
    static const char *const endings[] = {".json", ".pt", ".npy"};
    size_t len = strlen(e->d_name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (e->d_name[0] != '.' && len >= n && strcmp(e->d_name + len - n, endings[i]) == 0) return 1;
    }
    return 0;
}

// Every voice in a folder, by name. One that cannot be used is left out and said so at `level`; no folder is no voices.
static status add_voices_of(utter *u, const char *folder, utter_log_level level, struct voice_list *list) {
    struct dirent **entries;
    int n = scandir(folder, &entries, is_voice_file, alphasort);
    struct str path = {0};
    for (int i = 0; i < n; i++) {
        str_clear(&path);
        str_printf(&path, "%s/%s", folder, entries[i]->d_name);
        if (voice_list_add_file(list, str_text(&path), u->backbone, u->codec) != UTTER_OK)
            log_say(&u->log, level, "%s (left out)", fail_message());
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    status s = str_status(&path);
    str_free(&path);
    return s;
}

static status read_voices(utter *u, struct voice_list *list) {
    TRY(voice_list_add_own(list, u->backbone, u->codec));
    if (u->voices.folder) TRY(add_voices_of(u, u->voices.folder, UTTER_LOG_WARNING, list));
    if (u->voices.added) {
        const utter_options options = {.n_threads = u->voices.n_threads};
        TRY(add_voices_of(u, u->voices.added, UTTER_LOG_WARNING, list));
        TRY(voice_list_add_recordings(list, u->voices.added, &options, &u->log, u->backbone, u->codec));
    }
    struct str folder = {0};
    status s = UTTER_OK;
    if (voices_folder(&folder) == UTTER_OK) s = add_voices_of(u, folder.data, UTTER_LOG_DEBUG, list);
    str_free(&folder);
    return s;
}

void engine_voices_init(struct engine_voices *v) {
    pthread_rwlock_init(&v->lock, NULL);
    pthread_mutex_init(&v->reloading, NULL);
}

status engine_voices_open(utter *u, const char *model, const utter_options *options) {
    u->voices.n_threads = options->n_threads;
    if (options->voices && !(u->voices.added = strdup(options->voices)))
        return fail_memory(strlen(options->voices), "options");
    if (model) {
        const char *slash = strrchr(model, '/');
        struct str folder = {0};
        if (slash) str_append(&folder, model, (size_t)(slash - model) + 1);
        str_puts(&folder, "voices");
        u->voices.folder = folder.data;
        TRY(str_status(&folder));
    }
    return read_voices(u, &u->voices.list);
}

void engine_voices_free(struct engine_voices *v) {
    voice_list_free(&v->list);
    voice_list_free(&v->retired);
    free(v->folder);
    free(v->added);
    pthread_rwlock_destroy(&v->lock);
    pthread_mutex_destroy(&v->reloading);
}

status engine_voices_find(utter *u, const char *name, const struct voice **out) {
    pthread_rwlock_rdlock(&u->voices.lock);
    status s = voice_list_find(&u->voices.list, name, out);
    pthread_rwlock_unlock(&u->voices.lock);
    return s;
}

// ---- utter.h ----

// Readers take the lock too; the list is const to them all the same.
static pthread_rwlock_t *lock_of(const utter *u) { return (pthread_rwlock_t *)&u->voices.lock; }

int utter_voice_count(const utter *u) {
    pthread_rwlock_rdlock(lock_of(u));
    int n = u->voices.list.n;
    pthread_rwlock_unlock(lock_of(u));
    return n;
}

utter_status utter_voice_get(const utter *u, int i, utter_voice *out) {
    *out = (utter_voice){0};
    pthread_rwlock_rdlock(lock_of(u));
    const struct voice *v = i >= 0 && i < u->voices.list.n ? u->voices.list.voices[i] : NULL;
    pthread_rwlock_unlock(lock_of(u));
    if (!v) return fail(UTTER_INVALID, "there is no voice %d", i);
    *out = (utter_voice){.name = v->name, .language = v->language, .note = v->note};
    return UTTER_OK;
}

utter_status utter_voice_load(utter *u, const char *path) {
    struct voice_list *list = &u->voices.list;
    pthread_rwlock_wrlock(&u->voices.lock);
    status s = voice_list_add_file(list, path, u->backbone, u->codec);
    if (s == UTTER_OK) list->voices[list->n - 1]->asked_for = true;
    pthread_rwlock_unlock(&u->voices.lock);
    return s;
}

// ---- reload ----

static int find_name(const struct voice_list *list, const char *name) {
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->voices[i]->name, name) == 0) return i;
    return -1;
}

// Moves the voice that speaks like `v` out of the list, where there is one.
static struct voice *take_equal(struct voice_list *list, const struct voice *v) {
    for (int i = 0; i < list->n; i++) {
        struct voice *found = list->voices[i];
        if (!voice_equal(found, v)) continue;
        memmove(&list->voices[i], &list->voices[i + 1], (size_t)(list->n - i - 1) * sizeof *list->voices);
        list->n--;
        return found;
    }
    return NULL;
}

// Puts the voices of `fresh` into use, with the old ones in place of those that did not change, and those that were
// asked for behind them. Both locks held. `fresh` holds what was in use afterwards.
static status exchange(struct engine_voices *v, struct voice_list *fresh) {
    TRY(voice_list_reserve(fresh, fresh->n + v->list.n));
    TRY(voice_list_reserve(&v->retired, v->retired.n + v->list.n));
    for (int i = 0; i < v->list.n;) {
        struct voice *kept = v->list.voices[i];
        if (!kept->asked_for) {
            i++;
            continue;
        }
        int same = find_name(fresh, kept->name);
        take_equal(&v->list, kept);
        if (same >= 0) {
            voice_free(fresh->voices[same]);
            fresh->voices[same] = kept;
        } else {
            fresh->voices[fresh->n++] = kept;
        }
    }
    for (int i = 0; i < fresh->n; i++) {
        if (fresh->voices[i]->asked_for) continue;
        struct voice *old = take_equal(&v->list, fresh->voices[i]);
        if (!old) old = take_equal(&v->retired, fresh->voices[i]);
        if (!old) continue;
        voice_free(fresh->voices[i]);
        fresh->voices[i] = old;
    }
    for (int i = 0; i < v->list.n; i++) v->retired.voices[v->retired.n++] = v->list.voices[i];
    v->list.n = 0;
    struct voice_list used = v->list;
    v->list = *fresh;
    *fresh = used;
    return UTTER_OK;
}

utter_status utter_voices_reload(utter *u) {
    struct voice_list fresh = {0};
    pthread_mutex_lock(&u->voices.reloading);
    status s = read_voices(u, &fresh);
    if (s == UTTER_OK) {
        pthread_rwlock_wrlock(&u->voices.lock);
        s = exchange(&u->voices, &fresh);
        pthread_rwlock_unlock(&u->voices.lock);
    }
    pthread_mutex_unlock(&u->voices.reloading);
    voice_list_free(&fresh);
    return s;
}
