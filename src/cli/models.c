/* utter models: what models are, and making them. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/models_pull.h"
#include "cli/models_suggest.h"
#include "cli/progress.h"
#include "engine/plumbing.h"
#include "models/convert.h"
#include "models/requantize.h"

// ---- info ----

static const struct manual info_manual = {
    .usage = "[FILE] [options]",
    .about = "Shows what a backbone or codec file is; without FILE, what is built in.\n",
    .examples =
        "  utter models info\n"
        "  utter models info neutts-air-Q4_0.gguf\n"
        "  utter models info --json neucodec.gguf\n",
};

static void print_value(const char *key, const json_t *value, int indent);

static void print_members(const json_t *object, int indent) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) print_value(key, value, indent);
}

static void print_value(const char *key, const json_t *value, int indent) {
    if (json_is_object(value)) {
        printf("%*s%s:\n", indent, "", key);
        print_members(value, indent + 2);
        return;
    }
    printf("%*s%-*s ", indent, "", 20 - indent, key);
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            printf("%s%s", i ? ", " : "", json_string_value(json_array_get(value, i)));
        putchar('\n');
    } else if (json_is_string(value))
        printf("%s\n", json_string_value(value));
    else if (json_is_real(value))
        printf("%g\n", json_real_value(value));
    else
        printf("%lld\n", (long long)json_integer_value(value));
}

// *out: a new object, for the model at path (NULL: built in).
static status load_info(const char *path, json_t **out) {
    struct str text = {0};
    status s = plumb_model_info(path, &text);
    json_error_t error;
    *out = s == UTTER_OK ? json_loads(str_text(&text), 0, &error) : NULL;
    str_free(&text);
    if (s == UTTER_OK && !*out) s = fail(UTTER_INTERNAL, "the description of the model cannot be read: %s", error.text);
    return s;
}

static int models_info(int argc, char **argv) {
    bool json = false;
    const struct option options[] = {{"json", 0, OPTION_FLAG, &json, NULL, "print a JSON object", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&info_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    if (n_rest > 1) {
        fail(UTTER_INVALID, "one file at a time; \"%s\" is one too many", argv[2]);
        return command_usage(argv[0]);
    }
    json_t *info;
    status s = load_info(n_rest ? argv[1] : NULL, &info);
    if (s == UTTER_OK && !json) print_members(info, 0);
    if (s == UTTER_OK && json) json_print(json_incref(info), stdout);
    json_decref(info);
    return command_end(argv[0], s);
}

// ---- list ----

static const struct manual list_manual = {
    .usage = "[FOLDER...] [options]",
    .about =
        "Lists the built-in model and codec, the GGUF files in each FOLDER, and without one the models\n"
        "that have been pulled and those that could be.\n",
    .examples =
        "  utter models list\n"
        "  utter models list ~/models\n"
        "  utter models list --json .\n",
};

static void list_one(json_t *list, const char *file, json_t *info) {
    json_t *entry = json_pack(
        "{s:s, s:o, s:s?, s:s?, s:O?, s:I}", "state", file ? "file" : "built in", "file", json_text(file), "kind",
        json_string_value(json_object_get(info, "kind")), "name", json_string_value(json_object_get(info, "name")),
        "architecture", json_object_get(info, "architecture"), "bytes",
        (json_int_t)json_integer_value(json_object_get(json_object_get(info, "tensors"), "bytes")));
    json_array_append_new(list, entry);
}

static status list_built_in(json_t *list) {
    json_t *info;
    TRY(load_info(NULL, &info));
    list_one(list, NULL, info);
    if (json_object_get(info, "codec")) list_one(list, NULL, json_object_get(info, "codec"));
    json_decref(info);
    return UTTER_OK;
}

static int is_gguf(const struct dirent *e) {
    size_t len = strlen(e->d_name);
    return len > 5 && strcmp(e->d_name + len - 5, ".gguf") == 0;
}

// A file that is no model of ours is listed with the reason.
static status list_folder(json_t *list, const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, is_gguf, alphasort);
    if (n < 0) return fail(UTTER_IO, "cannot read the folder %s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        struct str path = {0};
        str_printf(&path, "%s/%s", folder, entries[i]->d_name);
        json_t *info;
        if (load_info(str_text(&path), &info) == UTTER_OK)
            list_one(list, str_text(&path), info);
        else
            json_array_append_new(
                list, json_pack("{s:o, s:o}", "file", json_text(str_text(&path)), "error", json_text(fail_message())));
        json_decref(info);
        str_free(&path);
        free(entries[i]);
    }
    free(entries);
    return UTTER_OK;
}

static const char *text_of(const json_t *entry, const char *key, const char *otherwise) {
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : otherwise;
}

static void print_entry(const json_t *e) {
    const char *state = text_of(e, "state", "file"), *error = text_of(e, "error", NULL);
    bool known = strcmp(state, "installed") == 0 || strcmp(state, "available") == 0 || strcmp(state, "damaged") == 0;
    const char *what = known ? text_of(e, "name", "") : text_of(e, "file", "(built in)");
    if (error) {
        printf("%-32s cannot be used: %s\n", what, error);
        return;
    }
    const char *more = known ? text_of(e, "about", text_of(e, "file", "")) : text_of(e, "name", "");
    char size[32] = "";
    const json_t *bytes = json_object_get(e, "bytes");
    if (bytes) snprintf(size, sizeof size, "%.1f MB", (double)json_integer_value(bytes) / 1e6);
    printf("%-32s %-9s %10s  %s\n", what, text_of(e, "kind", ""), size, more);
}

static void print_list(const json_t *list) {
    const char *before = "";
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const char *state = text_of(e, "state", "file");
        if (strcmp(state, "installed") == 0 && strcmp(before, state) != 0) puts("\npulled:");
        if (strcmp(state, "available") == 0 && strcmp(before, state) != 0) puts("\nutter models pull NAME fetches:");
        print_entry(e);
        before = state;
    }
}

static int models_list(int argc, char **argv) {
    bool json = false;
    const struct option options[] = {{"json", 0, OPTION_FLAG, &json, NULL, "print a JSON array", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&list_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    json_t *list = json_array();
    status s = list_built_in(list);
    for (int i = 1; s == UTTER_OK && i <= n_rest; i++) s = list_folder(list, argv[i]);
    if (s == UTTER_OK && n_rest == 0) s = models_add_known(list);
    if (s == UTTER_OK && !json) print_list(list);
    if (s == UTTER_OK && json) json_print(json_incref(list), stdout);
    json_decref(list);
    return command_end(argv[0], s);
}

// ---- convert ----

static const struct manual convert_manual = {
    .usage = "IN OUT [options]",
    .about =
        "Makes a GGUF file of a model as it is published: a NeuCodec or a backbone in safetensors, as a\n"
        "PyTorch checkpoint (.bin, .pt), as ONNX, or a folder of Hugging Face. Nothing in a checkpoint\n"
        "is ever run. A NeuCodec's decoder is made, which speaks; with --encoder its other half, which\n"
        "\"utter voices add\" needs.\n",
    .examples =
        "  utter models convert pytorch_model.bin neucodec.gguf\n"
        "  utter models convert pytorch_model.bin encoder.gguf --encoder\n"
        "  utter models convert my-finetune/ my-finetune.gguf --type q8_0\n"
        "  utter models convert voice.safetensors voice-q8_0.gguf --type q8_0\n",
};

#define TYPES "f32, f16, bf16, q8_0, q4_0, q4_1, q5_0,\nq5_1, q4_k, q5_k or q6_k"

static int models_convert(int argc, char **argv) {
    const char *type_name = "f16", *w2v_bert = NULL;
    bool encoder = false;
    const struct option options[] = {
        {"type", 0, OPTION_TEXT, &type_name, "TYPE", "matrices become " TYPES "; default: f16", 0, 0},
        {"encoder", 0, OPTION_FLAG, &encoder, NULL, "the encoder of a NeuCodec, for cloning voices", 0, 0},
        {"semantic", 0, OPTION_TEXT, &w2v_bert, "FILE",
         "with --encoder: where facebook/w2v-bert-2.0 is, for a NeuCodec\nwithout its semantic_model", 0, 0},
    };
    int n_rest, exit_code;
    if (!command_begin(&convert_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    block_type type;
    if (n_rest != 2)
        fail(UTTER_INVALID, "two files are wanted, IN and OUT; %d given", n_rest);
    else if (!block_type_by_name(type_name, &type))
        fail(UTTER_INVALID, "--type: there is no type %s", type_name);
    else if (w2v_bert && !encoder)
        fail(UTTER_INVALID, "--semantic goes with --encoder");
    else if (encoder)
        return command_end(argv[0], convert_encoder(argv[1], w2v_bert, argv[2], type));
    else
        return command_end(argv[0], convert_model(argv[1], argv[2], type));
    return command_usage(argv[0]);
}

// ---- quantize ----

static const struct manual quantize_manual = {
    .usage = "IN.gguf OUT.gguf --type TYPE",
    .about =
        "Writes a model with its matrices in another type: a smaller one is faster, and loses a little.\n"
        "What decides over tokens stays at q8_0 or above.\n",
    .examples = "  utter models quantize neutts-air-f16.gguf neutts-air-q4_0.gguf --type q4_0\n",
};

static void show_tensor(void *user, const char *tensor, uint64_t done, uint64_t total) {
    struct progress *p = user;
    if (p->shown) fprintf(stderr, "\r\033[K%3d%%  %s", (int)(total ? done * 100 / total : 100), tensor);
    p->on_screen = p->shown;
}

static int models_quantize(int argc, char **argv) {
    const char *type_name = NULL;
    const struct option options[] = {{"type", 0, OPTION_TEXT, &type_name, "TYPE", "matrices become " TYPES, 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&quantize_manual, options, 1, argc, argv, &n_rest, &exit_code)) return exit_code;
    block_type type;
    if (n_rest != 2) {
        fail(UTTER_INVALID, "two files are wanted, IN and OUT; %d given", n_rest);
    } else if (!type_name || !block_type_by_name(type_name, &type)) {
        fail(UTTER_INVALID,
             type_name ? "--type: there is no type %s" : "say to which type with --type, q4_0 for example", type_name);
    } else {
        struct progress progress = progress_begin(false);
        status s = requantize(argv[1], argv[2], type, show_tensor, &progress);
        progress_clear(&progress);
        return command_end(argv[0], s);
    }
    return command_usage(argv[0]);
}

int command_models(int argc, char **argv) {
    static const struct command commands[] = {
        {"list", "list the models that there are", models_list},
        {"suggest", "which model speaks in time on this machine", models_suggest},
        {"pull", "fetch a model, with the codec it needs", models_pull},
        {"remove", "remove a pulled model", models_remove},
        {"verify", "compare the checksums of pulled models", models_verify},
        {"path", "print where a pulled model is", models_path},
        {"info", "show what a model file is", models_info},
        {"convert", "make GGUF of what models are published as", models_convert},
        {"quantize", "write a GGUF file with smaller weights", models_quantize},
    };
    return command_dispatch("utter models", commands, sizeof commands / sizeof *commands, argc, argv,
                            "utter models --help lists what there is");
}
