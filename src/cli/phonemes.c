/* utter phonemes: what a phoneme model gets to read. */
#include "cli/command.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "[TEXT...] [options]",
    .about = "Turns each line of standard input, or the arguments, into one line of phonemes.\n",
    .examples =
        "  utter phonemes \"It costs $5.\"\n"
        "  utter phonemes --lang de --raw < lines.txt\n",
};

struct phonemes {
    const char *language;
    bool raw;
};

static status answer(void *user, const char *text, size_t len, struct str *out) {
    const struct phonemes *p = user;
    return plumb_phonemes(p->language, p->raw, text, len, out);
}

int command_phonemes(int argc, char **argv) {
    struct phonemes p = {.language = "en-us"};
    const struct option options[] = {
        {"lang", 0, OPTION_TEXT, &p.language, "LANG", "en-us, en-gb, de, fr-fr, es ...; default: en-us", 0, 0},
        {"raw", 0, OPTION_FLAG, &p.raw, NULL, "write out no numbers, signs or units first", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, 2, argc, argv, &n_words, &exit_code)) return exit_code;
    return command_end(argv[0], command_lines(argv + 1, n_words, answer, &p));
}
