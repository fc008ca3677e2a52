/* POST /v1/audio/speech, as OpenAI's reference has it. Beyond it: "language", "seed", and with stream_format "sse"
   "timestamps": true, which gives an event speech.audio.sentence for each sentence that is out. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "audio/tempo.h"
#include "engine/engine.h"
#include "server/parts.h"

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The first of the model's emotions that stands as a word in the instructions; models without any leave them unused.
static const char *emotion_in(const utter *u, const char *instructions) {
    for (const char *at = instructions; *at; at++) {
        if (at > instructions && is_letter(at[-1])) continue;
        for (int i = 0; i < u->backbone->n_emotions; i++) {
            size_t len = strlen(u->backbone->emotions[i]);
            if (strncasecmp(at, u->backbone->emotions[i], len) == 0 && !is_letter(at[len]))
                return u->backbone->emotions[i];
        }
    }
    return NULL;
}

static status take_model(struct request *r, const json_t *o, const char **param) {
    const char *model = NULL;
    *param = "model";
    TRY(field_text(o, "model", &model));
    if (!model) return UTTER_OK;
    if (knows_model(r->server, model)) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "the model \"%.80s\" is not here; /v1/models lists the names there are", model);
}

static status take_form(const json_t *o, struct order *out, const char **param) {
    const char *format = "mp3", *stream = "audio";
    *param = "response_format";
    TRY(field_text(o, "response_format", &format));
    TRY(audio_format_parse(format, &out->format));
    *param = "stream_format";
    TRY(field_text(o, "stream_format", &stream));
    out->events = strcmp(stream, "sse") == 0;
    if (!out->events && strcmp(stream, "audio") != 0)
        return fail(UTTER_INVALID, "\"stream_format\" is \"%.40s\"; audio and sse are known", stream);
    *param = "timestamps";
    TRY(field_flag(o, "timestamps", &out->timestamps));
    if (out->timestamps && !out->events)
        return fail(UTTER_INVALID, "\"timestamps\" come as events: ask for \"stream_format\": \"sse\"");
    *param = "speed";
    out->speed = 1;
    return field_number(o, "speed", TEMPO_MIN, TEMPO_MAX, &out->speed);
}

static status take(struct request *r, const json_t *o, struct order *out, const char **param) {
    TRY(take_model(r, o, param));
    *param = "input";
    TRY(field_input(r, o, "input", &out->text));
    *param = "voice";
    TRY(field_voice(r, o, &out->voice));
    TRY(take_form(o, out, param));
    const char *instructions = NULL, *emotion = NULL;
    *param = "instructions";
    TRY(field_text(o, "instructions", &instructions));
    if (instructions) emotion = emotion_in(server_engine(r->server), instructions);
    if (emotion && !(out->emotion = strdup(emotion))) return fail_memory(strlen(emotion), "a request");
    *param = NULL;
    return field_rest(o, out);
}

enum MHD_Result speech_begin(struct request *r) {
    enum MHD_Result result = MHD_NO;
    json_t *o = body_object(r, &result);
    if (!o) return result;
    struct order order = {0};
    const char *param = NULL;
    status s = take(r, o, &order, &param);
    r->format = audio_format_name(order.format);
    json_decref(o);
    if (s == UTTER_OK)
        result = submit(r, &order);
    else if (s == UTTER_UNSUPPORTED && param && strcmp(param, "model") == 0)
        result = reply_error(r, 404, fail_message(), param, "model_not_found");
    else
        result = reply_failure(r, s, param);
    order_free(&order);
    return result;
}

enum MHD_Result speech_resume(struct request *r) {
    status s;
    if (!job_ready(r->job, &s)) return MHD_YES;
    if (s != UTTER_OK) return reply_failure(r, s, s == UTTER_NO_TEXT ? "input" : NULL);
    const struct order *o = job_order(r->job);
    return reply_stream(r, o->events ? "text/event-stream" : audio_format_mime(o->format));
}
