/* utter voices: who can speak; voices_add.c makes new ones. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/voices_add.h"

static const struct manual list_manual = {
    .usage = "[options]",
    .about = "Lists the voices of the built-in model, or of another; the first is the default.\n",
    .examples =
        "  utter voices list\n"
        "  utter voices list --model neutts-air.gguf --voice-file dave.json\n"
        "  utter voices list --json\n",
};

static status print_json(const utter *u) {
    json_t *list = json_array();
    for (int i = 0; i < utter_voice_count(u); i++) {
        utter_voice v;
        if (utter_voice_get(u, i, &v) != UTTER_OK) continue;
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:b}", "name", json_text(v.name), "language",
                                              json_text(v.language), "note", json_text(v.note), "default", i == 0));
    }
    json_print(list, stdout);
    return UTTER_OK;
}

static status print_table(const utter *u) {
    for (int i = 0; i < utter_voice_count(u); i++) {
        utter_voice v;
        TRY(utter_voice_get(u, i, &v));
        printf("%-16s %-8s %s%s\n", v.name, v.language, v.note, i == 0 ? " (default)" : "");
    }
    return UTTER_OK;
}

static void log_warning(void *user, utter_log_level level, const char *sentence) {
    (void)user;
    if (level == UTTER_LOG_WARNING) fprintf(stderr, "utter voices list: %s\n", sentence);
}

static int voices_list(int argc, char **argv) {
    utter_options o = utter_options_default();
    o.log = log_warning;
    const char *voice_file = NULL;
    bool json = false;
    const struct option options[] = {
        OPTION_MODEL(o),
        OPTION_CODEC(o),
        {"voice-file", 0, OPTION_TEXT, &voice_file, "FILE", "load a voice (JSON) too", 0, 0},
        OPTION_VOICES(o),
        {"json", 0, OPTION_FLAG, &json, NULL, "print a JSON array", 0, 0},
    };
    int n_rest, exit_code;
    if (!command_begin(&list_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest > 0) {
        fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
        return command_usage(argv[0]);
    }
    utter *u;
    status s = utter_open(&o, &u);
    if (s == UTTER_OK && voice_file) s = utter_voice_load(u, voice_file);
    if (s == UTTER_OK) s = json ? print_json(u) : print_table(u);
    exit_code = command_end(argv[0], s);
    utter_close(u);
    return exit_code;
}

int command_voices(int argc, char **argv) {
    static const struct command commands[] = {
        {"list", "list the voices", voices_list},
        {"add", "make a voice of a recording", voices_add},
        {"show", "show what a voice is", voices_show},
        {"preview", "hear a voice", voices_preview},
        {"remove", "remove a voice of your own", voices_remove},
    };
    return command_dispatch("utter voices", commands, sizeof commands / sizeof *commands, argc, argv,
                            "utter voices --help lists what there is");
}
