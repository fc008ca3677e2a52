#include "cli/audiobook.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/json.h"
#include "cli/stop.h"

struct audiobook audiobook_for(const char *command) {
    return (struct audiobook){.command = command,
                              .options = utter_options_default(),
                              .request = utter_request_default(),
                              .loudness_lufs = AUDIOBOOK_LOUDNESS_LUFS,
                              .speed = 1};
}

void audiobook_log(void *user, utter_log_level level, const char *sentence) {
    struct audiobook *a = user;
    if (level == UTTER_LOG_WARNING ? a->quiet : !a->verbose) return;
    progress_clear(&a->progress);
    fprintf(stderr, "utter %s: %s\n", a->command, sentence);
}

// ---- opening ----

status audiobook_open_engine(struct audiobook *a) {
    a->options.log = audiobook_log;
    a->options.log_user = a;
    TRY(utter_open(&a->options, &a->u));
    if (!a->voice_file) return UTTER_OK;
    utter_voice loaded;
    TRY(utter_voice_load(a->u, a->voice_file));
    TRY(utter_voice_get(a->u, utter_voice_count(a->u) - 1, &loaded));
    if (!a->request.voice) a->request.voice = loaded.name;
    return UTTER_OK;
}

status audiobook_open_book(struct audiobook *a, const char *path) {
    const char *book, *voice;
    TRY(reading_open(path, a->u, &a->request, &a->reading));
    if (a->cover) TRY(book_set_cover(&a->reading.book, a->cover));
    if (a->quiet) return UTTER_OK;
    for (const char *at = str_text(&a->reading.book.notes), *end; (end = strchr(at, '\n')); at = end + 1)
        fprintf(stderr, "utter %s: %.*s\n", a->command, (int)(end - at), at);
    if (reading_in_wrong_language(&a->reading, &book, &voice))
        fprintf(stderr,
                "utter %s: the book says it is in \"%s\" and is read in \"%s\"; choose with --voice or --lang\n",
                a->command, book, voice);
    return UTTER_OK;
}

static void begin(struct audiobook *a) {
    a->progress = progress_begin(a->quiet);
    a->began_ns = clock_ns();
    for (int i = 0; i < a->reading.units.n; i++) {
        size_t n = a->reading.units.all[i].end - a->reading.units.all[i].begin;
        a->n_bytes += n;
        if (spool_has(a->spool, i)) a->bytes_before += n;
    }
    a->bytes_done = a->bytes_before;
    a->told_percent = (int)(a->bytes_done * 100 / (a->n_bytes ? a->n_bytes : 1));
    if (a->bytes_before > 0 && !a->quiet)
        fprintf(stderr, "utter %s: going on at %d of %d sentences\n", a->command, spool_n_done(a->spool),
                a->reading.units.n);
}

status audiobook_open_spool(struct audiobook *a) {
    const struct reading *r = &a->reading;
    TRY(reading_spool_path(&a->output, &a->spool_path));
    TRY(spool_open(str_text(&a->spool_path), str_text(&r->plan), r->rate_hz, r->units.n, a->restart, &a->spool));
    begin(a);
    return UTTER_OK;
}

// ---- speaking and writing ----

void audiobook_spoke(void *user, int unit, size_t n_bytes, int64_t n_samples) {
    (void)unit;
    struct audiobook *a = user;
    a->bytes_done += n_bytes;
    a->audio_s += (double)n_samples / a->reading.rate_hz;
    double work_s = (double)(clock_ns() - a->began_ns) * 1e-9;
    if (a->bytes_done == a->bytes_before) return;
    double left_s = work_s * (double)(a->n_bytes - a->bytes_done) / (double)(a->bytes_done - a->bytes_before);
    int permille = (int)(a->bytes_done * 1000 / a->n_bytes);
    progress_left(&a->progress, permille, a->audio_s, work_s, left_s);
    if (a->progress.shown || a->quiet || permille / 10 < a->told_percent + 10) return;
    a->told_percent = permille / 10;  // into a log: a line now and then
    fprintf(stderr, "utter %s: %d%%, %.0f s of sound, %.0f s left\n", a->command, a->told_percent, a->audio_s, left_s);
}

status audiobook_write(struct audiobook *a) {
    a->spoken_s = (double)(clock_ns() - a->began_ns) * 1e-9;
    a->output.loudness_lufs = a->loudness_lufs < 0 ? a->loudness_lufs : NAN;
    a->output.speed = (double)a->speed;
    status s = reading_write(&a->reading, a->spool, &a->output, stop_flag(), &a->written);
    if (s != UTTER_IO) return s;
    char why[1024];
    snprintf(why, sizeof why, "%s", fail_message());
    return fail(s, "%s; all that was spoken is kept in %s, and the same command goes on from there", why,
                str_text(&a->spool_path));
}

// ---- what is told at the end ----

static void tell_left_out(struct audiobook *a) {
    enum { SHOWN = 5 };
    int n_shown = 0;
    for (int i = 0; i < a->reading.units.n && n_shown < SHOWN; i++) {
        if (!*spool_failure(a->spool, i)) continue;
        const struct unit *unit = &a->reading.units.all[i];
        fprintf(stderr, "utter %s: left out: \"%.*s\": %s\n", a->command, (int)(unit->end - unit->begin),
                str_text(&a->reading.book.text) + unit->begin, spool_failure(a->spool, i));
        n_shown++;
    }
    if (spool_n_failed(a->spool) > n_shown)
        fprintf(stderr, "utter %s: and %d more are left out\n", a->command, spool_n_failed(a->spool) - n_shown);
}

void audiobook_summary(struct audiobook *a, status s) {
    progress_clear(&a->progress);
    if (a->quiet || !a->spool) return;
    if (s == UTTER_CANCELLED)
        fprintf(stderr, "utter %s: %d of %d sentences are spoken and kept in %s; the same command goes on from there\n",
                a->command, spool_n_done(a->spool), a->reading.units.n, str_text(&a->spool_path));
    if (s != UTTER_OK) return;
    tell_left_out(a);
    const int n_chapters = a->reading.book.n_chapters;
    fprintf(stderr, "%s: %d chapter%s, %.0f s of sound", a->output.path, n_chapters, n_chapters == 1 ? "" : "s",
            a->written.audio_s);
    if (a->audio_s > 0) fprintf(stderr, ", spoken in %.0f s, %.1fx real time", a->spoken_s, a->audio_s / a->spoken_s);
    fputs("\n", stderr);
}

void audiobook_report(struct audiobook *a, status s) {
    progress_clear(&a->progress);
    if (!a->json) return;
    json_t *o = json_pack("{s:s, s:o, s:o}", "status", status_name(s), "message",
                          json_text(s == UTTER_OK ? NULL : fail_message()), "output", json_text(a->output.path));
    if (a->spool) {
        json_object_set_new(o, "title", json_text(a->reading.book.title));
        json_object_set_new(o, "chapters", json_integer(a->reading.book.n_chapters));
        json_object_set_new(o, "sentences", json_integer(a->reading.units.n));
        json_object_set_new(o, "sentences_done", json_integer(spool_n_done(a->spool)));
        json_object_set_new(o, "sentences_failed", json_integer(spool_n_failed(a->spool)));
        json_object_set_new(o, "files", json_integer(a->written.n_files));
        json_object_set_new(o, "audio_s", json_real(a->written.audio_s));
        if (isfinite(a->written.measured_lufs))
            json_object_set_new(o, "loudness_before_lufs", json_real(a->written.measured_lufs));
        json_object_set_new(o, "spoken_s", json_real(a->spoken_s));
        json_object_set_new(o, "work_s", json_real((double)(clock_ns() - a->began_ns) * 1e-9));
    }
    json_print(o, stdout);
}

void audiobook_close(struct audiobook *a, bool finished) {
    spool_close(a->spool);
    if (finished) spool_remove(str_text(&a->spool_path));
    str_free(&a->spool_path);
    reading_free(&a->reading);
    utter_close(a->u);
}
