/* What utter.h says of streams: starting, reading, cancelling, telling. */
#include "engine/stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "text/normalize.h"

enum {
    DEFAULT_RETRIES = 2,
    MAX_RETRIES = 100,
};
#define PLACE_WAIT_NS ((int64_t)60 * 1000000000)  // for streams that hold a place and are not read

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

void stream_span(void *stream, const char *stage, int64_t begin, int64_t end, int count, int sentence) {
    utter_stream *s = stream;
    const utter_span span = {
        .stage = stage,
        .begin_s = (double)(begin - s->started) * 1e-9,
        .end_s = (double)(end - s->started) * 1e-9,
        .count = count,
        .sentence = sentence,
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
    s->waiter.deadline = r->deadline_ms > 0 ? s->started + r->deadline_ms * 1000000 : NO_DEADLINE;

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
        .stage = r->trace ? stream_span : NULL,
        .stage_user = s,
        .text = str_text(&s->document),
        .len = s->document.len,
    };
    TRY(chunks_next(&s->chunks, &s->now->chunk));
    if (s->now->chunk.prepared.len > 0) return UTTER_OK;
    TRY(chunk_prompt(&s->chunks, "", &s->now->chunk.prompt));  // tells a wrong emotion
    return fail(UTTER_NO_TEXT, "nothing in the text can be spoken in language %s", s->language);
}

utter_status utter_speak(utter *u, const utter_request *request, utter_stream **out) {
    *out = NULL;
    TRY(check_request(request));
    utter_stream *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a stream");
    s->u = u;
    s->now = &s->pieces[0];
    s->ahead = &s->pieces[1];
    s->now->slot = s->ahead->slot = -1;
    s->started = clock_ns();
    waiter_init(&s->waiter);
    status result = start(s, request);
    if (result != UTTER_OK) {
        utter_stream_close(s);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

// ---- reading ----

static void keep_failure(utter_stream *s, status result) {
    s->failed = result;
    s->failed_message = strdup(fail_message());
    stream_drop(s);
    // sound that was made before is handed out first, but for whom it would be too late
    if (result == UTTER_CANCELLED || result == UTTER_DEADLINE) s->at = s->n_ready;
}

static bool waits_for_place(utter_stream *s) {
    pthread_mutex_lock(&s->u->runners.lock);
    const struct call *c = &s->writing;
    bool waits = s->writer && c->kind == CALL_PREFILL && c->slot < 0 && c->state == CALL_QUEUED;
    pthread_mutex_unlock(&s->u->runners.lock);
    return waits;
}

// One round of work, or of waiting for others to do it; since `since`.
static status go_on(utter_stream *s, int64_t since) {
    int64_t deadline = s->waiter.deadline;
    bool placeless = waits_for_place(s);
    if (placeless && since + PLACE_WAIT_NS < deadline) deadline = since + PLACE_WAIT_NS;
    if (atomic_load(&s->waiter.cancelled)) return fail(UTTER_CANCELLED, "the stream was cancelled");
    if (clock_ns() >= deadline) return call_late(placeless);
    TRY(stream_work(s));
    if (s->at == s->n_ready && !s->done) stream_wait(s, deadline);
    return UTTER_OK;
}

status stream_read(utter_stream *s, size_t most, const float **samples, size_t *n_read) {
    *n_read = 0;
    int64_t since = clock_ns();
    while (s->failed == UTTER_OK && s->at == s->n_ready && !s->done) {
        status result = go_on(s, since);
        if (result != UTTER_OK) keep_failure(s, result);
    }
    int64_t now = clock_ns();
    s->report.work_s += (double)(now - since) * 1e-9;
    int64_t n = s->n_ready - s->at;
    if (n == 0 && s->failed != UTTER_OK)
        return fail(s->failed, "%s", s->failed_message ? s->failed_message : "the stream failed");
    if ((uint64_t)n > most) n = (int64_t)most;
    if (n > 0) {
        if (s->report.n_samples == 0) s->report.first_audio_s = (double)(now - s->started) * 1e-9;
        *samples = s->ready + s->at;
        s->at += n;
        s->report.n_samples += n;
    }
    *n_read = (size_t)n;
    return UTTER_OK;
}

utter_status utter_read(utter_stream *s, float *samples, size_t capacity, size_t *n_read) {
    const float *ready;
    TRY(stream_read(s, capacity, &ready, n_read));
    if (*n_read > 0) memcpy(samples, ready, *n_read * sizeof *samples);
    return UTTER_OK;
}

bool stream_ends_soon(const utter_stream *s) { return !s->done && s->now->ended && s->now->n_codes > 0; }

bool stream_is_over(const utter_stream *s) { return s->done && s->failed == UTTER_OK && s->at == s->n_ready; }

void utter_cancel(utter_stream *s) {
    atomic_store(&s->waiter.cancelled, true);
    pthread_mutex_lock(&s->u->runners.lock);
    pthread_cond_signal(&s->waiter.changed);
    pthread_mutex_unlock(&s->u->runners.lock);
}

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
    stream_drop(s);
    chunks_free(&s->chunks);
    for (int i = 0; i < 2; i++) {
        chunk_free(&s->pieces[i].chunk);
        token_list_free(&s->pieces[i].tokens);
        free(s->pieces[i].codes);
    }
    str_free(&s->document);
    free(s->language);
    free(s->emotion);
    free_aligned(s->pcm);
    free(s->ready);
    free(s->failed_message);
    for (int i = 0; i < s->n_spoken; i++) free(s->spoken[i].text);
    free(s->spoken);
    waiter_destroy(&s->waiter);
    free(s);
}
