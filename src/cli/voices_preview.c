/* utter voices preview: a sentence in a voice, in its language. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/play.h"
#include "audio/sink.h"
#include "cli/command.h"
#include "cli/stop.h"
#include "cli/voices_add.h"

enum { SAMPLES = 4096 };

static const struct {
    const char *language, *text;  // the language's first letters
} sentences[] = {
    {"de", "So klinge ich, wenn ich in Ruhe einen ganzen Satz sage."},
    {"fr", "Voilà comment je parle quand je prends le temps de finir ma phrase."},
    {"es", "Así sueno cuando digo con calma una frase entera."},
    {"en", "This is how I sound when I take my time over a whole sentence."},
};

static const struct manual manual = {
    .usage = "NAME [options]",
    .about = "Speaks a sentence with a voice, in the voice's language. Plays it, or writes it with -o.\n",
    .examples =
        "  utter voices preview sam\n"
        "  utter voices preview me --model neutts-air -o me-sample.wav\n",
};

static const char *sentence_for(const char *language) {
    size_t n = sizeof sentences / sizeof *sentences;
    for (size_t i = 0; i < n; i++)
        if (strncmp(language, sentences[i].language, 2) == 0) return sentences[i].text;
    return sentences[n - 1].text;
}

static void log_warning(void *user, utter_log_level level, const char *sentence) {
    (void)user;
    if (level == UTTER_LOG_WARNING) fprintf(stderr, "utter voices preview: %s\n", sentence);
}

static status find_voice(const utter *u, const char *name, utter_voice *out) {
    struct str known = {0};
    for (int i = 0; i < utter_voice_count(u); i++) {
        TRY(utter_voice_get(u, i, out));
        if (strcmp(out->name, name) == 0) {
            str_free(&known);
            return UTTER_OK;
        }
        str_printf(&known, "%s%s", i ? ", " : "", out->name);
    }
    status s = fail(UTTER_INVALID, "there is no voice named %s; there is: %s", name, str_text(&known));
    str_free(&known);
    return s;
}

static status write_all(utter_stream *stream, struct sink *sink, struct player *player) {
    float samples[SAMPLES];
    for (;;) {
        size_t n;
        TRY(utter_read(stream, samples, SAMPLES, &n));
        if (n == 0) return UTTER_OK;
        TRY(sink ? sink_write(sink, samples, n) : player_write(player, samples, n));
    }
}

static status speak(utter *u, const char *name, const char *output) {
    utter_voice voice;
    utter_stream *stream = NULL;
    struct sink *sink = NULL;
    struct player *player = NULL;
    TRY(find_voice(u, name, &voice));
    utter_request request = utter_request_default();
    request.voice = name;
    request.text = sentence_for(voice.language);
    status s = output ? sink_open(output, NULL, utter_sample_rate(u), &sink)
                      : player_open(utter_sample_rate(u), stop_flag(), &player);
    if (s == UTTER_OK) s = utter_speak(u, &request, &stream);
    if (s == UTTER_OK) {
        stop_cancels(stream);
        s = write_all(stream, sink, player);
        stop_cancels(NULL);
    }
    utter_stream_close(stream);
    if (s == UTTER_OK && player) s = player_drain(player);
    if (s == UTTER_OK && sink) {
        s = sink_finish(sink);
        sink = NULL;
    }
    sink_abandon(sink);
    player_close(player);
    return s;
}

int voices_preview(int argc, char **argv) {
    utter_options o = utter_options_default();
    const char *output = NULL;
    o.n_streams = 1;
    o.log = log_warning;
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &output, "FILE", "write the sound instead of playing it", 0, 0},
        OPTION_VOICES(o),
        OPTION_MODEL(o),
        OPTION_CODEC(o),
        OPTIONS_DEVICE(o),
    };
    int n_rest, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest != 1) {
        fail(UTTER_INVALID, "one voice is wanted; %d given", n_rest);
        return command_usage(argv[0]);
    }
    if (output && sink_check_name(output, NULL) != UTTER_OK) return command_usage(argv[0]);
    utter *u = NULL;
    status s = stop_begin();
    if (s == UTTER_OK) s = utter_open(&o, &u);
    if (s == UTTER_OK) s = speak(u, argv[1], output);
    exit_code = command_end(argv[0], s);
    utter_close(u);
    return exit_code;
}
