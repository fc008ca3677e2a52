/* utter submit: a book to an audiobook, spoken by workers. */

#include "cli/audiobook.h"
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
    struct audiobook a;
    const char *url;
    struct submit_report queue;
};

static status run(struct submit *r, const char *book) {
    struct audiobook *a = &r->a;
    TRY(stop_begin());
    TRY(audiobook_open_engine(a));
    TRY(audiobook_open_book(a, book));
    TRY(audiobook_open_spool(a));
    const struct log log = {audiobook_log, a};
    const struct submit_options options = {
        .url = r->url, .output = a->output.path, .request = &a->request, .log = &log, .stop = stop_flag()};
    TRY(submit_run(&a->reading, a->spool, &options, audiobook_spoke, a, &r->queue));
    return audiobook_write(a);
}

static status check_usage(const struct submit *r, int n_words) {
    if (n_words != 1) return fail(UTTER_INVALID, "give one book: utter submit BOOK -o FILE --redis URL");
    if (!r->url) return fail(UTTER_INVALID, "say where the queue is: --redis URL");
    if (!r->a.output.path) return fail(UTTER_INVALID, "say where to with -o FILE");
    return reading_output_check(&r->a.output);
}

int command_submit(int argc, char **argv) {
    struct submit r = {.a = audiobook_for("submit")};
    r.a.options.n_streams = 1;  // it speaks nothing itself
    r.a.options.device = "cpu";
    const struct option options[] = {
        {"redis", 0, OPTION_TEXT, &r.url, "URL", "redis://HOST:PORT/DB, rediss:// for TLS, or unix:///PATH", 0, 0},
        OPTIONS_AUDIOBOOK(r.a),
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&r, n_words) != UTTER_OK) return command_usage(argv[0]);

    status s = run(&r, argv[1]);
    audiobook_summary(&r.a, s);
    if (s == UTTER_OK && !r.a.quiet)
        fprintf(stderr, "utter submit: %d worker%s spoke; the queue took %.2f ms of the processor a sentence here\n",
                r.queue.n_workers, r.queue.n_workers == 1 ? "" : "s", r.queue.processor_s * 1e3 / r.a.reading.units.n);
    audiobook_report(&r.a, s);
    exit_code = command_end(argv[0], s);
    audiobook_close(&r.a, s == UTTER_OK);
    return exit_code;
}
