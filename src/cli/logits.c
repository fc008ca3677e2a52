/* utter logits: what a backbone makes of tokens. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/tokens_file.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "--tokens IDS.npy -o LOGITS.npy [options]",
    .about = "Runs a backbone over a list of token ids and writes its logits, float32 [n, vocabulary].\n",
    .examples =
        "  utter logits --model tiny.gguf --tokens ids.npy -o logits.npy\n"
        "  utter logits --model tiny.gguf --tokens ids.npy -o logits.npy --kernels portable\n",
};

static status run(const utter_options *o, const char *tokens, const char *output) {
    struct npy ids;
    TRY(read_ids(tokens, &ids));
    struct plumb_model *m;
    float *logits = NULL;
    status s = plumb_model_open(o, &m);
    int64_t dims[2] = {ids.n, s == UTTER_OK ? plumb_n_vocab(m) : 0};
    if (s == UTTER_OK) s = alloc_for(&logits, (size_t)dims[0] * (size_t)dims[1], sizeof *logits, "the logits");
    if (s == UTTER_OK) s = plumb_logits(m, ids.data, (int)ids.n, logits);
    if (s == UTTER_OK) s = npy_write(output, NPY_F32, logits, 2, dims);
    free_aligned(logits);
    plumb_model_close(m);
    npy_free(&ids);
    return s;
}

int command_logits(int argc, char **argv) {
    utter_options o = utter_options_default();
    const char *tokens = NULL, *output = NULL;
    const struct option options[] = {
        OPTION_MODEL(o),
        {"tokens", 0, OPTION_TEXT, &tokens, "FILE", "token ids (.npy)", 0, 0},
        {"output", 'o', OPTION_TEXT, &output, "FILE", "where the logits go (.npy)", 0, 0},
        OPTIONS_DEVICE(o),
    };
    int n_rest, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest > 0)
        fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
    else if (!tokens || !output)
        fail(UTTER_INVALID, "both --tokens FILE and -o FILE are needed");
    else
        return command_end(argv[0], run(&o, tokens, output));
    return command_usage(argv[0]);
}
