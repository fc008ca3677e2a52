#include "audio/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "audio/encode.h"
#include "base/file.h"
#include "base/npy.h"

struct sink {
    char *path;
    struct file_writer writer;  // files
    FILE *pipe;                 // pipes, devices, standard output
    int64_t pipe_start;  // where the sound begins when `pipe` is a file (utter … > x.wav); -1: it cannot be rewound

    struct audio_encoder *encoder;  // NULL: .npy
    float *kept;                    // .npy: [n_kept], room for `room`
    size_t n_kept, room;
};

// ---- names and formats ----

// What is under the name now, links followed.
enum target { TARGET_FILE, TARGET_FOLDER, TARGET_PIPE };

static enum target look_at(const char *path) {
    struct stat info;
    if (strcmp(path, "-") == 0) return TARGET_PIPE;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) return TARGET_FILE;
    return S_ISDIR(info.st_mode) ? TARGET_FOLDER : TARGET_PIPE;
}

struct choice {
    bool npy;
    enum audio_format format;  // unless npy
};

static status choose_named(const char *name, struct choice *out) {
    *out = (struct choice){.npy = strcasecmp(name, "npy") == 0};
    return out->npy ? UTTER_OK : audio_format_parse(name, &out->format);
}

// The format that is named, or that the path ends in; of a pipe WAV.
static status choose(const char *path, const char *format, struct choice *out) {
    enum target target = look_at(path);
    if (target == TARGET_FOLDER)
        return fail(UTTER_INVALID, "%s is a folder; name a file in it, as in %s/speech.wav", path, path);
    if (format) {
        TRY(choose_named(format, out));
        if (!out->npy || target == TARGET_FILE) return UTTER_OK;
        return fail(UTTER_INVALID, "npy cannot be written to a pipe or a device, only to a file");
    }
    *out = (struct choice){.format = AUDIO_WAV};
    if (target == TARGET_PIPE) return UTTER_OK;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    status s = dot && dot > name ? choose_named(strcasecmp(dot, ".oga") == 0 ? "ogg" : dot + 1, out) : UTTER_INVALID;
    if (s != UTTER_INVALID) return s;
    return fail(
        UTTER_INVALID,
        "cannot tell the format of \"%s\" from its ending; end it in .wav, .flac, .mp3, .opus, .ogg, .aac, .pcm "
        "or .npy",
        path);
}

status sink_check_name(const char *path, const char *format) {
    struct choice choice;
    return choose(path, format, &choice);
}

// ---- bytes ----

static status write_pipe(struct sink *s, const void *data, size_t n_bytes) {
    if (fwrite(data, 1, n_bytes, s->pipe) == n_bytes && fflush(s->pipe) == 0) return UTTER_OK;
    const char *name = s->pipe == stdout ? "standard output" : s->path;
    if (errno == EPIPE) return fail(UTTER_IO, "%s was closed by its reader before all sound was written", name);
    return fail(UTTER_IO, "cannot write to %s: %s", name, strerror(errno));
}

static status write_bytes(void *user, const void *bytes, size_t n) {
    struct sink *s = user;
    return s->pipe ? write_pipe(s, bytes, n) : file_write(&s->writer, bytes, n);
}

// Where the next byte goes if the stream is a file that can be rewound and is not appended to; else -1.
static int64_t start_of(FILE *f) {
    struct stat info;
    if (fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode) || fcntl(fileno(f), F_GETFL) & O_APPEND) return -1;
    return ftello(f);
}

// The first bytes, now that the length is known, where they can still be changed.
static status write_head(struct sink *s) {
    const unsigned char *bytes;
    size_t n;
    audio_encoder_head(s->encoder, &bytes, &n);
    if (n == 0) return UTTER_OK;
    if (s->pipe) {
        if (s->pipe_start < 0 || fseeko(s->pipe, s->pipe_start, SEEK_SET) != 0) return UTTER_OK;
        TRY(write_pipe(s, bytes, n));
        fseeko(s->pipe, 0, SEEK_END);
        return UTTER_OK;
    }
    if (fseeko(s->writer.f, 0, SEEK_SET) != 0) return fail(UTTER_IO, "cannot write %s: %s", s->path, strerror(errno));
    return file_write(&s->writer, bytes, n);
}

static status finish_encoder(struct sink *s) {
    TRY(audio_encoder_end(s->encoder));
    TRY(write_head(s));
    return s->pipe ? UTTER_OK : file_commit(&s->writer);
}

// ---- .npy ----

static status keep(struct sink *s, const float *samples, size_t n) {
    size_t need = s->n_kept + n;
    if (need > s->room) {
        size_t room = need > s->room * 2 ? need : s->room * 2;
        float *kept = room <= SIZE_MAX / sizeof *kept ? realloc(s->kept, room * sizeof *kept) : NULL;
        if (!kept) return fail_memory(room, "the samples of an .npy file");
        s->kept = kept;
        s->room = room;
    }
    if (n) memcpy(s->kept + s->n_kept, samples, n * sizeof *samples);
    s->n_kept = need;
    return UTTER_OK;
}

// Arrays are written as a whole, so a name that cannot be written would otherwise be found out only at the end.
static status open_npy(struct sink *s) {
    TRY(file_create(s->path, &s->writer));
    file_abandon(&s->writer);
    return UTTER_OK;
}

static status finish_npy(struct sink *s) {
    int64_t dims[1] = {(int64_t)s->n_kept};
    return npy_write(s->path, NPY_F32, s->kept, 1, dims);
}

// ---- any sink ----

static void sink_free(struct sink *s) {
    audio_encoder_free(s->encoder);
    file_abandon(&s->writer);
    if (s->pipe && s->pipe != stdout) fclose(s->pipe);
    free(s->kept);
    free(s->path);
    free(s);
}

static status open_target(struct sink *s, enum target target, const struct choice *choice, int rate_hz) {
    if (choice->npy) return open_npy(s);
    if (target == TARGET_PIPE) {
        s->pipe = strcmp(s->path, "-") == 0 ? stdout : fopen(s->path, "wb");
        if (!s->pipe) return fail(UTTER_IO, "cannot write to %s: %s", s->path, strerror(errno));
        s->pipe_start = start_of(s->pipe);
    } else {
        TRY(file_create(s->path, &s->writer));
    }
    return audio_encoder_new(choice->format, rate_hz, write_bytes, s, &s->encoder);
}

status sink_open(const char *path, const char *format, int rate_hz, struct sink **out) {
    *out = NULL;
    struct choice choice;
    TRY(choose(path, format, &choice));
    enum target target = look_at(path);
    struct sink *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a sound file");
    s->path = target == TARGET_FILE ? realpath(path, NULL) : NULL;  // renaming is to replace a file, not a link to it
    if (!s->path) s->path = strdup(path);
    status result = s->path ? open_target(s, target, &choice, rate_hz) : fail_memory(strlen(path), "a file name");
    if (result != UTTER_OK) {
        sink_free(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

status sink_write(struct sink *s, const float *samples, size_t n) {
    return s->encoder ? audio_encoder_push(s->encoder, samples, n) : keep(s, samples, n);
}

status sink_finish(struct sink *s) {
    status result = s->encoder ? finish_encoder(s) : finish_npy(s);
    sink_free(s);
    return result;
}

void sink_abandon(struct sink *s) {
    if (s) sink_free(s);
}
