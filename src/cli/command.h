/* What every command shares: its manual, its exit code, the options that choose a model. */
#ifndef UTTER_CLI_COMMAND_H
#define UTTER_CLI_COMMAND_H

#include <stdio.h>

#include "cli/options.h"
#include "utter.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;                   // "say"
    const char *summary;                // half a sentence
    int (*run)(int argc, char **argv);  // argv[0]: the command's full name, "models info"; returns the exit code
};

int command_say(int argc, char **argv);
int command_read(int argc, char **argv);
int command_worker(int argc, char **argv);
int command_submit(int argc, char **argv);
int command_queue(int argc, char **argv);
int command_voices(int argc, char **argv);
int command_models(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_serve(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_profile(int argc, char **argv);
int command_sentences(int argc, char **argv);
int command_normalize(int argc, char **argv);
int command_phonemes(int argc, char **argv);
int command_tokens(int argc, char **argv);
int command_logits(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_codec(int argc, char **argv);

/* What --help prints around the options. */
struct manual {
    const char *usage;     // what follows the command's name: "[TEXT... | -]"
    const char *about;     // what it does, complete lines
    const char *examples;  // complete lines
};

/* Reads the command line. True: go on, with *n_rest other arguments in argv[1..]. False: it has been dealt with
   (--help, a wrong option), return *exit_code. */
bool command_begin(const struct manual *manual, const struct option *options, size_t n, int argc, char **argv,
                   int *n_rest, int *exit_code);

/* Prints fail_message() as the command's, and returns the exit code for `s`; EXIT_OK for UTTER_OK. */
int command_end(const char *name, status s);

/* As command_end, for a command line that makes no sense; points to --help. */
int command_usage(const char *name);

/* Runs the one of commands[n] that argv[1] names. `title` is the full name up to here ("utter models"); `otherwise`
   says what to do instead of a command that is not there. */
int command_dispatch(const char *title, const struct command *commands, size_t n, int argc, char **argv,
                     const char *otherwise);

/* The options of models and devices, for option tables; `o`: utter_options. */
#define OPTION_MODEL(o)                                                                                              \
    {                                                                                                                \
        "model", 'm', OPTION_TEXT, &(o).model, "FILE", "speak with this backbone (GGUF); default: the built-in one", \
            0, 0                                                                                                     \
    }
#define OPTION_VOICES(o)                                                                                       \
    {                                                                                                          \
        "voices", 0, OPTION_TEXT, &(o).voices, "FOLDER",                                                       \
            "voices besides: voice files, and recordings (NAME.wav with its\ntranscript NAME.txt), encoded once", 0, 0 \
    }
#define OPTION_CODEC(o)                                                                                           \
    {                                                                                                             \
        "codec", 0, OPTION_TEXT, &(o).codec, "FILE",                                                              \
            "decode with this codec (GGUF); default: neucodec*.gguf beside\nthe model, or the built-in one", 0, 0 \
    }
#define OPTIONS_DEVICE(o)                                                                                             \
    {"threads", 0, OPTION_INT, &(o).n_threads, "N", "threads of the CPU; default: one for each core", 0, 1024},       \
        {"kernels", 0, OPTION_TEXT, &(o).kernels, "SET",                                                              \
         "auto, portable, avx2, avxvnni, avx512, avx512vnni, amx,\non ARM neon, dotprod, i8mm; default: auto", 0, 0}, \
    {                                                                                                                 \
        "device", 0, OPTION_TEXT, &(o).device, "NAME", "auto, cpu, gpu or gpu:N; default: auto", 0, 0                             \
    }

/* The options of sampling; `r`: utter_request. */
#define OPTIONS_SAMPLING(r)                                                                                              \
    {"seed", 0,         OPTION_U32, &(r).seed, "N", "seed of the random choices; the same seed, the same speech",        \
     0,      UINT32_MAX},                                                                                                \
        {"temperature", 0, OPTION_FLOAT, &(r).temperature, "T", "0 is greedy; default: the model's own", 0, 100},        \
        {"top-k", 0, OPTION_INT, &(r).top_k, "K", "of the K likeliest; 0: all; default: the model's own", 0, 10000000},  \
        {"top-p", 0, OPTION_FLOAT, &(r).top_p, "P", "of those that make up P together; default: the model's own", 0, 1}, \
    {                                                                                                                    \
        "min-p", 0, OPTION_FLOAT, &(r).min_p, "P", "of those at least P times as likely as the first", 0, 1              \
    }

/* The arguments joined by spaces, as one text. */
status command_join(char **words, int n, struct str *out);

/* Called for each text; `out` is empty and gets the answer, without a newline. */
typedef status line_fn(void *user, const char *text, size_t len, struct str *out);

/* Answers the arguments, joined by spaces, or without any each line of standard input, with one line each on standard
   output, as soon as it is known. */
status command_lines(char **words, int n, line_fn *fn, void *user);

#endif
