/* What `utter read` and `utter submit` share: a book that becomes a file, by way of a spool, and what is told
 * meanwhile. */
#ifndef UTTER_CLI_AUDIOBOOK_H
#define UTTER_CLI_AUDIOBOOK_H

#include "audio/tempo.h"
#include "book/reading.h"
#include "cli/command.h"
#include "cli/progress.h"

#define AUDIOBOOK_LOUDNESS_LUFS -19

struct audiobook {
    const char *command;  // "read"
    utter_options options;
    utter_request request;
    struct reading_output output;
    float loudness_lufs;  // as the option has it: 0 leaves the sound as it is
    float speed;
    const char *cover;       // a file; NULL: the book's own
    const char *voice_file;  // loaded, and the voice unless another is named; may be NULL
    bool restart, json, quiet, verbose;

    utter *u;
    struct reading reading;
    struct str spool_path;
    struct spool *spool;
    struct reading_written written;

    struct progress progress;
    int64_t began_ns;
    size_t n_bytes, bytes_before, bytes_done;  // of text: in all, spoken before this run, spoken now
    double audio_s;                            // of this run
    double spoken_s;                           // it took to speak that; what follows is writing
    int told_percent;
};

struct audiobook audiobook_for(const char *command);

/* The options of both commands; `a`: struct audiobook. */
// clang-format off
#define OPTIONS_AUDIOBOOK(a)                                                                                    \
    {"output", 'o', OPTION_TEXT, &(a).output.path, "FILE",                                                      \
     "write FILE (.m4b, .opus, .mp3, .flac, .wav), or a folder when\nit ends in /", 0, 0},                      \
    {"format", 0, OPTION_TEXT, &(a).output.format, "NAME", "of the files in a folder; default: opus", 0, 0},    \
    {"voice", 0, OPTION_TEXT, &(a).request.voice, "NAME",                                                       \
     "one of those that \"utter voices list\" shows", 0, 0},                                                    \
    {"voice-file", 0, OPTION_TEXT, &(a).voice_file, "FILE", "load a voice (JSON) and read with it", 0, 0},      \
    OPTION_VOICES((a).options),                                                                                 \
    {"lang", 0, OPTION_TEXT, &(a).request.language, "LANG",                                                     \
     "en-us, en-gb, de, fr-fr, es ...; default: the voice's", 0, 0},                                            \
    {"title", 0, OPTION_TEXT, &(a).output.title, "TEXT", "instead of the book's own", 0, 0},                    \
    {"author", 0, OPTION_TEXT, &(a).output.author, "NAME", "instead of the book's own", 0, 0},                  \
    {"cover", 0, OPTION_TEXT, &(a).cover, "FILE", "a JPEG or PNG picture, instead of the book's own", 0, 0},    \
    {"speed", 0, OPTION_FLOAT, &(a).speed, "X",                                                                 \
     "2 is twice as fast, 0.5 half as fast, at the same pitch;\ndefault: 1", TEMPO_MIN, TEMPO_MAX},             \
    {"loudness", 0, OPTION_FLOAT, &(a).loudness_lufs, "LUFS",                                                   \
     "of each chapter (EBU R128); default: -19, as mono audiobooks\nhave; 0 leaves it as it is", -70, 0},       \
    {"restart", 0, OPTION_FLAG, &(a).restart, NULL, "do not go on with a reading that was stopped", 0, 0},      \
    OPTIONS_SAMPLING((a).request),                                                                              \
    {"retries", 0, OPTION_INT, &(a).request.retries, "N",                                                       \
     "new attempts for a sentence that fails; default: 2", 0, 100},                                             \
    OPTION_MODEL((a).options),                                                                                  \
    OPTION_CODEC((a).options),                                                                                  \
    {"json", 0, OPTION_FLAG, &(a).json, NULL, "print a report as JSON", 0, 0},                                  \
    {"verbose", 'v', OPTION_FLAG, &(a).verbose, NULL, "say what is being done", 0, 0},                          \
    {"quiet", 'q', OPTION_FLAG, &(a).quiet, NULL, "no progress and no warnings", 0, 0}
// clang-format on

/* A utter_log_fn whose user is the audiobook. */
void audiobook_log(void *user, utter_log_level level, const char *sentence);

/* Opens the engine, and tells which when asked to be verbose. */
status audiobook_open_engine(struct audiobook *a);
/* Opens and plans the book; what had to be repaired is told, and whether it is in another language. */
status audiobook_open_book(struct audiobook *a, const char *path);
/* Opens the spool of the output, and from here on tells how far it is. */
status audiobook_open_spool(struct audiobook *a);
/* A narrate_progress_fn whose user is the audiobook. */
void audiobook_spoke(void *user, int unit, size_t n_bytes, int64_t n_samples);
/* All units are in the spool: the file is written. */
status audiobook_write(struct audiobook *a);

/* What was left out, and how long it took; or, of a reading that was stopped, where it goes on. */
void audiobook_summary(struct audiobook *a, status s);
/* The JSON report if it was asked for. */
void audiobook_report(struct audiobook *a, status s);
/* Frees everything. finished: the output is whole, and the spool goes. */
void audiobook_close(struct audiobook *a, bool finished);

#endif
