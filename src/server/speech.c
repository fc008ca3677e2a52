#include "server/speech.h"

#include <stdlib.h>
#include <string.h>

#include "audio/tempo.h"
#include "base/clock.h"
#include "engine/stream.h"
#include "server/json_out.h"

enum { SAMPLES = 16384, MAX_KEPT_SAMPLES = 24000 * 600 };

// ---- text made of bytes ----

static void base64(const unsigned char *p, size_t n, struct str *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char block[4 * 256];
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        block[at++] = digits[v >> 18];
        block[at++] = digits[v >> 12 & 63];
        block[at++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
        block[at++] = i + 2 < n ? digits[v & 63] : '=';
        if (at < sizeof block) continue;
        str_append(out, block, at);
        at = 0;
    }
    str_append(out, block, at);
}

static void put_event(struct str *out, json_t *o) {
    str_puts(out, "data: ");
    json_out(o, 7, out);
    str_puts(out, "\n\n");
}

// ---- from samples to bytes ----

static status take_encoded(void *user, const void *bytes, size_t n) {
    struct speech *s = user;
    if (s->order->file) return folder_file_write(s->order->file, bytes, n);
    struct str *to = s->order->events ? &s->encoded : &s->out;
    str_append(to, bytes, n);
    return str_status(to);
}

// What the encoder gave since last time becomes an event, where the reader wants those.
static status hand_out(struct speech *s) {
    if (s->encoded.len == 0) return UTTER_OK;
    str_puts(&s->out, "data: {\"type\":\"speech.audio.delta\",\"audio\":\"");
    base64((const unsigned char *)s->encoded.data, s->encoded.len, &s->out);
    str_puts(&s->out, "\"}\n\n");
    str_clear(&s->encoded);
    return str_status(&s->out);
}

static status keep(struct speech *s, const float *samples, size_t n) {
    if (s->n_kept + n > MAX_KEPT_SAMPLES) return UTTER_OK;
    if (s->n_kept + n > s->kept_cap) {
        size_t cap = (s->n_kept + n) * 2;
        float *grown = realloc(s->kept, cap * sizeof *grown);
        if (!grown) return fail_memory(cap * sizeof *grown, "sound to play");
        s->kept = grown;
        s->kept_cap = cap;
    }
    memcpy(s->kept + s->n_kept, samples, n * sizeof *samples);
    s->n_kept += n;
    return UTTER_OK;
}

static status encode(struct speech *s, const float *samples, size_t n) {
    s->n_samples += (int64_t)n;
    if (s->order->keep) TRY(keep(s, samples, n));
    return s->encoder ? audio_encoder_push(s->encoder, samples, n) : UTTER_OK;
}

static status drain_tempo(struct speech *s) {
    float samples[SAMPLES];
    for (;;) {
        size_t n;
        TRY(tempo_pull(s->tempo, samples, SAMPLES, &n));
        if (n == 0) return UTTER_OK;
        TRY(encode(s, samples, n));
    }
}

// ---- events ----

static void tell_sentences(struct speech *s) {
    utter_sentence sentence;
    while (utter_stream_sentence(s->stream, s->n_sentences, &sentence) == UTTER_OK) {
        double scale = 1 / (s->rate_hz * s->order->speed);
        put_event(&s->out,
                  json_pack("{s:s, s:i, s:s, s:f, s:f}", "type", "speech.audio.sentence", "index", s->n_sentences,
                            "text", sentence.text, "start", (double)sentence.first_sample * scale, "end",
                            (double)(sentence.first_sample + sentence.n_samples) * scale));
        s->n_sentences++;
    }
}

static size_t n_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

static void tell_done(struct speech *s) {
    utter_report r;
    utter_stream_report(s->stream, &r);
    json_int_t n_in = (json_int_t)n_characters(s->order->text), n_out = (json_int_t)r.n_codes;
    put_event(&s->out, json_pack("{s:s, s:{s:I, s:I, s:I}}", "type", "speech.audio.done", "usage", "input_tokens", n_in,
                                 "output_tokens", n_out, "total_tokens", n_in + n_out));
}

// ---- the whole ----

status speech_open(utter *u, const struct order *o, int first_frames, struct speech *s) {
    *s = (struct speech){.order = o, .rate_hz = utter_sample_rate(u)};
    int64_t left_ns = o->deadline - clock_ns();
    if (left_ns <= 0) return fail(UTTER_DEADLINE, "the text waited longer than its deadline allows");
    utter_request r = utter_request_default();
    r.text = o->text;
    r.voice = o->voice;
    r.language = o->language;
    r.emotion = o->emotion;
    r.seed = o->seed;
    r.streaming = !o->file;
    r.first_frames = o->file ? 0 : first_frames;
    if (o->deadline != NO_DEADLINE) r.deadline_ms = left_ns / 1000000 + 1;
    TRY(utter_speak(u, &r, &s->stream));
    if (o->speed != 1) TRY(tempo_new(s->rate_hz, o->speed, &s->tempo));
    if (o->keep && !o->file) return UTTER_OK;  // to play it alone
    if (o->file) return audio_encoder_new(o->format, s->rate_hz, take_encoded, s, &s->encoder);
    return audio_encoder_new_stream(o->format, s->rate_hz, take_encoded, s, &s->encoder);
}

static status end(struct speech *s) {
    if (s->tempo) {
        TRY(tempo_end(s->tempo));
        TRY(drain_tempo(s));
    }
    if (s->encoder) TRY(audio_encoder_end(s->encoder));
    TRY(hand_out(s));
    if (s->order->timestamps) tell_sentences(s);
    if (s->order->events) tell_done(s);
    return str_status(&s->out);
}

status speech_step(struct speech *s, bool *ended) {
    const float *samples;
    size_t n;
    *ended = false;
    TRY(stream_read(s->stream, SAMPLES, &samples, &n));
    *ended = stream_is_over(s->stream);
    if (n > 0 && s->tempo) {
        TRY(tempo_push(s->tempo, samples, n));
        TRY(drain_tempo(s));
    } else if (n > 0)
        TRY(encode(s, samples, n));
    if (*ended) return end(s);
    TRY(hand_out(s));
    if (s->order->timestamps) tell_sentences(s);
    return str_status(&s->out);
}

status speech_commit(struct speech *s, struct order *o) {
    if (!o->file) return UTTER_OK;
    const unsigned char *head = NULL;
    size_t n = 0;
    audio_encoder_head(s->encoder, &head, &n);
    struct folder_file *file = o->file;
    o->file = NULL;
    return folder_file_commit(file, head, n);
}

void speech_close(struct speech *s) {
    utter_stream_close(s->stream);
    audio_encoder_free(s->encoder);
    tempo_free(s->tempo);
    str_free(&s->encoded);
    str_free(&s->out);
    free(s->kept);
    *s = (struct speech){0};
}

void order_free(struct order *o) {
    free(o->text);
    free(o->voice);
    free(o->language);
    free(o->emotion);
    folder_file_abandon(o->file);
    *o = (struct order){0};
}
