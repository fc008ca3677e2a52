/* A book's sound into a file with chapter marks and names: .m4b (AAC), .mp3 and .flac through libavformat, .opus
   through libopusenc, .wav without marks. Written beside its name and renamed when whole; the same sound gives the same
   bytes. */
#ifndef UTTER_BOOK_WRITE_H
#define UTTER_BOOK_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct chapter_mark {
    const char *title;
    int64_t first_sample;
};

struct book_tags {
    const char *title, *author, *language;  // "" when not known
    const struct chapter_mark *chapters;    // [n_chapters]
    int n_chapters;
    int64_t n_samples;  // of the whole file
    int rate_hz;
    int track, n_tracks;  // of a file for each chapter; 0: one file
    const char *album;    // of such a file: the book's title; NULL otherwise
    const void *cover;    // [n_cover] a picture as picture.h knows them; NULL: none. .wav holds none
    size_t n_cover;
};

/* UTTER_INVALID for a name whose ending is of no format, UTTER_UNSUPPORTED for one that this build cannot write. */
status book_writer_check(const char *path);

struct book_writer;

/* tags must outlive the writer. */
status book_writer_open(const char *path, const struct book_tags *tags, struct book_writer **out);
/* samples: float [n] */
status book_writer_push(struct book_writer *w, const float *samples, size_t n);
/* The writer is closed whatever the result. */
status book_writer_finish(struct book_writer *w);
/* Leaves no file behind. NULL is allowed. */
void book_writer_abandon(struct book_writer *w);

/* The kinds of writers; write.c picks one by the name's ending. */
struct book_writer_ops {
    status (*push)(struct book_writer *w, const float *samples, size_t n);
    status (*finish)(struct book_writer *w);
    void (*abandon)(struct book_writer *w);
};
struct book_writer {
    const struct book_writer_ops *ops;
};

/* A chapter in comments as players and mkvtoolnix read them: CHAPTER001=00:00:00.000, CHAPTER001NAME=... The first of
   the two names, and the time; of as many chapters as three digits number. */
enum { CHAPTER_COMMENTS = 999, CHAPTER_COMMENT = 32 };
void chapter_comment(const struct book_tags *tags, int i, char name[CHAPTER_COMMENT], char time[CHAPTER_COMMENT]);

status write_av_available(void);
status write_av_open(const char *path, const struct book_tags *tags, struct book_writer **out);
status write_opus_open(const char *path, const struct book_tags *tags, struct book_writer **out);

#endif
