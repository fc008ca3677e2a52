/* utter profile: where the time of one text goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audio/encode.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/profile_machine.h"
#include "cli/profile_stages.h"
#include "cli/profile_work.h"
#include "cli/stop.h"

struct profile {
    utter_options options;
    utter_request request;
    const char *output, *trace;  // NULL: none
    bool cold, json;

    struct str words;
    utter *u;
    struct spans spans;
    struct file_writer file;
    enum audio_format format;
    int64_t since;      // of the request
    double write_s;     // inside the encoder's calls
    int64_t n_written;  // bytes
    int64_t n_samples;
    double first_audio_s, total_s;
    utter_report report;
    struct stages stages;
    struct machine_peaks peaks;
    double backbone_bytes_s, codec_bytes_s;  // as fast as that many weights are read: out of a cache, if they fit
    bool is_gpu;
};

static const struct manual manual = {
    .usage = "[options] TEXT...",
    .about =
        "Speaks a text and tells how long each stage took, what the networks' stages read and did,\n"
        "and how near that is to what this machine's memory and arithmetic can do.\n",
    .examples =
        "  utter profile \"Hello, world.\"\n"
        "  utter profile --stream --trace hello.json --model neutts-air \"Hello, world.\"\n",
};

static double now_s(const struct profile *p) { return (double)(clock_ns() - p->since) * 1e-9; }

static void take_span(void *user, const utter_span *span) { spans_add(&((struct profile *)user)->spans, span); }

static void add_span(struct profile *p, const char *stage, double begin_s, double end_s, int64_t count) {
    spans_add(&p->spans, &(utter_span){.stage = stage,
                                       .begin_s = begin_s,
                                       .end_s = end_s,
                                       .count = count > INT32_MAX ? INT32_MAX : (int)count,
                                       .sentence = p->report.n_sentences});
}

/* ---- the sound ---- */

static status write_bytes(void *user, const void *bytes, size_t n) {
    struct profile *p = user;
    const double begin_s = now_s(p);
    p->n_written += (int64_t)n;
    status s = p->file.f ? file_write(&p->file, bytes, n) : UTTER_OK;
    const double end_s = now_s(p);
    p->write_s += end_s - begin_s;
    add_span(p, "write", begin_s, end_s, (int64_t)n);
    return s;
}

// One call of the encoder: what it spends in write_bytes is told there, the rest is encoding.
static status encode(struct profile *p, struct audio_encoder *e, const float *samples, size_t n) {
    const double begin_s = now_s(p), written_s = p->write_s;
    status s = samples ? audio_encoder_push(e, samples, n) : audio_encoder_end(e);
    add_span(p, "encode", begin_s, now_s(p) - (p->write_s - written_s), (int64_t)n);
    return s;
}

static status complete_file(struct profile *p, const struct audio_encoder *e) {
    if (!p->file.f) return UTTER_OK;
    const double begin_s = now_s(p);
    const unsigned char *head;
    size_t n;
    audio_encoder_head(e, &head, &n);
    if (n > 0 && fseek(p->file.f, 0, SEEK_SET) != 0)
        return fail(UTTER_IO, "cannot write %s: %s", p->output, strerror(errno));
    if (n > 0) TRY(file_write(&p->file, head, n));
    status s = file_commit(&p->file);
    add_span(p, "write", begin_s, now_s(p), (int64_t)n);
    return s;
}

static status open_output(struct profile *p) {
    p->format = AUDIO_WAV;
    if (!p->output) return UTTER_OK;
    const char *dot = strrchr(p->output, '.');
    if (!dot) return fail(UTTER_INVALID, "%s has no ending that names a format, as .wav does", p->output);
    TRY(audio_format_parse(dot + 1, &p->format));
    return file_create(p->output, &p->file);
}

/* ---- speaking ---- */

static status speak_stream(struct profile *p, utter_stream *stream, struct audio_encoder *e) {
    float samples[4096];
    for (size_t n;;) {
        TRY(utter_read(stream, samples, sizeof samples / sizeof *samples, &n));
        if (n == 0) break;
        if (p->n_samples == 0) p->first_audio_s = now_s(p);
        p->n_samples += (int64_t)n;
        TRY(encode(p, e, samples, n));
    }
    TRY(encode(p, e, NULL, 0));
    return complete_file(p, e);
}

static status speak(struct profile *p, struct audio_encoder *e) {
    utter_stream *stream;
    p->since = clock_ns();
    TRY(utter_speak(p->u, &p->request, &stream));
    stop_cancels(stream);
    status s = speak_stream(p, stream, e);
    stop_cancels(NULL);
    p->total_s = now_s(p);
    utter_stream_report(stream, &p->report);
    utter_stream_close(stream);
    return s;
}

// The same without anybody listening: kernels are warm, pages are there, and what is read of the prompt is the voice.
// The text begins otherwise, or all of it would have been read.
static status warm_up(struct profile *p) {
    utter_request request = p->request;
    struct str text = {0};
    str_printf(&text, "1 %s", p->request.text);
    request.text = str_text(&text);
    request.trace = NULL;
    utter_stream *stream;
    float samples[4096];
    status s = str_status(&text);
    if (s == UTTER_OK) s = utter_speak(p->u, &request, &stream);
    str_free(&text);
    TRY(s);
    stop_cancels(stream);
    for (size_t n = 1; s == UTTER_OK && n > 0;) s = utter_read(stream, samples, sizeof samples / sizeof *samples, &n);
    stop_cancels(NULL);
    utter_stream_close(stream);
    return s;
}

// Before the request and behind it: what is in the way of one is perhaps not in the way of the other.
static status measure_machine(struct profile *p) {
    if (p->is_gpu) return UTTER_OK;
    const int n = p->options.n_threads;
    TRY(machine_peaks(n, &p->peaks));
    TRY(machine_bandwidth(n, work_weights(p->u, "decode"), &p->backbone_bytes_s));
    return machine_bandwidth(n, work_weights(p->u, "codec"), &p->codec_bytes_s);
}

static status run(struct profile *p) {
    TRY(stop_begin());
    TRY(open_output(p));
    p->options.n_streams = 1;
    TRY(utter_open(&p->options, &p->u));
    utter_state state;
    TRY(utter_state_get(p->u, &state));
    p->is_gpu = state.is_gpu;
    TRY(measure_machine(p));
    if (!p->cold) TRY(warm_up(p));
    struct audio_encoder *e;
    TRY(audio_encoder_new(p->format, utter_sample_rate(p->u), write_bytes, p, &e));
    spans_free(&p->spans);  // what was written before the request is no part of it
    status s = speak(p, e);
    audio_encoder_free(e);
    if (s == UTTER_OK) s = spans_status(&p->spans);
    if (s == UTTER_OK) s = spans_sum(&p->spans, p->total_s, &p->stages);
    if (s == UTTER_OK) s = measure_machine(p);
    return s;
}

/* ---- telling ---- */

struct told {
    struct work work;
    double bandwidth, arithmetic;  // of what the machine can do, 0..1; 0: not known
};

// A stage that did better than what was measured shows what the machine can.
static double share_of(double rate, double most) { return rate < most ? rate / most : 1; }

static struct told tell(const struct profile *p, const struct stage *stage) {
    struct told t = {.work = work_of(p->u, &p->spans, stage->name)};
    if (p->is_gpu || stage->busy_s <= 0 || t.work.operations <= 0) return t;
    const bool decode = strcmp(stage->name, "decode") == 0, codec = strcmp(stage->name, "codec") == 0;
    if (p->peaks.ops_s[t.work.on] <= 0) t.work.on = ON_FLOATS;
    if (!decode && p->peaks.ops_s[ON_TILES] > 0) t.work.on = ON_TILES;  // which take many tokens at once
    t.bandwidth = share_of(t.work.bytes / stage->busy_s, codec ? p->codec_bytes_s : p->backbone_bytes_s);
    t.arithmetic = share_of(t.work.operations / stage->busy_s, p->peaks.ops_s[t.work.on]);
    return t;
}

static const struct {
    const char *name, *operations, *by;  // in words, and in JSON
} arithmetics[N_ARITHMETIC] = {
    [ON_FLOATS] = {"floats", "float_operations_s", "float_by"},
    [ON_WORDS] = {"16-bit integers", "word_operations_s", "word_by"},
    [ON_BYTES] = {"bytes", "byte_operations_s", "byte_by"},
    [ON_TILES] = {"bfloat16", "tile_operations_s", "tile_by"},
};

static void print_text(const struct profile *p) {
    const double audio_s = (double)p->n_samples / utter_sample_rate(p->u);
    printf("%s\n%.2f s of sound in %.3f s, %.1fx real time; the first after %.3f s\n\n", utter_describe(p->u), audio_s,
           p->total_s, audio_s / p->total_s, p->first_audio_s);
    printf("%-10s %9s %6s %9s %7s %9s  %9s  %s\n", "stage", "ms", "share", "count", "calls", "GB/s", "Gop/s",
           p->is_gpu ? "" : "of this machine's memory, arithmetic");
    for (int i = 0; i < p->stages.n; i++) {
        const struct stage *s = &p->stages.list[i];
        const struct told t = tell(p, s);
        printf("%-10s %9.2f %5.1f%% %9lld %7d", s->name, s->share_s * 1000, s->share_s / p->total_s * 100,
               (long long)s->count, s->n_spans);
        if (t.work.operations > 0 && s->busy_s > 0)
            printf(" %9.2f  %9.1f", t.work.bytes / s->busy_s / 1e9, t.work.operations / s->busy_s / 1e9);
        if (t.bandwidth > 0)
            printf("  %3.0f%%, %3.0f%% of %s: nearer to the %s limit", t.bandwidth * 100, t.arithmetic * 100,
                   arithmetics[t.work.on].name, t.bandwidth > t.arithmetic ? "memory's" : "arithmetic's");
        putchar('\n');
    }
    printf("%-10s %9.2f\n", "all", p->total_s * 1000);
    if (p->is_gpu) return;
    printf("\nthis machine, measured with %d threads: memory %.1f GB/s", p->peaks.n_threads, p->peaks.bytes_s / 1e9);
    for (int i = 0; i < N_ARITHMETIC; i++)
        if (p->peaks.ops_s[i] > 0)
            printf(", %s %.0f Gop/s (%s)", arithmetics[i].name, p->peaks.ops_s[i] / 1e9, p->peaks.by[i]);
    printf("\nas many bytes as the backbone's weights have are read at %.1f GB/s, as the codec's at %.1f GB/s\n",
           p->backbone_bytes_s / 1e9, p->codec_bytes_s / 1e9);
}

static json_t *machine_json(const struct profile *p) {
    json_t *machine = json_pack("{s:i, s:f, s:f, s:f}", "threads", p->peaks.n_threads, "bytes_s", p->peaks.bytes_s,
                                "backbone_bytes_s", p->backbone_bytes_s, "codec_bytes_s", p->codec_bytes_s);
    for (int i = 0; i < N_ARITHMETIC; i++) {
        json_object_set_new(machine, arithmetics[i].operations, json_real(p->peaks.ops_s[i]));
        json_object_set_new(machine, arithmetics[i].by, json_string(p->peaks.by[i]));
    }
    return machine;
}

static void print_json(const struct profile *p) {
    json_t *stages = json_array();
    for (int i = 0; i < p->stages.n; i++) {
        const struct stage *s = &p->stages.list[i];
        const struct told t = tell(p, s);
        json_t *o =
            json_pack("{s:s, s:f, s:f, s:f, s:I, s:i}", "stage", s->name, "seconds", s->share_s, "share",
                      s->share_s / p->total_s, "busy_s", s->busy_s, "count", (json_int_t)s->count, "calls", s->n_spans);
        if (t.work.operations > 0) {
            json_object_set_new(o, "bytes", json_real(t.work.bytes));
            json_object_set_new(o, "operations", json_real(t.work.operations));
        }
        if (t.bandwidth > 0) {
            json_object_set_new(o, "memory_share", json_real(t.bandwidth));
            json_object_set_new(o, "arithmetic_share", json_real(t.arithmetic));
            json_object_set_new(o, "arithmetic", json_string(arithmetics[t.work.on].name));
        }
        json_array_append_new(stages, o);
    }
    json_t *all =
        json_pack("{s:s, s:s, s:f, s:f, s:f, s:I, s:i, s:I, s:o}", "version", utter_version(), "describe",
                  utter_describe(p->u), "total_s", p->total_s, "first_audio_s", p->first_audio_s, "audio_s",
                  (double)p->n_samples / utter_sample_rate(p->u), "codes", (json_int_t)p->report.n_codes, "retries",
                  p->report.n_retries, "bytes_written", (json_int_t)p->n_written, "stages", stages);
    if (!p->is_gpu) json_object_set_new(all, "machine", machine_json(p));
    json_print(all, stdout);
}

static status write_trace(const struct profile *p) {
    struct file_writer w = {0};
    TRY(file_create(p->trace, &w));
    spans_write_trace(&p->spans, w.f);
    return file_commit(&w);
}

static void profile_close(struct profile *p) {
    file_abandon(&p->file);
    utter_close(p->u);
    spans_free(&p->spans);
    str_free(&p->words);
}

int command_profile(int argc, char **argv) {
    struct profile p = {.options = utter_options_default(), .request = utter_request_default()};
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &p.output, "FILE", "write the sound: .wav .flac .ogg .opus .mp3", 0, 0},
        {"stream", 0, OPTION_FLAG, &p.request.streaming, NULL, "make sound in pieces, so that it starts sooner", 0, 0},
        {"cold", 0, OPTION_FLAG, &p.cold, NULL, "do not speak it once before", 0, 0},
        {"trace", 0, OPTION_TEXT, &p.trace, "FILE", "write a Chrome trace", 0, 0},
        {"voice", 0, OPTION_TEXT, &p.request.voice, "NAME", "one of those that \"utter voices list\" shows", 0, 0},
        {"seed", 0, OPTION_U32, &p.request.seed, "N", "seed of the random choices", 0, UINT32_MAX},
        OPTION_MODEL(p.options),
        OPTION_CODEC(p.options),
        OPTIONS_DEVICE(p.options),
        {"json", 0, OPTION_FLAG, &p.json, NULL, "print a JSON object", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (n_words == 0) {
        fail(UTTER_INVALID, "there is nothing to say; give a text");
        return command_usage(argv[0]);
    }
    status s = command_join(argv + 1, n_words, &p.words);
    p.request.text = str_text(&p.words);
    p.request.trace = take_span;
    p.request.trace_user = &p;
    if (s == UTTER_OK) s = run(&p);
    if (s == UTTER_OK && p.trace) s = write_trace(&p);
    if (s == UTTER_OK) p.json ? print_json(&p) : print_text(&p);
    exit_code = command_end(argv[0], s);
    profile_close(&p);
    return exit_code;
}
