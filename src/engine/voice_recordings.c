#include "engine/voice_recordings.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "audio/load.h"
#include "base/file.h"
#include "base/memory.h"
#include "engine/clone.h"
#include "engine/voice_codes.h"

enum { MAX_RECORDING_BYTES = 256 << 20, MAX_TRANSCRIPT = 16384, ENCODER_PART = 1 << 20 };

static const double least_seconds = 1;

struct taker {
    struct voice_list *list;
    const char *folder;
    const utter_options *options;
    const struct log *log;
    const struct backbone *backbone;
    const struct codec *codec;
    struct str cache, encoder;      // folder, path
    char encoder_hash[33];          // "": there is no encoder
    struct voice_encoder *at_work;  // NULL: not needed yet
    int n_without_encoder;
};

/* One recording. */
struct taking {
    char *name;
    struct str path, text_path, cached;
    char *text;
};

/* ---- hashes ---- */

/* FNV-1a of 128 bits. */
typedef unsigned __int128 hash;

static hash hash_start(void) { return (hash)0x6c62272e07bb0142u << 64 | 0x62b821756295c58du; }

static hash hash_add(hash h, const void *data, size_t n) {
    const unsigned char *p = data;
    const hash prime = (hash)1 << 88 | 0x13b;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * prime;
    return h;
}

static void hash_text(hash h, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)(h >> 64), (uint64_t)h);
}

/* Size, beginning and end tell encoders apart; the whole would take seconds to read. */
static status hash_encoder(const char *path, char out[33]) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    uint64_t size = m.size;
    size_t part = m.size < ENCODER_PART ? m.size : ENCODER_PART;
    hash h = hash_add(hash_start(), &size, sizeof size);
    if (part) h = hash_add(hash_add(h, m.data, part), (const char *)m.data + m.size - part, part);
    file_map_close(&m);
    hash_text(h, out);
    return UTTER_OK;
}

static status hash_content(const struct taking *t, char out[33]) {
    struct file_map m;
    TRY(file_map_open(t->path.data, &m));
    status s = UTTER_OK;
    if (m.size > MAX_RECORDING_BYTES)
        s = fail(UTTER_LIMIT, "%s has %zu MB; a recording of a voice is some seconds long", t->path.data, m.size >> 20);
    hash h = hash_add(hash_start(), t->name, strlen(t->name) + 1);
    h = hash_add(h, t->text, strlen(t->text) + 1);
    if (s == UTTER_OK && m.size) h = hash_add(h, m.data, m.size);
    file_map_close(&m);
    hash_text(h, out);
    return s;
}

/* ---- the cache ---- */

static status cache_folder(struct str *out) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        str_printf(out, "%s/utter/voices", cache);
    else if (home && *home)
        str_printf(out, "%s/.cache/utter/voices", home);
    else
        return fail(UTTER_INVALID, "there is no place to keep encoded voices: neither XDG_CACHE_HOME nor HOME is set");
    TRY(str_status(out));
    return folder_make(out->data);
}

/* Whether the voice has been made already; without an encoder, by whichever. */
static bool is_cached(const struct taker *k, struct taking *t, const char *content) {
    str_clear(&t->cached);
    str_printf(&t->cached, "%s/%s-%s.json", k->cache.data, content, k->encoder_hash);
    if (*k->encoder_hash) return access(str_text(&t->cached), F_OK) == 0;
    DIR *d = opendir(k->cache.data);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        found = strncmp(e->d_name, content, 32) == 0 && len > 5 && strcmp(e->d_name + len - 5, ".json") == 0;
        if (!found) continue;
        str_clear(&t->cached);
        str_printf(&t->cached, "%s/%s", k->cache.data, e->d_name);
    }
    if (d) closedir(d);
    return found;
}

/* ---- one recording ---- */

static status read_transcript(struct taking *t) {
    struct file_map m;
    if (access(t->text_path.data, F_OK) != 0)
        return fail(UTTER_INVALID, "%s has no transcript: write what is said in it, word for word, to %s", t->path.data,
                    t->text_path.data);
    TRY(file_map_open(t->text_path.data, &m));
    const char *p = m.data;
    size_t n = m.size;
    status s = UTTER_OK;
    if (n > MAX_TRANSCRIPT || (n && memchr(p, 0, n)))
        s = fail(UTTER_FORMAT, "%s is no transcript: it has %zu bytes, or is no text", t->text_path.data, n);
    if (s == UTTER_OK && n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) p += 3, n -= 3;
    while (s == UTTER_OK && n && strchr(" \t\r\n", p[n - 1])) n--;
    while (s == UTTER_OK && n && strchr(" \t\r\n", *p)) p++, n--;
    if (s == UTTER_OK && n == 0)
        s = fail(UTTER_INVALID, "%s is empty; it must hold what is said in the recording", t->text_path.data);
    if (s == UTTER_OK && !(t->text = strndup(p, n))) s = fail_memory(n, "a transcript");
    for (char *c = t->text; c && *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t') *c = ' ';
    file_map_close(&m);
    return s;
}

struct warned {
    const struct log *log;
    const char *path;
};

static void warn(void *user, const char *sentence) {
    const struct warned *w = user;
    log_say(w->log, UTTER_LOG_INFO, "%s: %s", w->path, sentence);
}

static status encode(struct taker *k, const struct taking *t) {
    struct sound sound = {0};
    struct clip clip;
    int32_t *codes = NULL;
    int n_codes;
    utter_options options = *k->options;
    options.codec = NULL;
    struct warned w = {k->log, t->path.data};
    status s = sound_load(t->path.data, CLONE_RATE_HZ, CLONE_MAX_SECONDS, &sound);
    if (s == UTTER_OK) s = clip_find(t->path.data, sound.samples, sound.n, &clip);
    if (s == UTTER_OK && clip.seconds < least_seconds)
        s = fail(UTTER_INVALID, "%s has %.1f s of speech, too little for a voice; 3 to 15 s are best", t->path.data,
                 clip.seconds);
    if (s == UTTER_OK) {
        clip_judge(&clip, sound.n_clipped, t->text, warn, &w);
        log_say(k->log, UTTER_LOG_WARNING, "encoding %s, %.1f s of speech; this is done once", t->path.data,
                clip.seconds);
        if (!k->at_work) s = voice_encoder_open(k->encoder.data, &options, &k->at_work);
    }
    if (s == UTTER_OK) s = voice_encoder_encode(k->at_work, &clip, NULL, NULL, &codes, &n_codes);
    if (s == UTTER_OK) {
        const struct voice_draft voice = {.name = t->name,
                                          .note = t->path.data,
                                          .text = t->text,
                                          .codec = voice_encoder_codec(k->at_work),
                                          .codes = codes,
                                          .n_codes = n_codes};
        s = voice_write(&voice, t->cached.data);
    }
    free_aligned(codes);
    sound_free(&sound);
    return s;
}

static status take(struct taker *k, struct taking *t) {
    char content[33];
    TRY(read_transcript(t));
    TRY(hash_content(t, content));
    if (!is_cached(k, t, content)) {
        if (!*k->encoder_hash) {
            k->n_without_encoder++;
            return UTTER_OK;
        }
        TRY(encode(k, t));
    }
    return voice_list_add_file(k->list, t->cached.data, k->backbone, k->codec);
}

/* ---- the folder ---- */

static int is_recording(const struct dirent *e) {
    static const char *const endings[] = {".wav", ".flac", ".ogg", ".opus", ".mp3"};
    const char *dot = strrchr(e->d_name, '.');
    for (size_t i = 0; dot && e->d_name[0] != '.' && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0) return 1;
    return 0;
}

static bool has_voice_file(const struct taker *k, const char *name) {
    static const char *const endings[] = {".json", ".pt", ".npy"};
    bool found = false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !found; i++) {
        struct str path = {0};
        str_printf(&path, "%s/%s%s", k->folder, name, endings[i]);
        found = access(str_text(&path), F_OK) == 0;
        str_free(&path);
    }
    return found;
}

static void take_file(struct taker *k, const char *file) {
    struct taking t = {0};
    str_printf(&t.path, "%s/%s", k->folder, file);
    status s = str_status(&t.path);
    if (s == UTTER_OK) s = voice_codes_name(t.path.data, &t.name);
    if (s == UTTER_OK) str_printf(&t.text_path, "%s/%s.txt", k->folder, t.name);
    if (s == UTTER_OK) s = str_status(&t.text_path);
    if (s == UTTER_OK && !has_voice_file(k, t.name)) s = take(k, &t);
    if (s != UTTER_OK) log_say(k->log, UTTER_LOG_WARNING, "%s (left out)", fail_message());
    str_free(&t.path);
    str_free(&t.text_path);
    str_free(&t.cached);
    free(t.name);
    free(t.text);
}

status voice_list_add_recordings(struct voice_list *list, const char *folder, const utter_options *options,
                                 const struct log *log, const struct backbone *b, const struct codec *c) {
    struct taker k = {.list = list, .folder = folder, .options = options, .log = log, .backbone = b, .codec = c};
    struct dirent **entries;
    int n = scandir(folder, &entries, is_recording, alphasort);
    if (n < 0) return fail(UTTER_IO, "cannot read the folder of voices %s: %s", folder, strerror(errno));
    status s = n > 0 ? cache_folder(&k.cache) : UTTER_OK;
    if (s == UTTER_OK && n > 0 && encoder_find(NULL, NULL, &k.encoder) == UTTER_OK)
        s = hash_encoder(k.encoder.data, k.encoder_hash);
    for (int i = 0; i < n; i++) {
        if (s == UTTER_OK) take_file(&k, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (s == UTTER_OK && k.n_without_encoder > 0)
        log_say(log, UTTER_LOG_WARNING,
                "%d recordings in %s are left out, since there is no encoder to make voices of them; utter models pull "
                "neucodec-encoder fetches it (or distill-neucodec-encoder, a tenth of its size)",
                k.n_without_encoder, folder);
    voice_encoder_close(k.at_work);
    str_free(&k.cache);
    str_free(&k.encoder);
    return s;
}
