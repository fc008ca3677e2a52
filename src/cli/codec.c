/* utter codec: speech codes to sound. */
#include "audio/sink.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/tokens_file.h"
#include "engine/plumbing.h"

static const struct manual decode_manual = {
    .usage = "CODES.npy -o FILE [options]",
    .about = "Decodes speech codes to sound.\n",
    .examples =
        "  utter codec decode codes.npy -o out.wav\n"
        "  utter codec decode --codec neucodec.gguf codes.npy -o out.npy      float samples\n"
        "  utter codec decode codes.npy -o out.npy --stream --reference 120   as streaming does it\n",
};

struct decode {
    utter_options options;
    const char *output;
    bool stream;
    int n_reference;
};

static status write_sound(const char *path, int rate_hz, const float *pcm, int64_t n) {
    struct sink *sink;
    TRY(sink_open(path, NULL, rate_hz, &sink));
    status s = sink_write(sink, pcm, (size_t)n);
    if (s == UTTER_OK) return sink_finish(sink);
    sink_abandon(sink);
    return s;
}

static status decode(const struct decode *c, const char *path) {
    struct npy codes;
    TRY(read_ids(path, &codes));
    float *pcm = NULL;
    int64_t n;
    int rate_hz;
    status s = plumb_codec_decode(&c->options, codes.data, (int)codes.n, c->stream, c->n_reference, &pcm, &n, &rate_hz);
    if (s == UTTER_OK) s = write_sound(c->output, rate_hz, pcm, n);
    free_aligned(pcm);
    npy_free(&codes);
    return s;
}

static int codec_decode(int argc, char **argv) {
    struct decode c = {.options = utter_options_default()};
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &c.output, "FILE", "where the sound goes: .wav .flac .mp3 .opus .ogg .aac .npy, or -",
         0, 0},
        {"codec", 0, OPTION_TEXT, &c.options.codec, "FILE", "codec (GGUF); default: the built-in one", 0, 0},
        {"stream", 0, OPTION_FLAG, &c.stream, NULL, "in overlapping windows, as streaming does it", 0, 0},
        {"reference", 0, OPTION_INT, &c.n_reference, "N",
         "with --stream: the first N codes are the voice's reference\nand are not spoken", 0, INT_MAX},
        OPTIONS_DEVICE(c.options),
    };
    int n_rest, exit_code;
    if (!command_begin(&decode_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    status s = UTTER_OK;
    if (n_rest != 1)
        s = fail(UTTER_INVALID, "one file of codes is wanted; %d given", n_rest);
    else if (!c.output)
        s = fail(UTTER_INVALID, "-o FILE is needed");
    else if (c.n_reference > 0 && !c.stream)
        s = fail(UTTER_INVALID, "--reference needs --stream");
    else
        s = sink_check_name(c.output, NULL);
    if (s != UTTER_OK) return command_usage(argv[0]);
    return command_end(argv[0], decode(&c, argv[1]));
}

int command_codec(int argc, char **argv) {
    static const struct command commands[] = {{"decode", "decode speech codes to sound", codec_decode}};
    return command_dispatch("utter codec", commands, sizeof commands / sizeof *commands, argc, argv,
                            "utter codec --help lists what there is");
}
