/* utter worker: speaks sentences of books that others submit. */
#include <stdlib.h>

#include "cli/command.h"
#include "cli/stop.h"
#include "queue/worker.h"

static const struct manual manual = {
    .usage = "--redis URL [options]",
    .about =
        "Speaks sentences that \"utter submit\" puts into a queue in Redis, with the model and the voices of\n"
        "this machine; jobs for others are left to them. Start as many as you like, on as many machines.\n"
        "Ctrl-C ends it after the sentences in hand; one that dies loses nothing.\n",
    .examples =
        "  utter worker --redis redis://queue.local\n"
        "  REDIS_PASSWORD=... utter worker --redis rediss://queue.example.com --model neutts-air --device gpu\n",
};

struct work {
    utter_options options;
    const char *url, *name, *voice_file;
    int n_streams;
    float idle_s;
    bool verbose, quiet;
    utter *u;
    struct worker_report report;
};

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    const struct work *w = user;
    if (level == UTTER_LOG_WARNING ? !w->quiet : w->verbose) fprintf(stderr, "utter worker: %s\n", sentence);
}

static status run(struct work *w) {
    TRY(stop_begin());
    w->options.log = log_sentence;
    w->options.log_user = w;
    if (w->n_streams > 0) w->options.n_streams = w->n_streams;
    TRY(utter_open(&w->options, &w->u));
    if (w->voice_file) TRY(utter_voice_load(w->u, w->voice_file));
    utter_state state;
    TRY(utter_state_get(w->u, &state));
    const struct log log = {log_sentence, w};
    const struct worker_options options = {.url = w->url,
                                           .name = w->name,
                                           .n_streams = w->n_streams > 0 ? w->n_streams : state.n_places,
                                           .log = &log,
                                           .stop = stop_flag(),
                                           .idle_s = w->idle_s};
    if (!w->quiet) fprintf(stderr, "utter worker: ready: %s\n", utter_describe(w->u));
    return worker_run(w->u, &options, &w->report);
}

int command_worker(int argc, char **argv) {
    struct work w = {.options = utter_options_default()};
    const struct option options[] = {
        {"redis", 0, OPTION_TEXT, &w.url, "URL", "redis://HOST:PORT/DB, rediss:// for TLS, or unix:///PATH", 0, 0},
        {"name", 0, OPTION_TEXT, &w.name, "NAME", "of this worker; default: the machine's and the process's", 0, 0},
        {"streams", 0, OPTION_INT, &w.n_streams, "N", "sentences spoken at once; default: as suits the device", 1, 64},
        {"idle", 0, OPTION_FLOAT, &w.idle_s, "SECONDS", "end when there was nothing to do for so long; default: never",
         0, 1e9},
        {"voice-file", 0, OPTION_TEXT, &w.voice_file, "FILE", "load a voice (JSON) as well", 0, 0},
        OPTION_VOICES(w.options),
        OPTION_MODEL(w.options),
        OPTION_CODEC(w.options),
        OPTIONS_DEVICE(w.options),
        {"verbose", 'v', OPTION_FLAG, &w.verbose, NULL, "say what is being done", 0, 0},
        {"quiet", 'q', OPTION_FLAG, &w.quiet, NULL, "say only what goes wrong", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (n_words > 0 || !w.url) {
        fail(UTTER_INVALID, w.url ? "a worker takes no other arguments" : "say where the queue is: --redis URL");
        return command_usage(argv[0]);
    }
    status s = run(&w);
    if (!w.quiet)
        fprintf(stderr, "utter worker: %d sentences, %.0f s of sound, %d given up\n", w.report.n_done, w.report.audio_s,
                w.report.n_given_up);
    exit_code = command_end(argv[0], s);
    utter_close(w.u);
    return exit_code;
}
