#include "book/reading.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "book/write.h"
#include "text/utf8.h"

enum { LONGEST_NAME = 120 };  // bytes of a file's name that come from a title

// ---- planning ----

static status find_voice(utter *u, const utter_request *request, struct reading *r) {
    for (int i = 0; i < utter_voice_count(u); i++) {
        utter_voice v;
        TRY(utter_voice_get(u, i, &v));
        if (request->voice && strcmp(v.name, request->voice) != 0) continue;
        r->voice = v.name;
        r->voice_language = v.language;
        r->language = request->language ? request->language : v.language;
        break;  // one that is not there is refused by engine_identity
    }
    return engine_identity(u, request->voice, r->identity);
}

static status make_plan(const utter_request *q, struct reading *r) {
    uint64_t text = HASH_START;
    for (int i = 0; i < r->units.n; i++) {
        const struct unit *unit = &r->units.all[i];
        text = hash_bytes(text, str_text(&r->book.text) + unit->begin, unit->end - unit->begin);
        text = hash_bytes(text, "", 1);
    }
    str_printf(&r->plan, "1 %s %016llx %d %s %u %g %d %g %g %d %s", r->identity, (unsigned long long)text, r->units.n,
               r->language, (unsigned)q->seed, (double)q->temperature, q->top_k, (double)q->top_p, (double)q->min_p,
               q->retries, q->emotion ? q->emotion : "");
    return str_status(&r->plan);
}

static status open_all(const char *path, utter *u, const utter_request *request, struct reading *r) {
    r->rate_hz = utter_sample_rate(u);
    TRY(find_voice(u, request, r));
    TRY(book_open(path, &r->book));
    TRY(units_of(&r->book, r->language, &r->units));
    return make_plan(request, r);
}

status reading_open(const char *path, utter *u, const utter_request *request, struct reading *out) {
    *out = (struct reading){0};
    status s = open_all(path, u, request, out);
    if (s != UTTER_OK) reading_free(out);
    return s;
}

void reading_free(struct reading *r) {
    units_free(&r->units);
    book_free(&r->book);
    str_free(&r->plan);
    *r = (struct reading){0};
}

bool reading_in_wrong_language(const struct reading *r, const char **book, const char **voice) {
    *book = r->book.language;
    *voice = r->language;
    return strlen(*book) >= 2 && strncasecmp(*book, *voice, 2) != 0;
}

// ---- files ----

static bool is_folder(const char *path) {
    size_t len = strlen(path);
    return len > 0 && path[len - 1] == '/';
}

static const char *format_of(const struct reading_output *o) { return o->format ? o->format : "opus"; }

status reading_output_check(const struct reading_output *o) {
    if (!is_folder(o->path)) return book_writer_check(o->path);
    char name[64];
    snprintf(name, sizeof name, "x.%.40s", format_of(o));
    if (book_writer_check(name) == UTTER_OK) return UTTER_OK;
    return fail(UTTER_INVALID, "chapters cannot be written as %s here; there are opus, mp3, flac, m4b and wav",
                format_of(o));
}

status reading_spool_path(const struct reading_output *o, struct str *to) {
    if (is_folder(o->path) && mkdir(o->path, 0777) != 0 && errno != EEXIST)
        return fail(UTTER_IO, "cannot make the folder %s: %s", o->path, strerror(errno));
    str_printf(to, is_folder(o->path) ? "%s.utter-reading" : "%s.reading", o->path);
    return str_status(to);
}

struct pour {
    struct book_writer *writer;
    const atomic_bool *stop;
};

static status pour(void *user, const float *samples, size_t n) {
    const struct pour *p = user;
    if (p->stop && atomic_load(p->stop)) return fail(UTTER_CANCELLED, "the writing was stopped");
    return book_writer_push(p->writer, samples, n);
}

// Chapters [first, end) into one file.
static status write_file(const struct rendering *rendering, const char *path, const struct book_tags *tags,
                         const struct rendered_chapter *chapters, int first, int end, bool alone,
                         const atomic_bool *stop) {
    struct pour p = {.stop = stop};
    TRY(book_writer_open(path, tags, &p.writer));
    status s = UTTER_OK;
    for (int i = first; i < end && s == UTTER_OK; i++) s = render_chapter(rendering, &chapters[i], alone, pour, &p);
    if (s == UTTER_OK) return book_writer_finish(p.writer);
    book_writer_abandon(p.writer);
    return s;
}

static const char *chapter_title(const struct reading *r, int i, char number[24]) {
    snprintf(number, 24, "%d", i + 1);
    return *r->book.chapters[i].title ? r->book.chapters[i].title : number;
}

static status write_one(const struct reading *r, const struct rendering *rendering, const struct reading_output *o,
                        struct book_tags *tags, const struct rendered_chapter *chapters, const atomic_bool *stop) {
    int n = r->book.n_chapters;
    struct chapter_mark *marks = calloc((size_t)n, sizeof *marks);
    char(*numbers)[24] = calloc((size_t)n, sizeof *numbers);
    status s = marks && numbers ? UTTER_OK : fail_memory((size_t)n * sizeof *marks, "chapter marks");
    for (int i = 0; i < n && s == UTTER_OK; i++)
        marks[i] = (struct chapter_mark){chapter_title(r, i, numbers[i]), chapters[i].first_sample};
    tags->chapters = marks;
    tags->n_chapters = n;
    tags->n_samples = chapters[n - 1].first_sample + chapters[n - 1].n_samples;
    if (s == UTTER_OK) s = write_file(rendering, o->path, tags, chapters, 0, n, false, stop);
    free(marks);
    free(numbers);
    return s;
}

// "03 The Pool of Tears.opus": nothing in it that some file system does not take.
static void append_name(struct str *path, int number, int n, const char *title, const char *format) {
    str_printf(path, "%0*d ", n > 99 ? 3 : 2, number);
    size_t begin = path->len;
    for (size_t at = 0, len = strlen(title); at < len && path->len - begin < LONGEST_NAME;) {
        int32_t c;
        size_t bytes = utf8_next(title + at, len - at, &c);
        if (c >= 0x20 && c != 0x7f && !(c < 0x80 && strchr("/\\:*?\"<>|", c))) str_append(path, title + at, bytes);
        at += bytes;
    }
    while (path->len > 0 && strchr(" .", path->data[path->len - 1])) path->data[--path->len] = 0;
    str_printf(path, ".%s", format);
}

static status write_folder(const struct reading *r, const struct rendering *rendering, const struct reading_output *o,
                           struct book_tags *tags, const struct rendered_chapter *chapters, const atomic_bool *stop) {
    const char *book = tags->title;
    status s = UTTER_OK;
    for (int i = 0; i < r->book.n_chapters && s == UTTER_OK; i++) {
        char number[24];
        tags->title = chapter_title(r, i, number);
        tags->album = book;
        tags->track = i + 1;
        tags->n_tracks = r->book.n_chapters;
        struct str path = {0};
        str_puts(&path, o->path);
        append_name(&path, i + 1, r->book.n_chapters, r->book.chapters[i].title, format_of(o));
        s = str_status(&path);
        if (s == UTTER_OK) s = write_file(rendering, str_text(&path), tags, chapters, i, i + 1, true, stop);
        str_free(&path);
    }
    return s;
}

status reading_write(const struct reading *r, struct spool *spool, const struct reading_output *o,
                     const atomic_bool *stop, struct reading_written *out) {
    *out = (struct reading_written){0};
    struct rendering rendering = {
        .b = &r->book, .units = &r->units, .spool = spool, .rate_hz = r->rate_hz, .speed = o->speed};
    int n = r->book.n_chapters;
    struct rendered_chapter *chapters = calloc((size_t)n, sizeof *chapters);
    if (!chapters) return fail_memory((size_t)n * sizeof *chapters, "chapters");
    struct book_tags tags = {.title = o->title ? o->title : r->book.title,
                             .author = o->author ? o->author : r->book.author,
                             .language = r->language,
                             .rate_hz = r->rate_hz,
                             .cover = r->book.cover.len > 0 ? r->book.cover.data : NULL,
                             .n_cover = r->book.cover.len};
    status s = spool_n_failed(spool) < r->units.n
                   ? render_measure(&rendering, o->loudness_lufs, chapters, &out->measured_lufs)
                   : fail(UTTER_SPEECH, "not one sentence of the book could be spoken: %s", spool_failure(spool, 0));
    if (s == UTTER_OK) s = (is_folder(o->path) ? write_folder : write_one)(r, &rendering, o, &tags, chapters, stop);
    out->n_files = is_folder(o->path) ? n : 1;
    out->audio_s = (double)(chapters[n - 1].first_sample + chapters[n - 1].n_samples) / r->rate_hz;
    free(chapters);
    return s;
}
