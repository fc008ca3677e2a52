/* utter normalize: a text as it is spoken. */
#include "cli/command.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "[TEXT...] [options]",
    .about =
        "Writes out numbers, dates, units, signs and the like: each line of standard input, or the\n"
        "arguments, becomes one line of words.\n",
    .examples =
        "  utter normalize \"Dr. Smith paid $3.50 on 5/12/2024.\"\n"
        "  utter normalize --lang de < lines.txt\n",
};

static status answer(void *user, const char *text, size_t len, struct str *out) {
    TRY(plumb_normalize(user, text, len, out));
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] == '\n') out->data[i] = ' ';
    return UTTER_OK;
}

int command_normalize(int argc, char **argv) {
    const char *language = "en-us";
    const struct option options[] = {
        {"lang", 0, OPTION_TEXT, &language, "LANG", "en-us, en-gb, de, fr-fr, es ...; default: en-us", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, 1, argc, argv, &n_words, &exit_code)) return exit_code;
    return command_end(argv[0], command_lines(argv + 1, n_words, answer, (void *)language));
}
