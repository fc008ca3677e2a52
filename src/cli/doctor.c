/* utter doctor: whether speech works here, on what, how fast, and what to do where it does not. */
#include "engine/doctor.h"

#include "cli/command.h"
#include "cli/json.h"

static const struct manual doctor_manual = {
    .usage = "[options]",
    .about =
        "Looks at all that speech needs, each with a line: the processor, memory, espeak-ng, the sound\n"
        "device, the model and its checksum, the NVIDIA driver and its cards. Every device computes a\n"
        "small case and is timed. The last line says what `utter say` would use.\n",
    .examples =
        "  utter doctor\n"
        "  utter doctor --model neutts-air --device gpu\n"
        "  utter doctor --quick --json\n",
};

static const char *const state_names[] = {
    [FINDING_OK] = "ok",
    [FINDING_NONE] = "none",
    [FINDING_FAILED] = "failed",
};

static void print_finding(void *user, const struct finding *f) {
    (void)user;
    printf("%-7s %-11s %s\n", state_names[f->state], f->check, f->sentence);
    fflush(stdout);  // some take seconds
}

static void list_finding(void *user, const struct finding *f) {
    json_t *entry = json_pack("{s:s, s:s, s:o}", "check", f->check, "state", state_names[f->state], "sentence",
                              json_text(f->sentence));
    if (f->facts) json_object_set(entry, "facts", (json_t *)f->facts);
    json_array_append_new(user, entry);
}

int command_doctor(int argc, char **argv) {
    struct doctor_options o = {.engine = utter_options_default()};
    bool json = false;
    const struct option options[] = {
        OPTION_MODEL(o.engine),
        OPTION_CODEC(o.engine),
        {"quick", 0, OPTION_FLAG, &o.quick, NULL, "no self-test, no measurements", 0, 0},
        {"json", 0, OPTION_FLAG, &json, NULL, "print a JSON object", 0, 0},
        OPTIONS_DEVICE(o.engine),
    };
    int n_rest, exit_code;
    if (!command_begin(&doctor_manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest > 0) {
        fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
        return command_usage(argv[0]);
    }
    json_t *checks = json_array();
    o.found = json ? list_finding : print_finding;
    o.user = checks;
    bool works;
    status s = doctor_run(&o, &works);
    if (s == UTTER_OK && json)
        json_print(json_pack("{s:s, s:b, s:O}", "version", utter_version(), "works", works, "checks", checks), stdout);
    json_decref(checks);
    if (s != UTTER_OK) return command_end(argv[0], s);
    return works ? EXIT_OK : EXIT_FAILED;
}
