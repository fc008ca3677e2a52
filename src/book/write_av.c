/* Containers with chapter marks by libavformat: AAC in MP4 (.m4b), MP3, FLAC. */
#include <dlfcn.h>
#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "book/picture.h"
#include "book/write.h"

// The library and those it stands on, opened when the first such file is written: no other command waits for its
// hundred libraries to load. A symbol is found in whichever of them has it.
// clang-format off
#define CALLS(F) \
    F(av_calloc) \
    F(av_dict_set) \
    F(av_free) \
    F(av_freep) \
    F(av_frame_alloc) \
    F(av_frame_free) \
    F(av_frame_get_buffer) \
    F(av_frame_make_writable) \
    F(av_interleaved_write_frame) \
    F(av_log_set_level) \
    F(av_malloc) \
    F(av_mallocz) \
    F(av_new_packet) \
    F(av_packet_alloc) \
    F(av_packet_free) \
    F(av_packet_rescale_ts) \
    F(av_strerror) \
    F(av_write_trailer) \
    F(avcodec_alloc_context3) \
    F(avcodec_find_encoder) \
    F(avcodec_free_context) \
    F(avcodec_open2) \
    F(avcodec_parameters_from_context) \
    F(avcodec_receive_packet) \
    F(avcodec_send_frame) \
    F(avformat_alloc_output_context2) \
    F(avformat_free_context) \
    F(avformat_new_stream) \
    F(avformat_write_header) \
    F(avio_alloc_context) \
    F(avio_context_free) \
    F(avio_flush)
// clang-format on

#define MEMBER(name) __typeof__(&name) name;
static struct {
    bool loaded;
    CALLS(MEMBER)
} av;
#undef MEMBER
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LIBRARY "libavformat.so." TEXT(LIBAVFORMAT_VERSION_MAJOR)

static void load(void) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    struct {
        const char *name;
        void *at;
    } symbols[] = {
#define MEMBER(name) {#name, &av.name},
        CALLS(MEMBER)
#undef MEMBER
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) return;
        memcpy(symbols[i].at, &symbol, sizeof symbol);
    }
    av.av_log_set_level(AV_LOG_QUIET);  // what fails is told by status
    av.loaded = true;
}

status write_av_available(void) {
    pthread_once(&once, load);
    if (av.loaded) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED,
                "%s, which writes .m4b, .mp3 and .flac with chapter marks, is not installed here; "
                "install it, or write .opus, which has chapter marks too",
                LIBRARY);
}

enum { IO_BYTES = 1 << 16, FRAME_IF_ANY = 4096 };

struct av {
    struct book_writer base;
    struct file_writer file;
    AVIOContext *io;
    AVFormatContext *container;
    AVCodecContext *codec;
    AVFrame *frame;
    AVPacket *packet;
    int n_filled;  // samples in the frame
    int64_t n_samples;
    status failed;  // of a write
};

static const struct kind {
    const char *ending, *muxer;
    enum AVCodecID codec;
    int64_t bits_per_second;
} kinds[] = {
    {".m4b", "ipod", AV_CODEC_ID_AAC, 64000},
    {".m4a", "ipod", AV_CODEC_ID_AAC, 64000},
    {".mp3", "mp3", AV_CODEC_ID_MP3, 64000},
    {".flac", "flac", AV_CODEC_ID_FLAC, 0},
};

static const struct kind *kind_of(const char *path) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof kinds / sizeof *kinds; i++)
        if (strcasecmp(dot, kinds[i].ending) == 0) return &kinds[i];
    return NULL;
}

static status failed(const struct av *a, int error, const char *doing) {
    if (a->failed != UTTER_OK) return a->failed;  // its sentence stands
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av.av_strerror(error, text, sizeof text);
    return fail(UTTER_INTERNAL, "libavformat failed at %s: %s", doing, text);
}

// ---- bytes ----

static int write_bytes(void *user, uint8_t *bytes, int n) {
    struct av *a = user;
    if (a->failed == UTTER_OK) a->failed = file_write(&a->file, bytes, (size_t)n);
    return a->failed == UTTER_OK ? n : AVERROR(EIO);
}

static int64_t seek(void *user, int64_t offset, int whence) {
    struct av *a = user;
    if (whence == AVSEEK_SIZE || fseeko(a->file.f, offset, whence & ~AVSEEK_FORCE) != 0) return -1;
    return ftello(a->file.f);
}

// ---- opening ----

static void tag(AVDictionary **to, const char *name, const char *value) {
    if (value && *value) av.av_dict_set(to, name, value, 0);
}

static int add_chapters(AVFormatContext *c, const struct book_tags *tags) {
    if (tags->n_chapters == 0) return 0;
    c->chapters = av.av_calloc((size_t)tags->n_chapters, sizeof *c->chapters);
    if (!c->chapters) return AVERROR(ENOMEM);
    for (int i = 0; i < tags->n_chapters; i++) {
        AVChapter *mark = av.av_mallocz(sizeof *mark);
        if (!mark) return AVERROR(ENOMEM);
        c->chapters[c->nb_chapters++] = mark;
        mark->id = i + 1;
        mark->time_base = (AVRational){1, tags->rate_hz};
        mark->start = tags->chapters[i].first_sample;
        mark->end = i + 1 < tags->n_chapters ? tags->chapters[i + 1].first_sample : tags->n_samples;
        tag(&mark->metadata, "title", tags->chapters[i].title);
    }
    return 0;
}

static void add_tags(AVFormatContext *c, const struct book_tags *tags) {
    tag(&c->metadata, "title", tags->title);
    tag(&c->metadata, "artist", tags->author);
    tag(&c->metadata, "album_artist", tags->author);
    tag(&c->metadata, "album", tags->album ? tags->album : tags->title);
    tag(&c->metadata, "genre", "Audiobook");
    if (tags->track > 0) {
        char number[32];
        snprintf(number, sizeof number, "%d/%d", tags->track, tags->n_tracks);
        tag(&c->metadata, "track", number);
    }
}

// The muxer of FLAC writes no chapters of its own.
static void add_chapter_comments(AVFormatContext *c, const struct book_tags *tags) {
    for (int i = 0; i < tags->n_chapters && i < CHAPTER_COMMENTS; i++) {
        char name[CHAPTER_COMMENT], time[CHAPTER_COMMENT];
        chapter_comment(tags, i, name, time);
        tag(&c->metadata, name, time);
        tag(&c->metadata, strcat(name, "NAME"), tags->chapters[i].title);
    }
}

static int open_codec(struct av *a, const struct kind *kind, const struct book_tags *tags) {
    const AVCodec *codec = av.avcodec_find_encoder(kind->codec);
    if (!codec) return AVERROR_ENCODER_NOT_FOUND;
    a->codec = av.avcodec_alloc_context3(codec);
    if (!a->codec) return AVERROR(ENOMEM);
    a->codec->sample_rate = tags->rate_hz;
    a->codec->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    a->codec->sample_fmt = kind->codec == AV_CODEC_ID_FLAC ? AV_SAMPLE_FMT_S16 : AV_SAMPLE_FMT_FLTP;
    a->codec->bit_rate = kind->bits_per_second;
    a->codec->time_base = (AVRational){1, tags->rate_hz};
    a->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    if (a->container->oformat->flags & AVFMT_GLOBALHEADER) a->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    return av.avcodec_open2(a->codec, codec, NULL);
}

static int make_frame(struct av *a) {
    a->frame = av.av_frame_alloc();
    a->packet = av.av_packet_alloc();
    if (!a->frame || !a->packet) return AVERROR(ENOMEM);
    a->frame->nb_samples = a->codec->frame_size ? a->codec->frame_size : FRAME_IF_ANY;
    a->frame->format = a->codec->sample_fmt;
    a->frame->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_MONO;
    a->frame->sample_rate = a->codec->sample_rate;
    return av.av_frame_get_buffer(a->frame, 0);
}

// A stream of one picture.
static int add_cover(struct av *a, const struct book_tags *tags) {
    struct picture picture;
    if (!tags->cover || picture_read("the cover", tags->cover, tags->n_cover, &picture) != UTTER_OK) return 0;
    AVStream *stream = av.avformat_new_stream(a->container, NULL);
    if (!stream) return AVERROR(ENOMEM);
    stream->disposition = AV_DISPOSITION_ATTACHED_PIC;
    stream->codecpar->codec_type = AVMEDIA_TYPE_VIDEO;
    stream->codecpar->codec_id = picture.is_png ? AV_CODEC_ID_PNG : AV_CODEC_ID_MJPEG;
    stream->codecpar->width = picture.width;
    stream->codecpar->height = picture.height;
    tag(&stream->metadata, "comment", "Cover (front)");  // as ID3 names the kind of picture
    return 0;
}

static int write_cover(struct av *a, const struct book_tags *tags) {
    if (a->container->nb_streams < 2) return 0;
    int error = av.av_new_packet(a->packet, (int)tags->n_cover);
    if (error < 0) return error;
    memcpy(a->packet->data, tags->cover, tags->n_cover);
    a->packet->stream_index = 1;
    a->packet->flags |= AV_PKT_FLAG_KEY;
    return av.av_interleaved_write_frame(a->container, a->packet);
}

static int open_all(struct av *a, const struct kind *kind, const struct book_tags *tags) {
    int error = av.avformat_alloc_output_context2(&a->container, NULL, kind->muxer, NULL);
    if (error < 0) return error;
    unsigned char *buffer = av.av_malloc(IO_BYTES);
    a->io = buffer ? av.avio_alloc_context(buffer, IO_BYTES, 1, a, NULL, write_bytes, seek) : NULL;
    if (!a->io) {
        av.av_free(buffer);
        return AVERROR(ENOMEM);
    }
    a->container->pb = a->io;
    a->container->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
    add_tags(a->container, tags);
    if (kind->codec == AV_CODEC_ID_FLAC) add_chapter_comments(a->container, tags);
    if ((error = add_chapters(a->container, tags)) < 0 || (error = open_codec(a, kind, tags)) < 0) return error;
    AVStream *stream = av.avformat_new_stream(a->container, NULL);
    if (!stream) return AVERROR(ENOMEM);
    stream->time_base = a->codec->time_base;
    tag(&stream->metadata, "language", tags->language);
    if ((error = av.avcodec_parameters_from_context(stream->codecpar, a->codec)) < 0) return error;
    if ((error = make_frame(a)) < 0 || (error = add_cover(a, tags)) < 0) return error;
    if ((error = av.avformat_write_header(a->container, NULL)) < 0) return error;
    return write_cover(a, tags);
}

// ---- sound ----

static int send_frame(struct av *a, AVFrame *frame) {
    int error = av.avcodec_send_frame(a->codec, frame);
    while (error >= 0) {
        error = av.avcodec_receive_packet(a->codec, a->packet);
        if (error < 0) break;
        a->packet->stream_index = 0;
        av.av_packet_rescale_ts(a->packet, a->codec->time_base, a->container->streams[0]->time_base);
        error = av.av_interleaved_write_frame(a->container, a->packet);
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : error;
}

static int send_filled(struct av *a) {
    a->frame->nb_samples = a->n_filled;
    a->frame->pts = a->n_samples;
    a->n_samples += a->n_filled;
    a->n_filled = 0;
    return send_frame(a, a->frame);
}

static void put_sample(struct av *a, int at, float x) {
    float clipped = isnan(x) ? 0 : fmaxf(-1, fminf(1, x));
    if (a->codec->sample_fmt == AV_SAMPLE_FMT_S16)
        ((int16_t *)(void *)a->frame->data[0])[at] = (int16_t)lrintf(clipped * 32767);
    else
        ((float *)(void *)a->frame->data[0])[at] = clipped;
}

static status av_push(struct book_writer *w, const float *samples, size_t n) {
    struct av *a = (struct av *)w;
    int full = a->codec->frame_size ? a->codec->frame_size : FRAME_IF_ANY;
    for (size_t i = 0; i < n; i++) {
        if (a->n_filled == 0) {
            a->frame->nb_samples = full;
            int error = av.av_frame_make_writable(a->frame);
            if (error < 0) return failed(a, error, "a frame");
        }
        put_sample(a, a->n_filled++, samples[i]);
        if (a->n_filled < full) continue;
        int error = send_filled(a);
        if (error < 0) return failed(a, error, "encoding");
    }
    return UTTER_OK;
}

static void av_abandon(struct book_writer *w) {
    struct av *a = (struct av *)w;
    av.av_packet_free(&a->packet);
    av.av_frame_free(&a->frame);
    av.avcodec_free_context(&a->codec);
    av.avformat_free_context(a->container);
    if (a->io) av.av_freep(&a->io->buffer);
    av.avio_context_free(&a->io);
    file_abandon(&a->file);
    free(a);
}

static status av_finish(struct book_writer *w) {
    struct av *a = (struct av *)w;
    int error = a->n_filled > 0 ? send_filled(a) : 0;
    if (error >= 0) error = send_frame(a, NULL);
    if (error >= 0) error = av.av_write_trailer(a->container);
    if (error >= 0) av.avio_flush(a->io);
    status s = error >= 0 && a->failed == UTTER_OK ? file_commit(&a->file) : failed(a, error, "the end of the file");
    av_abandon(w);
    return s;
}

status write_av_open(const char *path, const struct book_tags *tags, struct book_writer **out) {
    static const struct book_writer_ops ops = {av_push, av_finish, av_abandon};
    struct av *a = calloc(1, sizeof *a);
    if (!a) return fail_memory(sizeof *a, "a file");
    a->base.ops = &ops;
    status s = file_create(path, &a->file);
    int error = s == UTTER_OK ? open_all(a, kind_of(path), tags) : 0;
    if (error < 0) s = failed(a, error, "opening the file");
    if (s != UTTER_OK) {
        av_abandon(&a->base);
        return s;
    }
    *out = &a->base;
    return UTTER_OK;
}
