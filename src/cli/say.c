/* utter say: from a text to a file, a pipe or the loudspeaker. A text of any length is spoken piece by piece, so that
   memory does not grow with it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/play.h"
#include "audio/sink.h"
#include "audio/tempo.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/reader.h"
#include "cli/stop.h"
#include "engine/plumbing.h"

// Between two pieces, as long as the engine's own pauses inside one.
static const double sentence_pause_s = 0.15, paragraph_pause_s = 0.5;

enum { SAMPLES = 4096 };

struct say {
    utter_options options;
    utter_request request;
    const char *output;  // NULL: play
    const char *format;  // of the output; NULL: by its name
    float speed;
    const char *file;
    const char *voice_file;
    bool json, verbose, quiet;

    struct str words;  // the text of the arguments
    struct reader reader;
    utter *u;
    const char *voice, *language;  // in use
    int rate_hz;
    struct sink *sink;
    struct player *player;
    struct tempo *tempo;  // NULL: as the voice speaks
    struct progress progress;

    int64_t started_ns;
    double first_sound_s;      // from started_ns to the first sample; 0 until then
    utter_report total;        // of the pieces done
    int64_t n_samples;         // written, pauses between pieces included
    bool spoken, unspeakable;  // some piece was; some piece had nothing to say
};

static const struct manual manual = {
    .usage = "[TEXT... | -] [options]",
    .about =
        "Speaks a text: from the arguments, from a file (--file), or from standard input (-, or when\n"
        "no text is given). Plays it, or writes it with -o. A text of any length, a book too, is\n"
        "spoken as it is read.\n",
    .examples =
        "  utter say \"Hello, world.\"                     play it\n"
        "  utter say -o hello.wav \"Hello, world.\"        write it: .wav .flac .mp3 .opus ...\n"
        "  utter say --voice sam --file book.txt -o book.opus\n"
        "  echo \"Good morning.\" | utter say -o - --stream | aplay\n"
        "  utter say -o - --format mp3 --speed 1.5 \"Hello.\" > fast.mp3\n",
};

// ---- messages ----

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    const struct say *say = user;
    if (level == UTTER_LOG_WARNING ? say->quiet : !say->verbose) return;
    fprintf(stderr, "%sutter say: %s\n", say->progress.shown ? "\r\033[K" : "", sentence);
}

// ---- opening ----

static status open_text(struct say *say, char **words, int n) {
    status s;
    if (say->file)
        s = reader_open(&say->reader, say->file, plumb_whole_sentences, NULL);
    else if (n == 0 || (n == 1 && strcmp(words[0], "-") == 0))
        s = reader_open(&say->reader, "-", plumb_whole_sentences, NULL);
    else {
        TRY(command_join(words, n, &say->words));
        s = reader_open_text(&say->reader, str_text(&say->words), plumb_whole_sentences, NULL);
    }
    say->reader.stop = stop_flag();
    return s;
}

// The voice asked for, or the one that was loaded, or the first.
static status choose_voice(struct say *say) {
    if (say->voice_file) {
        TRY(utter_voice_load(say->u, say->voice_file));
        utter_voice loaded;
        TRY(utter_voice_get(say->u, utter_voice_count(say->u) - 1, &loaded));
        if (!say->request.voice) say->request.voice = loaded.name;
    }
    for (int i = 0; i < utter_voice_count(say->u); i++) {
        utter_voice v;
        TRY(utter_voice_get(say->u, i, &v));
        if (say->request.voice && strcmp(v.name, say->request.voice) != 0) continue;
        say->voice = v.name;
        say->language = say->request.language ? say->request.language : v.language;
        break;  // a voice that is not there is refused by utter_speak
    }
    say->reader.language = say->language;
    return UTTER_OK;
}

static bool has_voice(const utter *u, const char *name) {
    for (int i = 0; i < utter_voice_count(u); i++) {
        utter_voice v;
        if (utter_voice_get(u, i, &v) == UTTER_OK && strcmp(v.name, name) == 0) return true;
    }
    return false;
}

// Nobody named a model, and the voice asked for is the built-in one's.
static status open_for_voice(struct say *say) {
    if (say->options.model || say->options.codec || say->voice_file || !say->request.voice) return UTTER_OK;
    if (has_voice(say->u, say->request.voice)) return UTTER_OK;
    utter_options options = say->options;
    options.model = "built-in";
    utter *built_in;
    TRY(utter_open(&options, &built_in));
    utter *other = has_voice(built_in, say->request.voice) ? say->u : built_in;
    if (other == say->u) say->u = built_in;
    utter_close(other);
    return UTTER_OK;
}

static status open_engine(struct say *say) {
    say->options.n_streams = 1;
    say->options.log = log_sentence;
    say->options.log_user = say;
    TRY(utter_open(&say->options, &say->u));
    TRY(open_for_voice(say));
    say->rate_hz = utter_sample_rate(say->u);
    if (say->verbose) fprintf(stderr, "utter say: %s\n", utter_describe(say->u));
    return choose_voice(say);
}

static status open_output(struct say *say) {
    if (say->speed != 1) TRY(tempo_new(say->rate_hz, (double)say->speed, &say->tempo));
    if (say->output) return sink_open(say->output, say->format, say->rate_hz, &say->sink);
    return player_open(say->rate_hz, stop_flag(), &say->player);
}

// ---- speaking ----

static status put_out(struct say *say, const float *samples, size_t n) {
    say->n_samples += (int64_t)n;
    return say->sink ? sink_write(say->sink, samples, n) : player_write(say->player, samples, n);
}

// What the change of speed has ready.
static status put_out_changed(struct say *say) {
    for (;;) {
        float samples[SAMPLES];
        size_t n;
        TRY(tempo_pull(say->tempo, samples, SAMPLES, &n));
        if (n == 0) return UTTER_OK;
        TRY(put_out(say, samples, n));
    }
}

static status write_samples(struct say *say, const float *samples, size_t n) {
    if (!say->tempo) return put_out(say, samples, n);
    TRY(tempo_push(say->tempo, samples, n));
    return put_out_changed(say);
}

static status write_pause(struct say *say, double seconds) {
    float silence[SAMPLES] = {0};
    for (size_t left = (size_t)(seconds * say->rate_hz); left > 0;) {
        size_t n = left < SAMPLES ? left : SAMPLES;
        TRY(write_samples(say, silence, n));
        left -= n;
    }
    return UTTER_OK;
}

static int permille(const struct say *say, const utter_report *r) {
    if (say->reader.size <= 0) return -1;
    double done = (double)say->reader.taken + (double)say->reader.piece_len * r->progress_permille / 1000;
    return (int)(done * 1000 / (double)say->reader.size);
}

static void show_progress(struct say *say, const utter_stream *stream) {
    utter_report r;
    utter_stream_report(stream, &r);
    progress_update(&say->progress, permille(say, &r), (double)say->n_samples / say->rate_hz,
                    say->total.work_s + r.work_s);
}

static void add_report(utter_report *total, const utter_report *r) {
    if (total->first_audio_s == 0) total->first_audio_s = r->first_audio_s;
    total->n_sentences += r->n_sentences;
    total->n_retries += r->n_retries;
    total->n_failed += r->n_failed;
    total->n_codes += r->n_codes;
    total->n_samples += r->n_samples;
    total->work_s += r->work_s;
    total->prefill_s += r->prefill_s;
    total->decode_s += r->decode_s;
    total->codec_s += r->codec_s;
}

static status speak_stream(struct say *say, utter_stream *stream, bool paragraph) {
    float samples[SAMPLES];
    bool first = true;
    for (;;) {
        size_t n;
        TRY(utter_read(stream, samples, SAMPLES, &n));
        if (n == 0) return UTTER_OK;
        if (!say->spoken) say->first_sound_s = (double)(clock_ns() - say->started_ns) * 1e-9;
        if (first && say->spoken) TRY(write_pause(say, paragraph ? paragraph_pause_s : sentence_pause_s));
        first = false;
        say->spoken = true;
        TRY(write_samples(say, samples, n));
        show_progress(say, stream);
    }
}

static status speak_piece(struct say *say, const struct piece *piece) {
    say->request.text = piece->text;
    utter_stream *stream;
    status s = utter_speak(say->u, &say->request, &stream);
    if (s == UTTER_NO_TEXT) {  // a line of stars between two chapters
        say->unspeakable = true;
        return UTTER_OK;
    }
    TRY(s);
    stop_cancels(stream);
    s = speak_stream(say, stream, piece->paragraph);
    stop_cancels(NULL);
    utter_report r;
    utter_stream_report(stream, &r);
    add_report(&say->total, &r);
    utter_stream_close(stream);
    return s;
}

static status speak_all(struct say *say) {
    for (;;) {
        struct piece piece;
        TRY(reader_next(&say->reader, &piece));
        if (piece.len == 0) break;
        TRY(speak_piece(say, &piece));
    }
    if (say->spoken) return UTTER_OK;
    if (say->unspeakable)
        return fail(UTTER_NO_TEXT, "%s has no letters or digits; there is nothing to say", say->reader.name);
    return fail(UTTER_NO_TEXT, "%s is empty; there is nothing to say", say->reader.name);
}

static status complete_output(struct say *say) {
    if (say->tempo) {
        TRY(tempo_end(say->tempo));
        TRY(put_out_changed(say));
    }
    if (say->player) return player_drain(say->player);
    struct sink *sink = say->sink;
    say->sink = NULL;
    return sink_finish(sink);
}

// Everything between the command line and the report.
static status run(struct say *say, char **words, int n) {
    TRY(stop_begin());
    TRY(open_text(say, words, n));
    TRY(open_engine(say));
    TRY(open_output(say));
    say->progress = progress_begin(say->quiet);
    status s = speak_all(say);
    if (s == UTTER_OK) s = complete_output(say);
    progress_clear(&say->progress);
    return s;
}

// ---- the report ----

static void print_json(const struct say *say, status s) {
    const utter_report *r = &say->total;
    double audio_s = say->rate_hz > 0 ? (double)say->n_samples / say->rate_hz : 0;
    json_t *o = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:i, s:I, s:f, s:i, s:i, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
        "status", status_name(s), "message", json_text(s == UTTER_OK ? NULL : fail_message()), "output",
        json_text(say->output), "voice", json_text(say->voice), "language", json_text(say->language), "sample_rate",
        say->rate_hz, "samples", (json_int_t)say->n_samples, "audio_s", audio_s, "sentences", r->n_sentences, "retries",
        r->n_retries, "failed_sentences", r->n_failed, "codes", (json_int_t)r->n_codes, "seed",
        (json_int_t)say->request.seed, "first_audio_s", r->first_audio_s, "first_sound_s", say->first_sound_s, "work_s",
        r->work_s, "prefill_s", r->prefill_s, "decode_s", r->decode_s, "codec_s", r->codec_s, "real_time_factor",
        audio_s > 0 ? r->work_s / audio_s : 0.0);
    json_print(o, say->output && strcmp(say->output, "-") == 0 ? stderr : stdout);
}

static void print_summary(const struct say *say) {
    const utter_report *r = &say->total;
    if (say->quiet) return;
    if (r->n_failed > 0)
        fprintf(stderr, "utter say: %d of %d sentences did not come out well, with %d retries; try another --seed\n",
                r->n_failed, r->n_sentences, r->n_retries);
    if (say->player && player_underruns(say->player) > 0)
        fprintf(stderr, "utter say: the sound was not made fast enough %ld times; write it to a file with -o FILE\n",
                player_underruns(say->player));
    if (!say->progress.shown) return;
    double audio_s = (double)say->n_samples / say->rate_hz;
    fprintf(stderr, "%s%s%.1f s of sound made in %.1f s, %.1fx real time, the first after %.2f s\n",
            say->output ? say->output : "", say->output ? ": " : "", audio_s, r->work_s,
            r->work_s > 0 ? audio_s / r->work_s : 0.0, say->first_sound_s);
}

static void say_close(struct say *say) {
    sink_abandon(say->sink);
    player_close(say->player);
    tempo_free(say->tempo);
    utter_close(say->u);
    reader_close(&say->reader);
    str_free(&say->words);
}

// ---- the command line ----

static status check_usage(const struct say *say, int n_words) {
    if (say->file && n_words > 0) return fail(UTTER_INVALID, "give a text or --file, not both");
    if (!say->file && n_words == 0 && isatty(STDIN_FILENO))
        return fail(UTTER_INVALID, "there is nothing to say; give a text, --file FILE, or a text on standard input");
    if (say->format && !say->output) return fail(UTTER_INVALID, "--format needs -o FILE, or -o - for a pipe");
    if (!say->output) return UTTER_OK;
    if (strcmp(say->output, "-") == 0 && isatty(STDOUT_FILENO))
        return fail(UTTER_INVALID, "-o - would write sound to the terminal; send it to a pipe or a file");
    return sink_check_name(say->output, say->format);
}

int command_say(int argc, char **argv) {
    struct say say = {.options = utter_options_default(),
                      .request = utter_request_default(),
                      .reader = {.fd = -1},
                      .speed = 1,
                      .started_ns = clock_ns()};
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &say.output, "FILE",
         "write FILE (.wav, .flac, .mp3, .opus, .ogg, .aac, .pcm, .npy),\nor a WAV to standard output (-)", 0, 0},
        {"format", 0, OPTION_TEXT, &say.format, "NAME", "of the output, whatever its name ends in: wav, flac, mp3 ...",
         0, 0},
        {"file", 'f', OPTION_TEXT, &say.file, "FILE", "read the text from FILE", 0, 0},
        {"voice", 0, OPTION_TEXT, &say.request.voice, "NAME", "one of those that \"utter voices list\" shows", 0, 0},
        {"voice-file", 0, OPTION_TEXT, &say.voice_file, "FILE", "load a voice (JSON) and speak with it", 0, 0},
        OPTION_VOICES(say.options),
        {"lang", 0, OPTION_TEXT, &say.request.language, "LANG", "en-us, en-gb, de, fr-fr, es ...; default: the voice's",
         0, 0},
        {"speed", 0, OPTION_FLOAT, &say.speed, "X", "2 is twice as fast, 0.5 half as fast, at the same pitch; default: 1",
         TEMPO_MIN, TEMPO_MAX},
        {"emotion", 0, OPTION_TEXT, &say.request.emotion, "NAME", "for models that know emotions", 0, 0},
        {"raw", 0, OPTION_FLAG, &say.request.raw, NULL, "speak the text as it is: write out no numbers, signs or units",
         0, 0},
        {"stream", 0, OPTION_FLAG, &say.request.streaming, NULL, "make sound in pieces, so that it starts sooner", 0,
         0},
        {"first-frames", 0, OPTION_INT, &say.request.first_frames, "N",
         "frames (20 ms) of the first piece, for an earlier start;\nmeans --stream; default: 25", 1, 25},
        OPTIONS_SAMPLING(say.request),
        {"retries", 0, OPTION_INT, &say.request.retries, "N", "new attempts for a sentence that fails; default: 2", 0,
         100},
        OPTION_MODEL(say.options),
        OPTION_CODEC(say.options),
        OPTIONS_DEVICE(say.options),
        {"json", 0, OPTION_FLAG, &say.json, NULL, "print a report as JSON (to standard error with -o -)", 0, 0},
        {"verbose", 'v', OPTION_FLAG, &say.verbose, NULL, "say what is being done", 0, 0},
        {"quiet", 'q', OPTION_FLAG, &say.quiet, NULL, "no progress and no warnings", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&say, n_words) != UTTER_OK) return command_usage(argv[0]);
    if (say.request.first_frames > 0) say.request.streaming = true;

    status s = run(&say, argv + 1, n_words);
    if (say.json) print_json(&say, s);
    if (s == UTTER_OK) print_summary(&say);
    exit_code = command_end(argv[0], s);
    say_close(&say);
    return exit_code;
}
