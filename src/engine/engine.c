#include "engine/engine.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cpu/cpu.h"
#include "engine/builtin.h"
#include "engine/choose.h"
#include "gpu/gpu.h"
#include "models/store.h"

enum {
    MAX_STREAMS = 1024,
    MAX_CONTEXT = 2048,         // positions of a slot: NeuTTS never uses more, whatever the file allows
    DEFAULT_JOIN_FRAMES = 500,  // ten seconds
    DEFAULT_MAX_FRAMES = 1000,  // twenty seconds: with a reference of ten that is what NeuTTS speaks without wandering
};
#define DEFAULT_FRAMES_PER_SYMBOL 3.5

const char *utter_error_message(void) { return fail_message(); }
const char *utter_status_name(utter_status s) { return status_name(s); }
const char *utter_version(void) { return UTTER_VERSION; }

utter_options utter_options_default(void) { return (utter_options){0}; }

status open_backbone(const char *path, struct backbone **out) {
    *out = NULL;
    struct gguf *g;
    TRY(path ? gguf_open(path, &g)
             : gguf_open_memory(builtin_backbone, (size_t)(builtin_backbone_end - builtin_backbone),
                                "the built-in model", &g));
    return backbone_load(g, out);
}

status open_codec(const char *path, struct codec **out) {
    *out = NULL;
    struct gguf *g;
    TRY(path ? gguf_open(path, &g)
             : gguf_open_memory(builtin_codec, (size_t)(builtin_codec_end - builtin_codec), "the built-in codec", &g));
    return codec_load(g, out);
}

int slot_positions(const struct backbone *b) { return b->config.n_ctx < MAX_CONTEXT ? b->config.n_ctx : MAX_CONTEXT; }

status open_device(const utter_options *options, const struct log *log, struct device **out) {
    *out = NULL;
    struct device_choice choice;
    TRY(device_choice_parse(options->device, &choice));
    const struct cpu_options cpu = {.n_threads = options->n_threads, .kernels = options->kernels};
    const struct gpu_options gpu = {.index = choice.gpu_index};
    return choice.cpu ? cpu_open(&cpu, log, out) : gpu_open(&gpu, log, out);
}

static bool starts_and_ends(const char *text, const char *start, const char *end) {
    size_t n = strlen(text);
    return n >= strlen(start) + strlen(end) && strncmp(text, start, strlen(start)) == 0 &&
           strcmp(text + n - strlen(end), end) == 0;
}

// A model from a file speaks the codes of a codec that lies beside it: the first of the names neucodec*.gguf.
static status find_codec_beside(const char *model, struct str *out) {
    const char *slash = strrchr(model, '/');
    struct str folder = {0};
    if (slash) str_append(&folder, model, (size_t)(slash - model));
    DIR *d = opendir(slash ? (folder.len ? folder.data : "/") : ".");
    char best[256] = "";
    for (struct dirent *e; d && (e = readdir(d));)
        if (starts_and_ends(e->d_name, "neucodec", ".gguf") && !strstr(e->d_name, "encoder") &&
            (!*best || strcmp(e->d_name, best) < 0))
            strcpy(best, e->d_name);  // d_name has at most 255 bytes
    if (d) closedir(d);
    if (*best) str_printf(out, "%s%s%s", str_text(&folder), slash ? "/" : "", best);
    str_free(&folder);
    if (out->len == 0)
        return fail(UTTER_INVALID,
                    "no codec for %s: name one with --codec, put it beside the model as neucodec.gguf, or fetch both "
                    "with utter models pull",
                    model);
    return str_status(out);
}

// Where the networks lie: by the name of an installed model, or by file. Left empty: the built-in one.
static status find_networks(const utter_options *options, struct str *model, struct str *codec) {
    struct str ignored = {0};
    status s = UTTER_OK;
    if (options->model && strcmp(options->model, BUILT_IN_NAME) != 0) s = store_resolve(options->model, model, codec);
    if (s == UTTER_OK && options->codec) {
        str_clear(codec);
        s = store_resolve(options->codec, codec, &ignored);
    }
    if (s == UTTER_OK && model->len > 0 && codec->len == 0) s = find_codec_beside(model->data, codec);
    str_free(&ignored);
    return s;
}

static const char *path_or_builtin(const struct str *path) { return path->len > 0 ? path->data : NULL; }

// The networks, and whether they belong together.
static status load_networks(const struct str *model, const struct str *codec, utter *u) {
    TRY(open_backbone(path_or_builtin(model), &u->backbone));
    TRY(backbone_check_speech(u->backbone));
    TRY(open_codec(path_or_builtin(codec), &u->codec));
    if (u->backbone->n_codes == u->codec->config.n_codes) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s writes %d speech codes and %s reads %d; take the codec that the model was made for",
                u->backbone->label, u->backbone->n_codes, u->codec->label, u->codec->config.n_codes);
}

// NeuTTS's own files say nothing of their language; the model that was pulled does.
static status take_language(const char *model, struct backbone *b) {
    struct gguf_string said;
    struct str language = {0};
    if (!model || gguf_get_string(b->file, "utter.language", &said)) return UTTER_OK;
    status s = store_language(model, &language);
    if (s != UTTER_OK || language.len == 0) {
        str_free(&language);
        return s;
    }
    free(b->language);
    b->language = language.data;
    return UTTER_OK;
}

// `*out` from the file's metadata where it has the key, in [0, high].
static status hint(const struct gguf *g, const char *key, int64_t high, int *out) {
    int64_t value;
    if (!gguf_get_i64(g, key, &value)) return UTTER_OK;
    TRY(gguf_need_i64(g, key, 0, high, &value));
    *out = (int)value;
    return UTTER_OK;
}

// What a model says of how it wants to be used; NeuTTS's own say nothing.
static status load_hints(utter *u) {
    const struct gguf *g = u->backbone->file;
    u->frames_per_symbol = DEFAULT_FRAMES_PER_SYMBOL;
    u->join_frames = DEFAULT_JOIN_FRAMES;
    u->max_frames = DEFAULT_MAX_FRAMES;
    double rate;
    if (gguf_get_f64(g, "utter.frames_per_symbol", &rate)) {
        TRY(gguf_need_f64(g, "utter.frames_per_symbol", 0.1, 100, &rate));
        u->frames_per_symbol = rate;
    }
    TRY(hint(g, "utter.join_frames", 100000, &u->join_frames));
    return hint(g, "utter.max_frames", 100000, &u->max_frames);
}

static status load_devices(const utter_options *options, utter *u) {
    if (options->n_streams < 0 || options->n_streams > MAX_STREAMS)
        return fail(UTTER_INVALID, "%d streams at once are asked for; 1 to %d can be had", options->n_streams,
                    MAX_STREAMS);
    u->n_ctx = slot_positions(u->backbone);
    u->runners = (struct runners){
        .log = u->log,
        .n_threads = options->n_threads,
        .backbone = u->backbone,
        .codec = u->codec,
        .n_places = options->n_streams,
        .n_ctx = u->n_ctx,
    };
    TRY(device_choice_parse(options->device, &u->runners.choice));
    if (options->kernels) {
        u->runners.kernels = strdup(options->kernels);
        if (!u->runners.kernels) return fail_memory(strlen(options->kernels), "options");
    }
    TRY(runners_open(&u->runners));
    gguf_rest(u->backbone->file);
    gguf_rest(u->codec->file);
    return UTTER_OK;
}

static status describe(utter *u) {
    struct str text = {0};
    str_printf(&text, "%s with %s on ", u->backbone->name, u->codec->name);
    status s = runners_describe(&u->runners, &text);
    u->description = text.data;
    return s;
}

utter_status utter_open(const utter_options *options, utter **out) {
    *out = NULL;
    if (!options->model && !options->codec) {
        TRY(open_installed(options, out));
        if (*out) return UTTER_OK;
    }
    utter *u = calloc(1, sizeof *u);
    if (!u) return fail_memory(sizeof *u, "an engine");
    u->log = (struct log){options->log, options->log_user};
    engine_voices_init(&u->voices);
    struct str model = {0}, codec = {0};
    status s = find_networks(options, &model, &codec);
    if (s == UTTER_OK) s = load_networks(&model, &codec, u);
    if (s == UTTER_OK) s = take_language(options->model, u->backbone);
    if (s == UTTER_OK) s = load_hints(u);
    if (s == UTTER_OK) s = engine_voices_open(u, path_or_builtin(&model), options);
    str_free(&model);
    str_free(&codec);
    if (s == UTTER_OK) s = load_devices(options, u);
    if (s == UTTER_OK) s = describe(u);
    if (s != UTTER_OK) {
        utter_close(u);
        return s;
    }
    *out = u;
    return UTTER_OK;
}

void utter_close(utter *u) {
    if (!u) return;
    runners_close(&u->runners);
    free(u->runners.kernels);
    engine_voices_free(&u->voices);
    codec_free(u->codec);
    backbone_free(u->backbone);
    free(u->description);
    free(u);
}

int utter_sample_rate(const utter *u) { return u->codec->config.sample_rate; }
const char *utter_describe(const utter *u) { return u->description; }

utter_status utter_state_get(utter *u, utter_state *out) {
    *out = (utter_state){.n_tokens = u->n_tokens, .n_retries = u->n_retries};
    runners_state(&u->runners, out);
    return UTTER_OK;
}
