/* utter read: a book to an audiobook. What is spoken is kept beside the output until that is whole, so that a reading
   that was stopped goes on where it was. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "book/reading.h"
#include "cli/command.h"
#include "cli/read_report.h"
#include "cli/stop.h"

static const struct manual manual = {
    .usage = "BOOK -o FILE [options]",
    .about =
        "Reads a book aloud: .txt, .md, .html or .epub to .m4b, .opus, .mp3, .flac or .wav with chapter\n"
        "marks, or to a folder (a name that ends in /) with a file for each chapter. When it is stopped,\n"
        "the same command goes on where it was.\n",
    .examples =
        "  utter read alice.epub -o alice.m4b\n"
        "  utter read notes.md -o notes/ --format mp3 --voice sam\n"
        "  utter read alice.txt --list                  only show the chapters\n",
};

struct read {
    utter_options options;
    utter_request request;
    struct reading_output output;
    struct read_report report;
    bool list, restart, json;
    float loudness_lufs;
    int n_streams;
    utter *u;
    struct reading reading;
    struct str spool_path;
    struct spool *spool;
    struct reading_written written;
};

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    struct read_report *r = user;
    if (level == UTTER_LOG_WARNING ? r->quiet : !r->verbose) return;
    progress_clear(&r->progress);
    fprintf(stderr, "utter %s: %s\n", r->command, sentence);
}

// ---- reading ----

static void spoke(void *user, int unit, size_t n_bytes, int64_t n_samples) {
    (void)unit;
    read_report_unit(user, n_bytes, n_samples);
}

static status open_engine(struct read *r) {
    r->options.log = log_sentence;
    r->options.log_user = &r->report;
    if (r->n_streams > 0) r->options.n_streams = r->n_streams;
    TRY(utter_open(&r->options, &r->u));
    utter_state state;
    TRY(utter_state_get(r->u, &state));
    r->n_streams = state.n_places;
    if (r->report.verbose) fprintf(stderr, "utter read: %s\n", utter_describe(r->u));
    return UTTER_OK;
}

static void print_chapters(const struct reading *reading) {
    int at = 0;
    for (int c = 0; c < reading->book.n_chapters; c++) {
        int first = at;
        while (at < reading->units.n && reading->units.all[at].chapter == c) at++;
        printf("%3d  %6d sentences  %s\n", c + 1, at - first, reading->book.chapters[c].title);
    }
}

static status speak_and_write(struct read *r) {
    TRY(reading_spool_path(&r->output, &r->spool_path));
    TRY(spool_open(str_text(&r->spool_path), str_text(&r->reading.plan), r->reading.rate_hz, r->reading.units.n,
                   r->restart, &r->spool));
    read_report_begin(&r->report, &r->reading, r->spool);
    TRY(narrate(r->u, &r->reading.book, &r->reading.units, &r->request, r->spool, r->n_streams, stop_flag(), spoke,
                &r->report));
    read_report_spoken(&r->report);
    return reading_write(&r->reading, r->spool, &r->output, stop_flag(), &r->written);
}

static status run(struct read *r, const char *book) {
    TRY(stop_begin());
    TRY(open_engine(r));
    TRY(reading_open(book, r->u, &r->request, &r->reading));
    read_report_opened(&r->report, &r->reading);
    if (r->list) {
        print_chapters(&r->reading);
        return UTTER_OK;
    }
    return speak_and_write(r);
}

static status check_usage(struct read *r, int n_words) {
    if (n_words != 1) return fail(UTTER_INVALID, "give one book: utter read BOOK -o FILE");
    if (r->list) return UTTER_OK;
    if (!r->output.path) return fail(UTTER_INVALID, "say where to with -o FILE, or see the chapters with --list");
    return reading_output_check(&r->output);
}

int command_read(int argc, char **argv) {
    struct read r = {.options = utter_options_default(),
                     .request = utter_request_default(),
                     .report = {.command = "read"},
                     .loudness_lufs = READ_LOUDNESS_LUFS};
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &r.output.path, "FILE",
         "write FILE (.m4b, .opus, .mp3, .flac, .wav), or a folder when\nit ends in /", 0, 0},
        {"format", 0, OPTION_TEXT, &r.output.format, "NAME", "of the files in a folder; default: opus", 0, 0},
        {"list", 0, OPTION_FLAG, &r.list, NULL, "show the chapters that were found, and speak nothing", 0, 0},
        {"voice", 0, OPTION_TEXT, &r.request.voice, "NAME", "one of those that \"utter voices list\" shows", 0, 0},
        {"lang", 0, OPTION_TEXT, &r.request.language, "LANG", "en-us, en-gb, de, fr-fr, es ...; default: the voice's",
         0, 0},
        {"title", 0, OPTION_TEXT, &r.output.title, "TEXT", "instead of the book's own", 0, 0},
        {"author", 0, OPTION_TEXT, &r.output.author, "NAME", "instead of the book's own", 0, 0},
        {"loudness", 0, OPTION_FLOAT, &r.loudness_lufs, "LUFS",
         "of each chapter (EBU R128); default: -19, as mono audiobooks\nhave; 0 leaves it as it is", -70, 0},
        {"restart", 0, OPTION_FLAG, &r.restart, NULL, "do not go on with a reading that was stopped", 0, 0},
        {"streams", 0, OPTION_INT, &r.n_streams, "N", "sentences spoken at once; default: as suits the device", 1, 64},
        OPTIONS_SAMPLING(r.request),
        {"retries", 0, OPTION_INT, &r.request.retries, "N", "new attempts for a sentence that fails; default: 2", 0,
         100},
        OPTION_MODEL(r.options),
        OPTION_CODEC(r.options),
        OPTIONS_DEVICE(r.options),
        {"json", 0, OPTION_FLAG, &r.json, NULL, "print a report as JSON", 0, 0},
        {"verbose", 'v', OPTION_FLAG, &r.report.verbose, NULL, "say what is being done", 0, 0},
        {"quiet", 'q', OPTION_FLAG, &r.report.quiet, NULL, "no progress and no warnings", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&r, n_words) != UTTER_OK) return command_usage(argv[0]);
    r.output.loudness_lufs = r.loudness_lufs < 0 ? r.loudness_lufs : NAN;

    status s = run(&r, argv[1]);
    if (s == UTTER_OK && !r.list) read_report_end(&r.report, r.spool, &r.output, &r.written);
    progress_clear(&r.report.progress);
    if (r.json && !r.list) read_report_json(&r.report, s, r.spool, &r.output, &r.written);
    exit_code = command_end(argv[0], s);
    spool_close(r.spool);
    if (s == UTTER_OK && !r.list) spool_remove(str_text(&r.spool_path));
    str_free(&r.spool_path);
    reading_free(&r.reading);
    utter_close(r.u);
    return exit_code;
}
