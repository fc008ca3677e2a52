/* utter read: a book to an audiobook. What is spoken is kept beside the output until that is whole, so that a reading
   that was stopped goes on where it was. */
#include "cli/audiobook.h"
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
    struct audiobook a;
    bool list;
    int n_streams;
};

static status open_engine(struct read *r) {
    if (r->n_streams > 0) r->a.options.n_streams = r->n_streams;
    TRY(audiobook_open_engine(&r->a));
    utter_state state;
    TRY(utter_state_get(r->a.u, &state));
    r->n_streams = state.n_places;
    if (r->a.verbose) fprintf(stderr, "utter read: %s\n", utter_describe(r->a.u));
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

static status run(struct read *r, const char *book) {
    struct audiobook *a = &r->a;
    TRY(stop_begin());
    TRY(open_engine(r));
    TRY(audiobook_open_book(a, book));
    if (r->list) {
        print_chapters(&a->reading);
        return UTTER_OK;
    }
    TRY(audiobook_open_spool(a));
    TRY(narrate(a->u, &a->reading.book, &a->reading.units, &a->request, a->spool, r->n_streams, stop_flag(),
                audiobook_spoke, a));
    return audiobook_write(a);
}

static status check_usage(const struct read *r, int n_words) {
    if (n_words != 1) return fail(UTTER_INVALID, "give one book: utter read BOOK -o FILE");
    if (r->list) return UTTER_OK;
    if (!r->a.output.path) return fail(UTTER_INVALID, "say where to with -o FILE, or see the chapters with --list");
    return reading_output_check(&r->a.output);
}

int command_read(int argc, char **argv) {
    struct read r = {.a = audiobook_for("read")};
    const struct option options[] = {
        {"list", 0, OPTION_FLAG, &r.list, NULL, "show the chapters that were found, and speak nothing", 0, 0},
        OPTIONS_AUDIOBOOK(r.a),
        {"streams", 0, OPTION_INT, &r.n_streams, "N", "sentences spoken at once; default: as suits the device", 1, 64},
        OPTIONS_DEVICE(r.a.options),
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&r, n_words) != UTTER_OK) return command_usage(argv[0]);

    status s = run(&r, argv[1]);
    if (!r.list) {
        audiobook_summary(&r.a, s);
        audiobook_report(&r.a, s);
    }
    exit_code = command_end(argv[0], s);
    audiobook_close(&r.a, s == UTTER_OK && !r.list);
    return exit_code;
}
