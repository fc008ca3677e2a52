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

// The same without anybody listening: kernels are warm, pages are there, and what is read of the prompt is the voice. The
// text begins otherwise, or all of it would have been read.
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

static status run(struct profile *p) {
    TRY(stop_begin());
    TRY(open_output(p));
    p->options.n_streams = 1;
    TRY(utter_open(&p->options, &p->u));
    utter_state state;
    TRY(utter_state_get(p->u, &state));
    p->is_gpu = state.is_gpu;
    if (!p->is_gpu) TRY(machine_peaks(p->options.n_threads, &p->peaks));
    if (!p->cold) TRY(warm_up(p));
    struct audio_encoder *e;
    TRY(audio_encoder_new(p->format, utter_sample_rate(p->u), write_bytes, p, &e));
    spans_free(&p->spans);  // what was written before the request is no part of it
    status s = speak(p, e);
    audio_encoder_free(e);
    if (s == UTTER_OK) s = spans_status(&p->spans);
    if (s == UTTER_OK) s = spans_sum(&p->spans, p->total_s, &p->stages);
    return s;
}

/* ---- telling ---- */

struct told {
    struct work work;
    double bandwidth, arithmetic;  // of what the machine can do, 0..1; 0: not known
};

static struct told tell(const struct profile *p, const struct stage *stage) {
    struct told t = {.work = work_of(p->u, &p->spans, stage->name)};
    if (p->is_gpu || stage->busy_s <= 0 || t.work.operations <= 0) return t;
    const double most = t.work.on_bytes && p->peaks.byte_ops_s > 0 ? p->peaks.byte_ops_s : p->peaks.float_ops_s;
    t.bandwidth = t.work.bytes / stage->busy_s / p->peaks.bytes_s;
    t.arithmetic = t.work.operations / stage->busy_s / most;
    return t;
}

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
            printf("  %3.0f%%, %3.0f%%: %s", t.bandwidth * 100, t.arithmetic * 100,
                   t.bandwidth > t.arithmetic ? "nearer to the memory's limit" : "nearer to the arithmetic's limit");
        putchar('\n');
    }
    printf("%-10s %9.2f\n", "all", p->total_s * 1000);
    if (p->is_gpu) return;
    printf("\nthis machine, measured just now with %d threads: memory %.1f GB/s, floats %.0f Gop/s (%s)",
           p->peaks.n_threads, p->peaks.bytes_s / 1e9, p->peaks.float_ops_s / 1e9, p->peaks.float_by);
    if (p->peaks.byte_ops_s > 0) printf(", bytes %.0f Gop/s (%s)", p->peaks.byte_ops_s / 1e9, p->peaks.byte_by);
    printf("\nabove 100%% of the memory: the weights were still in a cache\n");
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
        }
        json_array_append_new(stages, o);
    }
    json_t *all =
        json_pack("{s:s, s:s, s:f, s:f, s:f, s:I, s:i, s:I, s:o}", "version", utter_version(), "describe",
                  utter_describe(p->u), "total_s", p->total_s, "first_audio_s", p->first_audio_s, "audio_s",
                  (double)p->n_samples / utter_sample_rate(p->u), "codes", (json_int_t)p->report.n_codes, "retries",
                  p->report.n_retries, "bytes_written", (json_int_t)p->n_written, "stages", stages);
    if (!p->is_gpu)
        json_object_set_new(
            all, "machine",
            json_pack("{s:i, s:f, s:f, s:s, s:f, s:s}", "threads", p->peaks.n_threads, "bytes_s", p->peaks.bytes_s,
                      "float_operations_s", p->peaks.float_ops_s, "float_by", p->peaks.float_by, "byte_operations_s",
                      p->peaks.byte_ops_s, "byte_by", p->peaks.byte_by));
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
