/* utter generate: what a backbone says next. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/tokens_file.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "--tokens IDS.npy [options]",
    .about = "Continues a list of token ids and prints the new ids in one line.\n",
    .examples =
        "  utter generate --model tiny.gguf --tokens ids.npy --greedy -n 32\n"
        "  utter generate --model tiny.gguf --tokens ids.npy --seed 7 --top-k 50 -o new.npy\n",
};

struct generate {
    utter_options options;
    utter_request request;
    const char *tokens, *output;
    bool greedy, through_end, json;
    int n_max;
};

static status print_ids(const struct generate *c, const int32_t *ids, int n) {
    fputs(c->json ? "{\"tokens\": [" : "", stdout);
    for (int i = 0; i < n; i++) printf("%s%d", i == 0 ? "" : c->json ? ", " : " ", (int)ids[i]);
    fputs(c->json ? "]}\n" : "\n", stdout);
    return UTTER_OK;
}

static status run(const struct generate *c) {
    struct npy ids;
    TRY(read_ids(c->tokens, &ids));
    struct plumb_model *m;
    int32_t *generated = NULL;
    int n = 0;
    status s = plumb_model_open(&c->options, &m);
    if (s == UTTER_OK) s = alloc_for(&generated, (size_t)c->n_max, sizeof *generated, "the tokens");
    if (s == UTTER_OK)
        s = plumb_generate(m, ids.data, (int)ids.n, &c->request, c->through_end, generated, c->n_max, &n);
    if (s == UTTER_OK && c->output) s = npy_write(c->output, NPY_I32, generated, 1, (int64_t[]){n});
    if (s == UTTER_OK && !c->output) s = print_ids(c, generated, n);
    free_aligned(generated);
    plumb_model_close(m);
    npy_free(&ids);
    return s;
}

int command_generate(int argc, char **argv) {
    struct generate c = {.options = utter_options_default(), .request = utter_request_default(), .n_max = 64};
    const struct option options[] = {
        OPTION_MODEL(c.options),
        {"tokens", 0, OPTION_TEXT, &c.tokens, "FILE", "token ids to continue (.npy)", 0, 0},
        {"count", 'n', OPTION_INT, &c.n_max, "N", "at most N new tokens; default: 64", 1, 1000000},
        {"greedy", 0, OPTION_FLAG, &c.greedy, NULL, "always the likeliest; the same as --temperature 0", 0, 0},
        OPTIONS_SAMPLING(c.request),
        {"through-end", 0, OPTION_FLAG, &c.through_end, NULL, "go on after the token that ends a text", 0, 0},
        {"output", 'o', OPTION_TEXT, &c.output, "FILE", "write the new ids to FILE (.npy) instead", 0, 0},
        OPTIONS_DEVICE(c.options),
        {"json", 0, OPTION_FLAG, &c.json, NULL, "print a JSON object", 0, 0},
    };
    int n_rest, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest > 0)
        fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
    else if (!c.tokens)
        fail(UTTER_INVALID, "--tokens FILE is needed");
    else {
        if (c.greedy) c.request.temperature = 0;
        return command_end(argv[0], run(&c));
    }
    return command_usage(argv[0]);
}
