/* The machine: processor, memory, espeak-ng, sound. */
#include <espeak-ng/speak_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "audio/play.h"
#include "base/clock.h"
#include "base/cores.h"
#include "base/processor.h"
#include "cpu/kernels.h"
#include "engine/builtin.h"
#include "engine/doctor_parts.h"
#include "gpu/driver.h"
#include "gpu/worker.h"
#include "text/phonemes.h"

/* ---- processor ---- */

// What stands behind `key` in a file of lines "key : value"; "" when it is not there.
static void read_value(const char *path, const char *key, char *value, size_t size) {
    char line[512];
    *value = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (f) fclose(f);
}

void doctor_processor(struct doctor *d) {
    char name[256];
    processor_name(name, sizeof name);
    const int n_cores = cores_to_use();
    const struct kernels *used;
    json_t *sets = json_array();
    struct str others = {0}, missing = {0};
    const char *lacks;
    const struct kernels *k;
    status s = kernels_find(d->engine.kernels, &used);
    for (int i = 0; (k = kernels_at(i, &lacks)); i++) {
        json_array_append_new(sets, json_pack("{s:s, s:s*}", "kernels", k->name, "lacks", lacks));
        if (lacks)
            str_printf(&missing, "; not %s, for which it lacks %s", k->name, lacks);
        else if (k != used)
            str_printf(&others, "%s%s", others.len ? ", " : "; usable too: ", k->name);
    }
    json_t *facts = json_pack("{s:s*, s:i, s:o}", "name", name, "cores", n_cores, "sets", sets);
    if (s != UTTER_OK) {
        doctor_failed(d, "processor", facts);
    } else {
        json_object_set_new(facts, "used", json_string(used->name));
        doctor_found(d, "processor", FINDING_OK, facts, "%s, %d core%s to use; kernels %s are used%s%s", name, n_cores,
                     n_cores == 1 ? "" : "s", used->name, str_text(&others), str_text(&missing));
    }
    str_free(&others);
    str_free(&missing);
}

/* ---- memory ---- */

// The number in a file that holds nothing else; false for "max" and where there is no such file.
static bool read_number(const char *path, unsigned long long *out) {
    FILE *f = fopen(path, "r");
    bool is = f && fscanf(f, "%llu", out) == 1;
    if (f) fclose(f);
    return is;
}

// What a container's memory holds of files, which the system gives up when it needs room.
static unsigned long long cached_bytes(void) {
    char key[64];
    unsigned long long value, sum = 0;
    FILE *f = fopen("/sys/fs/cgroup/memory.stat", "r");
    while (f && fscanf(f, "%63s %llu", key, &value) == 2)
        if (!strcmp(key, "active_file") || !strcmp(key, "inactive_file")) sum += value;
    if (f) fclose(f);
    return sum;
}

// Bytes that can still be had, of the system and of the container.
static bool free_memory(size_t *out) {
    char text[64];
    read_value("/proc/meminfo", "MemAvailable", text, sizeof text);
    if (!*text) return false;
    unsigned long long kib = strtoull(text, NULL, 10), most, used;
    *out = (size_t)kib << 10;
    if (read_number("/sys/fs/cgroup/memory.max", &most) && read_number("/sys/fs/cgroup/memory.current", &used)) {
        unsigned long long cached = cached_bytes();
        used = used > cached ? used - cached : 0;
        unsigned long long left = most > used ? most - used : 0;
        if (left < *out) *out = (size_t)left;
    }
    return true;
}

static size_t file_bytes(const struct str *path, size_t built_in) {
    struct stat info;
    if (path->len == 0) return built_in;
    return stat(str_text(path), &info) == 0 ? (size_t)info.st_size : 0;
}

void doctor_memory(struct doctor *d) {
    size_t n_free;
    if (!free_memory(&n_free)) {
        doctor_found(d, "memory", FINDING_NONE, NULL, "the system does not tell how much memory is free");
        return;
    }
    size_t needed = file_bytes(&d->model, (size_t)(builtin_backbone_end - builtin_backbone)) +
                    file_bytes(&d->codec_path, (size_t)(builtin_codec_end - builtin_codec));
    char free_text[32], needed_text[32];
    driver_size_text(n_free, free_text);
    driver_size_text(needed, needed_text);
    json_t *facts = json_pack("{s:I, s:I}", "free_bytes", (json_int_t)n_free, "model_bytes", (json_int_t)needed);
    if (n_free > needed)
        doctor_found(d, "memory", FINDING_OK, facts, "%s free; model and codec are %s", free_text, needed_text);
    else
        doctor_found(d, "memory", FINDING_FAILED, facts,
                     "%s free, and model and codec are %s; close other programs, or take a smaller model", free_text,
                     needed_text);
}

/* ---- espeak-ng ---- */

void doctor_phonemes(struct doctor *d) {
    static const char word[] = "hello", language[] = "en-us";
    struct str phonemes = {0};
    status s = phonemize(language, word, strlen(word), &phonemes);
    if (s == UTTER_OK && phonemes.len == 0)
        s = fail(UTTER_IO, "espeak-ng gives no phonemes for %s; install the package espeak-ng-data anew", language);
    if (s == UTTER_OK) {
        const char *data = NULL, *version = espeak_Info(&data);
        doctor_found(d, "espeak-ng", FINDING_OK, json_pack("{s:s*, s:s*}", "version", version, "data", data),
                     "espeak-ng %s with its data in %s; \"%s\" in %s is %s", version, data ? data : "an unknown place",
                     word, language, str_text(&phonemes));
    } else {
        doctor_failed(d, "espeak-ng", NULL);
    }
    str_free(&phonemes);
}

/* ---- sound ---- */

enum { SOUND_RATE_HZ = 24000 };
#define SOUND_LIMIT_NS ((int64_t)10 * 1000000000)

static status open_sound(void *context) {
    (void)context;
    struct player *p;
    TRY(player_open(SOUND_RATE_HZ, NULL, &p));
    player_close(p);
    return UTTER_OK;
}

static void forget(void *context, bool lost) { (void)context, (void)lost; }

void doctor_sound(struct doctor *d) {
    struct worker *w;
    status s = worker_start(NULL, forget, &w);
    if (s == UTTER_OK) {
        s = worker_call(w, open_sound, NO_DEADLINE, SOUND_LIMIT_NS);
        if (worker_lost(w))
            fail(UTTER_DEVICE, "the sound system does not answer; restart it, or write a file with -o FILE");
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", fail_message());
        worker_stop(w, SOUND_LIMIT_NS / 100);
        if (s != UTTER_OK) fail(s, "%s", sentence);
    }
    if (s == UTTER_OK)
        doctor_found(d, "sound", FINDING_OK, NULL, "there is a sound device, and it plays at %d Hz", SOUND_RATE_HZ);
    else
        doctor_found(d, "sound", FINDING_NONE, NULL, "%s", fail_message());
}
