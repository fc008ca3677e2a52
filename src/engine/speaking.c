/* The work of a stream: pieces of text to samples. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/stream.h"

enum { BATCH_CODES = 32 };  // codes generated between looks of the guard
#define SENTENCE_PAUSE_S 0.15
#define PARAGRAPH_PAUSE_S 0.5

static pthread_mutex_t *lock_of(utter_stream *s) { return &s->u->runners.lock; }

// ---- calls ----

static void submit(utter_stream *s, struct lane *l, struct call *c) {
    c->waiter = &s->waiter;
    pthread_mutex_lock(lock_of(s));
    lane_submit(l, c);
    pthread_mutex_unlock(lock_of(s));
    lane_wake(l);
}

// The codes of a call that does not count are drawn again.
static void undo_draws(struct utterance *u) {
    u->sampler->random = u->before.random;
    memcpy(u->sampler->history, u->before.history, sizeof u->before.history);
    u->sampler->n_drawn = u->before.n_drawn;
    u->in_slot = false;
}

static void withdraw_writing(utter_stream *s) {
    struct utterance *u = s->writer;
    if (!u) return;
    pthread_mutex_lock(lock_of(s));
    lane_withdraw(&u->runner->backbone, &s->writing);
    pthread_mutex_unlock(lock_of(s));
    u->slot = s->writing.slot;
    if (s->writing.kind == CALL_GENERATE) undo_draws(u);
    s->writer = NULL;
}

static void withdraw_sounding(utter_stream *s) {
    if (!s->is_sounding) return;
    pthread_mutex_lock(lock_of(s));
    lane_withdraw(&s->now->runner->codec, &s->sounding);
    pthread_mutex_unlock(lock_of(s));
    s->is_sounding = false;
}

static void leave_slot(utter_stream *s, struct utterance *u) {
    if (u->slot >= 0) {
        pthread_mutex_lock(lock_of(s));
        lane_leave(&u->runner->backbone, u->slot);
        pthread_mutex_unlock(lock_of(s));
    }
    u->slot = -1;
    u->in_slot = false;
}

static void leave_runner(utter_stream *s, struct utterance *u) {
    if (!u->runner) return;
    if (s->writer == u) withdraw_writing(s);
    if (s->now == u) withdraw_sounding(s);
    leave_slot(s, u);
    runners_leave(&s->u->runners, u->runner);
    u->runner = NULL;
}

// A call gave UTTER_DEVICE. When it was on a GPU, the utterance goes on where it is on the devices that are next.
static status survive(utter_stream *s, struct utterance *u, const struct call *c) {
    char why[sizeof c->message];
    memcpy(why, c->message, sizeof why);
    if (!u->runner->is_gpu) return fail(UTTER_DEVICE, "%s", why);
    runners_lose(&s->u->runners, u->runner, why);
    if (!s->u->runners.choice.cpu) return fail(UTTER_DEVICE, "%s", why);  // the GPU was asked for
    leave_runner(s, u);
    return runners_enter(&s->u->runners, &u->runner);
}

static void count_time(const struct call *c, double *seconds) { *seconds += (double)c->busy_ns * 1e-9; }

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
    struct utterance *u = s->now;
    if (n == 0) return UTTER_OK;
    double pause_s = !s->paused_before || u->emitted ? 0 : s->paragraph_before ? PARAGRAPH_PAUSE_S : SENTENCE_PAUSE_S;
    int64_t pause = (int64_t)(pause_s * s->u->codec->config.sample_rate);
    float *to = NULL;
    TRY(ready_room(s, pause + n, &to));
    memset(to, 0, (size_t)pause * sizeof *to);
    memcpy(to + pause, pcm, (size_t)n * sizeof *to);
    s->n_ready += pause + n;
    if (!u->emitted) u->first_sample = s->n_made + pause;
    s->n_made += pause + n;
    u->emitted = true;
    return UTTER_OK;
}

// ---- attempts ----

static void end_attempt(utter_stream *s, struct utterance *u) {
    leave_runner(s, u);
    sampler_free(u->sampler);
    windows_free(u->windows);
    u->sampler = NULL;
    u->windows = NULL;
    u->n_codes = u->n_sounded = 0;
    u->ended = u->cut = u->over = u->sounded_last = u->emitted = u->alone = false;
}

// As if nothing of it had been written yet.
static void take_back(utter_stream *s, struct utterance *u) {
    end_attempt(s, u);
    u->attempt = 0;
    u->failed = UTTER_OK;
    free(u->why);
    u->why = NULL;
}

static status begin_attempt(utter_stream *s, struct utterance *u) {
    const struct backbone *backbone = s->u->backbone;
    int room = s->u->n_ctx - (int)u->chunk.prompt.n;
    int budget = chunk_budget(u->chunk.expected);
    if (budget > room) budget = room;
    if (budget <= 0)
        return fail(UTTER_LIMIT,
                    "the prompt has %zu tokens and the context %d positions: nothing is left for speech; use a "
                    "shorter reference",
                    u->chunk.prompt.n, s->u->n_ctx);
    if (budget > u->codes_cap) {
        int32_t *grown = realloc(u->codes, (size_t)budget * sizeof *grown);
        if (!grown) return fail_memory((size_t)budget * sizeof *grown, "codes");
        u->codes = grown;
        u->codes_cap = budget;
    }
    guard_start(&u->guard, u->chunk.expected, budget);
    TRY(sampler_new(&s->sampling, s->seed + (uint32_t)u->attempt, backbone->n_codes + 1, &u->sampler));
    if (s->streaming)
        TRY(windows_new(s->shape, s->u->codec->config.hop, s->voice->codes, s->voice->n_codes, &u->windows));
    return runners_enter(&s->u->runners, &u->runner);
}

// An attempt came out as garbage: it is made again, or what is good of it is spoken.
static void garbage(utter_stream *s, struct utterance *u, enum verdict verdict, int n_good) {
    // A greedy attempt would come out the same again; sound that was handed out cannot be taken back.
    bool again = !u->emitted && u->attempt < s->retries && s->sampling.temperature > 0;
    log_say(&s->u->log, UTTER_LOG_WARNING, "sentence %d %s with seed %u; %s", u->chunk.sentence + 1,
            verdict_text(verdict), (unsigned)(s->seed + (uint32_t)u->attempt),
            again ? "it is spoken again with the next seed" : "what is good of it is kept");
    if (again) {
        s->report.n_retries++;
        s->u->n_retries++;
        if (u == s->now) take_back(s, s->ahead);
        end_attempt(s, u);
        u->attempt++;
        return;
    }
    s->report.n_failed++;
    if (s->writer == u) withdraw_writing(s);
    leave_slot(s, u);
    u->ended = u->cut = true;
    u->over = verdict == SPEECH_NOT_FINITE || verdict == SPEECH_SILENT;
    u->n_codes = n_good > u->n_sounded ? n_good : u->n_sounded;
}

// ---- writing codes ----

// Fills in what the call that writes the next codes has; how many there are to be.
static int prepare_codes(utter_stream *s, struct utterance *u) {
    int steps = BATCH_CODES;
    if (s->streaming) steps = u->n_codes == 0 ? s->shape.first_chunk + s->shape.lookforward : s->shape.chunk;
    if (steps > u->guard.budget - u->n_codes) steps = u->guard.budget - u->n_codes;
    u->before = *u->sampler;
    s->writing.generation = (struct generation){
        .sampler = u->sampler, .indices = u->codes + u->n_codes, .end_index = s->u->backbone->n_codes};
    s->writing.alone = u->alone;
    return steps;
}

// Reads the prompt into a slot, and behind it the codes that are there already, or writes the first.
static status submit_prompt(utter_stream *s, struct utterance *u) {
    const struct token_list *prompt = &u->chunk.prompt;
    u->tokens.n = 0;
    for (size_t i = 0; i < prompt->n; i++) TRY(token_list_push(&u->tokens, prompt->ids[i]));
    for (int i = 0; i < u->n_codes; i++) TRY(token_list_push(&u->tokens, s->u->backbone->code_token[u->codes[i]]));
    s->writing = (struct call){.kind = CALL_PREFILL, .slot = u->slot, .tokens = u->tokens.ids, .n = (int)u->tokens.n};
    if (u->n_codes == 0) s->writing.n_codes = prepare_codes(s, u);
    s->writer = u;
    submit(s, &u->runner->backbone, &s->writing);
    return UTTER_OK;
}

static void submit_codes(utter_stream *s, struct utterance *u) {
    s->writing = (struct call){.kind = CALL_GENERATE, .slot = u->slot};
    s->writing.n = prepare_codes(s, u);
    s->writer = u;
    submit(s, &u->runner->backbone, &s->writing);
}

// What the guard thinks of the codes that came.
static void judge(utter_stream *s, struct utterance *u, const struct call *c) {
    enum verdict verdict = SPEECH_FINE;
    int n = c->generation.ended ? c->n_done - 1 : c->n_done, n_good = u->n_codes;
    const int32_t *codes = u->codes + u->n_codes;
    for (int i = 0; i < n && verdict == SPEECH_FINE; i++) verdict = guard_code(&u->guard, codes[i], &n_good);
    u->n_codes += n;
    s->report.n_codes += n;
    s->u->n_tokens += n;
    bool ended = c->generation.ended || c->n_done < c->n;
    if (ended && (verdict == SPEECH_FINE || verdict == SPEECH_ENDLESS)) {
        verdict = guard_end(&u->guard);
        n_good = u->n_codes;
    }
    if (verdict != SPEECH_FINE) {
        garbage(s, u, verdict, n_good);
    } else if (ended) {
        u->ended = true;
        leave_slot(s, u);
    }
}

static void trace_reading(utter_stream *s, const struct utterance *u, const struct call *c, int64_t placed,
                          int64_t began, int64_t ended, int n) {
    stream_span(s, "place", c->asked, placed, 1, u->chunk.sentence);
    stream_span(s, "queue", placed, began, 1, u->chunk.sentence);
    stream_span(s, "prefill", began, ended, n, u->chunk.sentence);
}

static void trace_writing(utter_stream *s, const struct utterance *u, const struct call *c) {
    if (c->read.n > 0) trace_reading(s, u, c, c->read.placed, c->read.began, c->read.ended, c->read.n);
    if (c->kind == CALL_PREFILL) {
        trace_reading(s, u, c, c->placed, c->began, c->ended, c->n_done - c->n_kept);
        return;
    }
    stream_span(s, "queue", c->placed, c->began, 1, u->chunk.sentence);
    stream_span(s, "decode", c->began, c->ended, c->n_done, u->chunk.sentence);
}

// Takes in what the backbone has done.
static status wrote(utter_stream *s) {
    struct utterance *u = s->writer;
    struct call *c = &s->writing;
    s->writer = NULL;
    c->state = CALL_IDLE;
    u->slot = c->slot;
    if (c->read.n > 0) {
        s->report.prefill_s += (double)c->read.busy_ns * 1e-9;
        u->in_slot = true;
    }
    if (c->kind == CALL_PREFILL) {
        count_time(c, &s->report.prefill_s);
        u->in_slot = c->result == UTTER_OK;
    } else {
        count_time(c, &s->report.decode_s);
        if (c->result != UTTER_OK || c->spoiled) undo_draws(u);
    }
    if (c->spoiled) {
        u->alone = true;
        return UTTER_OK;
    }
    if (c->result == UTTER_DEVICE) return survive(s, u, c);
    if (c->result == UTTER_SPEECH) {  // no logit is a number
        garbage(s, u, SPEECH_NOT_FINITE, u->n_codes);
        return UTTER_OK;
    }
    if (c->result != UTTER_OK) return fail(c->result, "%s", c->message);
    trace_writing(s, u, c);
    if (c->kind == CALL_PREFILL) return UTTER_OK;
    u->alone = false;
    judge(s, u, c);
    return UTTER_OK;
}

// Hands the backbone the next call for u, if there is one to make now.
static status write_on(utter_stream *s, struct utterance *u) {
    if (u->ended || u->over) return UTTER_OK;
    if (!u->sampler) TRY(begin_attempt(s, u));
    if (!u->in_slot) return submit_prompt(s, u);
    // one portion ahead of the codec, and nothing beside it while the first sound is awaited
    if (s->streaming && u->n_codes > u->n_sounded) return UTTER_OK;
    if (s->is_sounding && s->n_made == 0) return UTTER_OK;
    submit_codes(s, u);
    return UTTER_OK;
}

// While the end of a piece becomes sound, the next one is begun.
static status write_ahead(utter_stream *s) {
    struct utterance *u = s->ahead;
    if (u->failed != UTTER_OK) return UTTER_OK;
    status result = u->chunk.prepared.len > 0 ? UTTER_OK : chunks_next(&s->chunks, &u->chunk);
    if (result == UTTER_OK && u->chunk.prepared.len > 0) result = write_on(s, u);
    if (result != UTTER_OK) {
        end_attempt(s, u);
        u->failed = result;
        u->why = strdup(fail_message());
    }
    return UTTER_OK;
}

static status write_next(utter_stream *s) {
    if (s->writer || s->done) return UTTER_OK;
    if (!s->now->ended) return write_on(s, s->now);
    return s->is_sounding && s->n_made > 0 ? write_ahead(s) : UTTER_OK;
}

// ---- sound ----

static status submit_sound(utter_stream *s, const int32_t *codes, int n) {
    int hop = s->u->codec->config.hop;
    int64_t n_pcm = (int64_t)n * hop;
    if (n_pcm > s->pcm_cap) {
        int64_t longest = s->streaming ? (int64_t)windows_longest(s->shape) * hop : 0;
        if (n_pcm < longest) n_pcm = longest;  // at once, as windows grow
        free_aligned(s->pcm);
        s->pcm_cap = 0;
        TRY(alloc_for(&s->pcm, (size_t)n_pcm, sizeof *s->pcm, "samples"));
        s->pcm_cap = n_pcm;
    }
    s->sounding = (struct call){.kind = CALL_SYNTHESIZE, .piece = {.codes = codes, .n = n, .pcm = s->pcm}};
    s->is_sounding = true;
    submit(s, &s->now->runner->codec, &s->sounding);
    return UTTER_OK;
}

// The next window of the codes so far; n = 0 when there is none yet, or no more.
static status next_window(struct utterance *u, const int32_t **codes, int *n) {
    windows_next(u->windows, codes, n);
    bool last = u->ended && !u->sounded_last;
    if (*n > 0 || (u->n_sounded == u->n_codes && !last)) return UTTER_OK;
    TRY(windows_push(u->windows, u->codes + u->n_sounded, u->n_codes - u->n_sounded, u->ended));
    u->n_sounded = u->n_codes;
    u->sounded_last = u->ended;
    windows_next(u->windows, codes, n);
    return UTTER_OK;
}

// Hands the codec what is written, once what it made before has been read.
static status sound_next(utter_stream *s) {
    struct utterance *u = s->now;
    if (s->is_sounding || u->over || !u->sampler || s->at < s->n_ready) return UTTER_OK;
    const int32_t *codes = u->codes;
    int n = 0;
    if (s->streaming) {
        TRY(next_window(u, &codes, &n));
        u->over = n == 0 && u->sounded_last;
    } else if (u->ended) {
        n = u->n_codes;
        u->over = n == 0;
    }
    return n > 0 ? submit_sound(s, codes, n) : UTTER_OK;
}

// Whether the codec has been given all codes, and all of their windows.
static bool is_all_sounded(const utter_stream *s, struct utterance *u) {
    if (!s->streaming) return true;
    const int32_t *codes;
    int n;
    windows_next(u->windows, &codes, &n);
    return u->sounded_last && n == 0;
}

// Takes in what the codec has done. Sound that is not fine is not handed out.
static status sounded(utter_stream *s) {
    struct utterance *u = s->now;
    struct call *c = &s->sounding;
    s->is_sounding = false;
    c->state = CALL_IDLE;
    count_time(c, &s->report.codec_s);
    if (c->result == UTTER_DEVICE) return survive(s, u, c);
    if (c->result != UTTER_OK) return fail(c->result, "%s", c->message);
    stream_span(s, "queue", c->placed, c->began, 1, u->chunk.sentence);
    stream_span(s, "codec", c->began, c->ended, c->piece.n, u->chunk.sentence);
    const float *pcm = s->pcm;
    int n = c->piece.n * s->u->codec->config.hop;
    if (s->streaming)
        TRY(windows_decoded(u->windows, s->pcm, &pcm, &n));
    else
        u->n_sounded = u->n_codes;
    enum verdict verdict = guard_sound(&u->guard, pcm, n);
    if (s->streaming && verdict == SPEECH_SILENT) verdict = SPEECH_FINE;  // a pause, as far as one window can tell
    if (verdict == SPEECH_FINE) TRY(emit(s, pcm, n));
    if (is_all_sounded(s, u) || (u->cut && verdict != SPEECH_FINE)) u->over = true;
    if (verdict != SPEECH_FINE && !u->cut) garbage(s, u, verdict, 0);
    return UTTER_OK;
}

// ---- from piece to piece ----

// Notes what the piece's sound was, with the document's white space as single spaces.
static status note_spoken(utter_stream *s) {
    struct spoken *grown = realloc(s->spoken, (size_t)(s->n_spoken + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a list of sentences");
    s->spoken = grown;
    const struct utterance *u = s->now;
    struct str text = {0};
    for (size_t i = u->chunk.text_begin; i < u->chunk.text_end; i++) {
        char c = s->document.data[i];
        if (!isspace((unsigned char)c))
            str_putc(&text, c);
        else if (text.len > 0 && text.data[text.len - 1] != ' ')
            str_putc(&text, ' ');
    }
    TRY(str_status(&text));
    s->spoken[s->n_spoken++] =
        (struct spoken){.text = text.data, .first = u->first_sample, .n = s->n_made - u->first_sample};
    return UTTER_OK;
}

// The piece is spoken, cut, or left out.
static status next_piece(utter_stream *s) {
    struct utterance *u = s->now;
    if (u->emitted) TRY(note_spoken(s));
    s->report.n_sentences += u->chunk.n_sentences;
    s->paused_before |= u->emitted;
    s->paragraph_before = u->chunk.paragraph_end || (!u->emitted && s->paragraph_before);
    if (s->document.len > 0) s->report.progress_permille = (int)(u->chunk.text_end * 1000 / s->document.len);
    take_back(s, u);
    str_clear(&u->chunk.prepared);
    s->now = s->ahead;
    s->ahead = u;
    if (s->now->failed != UTTER_OK) return fail(s->now->failed, "%s", s->now->why ? s->now->why : "out of memory");
    if (s->now->chunk.prepared.len == 0) TRY(chunks_next(&s->chunks, &s->now->chunk));
    if (s->now->chunk.prepared.len > 0) return UTTER_OK;
    s->done = true;
    s->report.progress_permille = 1000;
    if (s->n_made == 0)
        return fail(UTTER_SPEECH,
                    "the model gave no usable speech for this text, with %d retries; try another seed, a lower "
                    "temperature or another voice",
                    s->retries);
    return UTTER_OK;
}

static bool is_done(utter_stream *s, const struct call *c) {
    pthread_mutex_lock(lock_of(s));
    bool done = c->state == CALL_DONE;
    pthread_mutex_unlock(lock_of(s));
    return done;
}

status stream_work(utter_stream *s) {
    if (s->is_sounding && is_done(s, &s->sounding)) TRY(sounded(s));
    // codes are judged when the sound before them has been
    if (s->writer && (s->writer != s->now || !s->is_sounding) && is_done(s, &s->writing)) TRY(wrote(s));
    TRY(sound_next(s));
    while (s->now->over && !s->done) {
        TRY(next_piece(s));
        TRY(sound_next(s));
    }
    return write_next(s);
}

void stream_wait(utter_stream *s, int64_t until) {
    if (!s->is_sounding && !s->writer) return;
    bool wants_codes = s->writer && (s->writer != s->now || !s->is_sounding);
    pthread_mutex_lock(lock_of(s));
    s->writing.awaited = wants_codes;
    for (;;) {
        bool sound = s->is_sounding && s->sounding.state == CALL_DONE;
        bool codes = wants_codes && s->writing.state == CALL_DONE;
        if (sound || codes || atomic_load(&s->waiter.cancelled) || clock_ns() >= until) break;
        waiter_wait(&s->waiter, lock_of(s), until);
    }
    pthread_mutex_unlock(lock_of(s));
}

void stream_rest(utter_stream *s) {
    withdraw_writing(s);
    for (int i = 0; i < 2; i++) leave_slot(s, &s->pieces[i]);
}

void stream_drop(utter_stream *s) {
    for (int i = 0; i < 2; i++) take_back(s, &s->pieces[i]);
}
