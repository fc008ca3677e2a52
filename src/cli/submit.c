/* utter submit: a book to an audiobook, spoken by workers. */
#include <math.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/read_report.h"
#include "cli/stop.h"
#include "queue/submit.h"

static const struct manual manual = {
    .usage = "BOOK -o FILE --redis URL [options]",
    .about =
        "Reads a book aloud as \"utter read\" does, with the sentences spoken by workers (utter worker)\n"
        "through a queue in Redis. The file is the same. It needs the model here too, to know which\n"
        "workers speak alike. When it is stopped, the same command goes on where it was.\n",
    .examples = "  utter submit alice.epub -o alice.m4b --redis redis://queue.local\n",
};

struct submit {
    utter_options options;
    utter_request request;
    struct reading_output output;
    struct read_report report;
    const char *url, *voice_file;
    bool restart, json;
    float loudness_lufs;
    utter *u;
    struct reading reading;
    struct str spool_path;
    struct spool *spool;
    struct submit_report queue;
    struct reading_written written;
};

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    struct read_report *r = user;
    if (level == UTTER_LOG_WARNING ? r->quiet : !r->verbose) return;
    progress_clear(&r->progress);
    fprintf(stderr, "utter submit: %s\n", sentence);
}

static void spoke(void *user, int unit, size_t n_bytes, int64_t n_samples) {
    (void)unit;
    read_report_unit(user, n_bytes, n_samples);
}

static status run(struct submit *r, const char *book) {
    TRY(stop_begin());
    r->options.log = log_sentence;
    r->options.log_user = &r->report;
    TRY(utter_open(&r->options, &r->u));
    if (r->voice_file) TRY(utter_voice_load(r->u, r->voice_file));
    TRY(reading_open(book, r->u, &r->request, &r->reading));
    read_report_opened(&r->report, &r->reading);
    TRY(reading_spool_path(&r->output, &r->spool_path));
    TRY(spool_open(str_text(&r->spool_path), str_text(&r->reading.plan), r->reading.rate_hz, r->reading.units.n,
                   r->restart, &r->spool));
    read_report_begin(&r->report, &r->reading, r->spool);
    const struct log log = {log_sentence, &r->report};
    const struct submit_options options = {
        .url = r->url, .output = r->output.path, .request = &r->request, .log = &log, .stop = stop_flag()};
    TRY(submit_run(&r->reading, r->spool, &options, spoke, &r->report, &r->queue));
    read_report_spoken(&r->report);
    return reading_write(&r->reading, r->spool, &r->output, stop_flag(), &r->written);
}

static status check_usage(const struct submit *r, int n_words) {
    if (n_words != 1) return fail(UTTER_INVALID, "give one book: utter submit BOOK -o FILE --redis URL");
    if (!r->url) return fail(UTTER_INVALID, "say where the queue is: --redis URL");
    if (!r->output.path) return fail(UTTER_INVALID, "say where to with -o FILE");
    return reading_output_check(&r->output);
}

int command_submit(int argc, char **argv) {
    struct submit r = {.options = utter_options_default(),
                       .request = utter_request_default(),
                       .report = {.command = "submit"},
                       .loudness_lufs = READ_LOUDNESS_LUFS};
    r.options.n_streams = 1;  // it speaks nothing itself
    const struct option options[] = {
        {"redis", 0, OPTION_TEXT, &r.url, "URL", "redis://HOST:PORT/DB, rediss:// for TLS, or unix:///PATH", 0, 0},
        {"output", 'o', OPTION_TEXT, &r.output.path, "FILE",
         "write FILE (.m4b, .opus, .mp3, .flac, .wav), or a folder when\nit ends in /", 0, 0},
        {"format", 0, OPTION_TEXT, &r.output.format, "NAME", "of the files in a folder; default: opus", 0, 0},
        {"voice", 0, OPTION_TEXT, &r.request.voice, "NAME", "one of those that \"utter voices list\" shows", 0, 0},
        {"voice-file", 0, OPTION_TEXT, &r.voice_file, "FILE", "load a voice (JSON); workers need the same", 0, 0},
        {"lang", 0, OPTION_TEXT, &r.request.language, "LANG", "en-us, en-gb, de, fr-fr, es ...; default: the voice's",
         0, 0},
        {"title", 0, OPTION_TEXT, &r.output.title, "TEXT", "instead of the book's own", 0, 0},
        {"author", 0, OPTION_TEXT, &r.output.author, "NAME", "instead of the book's own", 0, 0},
        {"loudness", 0, OPTION_FLOAT, &r.loudness_lufs, "LUFS", "of each chapter (EBU R128); default: -19; 0: as it is",
         -70, 0},
        {"restart", 0, OPTION_FLAG, &r.restart, NULL, "do not go on with a reading that was stopped", 0, 0},
        OPTIONS_SAMPLING(r.request),
        {"retries", 0, OPTION_INT, &r.request.retries, "N", "new attempts for a sentence that fails; default: 2", 0,
         100},
        OPTION_MODEL(r.options),
        OPTION_CODEC(r.options),
        {"json", 0, OPTION_FLAG, &r.json, NULL, "print a report as JSON", 0, 0},
        {"verbose", 'v', OPTION_FLAG, &r.report.verbose, NULL, "say what is being done", 0, 0},
        {"quiet", 'q', OPTION_FLAG, &r.report.quiet, NULL, "no progress and no warnings", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&r, n_words) != UTTER_OK) return command_usage(argv[0]);
    r.output.loudness_lufs = r.loudness_lufs < 0 ? r.loudness_lufs : NAN;
    r.options.device = "cpu";

    status s = run(&r, argv[1]);
    if (s == UTTER_OK) {
        read_report_end(&r.report, r.spool, &r.output, &r.written);
        if (!r.report.quiet)
            fprintf(stderr, "utter submit: %d workers spoke; the queue took %.2f ms of the processor a sentence here\n",
                    r.queue.n_workers, r.queue.processor_s * 1e3 / r.reading.units.n);
    }
    progress_clear(&r.report.progress);
    if (r.json) read_report_json(&r.report, s, r.spool, &r.output, &r.written);
    exit_code = command_end(argv[0], s);
    spool_close(r.spool);
    if (s == UTTER_OK) spool_remove(str_text(&r.spool_path));
    str_free(&r.spool_path);
    reading_free(&r.reading);
    utter_close(r.u);
    return exit_code;
}
