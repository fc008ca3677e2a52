/* utter bench: how fast this machine speaks, or a server does. */
#include "cli/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/stop.h"

static const struct manual manual = {
    .usage = "[options]",
    .about =
        "Measures how fast this machine speaks with a model: loading, prompts, codes, many streams at\n"
        "once, the codec, and a sentence from its text to its first and last sound. The median of\n"
        "several runs is told, with the least and the most. Or, with --server, how fast a server\n"
        "answers; or, with --capacity, how many listeners can be spoken to at once.\n",
    .examples =
        "  utter bench\n"
        "  utter bench --model neutts-air --device gpu --json\n"
        "  utter bench --capacity\n"
        "  utter bench --server http://127.0.0.1:5555 --concurrency 1,4,16\n",
};

void bench_progress(const struct bench *b, const char *format, ...) {
    if (!b->shows_progress) return;
    char what[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    fputs("\r\033[K", stderr);
    if (*what) fprintf(stderr, "measuring: %s", what);
    fflush(stderr);
}

void bench_row(struct bench *b, const char *key, const char *what, const char *unit, const struct series *values) {
    const struct spread v = series_spread(values);
    json_array_append_new(
        b->rows, json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:i}", "key", key, "what", what, "unit", unit, "median",
                           v.median, "least", v.least, "most", v.most, "runs", values->n));
    bench_progress(b, "%s", "");
    if (b->json) return;
    const int digits = v.median < 10 ? 3 : v.median < 1000 ? 1 : 0;
    printf("%-34s %10.*f %-13s", what, digits, v.median, unit);
    if (values->n > 1) printf("%.*f..%.*f of %d", digits, v.least, digits, v.most, values->n);
    putchar('\n');
    fflush(stdout);
}

static status check(const struct bench *b, int n_rest, char **argv) {
    if (n_rest > 0) return fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
    if (b->server && (b->capacity || b->ready || b->options.model || b->options.codec || b->options.device))
        return fail(UTTER_INVALID,
                    "--server measures a server as it is; its model and device were chosen when it started");
    if (b->capacity && b->ready) return fail(UTTER_INVALID, "give --capacity or --ready, not both");
    return UTTER_OK;
}

static status load_only(const struct bench *b) {
    utter *u;
    TRY(utter_open(&b->options, &u));
    puts("ready");
    fflush(stdout);
    utter_close(u);
    return UTTER_OK;
}

static status run(struct bench *b) {
    if (b->ready) return load_only(b);
    TRY(stop_begin());
    ssize_t n = readlink("/proc/self/exe", b->argv0, sizeof b->argv0 - 1);
    if (n <= 0) return fail(UTTER_IO, "cannot tell where this program's file is");
    if (b->server) return bench_server(b);
    return b->capacity ? bench_capacity(b) : bench_local(b);
}

int command_bench(int argc, char **argv) {
    struct bench b = {
        .options = utter_options_default(), .text = BENCH_SENTENCE, .levels = "1,2,4,8,16,32,64", .most_seconds = 120};
    int timeout_s = 120;
    const struct option options[] = {
        OPTION_MODEL(b.options),
        OPTION_CODEC(b.options),
        OPTIONS_DEVICE(b.options),
        {"voice", 0, OPTION_TEXT, &b.voice, "NAME", "speak with this voice; default: the first", 0, 0},
        {"text", 0, OPTION_TEXT, &b.text, "TEXT", "what is spoken; default: a sentence of four seconds", 0, 0},
        {"quick", 0, OPTION_FLAG, &b.quick, NULL, "fewer runs, for a first impression", 0, 0},
        {"capacity", 0, OPTION_FLAG, &b.capacity, NULL, "how many listeners at once hear no gap", 0, 0},
        {"server", 0, OPTION_TEXT, &b.server, "URL", "measure the server there", 0, 0},
        {"concurrency", 0, OPTION_TEXT, &b.levels, "LIST", "requests at once; default: 1,2,4,8,16,32,64", 0, 0},
        {"requests", 0, OPTION_INT, &b.n_requests, "N", "requests of each; default: four times as many as at once", 1,
         1000000},
        {"key", 0, OPTION_TEXT, &b.key, "KEY", "the server's API key; default: UTTER_API_KEY", 0, 0},
        {"timeout", 0, OPTION_INT, &timeout_s, "SECONDS", "give a request up after as many; default: 120", 1, 86400},
        {"ready", 0, OPTION_FLAG, &b.ready, NULL, "only load everything, say \"ready\" and leave", 0, 0},
        {"json", 0, OPTION_FLAG, &b.json, NULL, "print a JSON object", 0, 0},
    };
    int n_rest, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (check(&b, n_rest, argv) != UTTER_OK) return command_usage(argv[0]);
    b.most_seconds = timeout_s;
    b.shows_progress = isatty(STDERR_FILENO);
    b.rows = json_array();
    b.about = json_object();
    status s = run(&b);
    bench_progress(&b, "%s", "");
    if (s == UTTER_OK && b.json) {
        json_object_set_new(b.about, "version", json_string(utter_version()));
        json_object_set(b.about, "rows", b.rows);
        json_print(json_incref(b.about), stdout);
    }
    json_decref(b.rows);
    json_decref(b.about);
    return command_end(argv[0], s);
}
