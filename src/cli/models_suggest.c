/* utter models suggest: which release speaks in time on this machine. */
#include "cli/models_suggest.h"

#include "cli/command.h"
#include "cli/json.h"
#include "engine/suggest.h"
#include "gpu/gpu.h"

static const struct manual manual = {
    .usage = "[options]",
    .about =
        "Measures this machine, CPU and GPU, with a slice of NeuTTS of random weights, and names the\n"
        "release and type that speaks faster than real time on it.\n",
    .examples =
        "  utter models suggest\n"
        "  utter models suggest --device cpu --json\n",
};

static json_t *object_of(const struct suggest_speed *speed, const struct suggestion *list, int pick) {
    json_t *all = json_array();
    for (int i = 0; i < SUGGEST_MAX; i++)
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:b, s:b}", "model", list[i].model, "type",
                           block_info(list[i].type)->name, "token_bytes", (json_int_t)list[i].token_bytes,
                           "memory_bytes", (json_int_t)list[i].memory_bytes, "codes_s", list[i].codes_s,
                           "real_time_factor", list[i].real_time_factor, "fits", list[i].fits, "suggested", i == pick));
    json_t *rates = json_object();
    for (int i = 0; i < SUGGEST_TYPES; i++)
        json_object_set_new(rates, block_info(suggest_types[i])->name, json_real(speed->bytes_s[i]));
    return json_pack("{s:s, s:b, s:I, s:o, s:f, s:o}", "device", speed->device, "gpu", speed->is_gpu, "memory_bytes",
                     (json_int_t)speed->memory_bytes, "weights_bytes_s", rates, "codec_products_s", speed->products_s,
                     "models", all);
}

static void print(const struct suggest_speed *speed, const struct suggestion *list, int pick) {
    printf("%s\n", speed->device);
    printf("  measured: ");
    for (int i = 0; i < SUGGEST_TYPES; i++)
        printf("%s%.1f GB/s of %s", i ? ", " : "", speed->bytes_s[i] / 1e9, block_info(suggest_types[i])->name);
    printf(" weights;\n  %.0f G multiply-adds a second in the codec; %.1f GB of memory free\n", speed->products_s / 1e9,
           (double)speed->memory_bytes / 1e9);
    printf(
        "  a code reads all weights of its layers once; speech takes 50 codes a second, and %.0f G multiply-adds\n"
        "  of the codec:\n",
        suggest_codec_products / 1e9);
    for (int i = 0; i < SUGGEST_MAX; i++)
        printf(
            "  %c %-18s %-5s %4.0f MB a code -> %5.0f codes/s; with the codec %.2fx real time; %.1f GB of memory%s\n",
            i == pick ? '*' : ' ', list[i].model, block_info(list[i].type)->name, (double)list[i].token_bytes / 1e6,
            list[i].codes_s, 1 / list[i].real_time_factor, (double)list[i].memory_bytes / 1e9,
            list[i].fits ? "" : ", more than there is");
    if (pick >= 0)
        printf("  suggested: %s (utter models pull %s)\n", list[pick].model, list[pick].model);
    else
        printf("  none of them is faster than real time here with a fifth to spare; the built-in model is small\n");
}

int models_suggest(int argc, char **argv) {
    utter_options o = utter_options_default();
    bool json = false;
    const struct option options[] = {
        OPTIONS_DEVICE(o), {"json", 0, OPTION_FLAG, &json, NULL, "print a JSON array, an object a device", 0, 0}};
    int n_rest, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_rest, &exit_code))
        return exit_code;
    if (n_rest > 0) {
        fail(UTTER_INVALID, "\"%s\" is one too many", argv[1]);
        return command_usage(argv[0]);
    }
    const char *both[] = {"cpu", "gpu"};
    const char *const *devices = o.device ? &o.device : both;
    int n_devices = o.device ? 1 : 2;
    struct gpu_info info;
    int n_cards = 0, version;
    if (!o.device && (gpu_probe(&info, 1, &n_cards, &version) != UTTER_OK || n_cards == 0)) n_devices = 1;
    json_t *all = json_array();
    status s = UTTER_OK;
    for (int i = 0; s == UTTER_OK && i < n_devices; i++) {
        struct suggest_speed speed;
        struct suggestion list[SUGGEST_MAX];
        o.device = devices[i];
        s = suggest_measure(&o, &speed);
        if (s != UTTER_OK && i > 0) {  // the CPU has been told of
            fprintf(stderr, "utter models suggest: %s\n", fail_message());
            s = UTTER_OK;
            break;
        }
        if (s != UTTER_OK) break;
        suggest_scale(&speed, list);
        if (json)
            json_array_append_new(all, object_of(&speed, list, suggest_pick(list)));
        else
            print(&speed, list, suggest_pick(list));
    }
    if (s == UTTER_OK && json)
        json_print(all, stdout);
    else
        json_decref(all);
    return command_end(argv[0], s);
}
