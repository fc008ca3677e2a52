#include "cli/voices_add.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/load.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/voices_fetch.h"
#include "engine/clone.h"
#include "engine/plumbing.h"
#include "engine/transcript.h"
#include "engine/voice_codes.h"
#include "engine/voice_folder.h"

enum { MAX_TRANSCRIPT = 16384, MAX_LANGUAGE = 64 };

/* What was asked for, and what became of it. */
struct addition {
    const char *recording, *text_file, *transcript, *name, *language, *note, *encoder, *out, *sha256;
    bool replace;
    utter_options options;

    struct str text, path, encoder_path;
    char *own_name;
    struct sound sound;
    struct clip clip;
    int32_t *codes;
    int n_codes;
    struct voice_encoder *at_work;
};

// ---- the transcript ----

// Without the white space around it, a line instead of several.
static void tidy(const char *text, size_t len, struct str *out) {
    bool gap = false;
    for (size_t i = 0; i < len; i++) {
        bool space = strchr(" \t\r\n\v\f", text[i]) != NULL;
        if (!space && gap && out->len > 0) str_putc(out, ' ');
        if (!space) str_putc(out, text[i]);
        gap = space;
    }
}

static status read_text(const char *path, struct str *out) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    status s = UTTER_OK;
    const char *text = m.data;
    size_t bom = m.size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    if (m.size > MAX_TRANSCRIPT)
        s = fail(UTTER_LIMIT, "%s has %zu bytes; a transcript has at most %d", path, m.size, MAX_TRANSCRIPT);
    else if (m.size)
        tidy(text + bom, m.size - bom, out);
    file_map_close(&m);
    return s;
}

// NAME.txt for NAME.wav
static void text_beside(const char *recording, struct str *out) {
    const char *slash = strrchr(recording, '/'), *dot = strrchr(recording, '.');
    size_t len = dot && dot > (slash ? slash + 1 : recording) ? (size_t)(dot - recording) : strlen(recording);
    str_append(out, recording, len);
    str_puts(out, ".txt");
}

static status ask(const char *recording, struct str *out) {
    char line[MAX_TRANSCRIPT];
    fprintf(stderr, "What is said in %s, word for word?\n> ", recording);
    if (fgets(line, sizeof line, stdin)) tidy(line, strlen(line), out);
    return UTTER_OK;
}

static status find_transcript(struct addition *a) {
    struct str beside = {0};
    text_beside(a->recording, &beside);
    status s = str_status(&beside);
    if (s == UTTER_OK && a->transcript)
        tidy(a->transcript, strlen(a->transcript), &a->text);
    else if (s == UTTER_OK && a->text_file)
        s = read_text(a->text_file, &a->text);
    else if (s == UTTER_OK && access(beside.data, F_OK) == 0)
        s = read_text(beside.data, &a->text);
    else if (s == UTTER_OK && isatty(STDIN_FILENO))
        s = ask(a->recording, &a->text);
    else if (s == UTTER_OK)
        s = fail(UTTER_INVALID,
                 "a voice needs what is said in the recording: write it to %s, or give it with --text FILE or "
                 "--transcript \"...\"",
                 beside.data);
    str_free(&beside);
    if (s == UTTER_OK && a->text.len == 0)
        s = fail(UTTER_INVALID, "the transcript is empty; it is what is said in the recording, word for word");
    if (s == UTTER_OK && a->text.len > MAX_TRANSCRIPT)
        s = fail(UTTER_LIMIT, "the transcript has %zu bytes; at most %d are taken", a->text.len, MAX_TRANSCRIPT);
    return s == UTTER_OK ? str_status(&a->text) : s;
}

// A language that espeak-ng does not have, or a transcript that it cannot read, is found here and not at first use.
static status check_language(const struct addition *a) {
    if (!a->language) return UTTER_OK;
    if (strlen(a->language) > MAX_LANGUAGE)
        return fail(UTTER_INVALID, "--lang: \"%.64s...\" is no language", a->language);
    struct str phonemes = {0};
    status s = plumb_phonemes(a->language, false, a->text.data, a->text.len, &phonemes);
    str_free(&phonemes);
    return s;
}

// ---- add ----

static const struct manual add_manual = {
    .usage = "RECORDING|ADDRESS [options]",
    .about =
        "Makes a voice of a recording of one person speaking, 3 to 15 seconds long: WAV, FLAC, Ogg, Opus\n"
        "or MP3 of any rate. Its transcript lies beside it (RECORDING with the ending .txt), is given,\n"
        "or is asked for.\n"
        "\n"
        "With an address (https://...) instead it fetches a voice file that lies there, ready-made.\n",
    .examples =
        "  utter voices add me.wav                            transcript in me.txt\n"
        "  utter voices add me.wav --transcript \"What I say.\" --name me --lang en-us\n"
        "  utter voices add me.mp3 --encoder encoder.gguf -o me.json\n"
        "  utter voices add https://example.org/me.json --sha256 9f86d0...\n",
};

static void warn(void *user, const char *sentence) {
    fprintf(stderr, "utter %s: warning: %s\n", (const char *)user, sentence);
}

static void show_encoding(void *user, double seconds) {
    (void)user;
    fprintf(stderr, "\r\033[K%.0f s", seconds);
}

static status find_place(struct addition *a) {
    status s = UTTER_OK;
    if (!a->name) {
        TRY(voice_codes_name(a->recording, &a->own_name));
        a->name = a->own_name;
    }
    if (a->out)
        str_puts(&a->path, a->out);
    else
        s = voice_path(a->name, &a->path);
    if (s == UTTER_OK) s = str_status(&a->path);
    if (s == UTTER_OK && !a->replace && access(a->path.data, F_OK) == 0)
        s = fail(UTTER_INVALID, "%s is there already; give the voice another --name, or --replace it", a->path.data);
    return s;
}

static status add(struct addition *a, const char *command) {
    TRY(find_place(a));
    TRY(sound_load(a->recording, CLONE_RATE_HZ, CLONE_MAX_SECONDS, &a->sound));
    TRY(clip_find(a->recording, a->sound.samples, a->sound.n, &a->clip));
    TRY(find_transcript(a));
    TRY(check_language(a));
    TRY(encoder_find(a->encoder, a->options.codec, &a->encoder_path));
    transcript_judge(a->text.data, a->language, warn, (void *)command);
    clip_judge(&a->clip, a->sound.n_clipped, a->text.data, warn, (void *)command);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "utter %s: encoding %.1f s of speech with %s\n", command, a->clip.seconds,
                a->encoder_path.data);
    TRY(voice_encoder_open(a->encoder_path.data, &a->options, &a->at_work));
    TRY(voice_encoder_encode(a->at_work, &a->clip, isatty(STDERR_FILENO) ? show_encoding : NULL, NULL, &a->codes,
                             &a->n_codes));
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    if (!a->out) {
        struct str folder = {0};
        status s = voices_folder_make(&folder);
        str_free(&folder);
        TRY(s);
    }
    const struct voice_draft voice = {.name = a->name,
                                      .language = a->language,
                                      .note = a->note,
                                      .text = a->text.data,
                                      .codec = voice_encoder_codec(a->at_work),
                                      .codes = a->codes,
                                      .n_codes = a->n_codes};
    TRY(voice_write(&voice, a->path.data));
    fprintf(stderr, "utter %s: %s is in %s (%.1f s, %d codes)\n", command, a->name, a->path.data, a->clip.seconds,
            a->n_codes);
    return UTTER_OK;
}

// What has been said of a recording that is none; NULL: nothing.
static const char *said_of_recording(const struct addition *a) {
    if (a->text_file) return "--text";
    if (a->transcript) return "--transcript";
    if (a->language) return "--lang";
    if (a->note) return "--note";
    if (a->encoder) return "--encoder";
    return a->options.codec ? "--codec" : NULL;
}

static int add_from_web(const struct addition *a, const char *command) {
    const struct voice_address address = {a->recording, a->sha256, a->name, a->out, a->replace};
    const char *option = said_of_recording(a);
    if (!option) return command_end(command, voice_fetch(&address, command));
    fail(UTTER_INVALID, "%s is for recordings; a voice from an address is taken as it is", option);
    return command_usage(command);
}

int voices_add(int argc, char **argv) {
    struct addition a = {.options = utter_options_default()};
    const struct option options[] = {
        {"text", 0, OPTION_TEXT, &a.text_file, "FILE", "the transcript is in this file", 0, 0},
        {"transcript", 0, OPTION_TEXT, &a.transcript, "TEXT", "the transcript", 0, 0},
        {"name", 0, OPTION_TEXT, &a.name, "NAME", "what the voice is called; default: as the recording", 0, 0},
        {"lang", 0, OPTION_TEXT, &a.language, "LANG", "its language, as espeak-ng names it; default: the model's", 0,
         0},
        {"note", 0, OPTION_TEXT, &a.note, "TEXT", "who it is, where the recording is from", 0, 0},
        {"encoder", 0, OPTION_TEXT, &a.encoder, "FILE",
         "the codec's encoder, pulled or a file (GGUF); default: *encoder*.gguf\nbeside the codec or in the folder "
         "above "
         "the voices, or what is pulled",
         0, 0},
        {"codec", 0, OPTION_TEXT, &a.options.codec, "FILE",
         "the codec that the voice is for: an encoder that is not its own\nis refused", 0, 0},
        {"output", 'o', OPTION_TEXT, &a.out, "FILE", "write the voice here; default: the folder of your voices", 0, 0},
        {"sha256", 0, OPTION_TEXT, &a.sha256, "HEX", "the checksum that a voice from an address must have", 0, 0},
        {"replace", 0, OPTION_FLAG, &a.replace, NULL, "overwrite a voice that is there", 0, 0},
        {"threads", 0, OPTION_INT, &a.options.n_threads, "N", "threads of the CPU; default: one for each core", 0,
         1024},
    };
    int n_rest, exit_code;
    if (!command_begin(&add_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest != 1 || (a.text_file && a.transcript)) {
        if (n_rest != 1)
            fail(UTTER_INVALID, "one recording is wanted; %d given", n_rest);
        else
            fail(UTTER_INVALID, "--text and --transcript cannot be given together");
        return command_usage(argv[0]);
    }
    a.recording = argv[1];
    if (is_web_address(a.recording)) return add_from_web(&a, argv[0]);
    if (a.sha256) {
        fail(UTTER_INVALID, "--sha256 is for a voice from an address, https://...");
        return command_usage(argv[0]);
    }
    exit_code = command_end(argv[0], add(&a, argv[0]));
    str_free(&a.text);
    str_free(&a.path);
    str_free(&a.encoder_path);
    free(a.own_name);
    sound_free(&a.sound);
    free_aligned(a.codes);
    voice_encoder_close(a.at_work);
    return exit_code;
}

// ---- show ----

static const struct manual show_manual = {
    .usage = "NAME|FILE [options]",
    .about = "Shows what a voice of your own, or a voice file, is.\n",
    .examples = "  utter voices show me\n  utter voices show dave.json --json\n",
};

static void show_line(const char *key, const json_t *object, const char *member) {
    const char *text = json_string_value(json_object_get(object, member));
    if (text) printf("%-12s %s\n", key, text);
}

static void show(const json_t *voice) {
    size_t n = json_array_size(json_object_get(voice, "codes"));
    show_line("name", voice, "name");
    show_line("language", voice, "language");
    show_line("note", voice, "note");
    show_line("text", voice, "text");
    show_line("codec", voice, "codec");
    show_line("token", voice, "token");
    if (n) printf("%-12s %zu, %.1f s\n", "codes", n, (double)n / 50);
}

int voices_show(int argc, char **argv) {
    bool as_json = false;
    const struct option options[] = {
        {"json", 0, OPTION_FLAG, &as_json, NULL, "print the JSON object, with its codes", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&show_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    if (n_rest != 1) {
        fail(UTTER_INVALID, "one voice is wanted; %d given", n_rest);
        return command_usage(argv[0]);
    }
    json_t *voice;
    status s = voice_read(argv[1], &voice);
    if (s == UTTER_OK && as_json)
        json_print(voice, stdout);
    else if (s == UTTER_OK) {
        show(voice);
        json_decref(voice);
    }
    return command_end(argv[0], s);
}

// ---- remove ----

static const struct manual remove_manual = {
    .usage = "NAME...",
    .about = "Removes voices of your own, those that \"utter voices add\" made.\n",
    .examples = "  utter voices remove me\n",
};

int voices_remove(int argc, char **argv) {
    int n_rest, exit_code;
    if (!command_begin(&remove_manual, NULL, 0, argc, argv, &n_rest, &exit_code)) return exit_code;
    if (n_rest < 1) {
        fail(UTTER_INVALID, "which voice? \"utter voices list\" shows them");
        return command_usage(argv[0]);
    }
    status s = UTTER_OK;
    for (int i = 1; i <= n_rest && s == UTTER_OK; i++) s = voice_remove(argv[i]);
    return command_end(argv[0], s);
}
