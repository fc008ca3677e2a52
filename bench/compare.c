/* Compares utter with the programs that NeuTTS speaks with otherwise, on the same files: prints a table of ratios, and
   writes NAME.json, NAME.md and NAME.svg. What these have already, and is not measured this time, stays.

       compare --models FOLDER --worker FILE [--peers PYTHON --script FILE] [--threads LIST] [--runs N]
               [--only LIST] [--pause SECONDS] [--out NAME]

   LIST is of air, nano, codec, encoder, speech, load. Between two turns the machine is left to others for the pause.

   All programs of a measurement are loaded at once and take turns, run after run, so that whatever else the machine
   does meets all of them. Without --peers utter is measured alone. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/bench_rig.h"
#include "cli/options.h"
#include "machine.h"
#include "program.h"
#include "results.h"

enum { MAX_PROGRAMS = 4, DECODE_STEPS = 32, ENCODED_S = 5 };

struct compare {
    const char *models, *worker, *peers, *script, *threads, *only, *out;
    int runs, pause_s;
    char date[16];
    struct results results;
};

static const struct plot plots[N_PLOTS] = {
    {.title = "A code of NeuTTS Air against what came before it", .x_name = "tokens before", .y_name = "ms a code"},
    {.title = "Time for a text against its length", .x_name = "letters", .y_name = "seconds"},
};

/* ---- taking turns ---- */

static void add_row(struct compare *c, const struct row *row, const struct series *series,
                    const struct program *programs, int n) {
    const char *names[MAX_PROGRAMS];
    for (int i = 0; i < n; i++) names[i] = programs[i].name;
    results_add(&c->results, row, c->date, series, names, n);
}

static void say(const struct row *r) { fprintf(stderr, "compare: %s, %d threads\n", r->what, r->threads); }

/* A sentence that was just spoken is known, prompt and all, to programs that keep what they have read: one that begins
   otherwise and is as long shares with it no more than the voice. */
static void begin_otherwise(int run, char *command) {
    static const char *const words[] = {"Testing", "Resting", "Nesting", "Besting"};
    char *word = strstr(command, words[0]);
    if (word) memcpy(word, words[(run + 4) % 4], strlen(words[0]));
}

/* Asks the same of all programs, `runs` times in turn after one that is not counted. Answer `pick` of the numbers is
   taken. */
static status take_turns(struct compare *c, const struct row *r, struct program *programs, int n, int pick,
                         const char *command) {
    struct series series[MAX_PROGRAMS] = {0};
    say(r);
    for (int run = -1; run < c->runs; run++) {
        for (int i = 0; i < n; i++) {
            double values[4];
            char line[256];
            snprintf(line, sizeof line, "%s", command);
            begin_otherwise(run, line);
            TRY(program_ask(&programs[i], values, pick + 1, "%s", line));
            if (run >= 0) series_add(&series[i], values[pick]);
        }
        if (c->pause_s > 0) sleep((unsigned)c->pause_s);
    }
    add_row(c, r, series, programs, n);
    return UTTER_OK;
}

static void stop_all(struct program *programs, int n) {
    for (int i = 0; i < n; i++) program_stop(&programs[i]);
}

#define PATHS 320
struct files {
    char air[PATHS], nano[PATHS], codec_f32[PATHS], codec_f16[PATHS], codec_q8[PATHS], onnx[PATHS], checkpoint[PATHS],
        voice[PATHS];
};

static struct files files_of(const struct compare *c) {
    struct files f;
    const struct {
        char *to;
        const char *name;
    } all[] = {{f.air, "air-q4_0.gguf"},
               {f.nano, "nano-q4_0.gguf"},
               {f.codec_f32, "neucodec-f32.gguf"},
               {f.codec_f16, "neucodec-f16.gguf"},
               {f.codec_q8, "neucodec-q8_0.gguf"},
               {f.onnx, "neucodec.onnx"},
               {f.checkpoint, "neucodec.safetensors"},
               {f.voice, "voices/bench.json"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) snprintf(all[i].to, PATHS, "%s/%s", c->models, all[i].name);
    return f;
}

static status start_utter(struct compare *c, const char *name, const char *model, const char *codec, int threads,
                          struct program *p) {
    char text[16];
    snprintf(text, sizeof text, "%d", threads);
    char *const argv[] = {(char *)c->worker, (char *)model, (char *)codec, text, NULL};
    return program_start(name, argv, p);
}

static status start_peer(struct compare *c, const char *name, const char *kind, const char *file, int threads,
                         struct program *p) {
    char text[16];
    snprintf(text, sizeof text, "%d", threads);
    char *const argv[] = {(char *)c->peers, (char *)c->script, (char *)kind, (char *)file, text, NULL};
    return program_start(name, argv, p);
}

static status open_all(struct program *programs, int n) {
    double seconds;
    for (int i = 0; i < n; i++) TRY(program_ask(&programs[i], &seconds, 1, "open"));
    return UTTER_OK;
}

/* ---- the backbone ---- */

static const int depths[] = {0, 512, 1500};

static status backbone_rows(struct compare *c, const char *model, int threads, struct program *p, int n) {
    char what[96], command[64];
    for (int tokens = 128; tokens <= 512; tokens *= 4) {
        snprintf(what, sizeof what, "%s: prompt of %d tokens", model, tokens);
        snprintf(command, sizeof command, "prefill %d", tokens);
        TRY(take_turns(c, &(struct row){what, threads, TOKENS_A_SECOND, tokens}, p, n, 0, command));
    }
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        snprintf(what, sizeof what, "%s: codes, %d deep", model, depths[i]);
        snprintf(command, sizeof command, "decode 1 %d %d", depths[i], DECODE_STEPS);
        TRY(take_turns(c, &(struct row){what, threads, TOKENS_A_SECOND, DECODE_STEPS}, p, n, 0, command));
    }
    return UTTER_OK;
}

// Milliseconds a code against depth, the last in the list of threads.
static status backbone_growth(struct compare *c, struct program *p, int n) {
    struct plot *plot = &c->results.plots[0];
    plot->n = n;
    for (int depth = 0; depth <= 1600; depth += 320) {
        struct series series[MAX_PROGRAMS] = {0};
        for (int run = 0; run < c->runs; run++)
            for (int i = 0; i < n; i++) {
                double seconds;
                TRY(program_ask(&p[i], &seconds, 1, "decode 1 %d %d", depth, DECODE_STEPS));
                series_add(&series[i], seconds * 1000 / DECODE_STEPS);
            }
        for (int i = 0; i < n; i++) {
            plot->curves[i].name = p[i].name;
            // the runs were made one behind the other
            curve_add(&plot->curves[i], depth + c->runs * DECODE_STEPS / 2.0, series_spread(&series[i]).median);
        }
    }
    return UTTER_OK;
}

static status compare_backbone(struct compare *c, const char *model, const char *file, int threads, bool growth) {
    const struct files f = files_of(c);
    struct program p[2] = {0};
    const int n = c->peers ? 2 : 1;
    status s = start_utter(c, "utter", file, f.codec_q8, threads, &p[0]);
    if (s == UTTER_OK && c->peers) s = start_peer(c, "llama.cpp", "llama", file, threads, &p[1]);
    if (s == UTTER_OK) s = open_all(p, n);
    if (s == UTTER_OK) s = backbone_rows(c, model, threads, p, n);
    if (s == UTTER_OK && growth) s = backbone_growth(c, p, n);
    stop_all(p, 2);
    return s;
}

/* ---- the codec ---- */

static status compare_codec(struct compare *c, const char *type, const char *file, int threads) {
    const struct files f = files_of(c);
    struct program p[3] = {0};
    const int n = c->peers ? 3 : 1;
    status s = start_utter(c, "utter", f.nano, file, threads, &p[0]);
    if (s == UTTER_OK && c->peers) s = start_peer(c, "onnxruntime", "onnx", f.onnx, threads, &p[1]);
    if (s == UTTER_OK && c->peers) s = start_peer(c, "PyTorch", "torch", f.checkpoint, threads, &p[2]);
    if (s == UTTER_OK) s = open_all(p, n);
    for (int i = 0; i < 2 && s == UTTER_OK; i++) {
        const int frames = i ? 500 : 81;
        char what[96], command[64];
        snprintf(what, sizeof what, "codec %s: %d frames at once", type, frames);
        snprintf(command, sizeof command, "codec %d 1", frames);
        s = take_turns(c, &(struct row){what, threads, MILLISECONDS, 1}, p, n, 0, command);
    }
    stop_all(p, 3);
    return s;
}

/* ---- the encoder ---- */

// Of a voice's recording. The published one has 24 layers computed and looks at no more than 16 of them.
static status compare_encoder(struct compare *c, int threads) {
    const struct files f = files_of(c);
    struct program p[3] = {0};
    const int n = c->peers ? 3 : 1;
    char command[32];
    snprintf(command, sizeof command, "encode %d", ENCODED_S);
    status s = start_utter(c, "utter", f.nano, f.codec_f16, threads, &p[0]);
    if (s == UTTER_OK && c->peers) s = start_peer(c, "PyTorch", "encoder", "24", threads, &p[1]);
    if (s == UTTER_OK && c->peers) s = start_peer(c, "PyTorch with 16 layers", "encoder", "16", threads, &p[2]);
    if (s == UTTER_OK) s = open_all(p + 1, n - 1);
    if (s == UTTER_OK)
        s = take_turns(c, &(struct row){"encoder F16: 5 s of a voice", threads, SOUND_A_SECOND, ENCODED_S}, p, n, 0,
                       command);
    stop_all(p, 3);
    return s;
}

/* ---- the whole path ---- */

static status start_official(struct compare *c, const char *name, int codes, int threads, bool watermark,
                             struct program *p) {
    const struct files f = files_of(c);
    char threads_text[16], codes_text[16];
    snprintf(threads_text, sizeof threads_text, "%d", threads);
    snprintf(codes_text, sizeof codes_text, "%d", codes);
    char *const argv[] = {(char *)c->peers,
                          (char *)c->script,
                          "official",
                          (char *)f.air,
                          (char *)f.onnx,
                          (char *)f.voice,
                          codes_text,
                          threads_text,
                          watermark ? "watermark" : NULL,
                          NULL};
    return program_start(name, argv, p);
}

static status memory_rows(struct compare *c, int threads, struct program *p, int n) {
    struct series resident[MAX_PROGRAMS] = {0}, own[MAX_PROGRAMS] = {0};
    for (int i = 0; i < n; i++) {
        double values[3];
        TRY(program_ask(&p[i], values, 3, "memory"));
        series_add(&resident[i], values[0]);
        series_add(&own[i], values[2]);
    }
    add_row(c, &(struct row){"memory after that, resident", threads, MEGABYTES, 1}, resident, p, n);
    add_row(c, &(struct row){"of that, not mapped from files", threads, MEGABYTES, 1}, own, p, n);
    return UTTER_OK;
}

// How long utter takes for so many times the sentence.
static status text_growth(struct compare *c, struct program *speaker) {
    struct plot *plot = &c->results.plots[1];
    plot->n = 1;
    plot->curves[0].name = "utter";
    for (int times = 1; times <= 4; times++) {
        struct str text = {0};
        for (int i = 0; i < times; i++) str_printf(&text, "%s%s", i ? " " : "", BENCH_SENTENCE);
        double values[4];
        begin_otherwise(times, text.data);
        status s = program_ask(speaker, values, 4, "speak 0 %s", str_text(&text));
        if (s == UTTER_OK) curve_add(&plot->curves[0], (double)text.len, values[1]);
        str_free(&text);
        TRY(s);
    }
    return UTTER_OK;
}

static status speech_rows(struct compare *c, int threads, struct program *p, int n) {
    TRY(take_turns(c, &(struct row){"sentence of 4 s, whole", threads, MILLISECONDS, 1}, p, n, 1,
                   "speak 0 " BENCH_SENTENCE));
    TRY(take_turns(c, &(struct row){"sentence of 4 s, streamed: first sound", threads, MILLISECONDS, 1}, p, n, 0,
                   "speak 2 " BENCH_SENTENCE));
    return memory_rows(c, threads, p, n);
}

// From `open` on, in a process that is new each time, with the files in the page cache.
static status compare_load(struct compare *c, int threads) {
    const struct files f = files_of(c);
    const struct row row = {"load Air and codec", threads, MILLISECONDS, 1};
    struct series series[2] = {0};
    struct program p[2] = {0};
    const int n = c->peers ? 2 : 1;
    status s = UTTER_OK;
    say(&row);
    for (int run = 0; run < c->runs && s == UTTER_OK; run++) {
        s = start_utter(c, "utter", f.air, f.codec_f16, threads, &p[0]);
        if (s == UTTER_OK && c->peers) s = start_official(c, "neutts", 1, threads, false, &p[1]);
        for (int i = 0; i < n && s == UTTER_OK; i++) {
            double seconds;
            s = program_ask(&p[i], &seconds, 1, "open");
            if (s == UTTER_OK) series_add(&series[i], seconds);
        }
        if (run == c->runs - 1 && s == UTTER_OK) add_row(c, &row, series, p, n);
        stop_all(p, 2);
    }
    return s;
}

// Air and the codec as `utter models pull` stores it, and the official package with its ONNX decoder.
static status compare_speech(struct compare *c, int threads, bool last) {
    const struct files f = files_of(c);
    struct program p[3] = {0};
    const int n = c->peers ? 3 : 1;
    double values[4] = {0};
    status s = start_utter(c, "utter", f.air, f.codec_f16, threads, &p[0]);
    if (s == UTTER_OK) s = open_all(p, 1);
    if (s == UTTER_OK) s = program_ask(&p[0], values, 4, "speak 0 " BENCH_SENTENCE);
    const int codes = (int)values[3];  // the others write as many
    if (s == UTTER_OK && c->peers) s = start_official(c, "neutts", codes, threads, false, &p[1]);
    if (s == UTTER_OK && c->peers) s = start_official(c, "neutts with watermark", codes, threads, true, &p[2]);
    if (s == UTTER_OK) s = open_all(p + 1, n - 1);
    if (s == UTTER_OK) s = speech_rows(c, threads, p, n);
    if (s == UTTER_OK && last) s = text_growth(c, &p[0]);
    stop_all(p, 3);
    return s;
}

/* ---- all of it ---- */

static bool wants(const struct compare *c, const char *part) { return !c->only || strstr(c->only, part); }

static status measure(struct compare *c) {
    const struct files f = files_of(c);
    for (const char *at = c->threads; *at;) {
        char *end;
        const int threads = (int)strtol(at, &end, 10);
        if (end == at || threads < 1) return fail(UTTER_INVALID, "--threads is a list as 1,2 and not %s", c->threads);
        at = *end == ',' ? end + 1 : end;
        const bool last = !*at;
        if (wants(c, "air")) TRY(compare_backbone(c, "Air", f.air, threads, last));
        if (wants(c, "nano")) TRY(compare_backbone(c, "Nano", f.nano, threads, false));
        if (wants(c, "codec")) TRY(compare_codec(c, "F32", f.codec_f32, threads));
        if (wants(c, "codec")) TRY(compare_codec(c, "F16", f.codec_f16, threads));
        if (wants(c, "codec")) TRY(compare_codec(c, "Q8_0", f.codec_q8, threads));
        if (wants(c, "encoder")) TRY(compare_encoder(c, threads));
        if (wants(c, "speech")) TRY(compare_speech(c, threads, last));
        if (wants(c, "load") && last) TRY(compare_load(c, threads));
    }
    return UTTER_OK;
}

static void describe(const struct compare *c, json_t *machine, struct str *to) {
    if (c->peers) {
        char command[1024], versions[512];
        snprintf(command, sizeof command,
                 "%s -c 'from importlib.metadata import version as v; print(\", \".join(f\"{p} {v(p)}\" for p in "
                 "(\"llama-cpp-python\", \"onnxruntime\", \"torch\", \"neutts\", \"neucodec\")))'",
                 c->peers);
        program_line(command, versions, sizeof versions);
        json_object_set_new(machine, "peers", json_string(versions));
    }
    json_object_set_new(machine, "load_after", json_real(machine_load()));
    const char *const keys[] = {"date", "processor", "flags", "system", "compiler", "peers"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = json_string_value(json_object_get(machine, keys[i]));
        if (value) str_printf(to, "%s: %s  \n", keys[i], value);
    }
    str_printf(to, "cores: %d, load of the system before and after: %.1f, %.1f\n",
               (int)json_integer_value(json_object_get(machine, "cores")),
               json_real_value(json_object_get(machine, "load")),
               json_real_value(json_object_get(machine, "load_after")));
}

static status tell(struct compare *c, json_t *machine) {
    struct str text = {0};
    results_merge(&c->results, machine);
    results_put(&c->results, &text);
    str_putc(&text, '\n');
    describe(c, machine, &text);
    status s = str_status(&text);
    if (s == UTTER_OK && c->out) s = results_write(&c->results, c->out, machine, &text);
    str_free(&text);
    return s;
}

static status run(struct compare *c) {
    json_t *machine = machine_describe();
    struct str head = {0};
    snprintf(c->date, sizeof c->date, "%s", json_string_value(json_object_get(machine, "date")));
    status s = results_begin(&c->results, plots, c->out);
    results_put_head(&head);
    fputs(str_text(&head), stdout);
    str_free(&head);
    if (s == UTTER_OK) s = measure(c);
    if (s == UTTER_OK) s = tell(c, machine);
    json_decref(machine);
    results_free(&c->results);
    return s;
}

int main(int argc, char **argv) {
    struct compare c = {.threads = "1,2", .runs = 5};
    const struct option options[] = {
        {"models", 0, OPTION_TEXT, &c.models, "FOLDER", "", 0, 0},
        {"worker", 0, OPTION_TEXT, &c.worker, "FILE", "", 0, 0},
        {"peers", 0, OPTION_TEXT, &c.peers, "PYTHON", "", 0, 0},
        {"script", 0, OPTION_TEXT, &c.script, "FILE", "", 0, 0},
        {"threads", 0, OPTION_TEXT, &c.threads, "LIST", "", 0, 0},
        {"runs", 0, OPTION_INT, &c.runs, "N", "", 1, SERIES_MAX},
        {"only", 0, OPTION_TEXT, &c.only, "LIST", "", 0, 0},
        {"pause", 0, OPTION_INT, &c.pause_s, "SECONDS", "", 0, 600},
        {"out", 0, OPTION_TEXT, &c.out, "NAME", "", 0, 0},
    };
    int n_rest = 0;
    status s = options_parse(options, sizeof options / sizeof *options, argc, argv, &n_rest);
    if (s == UTTER_OK && (n_rest > 0 || !c.models || !c.worker || !c.peers != !c.script))
        s = fail(UTTER_INVALID, "--models and --worker are needed, and --peers with --script");
    if (s == UTTER_OK) s = run(&c);
    if (s != UTTER_OK) fprintf(stderr, "compare: %s\n", fail_message());
    return s == UTTER_OK ? 0 : 1;
}
