#include "book/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "audio/sink.h"

// ---- without marks, by audio/sink.h ----

struct plain {
    struct book_writer base;
    struct sink *sink;
};

static status plain_push(struct book_writer *w, const float *samples, size_t n) {
    return sink_write(((struct plain *)w)->sink, samples, n);
}

static status plain_finish(struct book_writer *w) {
    status s = sink_finish(((struct plain *)w)->sink);
    free(w);
    return s;
}

static void plain_abandon(struct book_writer *w) {
    sink_abandon(((struct plain *)w)->sink);
    free(w);
}

static status plain_open(const char *path, const struct book_tags *tags, struct book_writer **out) {
    static const struct book_writer_ops ops = {plain_push, plain_finish, plain_abandon};
    struct plain *p = calloc(1, sizeof *p);
    if (!p) return fail_memory(sizeof *p, "a file");
    p->base.ops = &ops;
    status s = sink_open(path, NULL, tags->rate_hz, &p->sink);
    if (s != UTTER_OK) {
        free(p);
        return s;
    }
    *out = &p->base;
    return UTTER_OK;
}

// ---- by ending ----

static const struct {
    const char *ending;
    status (*open)(const char *path, const struct book_tags *tags, struct book_writer **out);
} formats[] = {
#ifdef UTTER_AVFORMAT
    // with marks
    {".m4b", write_av_open},    {".m4a", write_av_open}, {".mp3", write_av_open}, {".flac", write_av_open},
#else
    {".mp3", plain_open}, {".flac", plain_open},
#endif
    {".opus", write_opus_open}, {".wav", plain_open},
};

static int format_of(const char *path) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof formats / sizeof *formats; i++)
        if (strcasecmp(dot, formats[i].ending) == 0) return (int)i;
    return -1;
}

status book_writer_check(const char *path) {
    int format = format_of(path);
#ifdef UTTER_AVFORMAT
    if (format >= 0 && formats[format].open == write_av_open) return write_av_available();
#endif
    if (format >= 0) return UTTER_OK;
    const char *dot = strrchr(path, '.');
    if (dot && (strcasecmp(dot, ".m4b") == 0 || strcasecmp(dot, ".m4a") == 0))
        return fail(UTTER_UNSUPPORTED,
                    "this utter was built without libavformat and cannot write %s; write .opus, which "
                    "has chapter marks too",
                    dot);
    return fail(UTTER_INVALID,
                "the name %s does not tell a format; end it in .m4b, .opus, .mp3, .flac or .wav, or in / "
                "for a folder with a file for each chapter",
                path);
}

status book_writer_open(const char *path, const struct book_tags *tags, struct book_writer **out) {
    *out = NULL;
    TRY(book_writer_check(path));
    return formats[format_of(path)].open(path, tags, out);
}

void chapter_comment(const struct book_tags *tags, int i, char name[CHAPTER_COMMENT], char time[CHAPTER_COMMENT]) {
    const int64_t ms = tags->chapters[i].first_sample * 1000 / tags->rate_hz;
    snprintf(name, CHAPTER_COMMENT, "CHAPTER%03d", i + 1);
    snprintf(time, CHAPTER_COMMENT, "%02lld:%02d:%02d.%03d", (long long)(ms / 3600000), (int)(ms / 60000 % 60),
             (int)(ms / 1000 % 60), (int)(ms % 1000));
}

status book_writer_push(struct book_writer *w, const float *samples, size_t n) { return w->ops->push(w, samples, n); }
status book_writer_finish(struct book_writer *w) { return w->ops->finish(w); }
void book_writer_abandon(struct book_writer *w) {
    if (w) w->ops->abandon(w);
}
