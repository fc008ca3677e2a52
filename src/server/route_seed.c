/* POST /, as the first utter server was asked: {"text", "voice", "output"}. Speaks into the file "output" of the folder
   that the server was given; plays it on this machine where that is allowed. */
#include <stdlib.h>
#include <string.h>

#include "audio/tempo.h"
#include "server/folder.h"
#include "server/parts.h"

static status take_output(struct request *r, const json_t *o, struct order *out) {
    const char *output = NULL;
    bool play = r->server->options.play;
    TRY(field_text(o, "output", &output));
    TRY(field_flag(o, "play", &play));
    if (play && !r->server->options.play)
        return fail(UTTER_INVALID, "this server plays nothing; it would have to be started with --play");
    out->keep = play;
    if (!output && play) return UTTER_OK;
    if (!output) return fail(UTTER_INVALID, "\"output\" is missing; it names the file to write");
    if (!r->server->folder)
        return fail(UTTER_INVALID, "this server writes no files; it would have to be started with --output-folder");
    const char *slash = strrchr(output, '/'), *dot = strrchr(slash ? slash + 1 : output, '.');
    TRY(audio_format_parse(dot ? dot + 1 : "wav", &out->format));
    TRY(folder_create(r->server->folder, output, &out->file));
    r->output = strdup(output);
    return r->output ? UTTER_OK : fail_memory(strlen(output), "a request");
}

static status take(struct request *r, const json_t *o, struct order *out, const char **param) {
    out->speed = 1;
    *param = "text";
    TRY(field_input(r, o, "text", &out->text));
    *param = "voice";
    TRY(field_voice(r, o, &out->voice));
    *param = "speed";
    TRY(field_number(o, "speed", TEMPO_MIN, TEMPO_MAX, &out->speed));
    *param = NULL;
    TRY(field_rest(o, out));
    *param = "output";
    return take_output(r, o, out);
}

enum MHD_Result seed_begin(struct request *r) {
    enum MHD_Result result = MHD_NO;
    json_t *o = body_object(r, &result);
    if (!o) return result;
    struct order order = {0};
    const char *param = NULL;
    status s = take(r, o, &order, &param);
    r->format = audio_format_name(order.format);
    json_decref(o);
    result = s == UTTER_OK ? submit(r, &order) : reply_failure(r, s, param);
    order_free(&order);
    return result;
}

enum MHD_Result seed_resume(struct request *r) {
    status s;
    if (!job_ready(r->job, &s)) return MHD_YES;
    if (s != UTTER_OK) return reply_failure(r, s, s == UTTER_NO_TEXT ? "text" : NULL);
    bool plays = false;
    size_t n;
    float *samples = job_take_kept(r->job, &n);
    if (samples && r->server->jukebox) plays = jukebox_put(r->server->jukebox, samples, n);
    struct outcome outcome;
    job_outcome(r->job, &outcome);
    json_t *o = json_pack("{s:s, s:f, s:b}", "status", "ok", "audio_s", outcome.audio_s, "plays", plays);
    if (o && r->output) json_object_set_new(o, "output", json_string(r->output));
    return reply_json(r, 200, o);
}
