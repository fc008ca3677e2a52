/* utter: the commands. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

static const struct command commands[] = {
    {"say", "speak a text: play it, or write it to a file", command_say},
    {"read", "read a book aloud: an audiobook with chapters", command_read},
    {"voices", "hear, add and remove voices", command_voices},
    {"models", "list, fetch, describe and convert models", command_models},
    {"serve", "serve speech over HTTP, as OpenAI's endpoint is asked", command_serve},
    {"submit", "read a book aloud with the help of workers", command_submit},
    {"worker", "speak sentences of books that others submit", command_worker},
    {"queue", "look after the queue between them", command_queue},
    {"doctor", "see whether speech works here, on what and how fast", command_doctor},
    {"bench", "measure how fast this machine, or a server, speaks", command_bench},
    {"profile", "see where the time of one text goes", command_profile},
    {"sentences", "split a text into sentences", command_sentences},
    {"normalize", "write a text out as it is spoken", command_normalize},
    {"phonemes", "turn a text into phonemes", command_phonemes},
    {"tokens", "turn a text into token ids", command_tokens},
    {"logits", "run a backbone over token ids", command_logits},
    {"generate", "continue a list of token ids", command_generate},
    {"codec", "turn speech codes into sound", command_codec},
};
enum { COUNT = sizeof commands / sizeof *commands };

static const char otherwise[] = "to speak a text: utter say TEXT; for the list of commands: utter --help";

static void print_help(FILE *to) {
    fputs(
        "utter: text to speech\n\n"
        "  utter say \"Hello, world.\"                play it\n"
        "  utter say -o hello.wav \"Hello, world.\"   write it\n\n"
        "commands:\n",
        to);
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(commands[i].name, "sentences") == 0) fputs("\nfor a look inside:\n", to);
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n  utter help COMMAND    more about one\n  utter --version       the version\n", to);
}

// utter help [COMMAND [COMMAND]]: the same as utter COMMAND [COMMAND] --help.
static int help(int argc, char **argv) {
    if (argc < 3) {
        print_help(stdout);
        return EXIT_OK;
    }
    char ask[] = "--help";
    char *words[] = {argv[0], argv[2], argc > 3 ? argv[3] : ask, ask, NULL};
    return command_dispatch("utter", commands, COUNT, argc > 3 ? 4 : 3, words, otherwise);
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("utter %s\n", utter_version());
        return EXIT_OK;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(argc, argv);
    if (argv[1][0] == '-') {
        static const char *const names[] = {"--help", "--version"};
        const char *near = nearest_name(argv[1], names, 2);
        if (near)
            fprintf(stderr, "utter: unknown option %s; did you mean %s?\n", argv[1], near);
        else
            fprintf(stderr, "utter: unknown option %s; options follow a command\n", argv[1]);
        return EXIT_USAGE;
    }
    return command_dispatch("utter", commands, COUNT, argc, argv, otherwise);
}

// A file opened where a standard stream is missing would get what is printed.
static void open_standard_streams(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) exit(EXIT_FAILED);
}

int main(int argc, char **argv) {
    open_standard_streams();
    signal(SIGPIPE, SIG_IGN);  // a reader that goes away is a write that fails, with a sentence
    signal(SIGXFSZ, SIG_IGN);  // and so is a file that may not grow
    int exit_code = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && exit_code == EXIT_OK) {
        fprintf(stderr, "utter: cannot write to standard output: %s\n", strerror(errno));
        exit_code = EXIT_FAILED;
    }
    return exit_code;
}
