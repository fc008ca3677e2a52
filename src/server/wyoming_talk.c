/* What is said on a connection: what there is, and speech for text, whole or as it comes. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "engine/plumbing.h"
#include "server/wyoming_parts.h"

enum {
    CHUNK = 4096,  // bytes of sound in an event
    PING_MS = 50,
};
static const double sentence_pause_s = 0.15;  // between texts of a stream, as the engine's own inside one

// ---- what there is ----

// A language as the protocol's clients name it: "en-us" is "en-US".
static void append_language(struct str *out, const char *language) {
    const char *region = strchr(language, '-');
    str_append(out, language, region ? (size_t)(region - language) : strlen(language));
    for (const char *p = region; p && *p; p++) str_putc(out, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
}

static json_t *attribution(void) { return json_pack("{s:s, s:s}", "name", "utter", "url", ""); }

static json_t *describe_voice(const utter_voice *v) {
    struct str language = {0}, description = {0};
    append_language(&language, v->language);
    str_printf(&description, *v->note ? "%s: %s" : "%s", v->name, v->note);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:o, s:b, s:[s]}", "name", v->name, "description", str_text(&description), "version",
                  utter_version(), "attribution", attribution(), "installed", 1, "languages", str_text(&language));
    str_free(&language);
    str_free(&description);
    return o;
}

static status send_info(struct client *c) {
    utter *u = c->server->u;
    json_t *voices = json_array();
    for (int i = 0; i < utter_voice_count(u); i++) {
        utter_voice v;
        if (utter_voice_get(u, i, &v) == UTTER_OK) json_array_append_new(voices, describe_voice(&v));
    }
    json_t *info = json_pack("{s:[], s:[{s:s, s:s, s:s, s:o, s:b, s:o, s:b}], s:[], s:[], s:[], s:[], s:[]}", "asr",
                             "tts", "name", "utter", "description", utter_describe(u), "version", utter_version(),
                             "attribution", attribution(), "installed", 1, "voices", voices,
                             "supports_synthesize_streaming", 1, "handle", "intent", "wake", "mic", "snd");
    if (!info) return fail_memory(sizeof *c, "the list of voices");
    return wire_write(&c->wire, "info", info, NULL, 0);
}

static status send_pong(struct client *c, const json_t *data) {
    const char *text = json_string_value(json_object_get(data, "text"));
    return wire_write(&c->wire, "pong", text ? json_pack("{s:s}", "text", text) : NULL, NULL, 0);
}

// ---- voices ----

static bool same_language(const char *a, const char *b, bool region_too) {
    for (;; a++, b++) {
        char x = *a == '_' ? '-' : *a, y = *b == '_' ? '-' : *b;
        if (!region_too && (x == '-' || x == 0) && (y == '-' || y == 0)) return true;
        if (strncasecmp(&x, &y, 1) != 0) return false;
        if (x == 0) return true;
    }
}

// The first voice of the language, of its region if there is one.
static status voice_of_language(struct client *c, const char *language) {
    utter *u = c->server->u;
    utter_voice v;
    for (int region = 1; region >= 0; region--)
        for (int i = 0; i < utter_voice_count(u); i++)
            if (utter_voice_get(u, i, &v) == UTTER_OK && same_language(v.language, language, region)) {
                str_puts(&c->voice, v.name);
                return str_status(&c->voice);
            }
    return fail(UTTER_INVALID, "no voice speaks \"%.20s\"; \"utter voices list\" shows those there are", language);
}

// From "voice": {"name", "language", "speaker"}; whether the name is known is found out by utter_speak.
static status choose_voice(struct client *c, const json_t *data) {
    const json_t *voice = json_object_get(data, "voice");
    const char *name = json_string_value(json_object_get(voice, "name"));
    const char *language = json_string_value(json_object_get(voice, "language"));
    str_clear(&c->voice);
    if (!name) return language ? voice_of_language(c, language) : UTTER_OK;
    str_puts(&c->voice, name);
    return str_status(&c->voice);
}

// The language in which sentences are told apart.
static const char *language_of(struct client *c) {
    utter *u = c->server->u;
    utter_voice v;
    for (int i = 0; i < utter_voice_count(u); i++) {
        if (utter_voice_get(u, i, &v) != UTTER_OK) break;
        if (c->voice.len == 0 || strcmp(v.name, str_text(&c->voice)) == 0) return v.language;
    }
    return "en-us";
}

// ---- speech ----

static status send_chunk(struct client *c, const void *bytes, size_t n) {
    if (c->first_ns == 0) c->first_ns = clock_ns();
    c->n_samples += n / 2;
    json_t *format = json_pack("{s:i, s:i, s:i}", "rate", utter_sample_rate(c->server->u), "width", 2, "channels", 1);
    return wire_write(&c->wire, "audio-chunk", format, bytes, n);
}

static status begin_audio(struct client *c) {
    if (c->started) return UTTER_OK;
    c->started = true;
    json_t *format = json_pack("{s:i, s:i, s:i}", "rate", utter_sample_rate(c->server->u), "width", 2, "channels", 1);
    return wire_write(&c->wire, "audio-start", format, NULL, 0);
}

static void begin_text(struct client *c) {
    c->asked_ns = clock_ns();
    c->busy = true;
    atomic_fetch_add(&c->server->n_texts, 1);
}

// The text is spoken, or never will be.
static void end_text(struct client *c, status s) {
    if (c->busy) {
        atomic_fetch_sub(&c->server->n_texts, 1);
        if (c->server->options.done) c->server->options.done(c->server->options.user, s);
    }
    c->busy = c->started = c->streaming = false;
    c->first_ns = 0;
    c->n_bytes = c->n_samples = 0;
    str_clear(&c->pending);
}

static status end_audio(struct client *c) {
    TRY(begin_audio(c));  // a text without a word is an empty sound
    TRY(wire_write(&c->wire, "audio-stop", NULL, NULL, 0));
    double rate_hz = utter_sample_rate(c->server->u);
    log_say(&c->server->log, UTTER_LOG_INFO,
            "wyoming: %s was spoken %.1f s of sound for %zu bytes of text in %.2f s, the first after %.2f s", c->peer,
            (double)c->n_samples / rate_hz, c->n_bytes, (double)(clock_ns() - c->asked_ns) * 1e-9,
            c->first_ns ? (double)(c->first_ns - c->asked_ns) * 1e-9 : 0.0);
    return UTTER_OK;
}

static status send_pause(struct client *c) {
    static const char silence[CHUNK];
    size_t left = (size_t)(sentence_pause_s * utter_sample_rate(c->server->u)) * 2;
    for (; left > CHUNK; left -= CHUNK) TRY(send_chunk(c, silence, CHUNK));
    return send_chunk(c, silence, left);
}

// Waits until there is sound, or the client has hung up. An end of what it sends does not tell that: it may still read.
// What is sent to one that does not is refused by its system, which is noticed here; so such a client is sent a ping,
// which others pass over.
static status wait_for_sound(struct client *c) {
    struct pollfd p[2] = {{.fd = c->wake_fd, .events = POLLIN},
                          {.fd = c->wire.fd, .events = c->half_closed ? 0 : POLLRDHUP}};
    int n = poll(p, 2, c->half_closed ? PING_MS : -1);
    eventfd_t count;
    if (n > 0 && p[0].revents) eventfd_read(c->wake_fd, &count);
    if (n > 0 && p[1].revents & (POLLHUP | POLLERR)) return fail(UTTER_CANCELLED, "the connection was closed");
    bool ends = n > 0 && p[1].revents & POLLRDHUP;
    c->half_closed |= ends;
    return ends || n == 0 ? wire_write(&c->wire, "ping", NULL, NULL, 0) : UTTER_OK;
}

static status send_speech(struct client *c, struct job *j) {
    bool pause = c->n_samples > 0;
    for (;;) {
        char bytes[CHUNK];
        size_t n;
        bool ended;
        TRY(job_read(j, bytes, sizeof bytes, &n, &ended));
        if (ended) return UTTER_OK;
        if (n == 0) {
            TRY(wait_for_sound(c));
            continue;
        }
        if (pause) TRY(send_pause(c));
        pause = false;
        TRY(send_chunk(c, bytes, n));
    }
}

static void no_sound_yet(void *user) { (void)user; }

static void there_is_sound(void *user) { eventfd_write(((struct client *)user)->wake_fd, 1); }

static status speak(struct client *c, const char *text) {
    struct order order = {.text = strdup(text),
                          .voice = c->voice.len ? strdup(str_text(&c->voice)) : NULL,
                          .speed = 1,
                          .format = AUDIO_PCM,
                          .deadline = clock_ns() + (int64_t)c->server->options.deadline_s * 1000000000};
    const struct job_reader reader = {no_sound_yet, there_is_sound, c};
    struct job *job;
    status s = !order.text || (c->voice.len && !order.voice)
                   ? fail_memory(strlen(text), "a text")
                   : jobs_submit(c->server->jobs, &order, c->caller, &reader, &job);
    order_free(&order);
    TRY(s);
    c->n_bytes += strlen(text);
    s = begin_audio(c);
    if (s == UTTER_OK) s = send_speech(c, job);
    job_release(job);
    return s == UTTER_NO_TEXT ? UTTER_OK : s;
}

// ---- requests ----

static size_t count_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

static status text_of(struct client *c, const json_t *data, const char **out) {
    *out = json_string_value(json_object_get(data, "text"));
    if (!*out) return fail(UTTER_INVALID, "\"text\" is missing, or no text");
    size_t n = count_characters(*out);
    if (n <= (size_t)c->server->options.characters) return UTTER_OK;
    return fail(UTTER_LIMIT, "the text has %zu characters; %d are taken at once", n, c->server->options.characters);
}

static status check_format(const json_t *data) {
    const char *format = json_string_value(json_object_get(data, "text_format"));
    if (!format || strcmp(format, "text") == 0) return UTTER_OK;
    return fail(UTTER_INVALID, "text_format \"%.20s\" is not known; send \"text\"", format);
}

static status synthesize(struct client *c, const json_t *data) {
    if (c->streaming) return UTTER_OK;  // the same text once more, for servers that do not stream
    const char *text;
    begin_text(c);
    TRY(text_of(c, data, &text));
    TRY(check_format(data));
    TRY(choose_voice(c, data));
    TRY(speak(c, text));
    TRY(end_audio(c));
    end_text(c, UTTER_OK);
    return UTTER_OK;
}

static status synthesize_start(struct client *c, const json_t *data) {
    end_text(c, UTTER_CANCELLED);
    begin_text(c);
    TRY(check_format(data));
    TRY(choose_voice(c, data));
    c->streaming = true;
    return UTTER_OK;
}

static status speak_pending(struct client *c, size_t n) {
    char *text = strndup(str_text(&c->pending), n);
    if (!text) return fail_memory(n, "a text");
    size_t rest = c->pending.len - n;
    memmove(c->pending.data, c->pending.data + n, rest + 1);
    c->pending.len = rest;
    status s = speak(c, text);
    free(text);
    return s;
}

static status synthesize_chunk(struct client *c, const json_t *data) {
    if (!c->streaming) return fail(UTTER_INVALID, "synthesize-chunk without synthesize-start");
    const char *text;
    TRY(text_of(c, data, &text));
    str_puts(&c->pending, text);
    TRY(str_status(&c->pending));
    size_t whole = plumb_whole_sentences(language_of(c), str_text(&c->pending), c->pending.len);
    if (whole > 0) return speak_pending(c, whole);
    if (count_characters(str_text(&c->pending)) <= (size_t)c->server->options.characters) return UTTER_OK;
    return fail(UTTER_LIMIT, "a sentence of more than %d characters", c->server->options.characters);
}

static status synthesize_stop(struct client *c) {
    if (!c->streaming) return fail(UTTER_INVALID, "synthesize-stop without synthesize-start");
    if (c->pending.len > 0) TRY(speak_pending(c, c->pending.len));
    TRY(end_audio(c));
    end_text(c, UTTER_OK);
    return wire_write(&c->wire, "synthesize-stopped", NULL, NULL, 0);
}

static status answer(struct client *c, const struct wire_event *e) {
    if (strcmp(e->type, "describe") == 0) return send_info(c);
    if (strcmp(e->type, "ping") == 0) return send_pong(c, e->data);
    if (strcmp(e->type, "synthesize") == 0) return synthesize(c, e->data);
    if (strcmp(e->type, "synthesize-start") == 0) return synthesize_start(c, e->data);
    if (strcmp(e->type, "synthesize-chunk") == 0) return synthesize_chunk(c, e->data);
    if (strcmp(e->type, "synthesize-stop") == 0) return synthesize_stop(c);
    return UTTER_OK;  // the protocol grows; what is not known is passed over
}

// An error ends the connection: clients wait for the end of the sound, and would go on waiting.
static void say_why(struct client *c, status s) {
    if (s == UTTER_CANCELLED) return;
    struct str why = {0};
    str_puts(&why, fail_message());
    log_say(&c->server->log, UTTER_LOG_INFO, "wyoming: %s: %s", c->peer, str_text(&why));
    json_t *data = json_pack("{s:s, s:s}", "text", str_text(&why), "code", status_name(s));
    if (data) wire_write(&c->wire, "error", data, NULL, 0);
    str_free(&why);
}

void client_talk(struct client *c) {
    status s = UTTER_OK;
    while (s == UTTER_OK && !c->server->draining) {
        struct wire_event e;
        s = wire_read(&c->wire, &e);
        if (s == UTTER_OK && !e.type) break;
        if (s == UTTER_OK) s = answer(c, &e);
        if (s != UTTER_OK) say_why(c, s);
        wire_event_free(&e);
    }
    end_text(c, s == UTTER_OK ? UTTER_CANCELLED : s);
    str_free(&c->pending);
    str_free(&c->voice);
}
