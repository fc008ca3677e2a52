/* utter tokens: a text as a model's token ids. */
#include "base/memory.h"
#include "cli/command.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "[TEXT...] [options]",
    .about =
        "Turns each line of standard input, or the arguments, into one line of token ids. Special\n"
        "tokens are known by their text.\n",
    .examples =
        "  utter tokens --model neutts-air.gguf \"Hello <|speech_1|>\"\n"
        "  utter tokens --model neutts-air.gguf < lines.txt\n",
};

static status answer(void *user, const char *text, size_t len, struct str *out) {
    int32_t *ids;
    size_t n;
    TRY(plumb_tokens(user, text, len, &ids, &n));
    for (size_t i = 0; i < n; i++) str_printf(out, i ? " %d" : "%d", (int)ids[i]);
    free_aligned(ids);
    return UTTER_OK;
}

int command_tokens(int argc, char **argv) {
    utter_options o = utter_options_default();
    const struct option options[] = {OPTION_MODEL(o)};
    int n_words, exit_code;
    if (!command_begin(&manual, options, 1, argc, argv, &n_words, &exit_code)) return exit_code;
    struct plumb_model *m;
    status s = plumb_model_open(&o, &m);
    if (s == UTTER_OK) s = command_lines(argv + 1, n_words, answer, m);
    plumb_model_close(m);
    return command_end(argv[0], s);
}
