/* A stream: one text on its way from sentences to samples.

   All work is done inside utter_read, in the reader's thread: a reader that stops reading stops its generation and
   nobody else's. A chunk of text is spoken in attempts: prefill the prompt, generate codes in batches, decode them in
   windows (streaming) or at once. The guard watches; an attempt that comes out as garbage is made again with the next
   seed as long as none of its sound has been handed out. */
#include <ctype.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler.h"
#include "base/clock.h"
#include "base/memory.h"
#include "codec/windows.h"
#include "engine/chunks.h"
#include "engine/engine.h"
#include "engine/guard.h"
#include "text/normalize.h"

enum {
    BATCH_CODES = 32,  // codes generated between looks at cancel flag and guard
    DEFAULT_RETRIES = 2,
    MAX_RETRIES = 100,
};
#define SLOT_WAIT_NS ((int64_t)60 * 1000000000)  // for streams that hold a slot and are not read
#define SENTENCE_PAUSE_S 0.15
#define PARAGRAPH_PAUSE_S 0.5

/* A chunk whose sound is made. */
struct spoken {
    char *text;
    int64_t first, n;
};

struct utter_stream {
    utter *u;
    const struct voice *voice;
    struct str document;
    char *language, *emotion;
    struct sampling sampling;
    uint32_t seed;
    int retries;
    bool streaming;
    int64_t deadline;
    atomic_bool cancelled;

    struct chunks chunks;
    struct chunk chunk;  // being spoken; empty prepared: none
    struct token_list prompt;
    int attempt;
    struct runner *runner;    // the device of the running attempt
    int slot;                 // -1: none held
    struct sampler *sampler;  // of the running attempt; NULL: no attempt is running
    struct window_shape shape;
    struct windows *windows;  // streaming only
    int n_pushed;             // codes given to the windows
    struct guard guard;
    int32_t *codes;  // [budget] of the attempt
    int n_codes, codes_cap;
    bool emitted;  // sound of this attempt has been handed out

    float *ready;  // [n_ready] samples to hand out, from `at` on
    int64_t n_ready, at, ready_cap;
    int64_t n_made;         // samples put there so far
    struct spoken *spoken;  // [n_spoken]
    int n_spoken;
    int64_t piece_first;  // where the sound of the running attempt begins
    bool paused_before;   // some chunk has been spoken: the next is preceded by a pause
    bool paragraph_before;
    bool done;

    status failed;  // and stays so
    char *failed_message;
    int64_t started;
    utter_trace_fn *trace;
    void *trace_user;
    utter_report report;
};

utter_request utter_request_default(void) {
    return (utter_request){
        .temperature = -1,
        .top_k = -1,
        .top_p = -1,
        .min_p = -1,
        .retries = -1,
    };
}

// ---- tracing ----

static void span(void *stream, const char *stage, int64_t begin, int64_t end, int count) {
    utter_stream *s = stream;
    const utter_span span = {
        .stage = stage,
        .begin_s = (double)(begin - s->started) * 1e-9,
        .end_s = (double)(end - s->started) * 1e-9,
        .count = count,
        .sentence = s->report.n_sentences,
    };
    if (s->trace) s->trace(s->trace_user, &span);
}

// ---- starting ----

static status check_request(const utter_request *r) {
    if (!r->text) return fail(UTTER_INVALID, "there is no text to speak");
    if (isnan(r->temperature) || r->temperature > 100)
        return fail(UTTER_INVALID, "a temperature of %g is asked for; 0 (greedy) to 100 makes sense, 1 is usual",
                    (double)r->temperature);
    if (isnan(r->top_p) || isnan(r->min_p)) return fail(UTTER_INVALID, "top-p and min-p must be numbers from 0 to 1");
    if (r->first_frames < 0 || r->first_frames > window_shape_neutts().chunk)
        return fail(UTTER_INVALID, "a first piece of %d frames is asked for; 1 to %d can be had", r->first_frames,
                    window_shape_neutts().chunk);
    if (r->retries > MAX_RETRIES)
        return fail(UTTER_INVALID, "%d retries are asked for; at most %d can be had", r->retries, MAX_RETRIES);
    return UTTER_OK;
}

static status copy_text(const char *text, const char *otherwise, char **out) {
    *out = strdup(text ? text : otherwise);
    return *out ? UTTER_OK : fail_memory(strlen(otherwise), "a request");
}

static status take_document(utter_stream *s, const utter_request *r) {
    size_t len = strlen(r->text);
    if (r->raw)
        str_append(&s->document, r->text, len);
    else
        TRY(normalize_document(r->text, len, &s->document));
    TRY(str_status(&s->document));
    if (text_is_speakable(str_text(&s->document), s->document.len)) return UTTER_OK;
    return fail(UTTER_NO_TEXT, len == 0 ? "the text is empty; there is nothing to say"
                                        : "the text has no letters or digits; there is nothing to say");
}

static status start(utter_stream *s, const utter_request *r) {
    utter *u = s->u;
    s->trace = r->trace;
    s->trace_user = r->trace_user;
    TRY(engine_voices_find(u, r->voice, &s->voice));
    TRY(copy_text(r->language, s->voice->language, &s->language));
    TRY(copy_text(r->emotion, "neutral", &s->emotion));
    TRY(take_document(s, r));

    s->sampling = u->backbone->sampling;
    if (r->temperature >= 0) s->sampling.temperature = r->temperature;
    if (r->top_k >= 0) s->sampling.top_k = r->top_k;
    if (r->top_p >= 0) s->sampling.top_p = r->top_p;
    if (r->min_p >= 0) s->sampling.min_p = r->min_p;
    s->seed = r->seed;
    s->retries = r->retries < 0 ? DEFAULT_RETRIES : r->retries;
    s->streaming = r->streaming;
    s->shape = window_shape_neutts();
    if (r->first_frames > 0) s->shape.first_chunk = r->first_frames;
    s->deadline = r->deadline_ms > 0 ? s->started + r->deadline_ms * 1000000 : NO_DEADLINE;

    s->chunks = (struct chunks){
        .backbone = u->backbone,
        .voice = s->voice,
        .language = s->language,
        .emotion = s->emotion,
        .raw = r->raw,
        .n_ctx = u->n_ctx,
        .join_frames = u->join_frames,
        .max_frames = u->max_frames,
        .frames_per_symbol = s->voice->frames_per_symbol > 0 ? s->voice->frames_per_symbol : u->frames_per_symbol,
        .stage = r->trace ? span : NULL,
        .stage_user = s,
        .text = str_text(&s->document),
        .len = s->document.len,
    };
    // A wrong language or emotion is told at once, not at the first read.
    struct token_list prompt = {0};
    status ok = chunk_prompt(&s->chunks, "", &prompt);
    token_list_free(&prompt);
    TRY(ok);
    return chunks_next(&s->chunks, &s->chunk);
}

utter_status utter_speak(utter *u, const utter_request *request, utter_stream **out) {
    *out = NULL;
    TRY(check_request(request));
    utter_stream *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a stream");
    s->u = u;
    s->slot = -1;
    s->started = clock_ns();
    status result = start(s, request);
    if (result == UTTER_OK && s->chunk.prepared.len == 0)
        result = fail(UTTER_NO_TEXT, "nothing in the text can be spoken in language %s", s->language);
    if (result != UTTER_OK) {
        utter_stream_close(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

// ---- the device, one call at a time ----

static status device_begin(utter_stream *s) {
    int permit;
    int64_t since = clock_ns();
    status result = fair_take(&s->runner->turn, &s->cancelled, s->deadline, &permit);
    span(s, "queue", since, clock_ns(), 1);
    return result;
}

static void device_end(utter_stream *s, int64_t since, double *seconds, const char *stage, int count) {
    fair_give(&s->runner->turn, 0);
    int64_t now = clock_ns();
    *seconds += (double)(now - since) * 1e-9;
    span(s, stage, since, now, count);
}

static void leave_slot(utter_stream *s) {
    if (s->slot >= 0) fair_give(&s->runner->slots, s->slot);
    s->slot = -1;
}

static status take_slot(utter_stream *s) {
    TRY(runners_pick(&s->u->runners, &s->runner));
    int64_t since = clock_ns(), patience = since + SLOT_WAIT_NS;
    status result =
        fair_take(&s->runner->slots, &s->cancelled, s->deadline < patience ? s->deadline : patience, &s->slot);
    span(s, "place", since, clock_ns(), 1);
    return result;
}

// Reads the prompt, and behind it the codes that are there already, into the slot.
static status prefill_once(utter_stream *s) {
    struct device *d = s->runner->device;
    struct token_list tokens = {0};
    status result = UTTER_OK;
    for (int i = 0; i < s->n_codes && result == UTTER_OK; i++)
        result = token_list_push(&tokens, s->u->backbone->code_token[s->codes[i]]);
    if (result == UTTER_OK) result = device_begin(s);
    if (result == UTTER_OK) {
        int64_t since = clock_ns();
        d->ops->reset(d, s->slot);
        result = d->ops->prefill(d, s->slot, s->prompt.ids, (int)s->prompt.n, NULL, s->deadline);
        if (result == UTTER_OK && tokens.n > 0)
            result = d->ops->prefill(d, s->slot, tokens.ids, (int)tokens.n, NULL, s->deadline);
        device_end(s, since, &s->report.prefill_s, "prefill", (int)(s->prompt.n + tokens.n));
    }
    token_list_free(&tokens);
    return result;
}

// A call gave `result`. When that is a lost device, the stream goes on where it is on the next one; *again: repeat the
// call there.
static status survive(utter_stream *s, status result, bool *again) {
    *again = result == UTTER_DEVICE && s->runner->is_gpu;
    if (!*again) return result;
    runners_lose(&s->u->runners, s->runner, fail_message());
    if (!s->u->runners.choice.cpu) return result;  // the GPU was asked for
    leave_slot(s);
    TRY(take_slot(s));
    return prefill_once(s);
}

static status prefill(utter_stream *s) {
    bool again;
    return survive(s, prefill_once(s), &again);
}

static status generate_once(utter_stream *s, struct generation *g, int steps) {
    TRY(device_begin(s));
    int64_t since = clock_ns();
    g->slot = s->slot;
    status result = s->runner->device->ops->generate(s->runner->device, g, 1, steps, s->deadline);
    device_end(s, since, &s->report.decode_s, "decode", g->n);
    return result;
}

static status generate(utter_stream *s, struct generation *g, int steps) {
    bool again;
    TRY(survive(s, generate_once(s, g, steps), &again));
    return again ? generate_once(s, g, steps) : UTTER_OK;
}

static status synthesize_once(utter_stream *s, const int32_t *codes, int n, float *pcm) {
    TRY(device_begin(s));
    int64_t since = clock_ns();
    status result =
        s->runner->device->ops->synthesize(s->runner->device, &(struct synthesis){codes, n, pcm}, 1, s->deadline);
    device_end(s, since, &s->report.codec_s, "codec", n);
    return result;
}

static status synthesize(utter_stream *s, const int32_t *codes, int n, float *pcm) {
    bool again;
    TRY(survive(s, synthesize_once(s, codes, n, pcm), &again));
    return again ? synthesize_once(s, codes, n, pcm) : UTTER_OK;
}

// ---- samples to hand out ----

// Room for n more samples; their place in *out.
static status ready_room(utter_stream *s, int64_t n, float **out) {
    if (s->at == s->n_ready) s->at = s->n_ready = 0;
    if (s->n_ready + n > s->ready_cap) {
        int64_t cap = (s->n_ready + n) * 3 / 2;
        float *grown = realloc(s->ready, (size_t)cap * sizeof *grown);
        if (!grown) return fail_memory((size_t)cap * sizeof *grown, "samples");
        s->ready = grown;
        s->ready_cap = cap;
    }
    *out = s->ready + s->n_ready;
    return UTTER_OK;
}

static status emit(utter_stream *s, const float *pcm, int64_t n) {
    if (n == 0) return UTTER_OK;
    double pause_s = !s->paused_before || s->emitted ? 0 : s->paragraph_before ? PARAGRAPH_PAUSE_S : SENTENCE_PAUSE_S;
    int64_t pause = (int64_t)(pause_s * s->u->codec->config.sample_rate);
    float *to = NULL;
    TRY(ready_room(s, pause + n, &to));
    memset(to, 0, (size_t)pause * sizeof *to);
    memcpy(to + pause, pcm, (size_t)n * sizeof *to);
    s->n_ready += pause + n;
    if (!s->emitted) s->piece_first = s->n_made + pause;
    s->n_made += pause + n;
    s->emitted = true;
    return UTTER_OK;
}

// ---- one attempt at one chunk ----

static void end_attempt(utter_stream *s) {
    sampler_free(s->sampler);
    windows_free(s->windows);
    s->sampler = NULL;
    s->windows = NULL;
    leave_slot(s);
}

static status begin_attempt(utter_stream *s) {
    utter *u = s->u;
    s->prompt.n = 0;
    TRY(chunk_prompt(&s->chunks, str_text(&s->chunk.prepared), &s->prompt));
    int room = u->n_ctx - (int)s->prompt.n;
    int budget = chunk_budget(s->chunk.expected);
    if (budget > room) budget = room;
    if (budget <= 0)
        return fail(UTTER_LIMIT,
                    "the prompt has %zu tokens and the context %d positions: nothing is left for speech; use a "
                    "shorter reference",
                    s->prompt.n, u->n_ctx);
    if (budget > s->codes_cap) {
        int32_t *grown = realloc(s->codes, (size_t)budget * sizeof *grown);
        if (!grown) return fail_memory((size_t)budget * sizeof *grown, "codes");
        s->codes = grown;
        s->codes_cap = budget;
    }
    s->n_codes = s->n_pushed = 0;
    s->emitted = false;
    guard_start(&s->guard, s->chunk.expected, budget);
    TRY(take_slot(s));
    TRY(sampler_new(&s->sampling, s->seed + (uint32_t)s->attempt, u->backbone->n_codes + 1, &s->sampler));
    if (s->streaming) {
        TRY(windows_new(s->shape, u->codec->config.hop, s->voice->codes, s->voice->n_codes, &s->windows));
    }
    return prefill(s);
}

// Decodes codes up to `n` in windows and hands out what is complete; with `last` all of it. Sound that is not fine is
// not handed out.
static status decode_windows(utter_stream *s, int n, bool last, enum verdict *verdict) {
    TRY(windows_push(s->windows, s->codes + s->n_pushed, n - s->n_pushed, last));
    s->n_pushed = n;
    for (;;) {
        const int32_t *window;
        int n_window;
        windows_next(s->windows, &window, &n_window);
        if (n_window == 0) return UTTER_OK;
        float *pcm;
        TRY(alloc_for(&pcm, (size_t)n_window * (size_t)s->u->codec->config.hop, sizeof *pcm, "a window"));
        const float *ready = NULL;
        int n_ready = 0;
        status result = synthesize(s, window, n_window, pcm);
        if (result == UTTER_OK) result = windows_decoded(s->windows, pcm, &ready, &n_ready);
        if (result == UTTER_OK) {
            *verdict = guard_sound(&s->guard, ready, n_ready);
            if (*verdict == SPEECH_SILENT) *verdict = SPEECH_FINE;  // a pause, as far as one window can tell
            if (*verdict == SPEECH_FINE) result = emit(s, ready, n_ready);
        }
        free_aligned(pcm);
        if (result != UTTER_OK || *verdict != SPEECH_FINE) return result;
    }
}

// Decodes the first n codes at once and hands the sound out if it is fine.
static status decode_whole(utter_stream *s, int n, enum verdict *verdict) {
    if (n == 0) return UTTER_OK;
    int64_t n_pcm = (int64_t)n * s->u->codec->config.hop;
    float *pcm;
    TRY(alloc_for(&pcm, (size_t)n_pcm, sizeof *pcm, "a sentence"));
    status result = synthesize(s, s->codes, n, pcm);
    if (result == UTTER_OK) *verdict = guard_sound(&s->guard, pcm, n_pcm);
    if (result == UTTER_OK && *verdict == SPEECH_FINE) result = emit(s, pcm, n_pcm);
    free_aligned(pcm);
    return result;
}

// Generates one batch of codes. *ended: the utterance is over, by its end token or by the context's end.
// *n_good: how many codes are worth keeping when the verdict is not fine.
static status next_codes(utter_stream *s, enum verdict *verdict, int *n_good, bool *ended) {
    int steps = BATCH_CODES;
    if (s->streaming) steps = s->n_codes == 0 ? s->shape.first_chunk + s->shape.lookforward : s->shape.chunk;
    if (steps > s->guard.budget - s->n_codes) steps = s->guard.budget - s->n_codes;
    int32_t *indices = s->codes + s->n_codes;
    struct generation g = {.sampler = s->sampler, .indices = indices, .end_index = s->u->backbone->n_codes};
    *n_good = s->n_codes;
    status result = generate(s, &g, steps);
    if (result == UTTER_SPEECH) {  // no logit is a number
        *verdict = SPEECH_NOT_FINITE;
        return UTTER_OK;
    }
    TRY(result);
    *ended = g.ended || g.n < steps;
    int n = g.ended ? g.n - 1 : g.n;
    for (int i = 0; i < n && *verdict == SPEECH_FINE; i++) *verdict = guard_code(&s->guard, indices[i], n_good);
    s->n_codes += n;
    s->report.n_codes += n;
    s->u->n_tokens += n;
    if (*ended && (*verdict == SPEECH_FINE || *verdict == SPEECH_ENDLESS)) {
        *verdict = guard_end(&s->guard);
        *n_good = s->n_codes;
    }
    return UTTER_OK;
}

// Notes what the chunk's sound was, with the document's white space as single spaces.
static status note_spoken(utter_stream *s) {
    struct spoken *grown = realloc(s->spoken, (size_t)(s->n_spoken + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a list of sentences");
    s->spoken = grown;
    struct str text = {0};
    for (size_t i = s->chunk.text_begin; i < s->chunk.text_end; i++) {
        char c = s->document.data[i];
        if (!isspace((unsigned char)c))
            str_putc(&text, c);
        else if (text.len > 0 && text.data[text.len - 1] != ' ')
            str_putc(&text, ' ');
    }
    TRY(str_status(&text));
    s->spoken[s->n_spoken++] =
        (struct spoken){.text = text.data, .first = s->piece_first, .n = s->n_made - s->piece_first};
    return UTTER_OK;
}

// The chunk is over: spoken, cut, or left out.
static status next_chunk(utter_stream *s) {
    if (s->emitted) TRY(note_spoken(s));
    s->report.n_sentences += s->chunk.n_sentences;
    s->paused_before |= s->emitted;
    s->paragraph_before = s->chunk.paragraph_end || (!s->emitted && s->paragraph_before);
    if (s->document.len > 0) s->report.progress_permille = (int)(s->chunk.text_end * 1000 / s->document.len);
    s->attempt = 0;
    TRY(chunks_next(&s->chunks, &s->chunk));
    if (s->chunk.prepared.len > 0) return UTTER_OK;
    s->done = true;
    s->report.progress_permille = 1000;
    if (s->n_made == 0)
        return fail(UTTER_SPEECH,
                    "the model gave no usable speech for this text, with %d retries; try another seed, a lower "
                    "temperature or another voice",
                    s->retries);
    return UTTER_OK;
}

// An attempt came out as garbage: it is made again, or what is good of it is spoken.
static status garbage(utter_stream *s, enum verdict verdict, int n_good) {
    // A greedy attempt would come out the same again; sound that was handed out cannot be taken back.
    bool again = !s->emitted && s->attempt < s->retries && s->sampling.temperature > 0;
    log_say(&s->u->log, UTTER_LOG_WARNING, "sentence %d %s with seed %u; %s", s->report.n_sentences + 1,
            verdict_text(verdict), (unsigned)(s->seed + (uint32_t)s->attempt),
            again ? "it is spoken again with the next seed" : "what is good of it is kept");
    if (again) {
        s->report.n_retries++;
        s->u->n_retries++;
        s->attempt++;
        end_attempt(s);
        return UTTER_OK;
    }
    s->report.n_failed++;
    status result = UTTER_OK;
    if (verdict != SPEECH_NOT_FINITE && verdict != SPEECH_SILENT) {
        if (n_good < s->n_pushed) n_good = s->n_pushed;
        result = s->streaming ? decode_windows(s, n_good, true, &verdict) : decode_whole(s, n_good, &verdict);
    }
    end_attempt(s);
    return result == UTTER_OK ? next_chunk(s) : result;
}

// One step of work: starts an attempt, or makes and decodes one batch of codes.
static status step(utter_stream *s) {
    if (!s->sampler) return begin_attempt(s);
    enum verdict verdict = SPEECH_FINE;
    int n_good = 0;
    bool ended = false;
    TRY(next_codes(s, &verdict, &n_good, &ended));
    if (verdict == SPEECH_FINE && s->streaming) TRY(decode_windows(s, s->n_codes, ended, &verdict));
    if (verdict == SPEECH_FINE && ended && !s->streaming) TRY(decode_whole(s, s->n_codes, &verdict));
    if (verdict != SPEECH_FINE) return garbage(s, verdict, n_good);
    if (!ended) return UTTER_OK;
    end_attempt(s);
    return next_chunk(s);
}

// ---- reading ----

static status keep_failure(utter_stream *s, status result) {
    end_attempt(s);
    s->failed = result;
    s->failed_message = strdup(fail_message());
    return result;
}

utter_status utter_read(utter_stream *s, float *samples, size_t capacity, size_t *n_read) {
    *n_read = 0;
    if (s->failed != UTTER_OK)
        return fail(s->failed, "%s", s->failed_message ? s->failed_message : "the stream failed");
    int64_t since = clock_ns();
    status result = UTTER_OK;
    while (result == UTTER_OK && s->at == s->n_ready && !s->done) {
        if (atomic_load(&s->cancelled))
            result = fail(UTTER_CANCELLED, "the stream was cancelled");
        else if (clock_ns() >= s->deadline)
            result =
                fail(UTTER_DEADLINE, "the text was not spoken within the time allowed; allow more time or shorten it");
        else
            result = step(s);
    }
    s->report.work_s += (double)(clock_ns() - since) * 1e-9;
    if (result != UTTER_OK) return keep_failure(s, result);
    int64_t n = s->n_ready - s->at;
    if ((uint64_t)n > capacity) n = (int64_t)capacity;
    if (n > 0) {
        if (s->report.n_samples == 0) s->report.first_audio_s = (double)(clock_ns() - s->started) * 1e-9;
        memcpy(samples, s->ready + s->at, (size_t)n * sizeof *samples);
        s->at += n;
        s->report.n_samples += n;
    }
    *n_read = (size_t)n;
    return UTTER_OK;
}

void utter_cancel(utter_stream *s) { atomic_store(&s->cancelled, true); }

void utter_stream_report(const utter_stream *s, utter_report *out) { *out = s->report; }

utter_status utter_stream_sentence(const utter_stream *s, int i, utter_sentence *out) {
    *out = (utter_sentence){0};
    if (i < 0 || i >= s->n_spoken || s->spoken[i].first + s->spoken[i].n > s->report.n_samples)
        return fail(UTTER_INVALID, "no piece %d of the text has been handed out", i);
    const struct spoken *p = &s->spoken[i];
    *out = (utter_sentence){.text = p->text, .first_sample = p->first, .n_samples = p->n};
    return UTTER_OK;
}

void utter_stream_close(utter_stream *s) {
    if (!s) return;
    end_attempt(s);
    chunks_free(&s->chunks);
    str_free(&s->chunk.prepared);
    token_list_free(&s->prompt);
    str_free(&s->document);
    free(s->language);
    free(s->emotion);
    free(s->codes);
    free(s->ready);
    free(s->failed_message);
    for (int i = 0; i < s->n_spoken; i++) free(s->spoken[i].text);
    free(s->spoken);
    free(s);
}
