#include "cli/read_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/json.h"

void read_report_begin(struct read_report *r, const struct reading *reading, const struct spool *spool) {
    r->reading = reading;
    r->progress = progress_begin(r->quiet);
    r->began_ns = clock_ns();
    r->n_bytes = r->bytes_before = 0;
    for (int i = 0; i < reading->units.n; i++) {
        size_t n = reading->units.all[i].end - reading->units.all[i].begin;
        r->n_bytes += n;
        if (spool_has(spool, i)) r->bytes_before += n;
    }
    r->bytes_done = r->bytes_before;
    r->told_percent = (int)(r->bytes_done * 100 / (r->n_bytes ? r->n_bytes : 1));
    if (r->bytes_before > 0 && !r->quiet)
        fprintf(stderr, "utter %s: going on at %d of %d sentences\n", r->command, spool_n_done(spool),
                reading->units.n);
}

void read_report_unit(struct read_report *r, size_t n_bytes, int64_t n_samples) {
    r->bytes_done += n_bytes;
    r->audio_s += (double)n_samples / r->reading->rate_hz;
    double work_s = (double)(clock_ns() - r->began_ns) * 1e-9;
    double left_s = work_s * (double)(r->n_bytes - r->bytes_done) / (double)(r->bytes_done - r->bytes_before);
    int permille = (int)(r->bytes_done * 1000 / r->n_bytes);
    progress_left(&r->progress, permille, r->audio_s, work_s, left_s);
    if (r->progress.shown || r->quiet || permille / 10 < r->told_percent + 10) return;
    r->told_percent = permille / 10;  // into a log: a line now and then
    fprintf(stderr, "utter %s: %d%%, %.0f s of sound, %.0f s left\n", r->command, r->told_percent, r->audio_s, left_s);
}

void read_report_opened(const struct read_report *r, const struct reading *reading) {
    const char *book, *voice;
    if (r->quiet) return;
    for (const char *at = str_text(&reading->book.notes), *end; (end = strchr(at, '\n')); at = end + 1)
        fprintf(stderr, "utter %s: %.*s\n", r->command, (int)(end - at), at);
    if (reading_in_wrong_language(reading, &book, &voice))
        fprintf(stderr,
                "utter %s: the book says it is in \"%s\" and is read in \"%s\"; choose with --voice or --lang\n",
                r->command, book, voice);
}

void read_report_spoken(struct read_report *r) { r->spoken_s = (double)(clock_ns() - r->began_ns) * 1e-9; }

void read_report_end(struct read_report *r, struct spool *spool, const struct reading_output *output,
                     const struct reading_written *written) {
    progress_clear(&r->progress);
    if (r->quiet) return;
    enum { SHOWN = 5 };
    int n_shown = 0;
    for (int i = 0; i < r->reading->units.n && n_shown < SHOWN; i++) {
        if (!*spool_failure(spool, i)) continue;
        const struct unit *unit = &r->reading->units.all[i];
        fprintf(stderr, "utter %s: left out: \"%.*s\": %s\n", r->command, (int)(unit->end - unit->begin),
                str_text(&r->reading->book.text) + unit->begin, spool_failure(spool, i));
        n_shown++;
    }
    if (spool_n_failed(spool) > n_shown)
        fprintf(stderr, "utter %s: and %d more sentences are left out\n", r->command, spool_n_failed(spool) - n_shown);
    fprintf(stderr, "%s: %d chapters, %.0f s of sound", output->path, r->reading->book.n_chapters, written->audio_s);
    if (r->audio_s > 0) fprintf(stderr, ", spoken in %.0f s, %.1fx real time", r->spoken_s, r->audio_s / r->spoken_s);
    fputs("\n", stderr);
}

void read_report_json(const struct read_report *r, status s, struct spool *spool, const struct reading_output *output,
                      const struct reading_written *written) {
    json_t *o = json_pack("{s:s, s:o, s:o}", "status", status_name(s), "message",
                          json_text(s == UTTER_OK ? NULL : fail_message()), "output", json_text(output->path));
    if (r->reading && spool) {
        json_object_set_new(o, "title", json_text(r->reading->book.title));
        json_object_set_new(o, "chapters", json_integer(r->reading->book.n_chapters));
        json_object_set_new(o, "sentences", json_integer(r->reading->units.n));
        json_object_set_new(o, "sentences_done", json_integer(spool_n_done(spool)));
        json_object_set_new(o, "sentences_failed", json_integer(spool_n_failed(spool)));
        json_object_set_new(o, "files", json_integer(written->n_files));
        json_object_set_new(o, "audio_s", json_real(written->audio_s));
        if (isfinite(written->measured_lufs))
            json_object_set_new(o, "loudness_before_lufs", json_real(written->measured_lufs));
        json_object_set_new(o, "spoken_s", json_real(r->spoken_s));
        json_object_set_new(o, "work_s", json_real((double)(clock_ns() - r->began_ns) * 1e-9));
    }
    json_print(o, stdout);
}
