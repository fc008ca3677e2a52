/* Opus in Ogg with chapters as comments. */
#include <math.h>
#include <opusenc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "book/write.h"

enum { BITS_PER_SECOND = 40000, AT_ONCE = 4096, FRONT_COVER = 3 };

struct opus {
    struct book_writer base;
    struct file_writer file;
    OggOpusEnc *encoder;
    status failed;  // of a write
};

static int write_bytes(void *user, const unsigned char *bytes, opus_int32 n) {
    struct opus *o = user;
    if (o->failed == UTTER_OK) o->failed = file_write(&o->file, bytes, (size_t)n);
    return o->failed != UTTER_OK;
}

static int close_nothing(void *user) {
    (void)user;
    return 0;
}

static status failed(const struct opus *o, int error) {
    if (o->failed != UTTER_OK) return o->failed;  // its sentence stands
    return fail(UTTER_INTERNAL, "libopusenc failed: %s", ope_strerror(error));
}

static void comment(OggOpusComments *c, int *error, const char *name, const char *value) {
    if (*error == OPE_OK && value && *value) *error = ope_comments_add(c, name, value);
}

static int add_comments(OggOpusComments *c, const struct book_tags *tags) {
    int error = OPE_OK;
    char name[CHAPTER_COMMENT], value[CHAPTER_COMMENT];
    comment(c, &error, "TITLE", tags->title);
    comment(c, &error, "ARTIST", tags->author);
    comment(c, &error, "ALBUM", tags->album ? tags->album : tags->title);
    comment(c, &error, "LANGUAGE", tags->language);
    comment(c, &error, "GENRE", "Audiobook");
    if (tags->track > 0) {
        snprintf(value, sizeof value, "%d", tags->track);
        comment(c, &error, "TRACKNUMBER", value);
        snprintf(value, sizeof value, "%d", tags->n_tracks);
        comment(c, &error, "TRACKTOTAL", value);
    }
    for (int i = 0; i < tags->n_chapters && i < CHAPTER_COMMENTS; i++) {
        chapter_comment(tags, i, name, value);
        comment(c, &error, name, value);
        strcat(name, "NAME");
        comment(c, &error, name, tags->chapters[i].title);
    }
    if (error == OPE_OK && tags->cover)
        error = ope_comments_add_picture_from_memory(c, tags->cover, tags->n_cover, FRONT_COVER, NULL);
    return error;
}

static void opus_abandon(struct book_writer *w) {
    struct opus *o = (struct opus *)w;
    if (o->encoder) ope_encoder_destroy(o->encoder);
    file_abandon(&o->file);
    free(o);
}

static status opus_push(struct book_writer *w, const float *samples, size_t n) {
    struct opus *o = (struct opus *)w;
    float clipped[AT_ONCE];
    for (size_t at = 0; at < n; at += AT_ONCE) {
        size_t count = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            float x = samples[at + i];
            clipped[i] = isnan(x) ? 0 : fmaxf(-1, fminf(1, x));
        }
        int error = ope_encoder_write_float(o->encoder, clipped, (int)count);
        if (error != OPE_OK || o->failed != UTTER_OK) return failed(o, error);
    }
    return UTTER_OK;
}

static status opus_finish(struct book_writer *w) {
    struct opus *o = (struct opus *)w;
    int error = ope_encoder_drain(o->encoder);
    status s = error == OPE_OK && o->failed == UTTER_OK ? file_commit(&o->file) : failed(o, error);
    opus_abandon(w);
    return s;
}

status write_opus_open(const char *path, const struct book_tags *tags, struct book_writer **out) {
    static const struct book_writer_ops ops = {opus_push, opus_finish, opus_abandon};
    static const OpusEncCallbacks callbacks = {write_bytes, close_nothing};
    struct opus *o = calloc(1, sizeof *o);
    if (!o) return fail_memory(sizeof *o, "a file");
    o->base.ops = &ops;
    status s = file_create(path, &o->file);
    OggOpusComments *comments = s == UTTER_OK ? ope_comments_create() : NULL;
    int error = OPE_ALLOC_FAIL;
    if (comments) error = add_comments(comments, tags);
    if (comments && error == OPE_OK)
        o->encoder = ope_encoder_create_callbacks(&callbacks, o, comments, tags->rate_hz, 1, 0, &error);
    if (o->encoder) {
        ope_encoder_ctl(o->encoder, OPUS_SET_BITRATE(BITS_PER_SECOND));
        ope_encoder_ctl(o->encoder, OPE_SET_SERIALNO(1));  // the same sound, the same bytes
    }
    if (comments) ope_comments_destroy(comments);
    if (s == UTTER_OK && !o->encoder) s = failed(o, error);
    if (s != UTTER_OK) {
        opus_abandon(&o->base);
        return s;
    }
    *out = &o->base;
    return UTTER_OK;
}
