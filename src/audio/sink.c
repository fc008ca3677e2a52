#include "audio/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sndfile.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/npy.h"

enum { BLOCK = 1024, WAV_HEADER = 44 };
static const uint32_t unknown_length = 0xffffffff;  // in a WAV header: read to the end

struct format {
    const char *ending;
    int sndfile;  // format and subtype; 0: written here, not by libsndfile
};

static const struct format formats[] = {
    {".wav", 0},
    {".npy", 0},
    {".flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
    {".ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
    {".oga", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
    {".opus", SF_FORMAT_OGG | SF_FORMAT_OPUS},
    {".mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III},
};

struct sink {
    const struct format *format;
    char *path;
    int rate_hz;
    struct file_writer writer;  // files
    FILE *pipe;                 // pipes, devices, standard output
    int64_t pipe_start;  // where the header is when `pipe` is a file (utter … > x.wav); -1: it cannot be rewound
    uint64_t n_samples;

    SNDFILE *encoder;
    int64_t at, size;  // where the encoder writes; bytes so far
    int error;         // errno of the first write that failed: libsndfile keeps no errno

    float *kept;  // .npy: [n_samples], room for `room`
    size_t room;
};

// What is under the name now, links followed.
enum target { TARGET_FILE, TARGET_FOLDER, TARGET_PIPE };

static enum target look_at(const char *path) {
    struct stat info;
    if (strcmp(path, "-") == 0) return TARGET_PIPE;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) return TARGET_FILE;
    return S_ISDIR(info.st_mode) ? TARGET_FOLDER : TARGET_PIPE;
}

static const struct format *format_of(const char *path) {
    size_t len = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t n = strlen(formats[i].ending);
        if (len > n && strcasecmp(path + len - n, formats[i].ending) == 0) return &formats[i];
    }
    return NULL;
}

status sink_check_name(const char *path) {
    switch (look_at(path)) {
        case TARGET_PIPE:
            return UTTER_OK;
        case TARGET_FOLDER:
            return fail(UTTER_INVALID, "%s is a folder; name a file in it, as in %s/speech.wav", path, path);
        case TARGET_FILE:
            break;
    }
    if (format_of(path)) return UTTER_OK;
    return fail(UTTER_INVALID,
                "cannot tell the format of \"%s\" from its ending; end it in .wav, .flac, .ogg, .opus, .mp3 or .npy",
                path);
}

// ---- WAV ----

static void put_u32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}

// A canonical header for mono PCM16. Sizes beyond 32 bits are given as unknown, as in a stream.
static void wav_header(unsigned char header[WAV_HEADER], int rate_hz, uint64_t n_samples) {
    uint32_t n_bytes = n_samples > (UINT32_MAX - WAV_HEADER) / 2 ? unknown_length : (uint32_t)n_samples * 2;
    memcpy(header, "RIFF....WAVEfmt \x10\0\0\0\1\0\1\0........\2\0\x10\0data....", WAV_HEADER);
    put_u32(header + 4, n_bytes == unknown_length ? unknown_length : n_bytes + WAV_HEADER - 8);
    put_u32(header + 24, (uint32_t)rate_hz);
    put_u32(header + 28, (uint32_t)rate_hz * 2);
    put_u32(header + 40, n_bytes);
}

static status write_pipe(struct sink *s, const void *data, size_t n_bytes) {
    if (fwrite(data, 1, n_bytes, s->pipe) == n_bytes && fflush(s->pipe) == 0) return UTTER_OK;
    const char *name = s->pipe == stdout ? "standard output" : s->path;
    if (errno == EPIPE) return fail(UTTER_IO, "%s was closed by its reader before all sound was written", name);
    return fail(UTTER_IO, "cannot write to %s: %s", name, strerror(errno));
}

static status write_wav(struct sink *s, const float *samples, size_t n) {
    unsigned char bytes[BLOCK * 2];
    for (size_t i = 0; i < n; i++) {
        int v = (int)lrintf(samples[i] * 32767.0f);
        bytes[2 * i] = (unsigned char)v;
        bytes[2 * i + 1] = (unsigned char)(v >> 8);
    }
    return s->pipe ? write_pipe(s, bytes, n * 2) : file_write(&s->writer, bytes, n * 2);
}

static status open_wav(struct sink *s) {
    unsigned char header[WAV_HEADER];
    wav_header(header, s->rate_hz, UINT64_MAX);
    if (s->pipe) return write_pipe(s, header, sizeof header);
    TRY(file_create(s->path, &s->writer));
    return file_write(&s->writer, header, sizeof header);
}

// Where the next byte goes if the stream is a file that can be rewound and is not appended to; else -1.
static int64_t start_of(FILE *f) {
    struct stat info;
    if (fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode) || fcntl(fileno(f), F_GETFL) & O_APPEND) return -1;
    return ftello(f);
}

static status finish_wav(struct sink *s) {
    unsigned char header[WAV_HEADER];
    wav_header(header, s->rate_hz, s->n_samples);
    if (s->pipe) {
        if (s->pipe_start < 0 || fseeko(s->pipe, s->pipe_start, SEEK_SET) != 0) return UTTER_OK;
        TRY(write_pipe(s, header, sizeof header));
        fseeko(s->pipe, 0, SEEK_END);
        return UTTER_OK;
    }
    if (fseeko(s->writer.f, 0, SEEK_SET) != 0) return fail(UTTER_IO, "cannot write %s: %s", s->path, strerror(errno));
    TRY(file_write(&s->writer, header, sizeof header));
    return file_commit(&s->writer);
}

// ---- what libsndfile encodes, onto the file writer ----

static sf_count_t encoder_length(void *user) { return ((struct sink *)user)->size; }
static sf_count_t encoder_tell(void *user) { return ((struct sink *)user)->at; }

static sf_count_t encoder_seek(sf_count_t offset, int whence, void *user) {
    struct sink *s = user;
    int64_t at = offset + (whence == SEEK_CUR ? s->at : whence == SEEK_END ? s->size : 0);
    if (at < 0 || fseeko(s->writer.f, at, SEEK_SET) != 0) return -1;
    return s->at = at;
}

static sf_count_t encoder_read(void *data, sf_count_t n, void *user) {
    (void)data, (void)n, (void)user;
    return 0;  // a file being written is not read
}

static sf_count_t encoder_write(const void *data, sf_count_t n, void *user) {
    struct sink *s = user;
    size_t done = fwrite(data, 1, (size_t)n, s->writer.f);
    if (done < (size_t)n && s->error == 0) s->error = errno ? errno : EIO;
    s->at += (int64_t)done;
    if (s->at > s->size) s->size = s->at;
    return (sf_count_t)done;
}

static status encoder_status(struct sink *s, bool ok) {
    if (s->error) return fail(UTTER_IO, "cannot write %s: %s", s->path, strerror(s->error));
    if (ok) return UTTER_OK;
    return fail(UTTER_IO, "cannot encode %s: %s", s->path, sf_strerror(s->encoder));
}

static status open_encoder(struct sink *s) {
    static SF_VIRTUAL_IO callbacks = {encoder_length, encoder_seek, encoder_read, encoder_write, encoder_tell};
    SF_INFO info = {.samplerate = s->rate_hz, .channels = 1, .format = s->format->sndfile};
    TRY(file_create(s->path, &s->writer));
    s->encoder = sf_open_virtual(&callbacks, SFM_WRITE, &info, s);
    if (s->encoder || s->error) return encoder_status(s, true);
    return fail(UTTER_UNSUPPORTED, "%s: libsndfile does not write %s sound of %d Hz: %s; choose .wav", s->path,
                s->format->ending, s->rate_hz, sf_strerror(NULL));
}

static status finish_encoder(struct sink *s) {
    int result = sf_close(s->encoder);
    s->encoder = NULL;
    if (s->error == 0 && result != 0) return fail(UTTER_IO, "cannot complete %s: %s", s->path, sf_error_number(result));
    TRY(encoder_status(s, true));
    return file_commit(&s->writer);
}

// ---- .npy ----

static status keep(struct sink *s, const float *samples, size_t n) {
    size_t need = (size_t)s->n_samples + n;
    if (need > s->room) {
        size_t room = need > s->room * 2 ? need : s->room * 2;
        float *kept = room <= SIZE_MAX / sizeof *kept ? realloc(s->kept, room * sizeof *kept) : NULL;
        if (!kept) return fail_memory(room, "the samples of an .npy file");
        s->kept = kept;
        s->room = room;
    }
    if (n) memcpy(s->kept + s->n_samples, samples, n * sizeof *samples);
    return UTTER_OK;
}

// Arrays are written as a whole, so a name that cannot be written would otherwise be found out only at the end.
static status open_npy(struct sink *s) {
    TRY(file_create(s->path, &s->writer));
    file_abandon(&s->writer);
    return UTTER_OK;
}

// ---- any sink ----

static bool is_npy(const struct sink *s) { return strcmp(s->format->ending, ".npy") == 0; }

static void sink_free(struct sink *s) {
    if (s->encoder) sf_close(s->encoder);
    file_abandon(&s->writer);
    if (s->pipe && s->pipe != stdout) fclose(s->pipe);
    free(s->kept);
    free(s->path);
    free(s);
}

static status open_format(struct sink *s, enum target target) {
    if (target == TARGET_PIPE) {
        s->pipe = strcmp(s->path, "-") == 0 ? stdout : fopen(s->path, "wb");
        if (!s->pipe) return fail(UTTER_IO, "cannot write to %s: %s", s->path, strerror(errno));
        s->pipe_start = start_of(s->pipe);
    }
    if (s->format->sndfile) return open_encoder(s);
    return is_npy(s) ? open_npy(s) : open_wav(s);
}

status sink_open(const char *path, int rate_hz, struct sink **out) {
    *out = NULL;
    TRY(sink_check_name(path));
    enum target target = look_at(path);
    struct sink *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a sound file");
    s->path = target == TARGET_FILE ? realpath(path, NULL) : NULL;  // renaming is to replace a file, not a link to it
    if (!s->path) s->path = strdup(path);
    s->rate_hz = rate_hz;
    s->format = target == TARGET_FILE ? format_of(path) : &formats[0];
    status result = s->path ? open_format(s, target) : fail_memory(strlen(path), "a file name");
    if (result != UTTER_OK) {
        sink_free(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

static status write_block(struct sink *s, const float *samples, size_t n) {
    float clipped[BLOCK];
    for (size_t i = 0; i < n; i++) {
        float v = samples[i];
        clipped[i] = isnan(v) ? 0 : v < -1 ? -1 : v > 1 ? 1 : v;
    }
    if (!s->encoder) return write_wav(s, clipped, n);
    sf_count_t done = sf_write_float(s->encoder, clipped, (sf_count_t)n);
    return encoder_status(s, done == (sf_count_t)n);
}

status sink_write(struct sink *s, const float *samples, size_t n) {
    if (is_npy(s)) {
        TRY(keep(s, samples, n));
        s->n_samples += n;
        return UTTER_OK;
    }
    while (n > 0) {
        size_t now = n < BLOCK ? n : BLOCK;
        TRY(write_block(s, samples, now));
        s->n_samples += now;
        samples += now;
        n -= now;
    }
    return UTTER_OK;
}

status sink_finish(struct sink *s) {
    int64_t dims[1] = {(int64_t)s->n_samples};
    status result = s->encoder  ? finish_encoder(s)
                    : is_npy(s) ? npy_write(s->path, NPY_F32, s->kept, 1, dims)
                                : finish_wav(s);
    sink_free(s);
    return result;
}

void sink_abandon(struct sink *s) {
    if (s) sink_free(s);
}
