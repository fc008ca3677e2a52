#include "engine/chunks.h"

#include <string.h>

#include "base/clock.h"
#include "text/normalize.h"
#include "text/phonemes.h"
#include "text/sentences.h"

enum {
    MARGIN_FRAMES = 75,     // 1.5 s: pauses before, within and after
    MIN_CUT_BYTES = 16,     // a piece of text shorter than this is not cut further
    MAX_SPAN_BYTES = 4096,  // more than any context holds: longer sentences are cut before anything is done with them
};
#define ROOM 1.5      // room in the context, over the expected length
#define PATIENCE 2.0  // budget before an utterance counts as endless, over the expected length

int chunk_budget(int expected) { return (int)(expected * PATIENCE) + MARGIN_FRAMES; }

static int expected_frames(const struct chunks *c, const char *prepared) {
    return (int)(count_symbols(prepared) * c->frames_per_symbol) + 1;
}

status chunk_prompt(const struct chunks *c, const char *prepared, struct token_list *out) {
    const struct prompt_parts parts = {
        .ref = c->voice->ref,
        .text = prepared,
        .codes = c->voice->codes,
        .n_codes = c->voice->n_codes,
        .voice = c->voice->token,
        .emotion = c->emotion,
    };
    return prompt_encode(c->backbone, &parts, out);
}

static status make_prompt(struct chunks *c, const char *prepared) {
    c->prompt.n = 0;
    return chunk_prompt(c, prepared, &c->prompt);
}

// Whether the model can speak the prepared text in one go: prompt and speech fit the context. Then c->prompt is its.
static status fits(struct chunks *c, const char *prepared, bool *out) {
    int expected = expected_frames(c, prepared);
    *out = false;
    if (expected > c->max_frames) return UTTER_OK;
    TRY(make_prompt(c, prepared));
    double need = (double)c->prompt.n + expected * ROOM + MARGIN_FRAMES;
    *out = need <= c->n_ctx;
    return UTTER_OK;
}

static void take_prompt(struct chunks *c, struct chunk *chunk) {
    struct token_list taken = c->prompt;
    c->prompt = chunk->prompt;
    c->prompt.n = 0;
    chunk->prompt = taken;
}

// Written text to what the model reads.
static status prepare(const struct chunks *c, const char *text, size_t len, struct str *out) {
    struct str spoken = {0};
    str_clear(out);
    status s = UTTER_OK;
    int64_t began = clock_ns();
    size_t n_written = len;
    if (!c->raw) {
        s = normalize_sentence(c->language, text, len, &spoken);
        if (s == UTTER_OK) s = str_status(&spoken);
        text = str_text(&spoken);
        len = spoken.len;
    }
    int64_t written = clock_ns();
    if (s == UTTER_OK && text_is_speakable(text, len))
        s = c->backbone->input_format == INPUT_PHONEMES ? phonemize(c->language, text, len, out)
                                                        : prompt_prepare_bpe(text, len, out);
    if (s == UTTER_OK) s = str_status(out);
    if (c->stage) {
        c->stage(c->stage_user, "text", began, written, (int)n_written, c->n_sentences);
        c->stage(c->stage_user, "phonemes", written, clock_ns(), (int)out->len, c->n_sentences);
    }
    if (s == UTTER_OK && !text_is_speakable(str_text(out), out->len))
        str_clear(out);  // marks alone make noise, not speech
    str_free(&spoken);
    return s;
}

// The next sentence, or the next part of one that is being cut. False at the end of the text.
static bool next_span(struct chunks *c, size_t *begin, size_t *end, bool *paragraph_end) {
    if (c->sentence_end > c->at) {
        *begin = c->at;
        *end = c->sentence_end;
        *paragraph_end = c->sentence_paragraph_end;
        return true;
    }
    c->sentence_end = 0;
    struct sentence sentence;
    if (!sentence_next(c->text, c->len, c->language, &c->at, &sentence)) return false;
    *begin = sentence.begin;
    *end = sentence.end;
    *paragraph_end = sentence.paragraph_end;
    return true;
}

// Fills `pending` with the next thing that can be spoken; leaves it empty at the end of the text.
static status fill_pending(struct chunks *c) {
    size_t begin, end;
    bool paragraph_end;
    while (c->pending.len == 0 && next_span(c, &begin, &end, &paragraph_end)) {
        size_t whole = end;
        if (end - begin > MAX_SPAN_BYTES) end = begin + sentence_cut(c->text + begin, end - begin, MAX_SPAN_BYTES);
        for (;;) {
            bool fit = true;
            TRY(prepare(c, c->text + begin, end - begin, &c->pending));
            if (c->pending.len > 0) TRY(fits(c, str_text(&c->pending), &fit));
            if (fit) break;
            if (end - begin <= MIN_CUT_BYTES)
                return fail(UTTER_LIMIT,
                            "the reference of voice %s leaves no room for speech in the context of %d positions; use a "
                            "shorter recording",
                            c->voice->name, c->n_ctx);
            end = begin + sentence_cut(c->text + begin, end - begin, (end - begin) * 2 / 3);
        }
        if (end < whole) {
            c->sentence_end = whole;
            c->sentence_paragraph_end = paragraph_end;
            paragraph_end = false;
        } else {
            c->sentence_end = 0;
        }
        if (end < whole || c->at < end) c->at = end;
        c->pending_begin = begin;
        c->pending_end = end;
        c->pending_paragraph_end = paragraph_end;
    }
    return UTTER_OK;
}

status chunks_next(struct chunks *c, struct chunk *chunk) {
    str_clear(&chunk->prepared);
    chunk->n_sentences = 0;
    chunk->sentence = c->n_sentences;
    chunk->paragraph_end = false;
    chunk->expected = 0;
    for (;;) {
        TRY(fill_pending(c));
        if (c->pending.len == 0) return UTTER_OK;
        size_t before = chunk->prepared.len;
        if (before > 0) str_putc(&chunk->prepared, ' ');
        str_append(&chunk->prepared, c->pending.data, c->pending.len);
        TRY(str_status(&chunk->prepared));
        int expected = expected_frames(c, str_text(&chunk->prepared));
        if (before > 0) {
            bool fit = expected <= c->join_frames;
            if (fit) {
                TRY(fits(c, str_text(&chunk->prepared), &fit));
                if (!fit) c->prompt.n = 0;
            }
            if (!fit) {  // one sentence too many
                chunk->prepared.len = before;
                chunk->prepared.data[before] = 0;
                return UTTER_OK;
            }
        } else if (c->prompt.n == 0)
            TRY(make_prompt(c, str_text(&c->pending)));
        take_prompt(c, chunk);
        chunk->expected = expected;
        chunk->n_sentences++;
        c->n_sentences++;
        if (before == 0) chunk->text_begin = c->pending_begin;
        chunk->text_end = c->pending_end;
        chunk->paragraph_end = c->pending_paragraph_end;
        str_clear(&c->pending);
        if (chunk->paragraph_end) return UTTER_OK;
    }
}

void chunk_free(struct chunk *chunk) {
    str_free(&chunk->prepared);
    token_list_free(&chunk->prompt);
}

void chunks_free(struct chunks *c) {
    str_free(&c->pending);
    token_list_free(&c->prompt);
}
