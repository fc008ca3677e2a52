/* What there is to ask for: GET /v1/models, GET /v1/audio/voices; and POST /v1/audio/voices, which adds to it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/parts.h"

// ---- models ----

static json_t *model(const struct server *s, const char *id) {
    return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", "model", "created", (json_int_t)s->created, "owned_by",
                     "utter");
}

bool knows_model(struct server *s, const char *name) {
    pthread_rwlock_rdlock(&s->settings_lock);
    bool known = config_has_model(&s->config, name) || strcmp(name, "utter") == 0 || strcmp(name, s->model) == 0;
    pthread_rwlock_unlock(&s->settings_lock);
    return known;
}

static json_t *models(struct server *s) {
    json_t *list = json_array();
    json_array_append_new(list, model(s, "utter"));
    if (strcmp(s->model, "utter") != 0) json_array_append_new(list, model(s, s->model));
    pthread_rwlock_rdlock(&s->settings_lock);
    for (int i = 0; i < s->config.n_models; i++) json_array_append_new(list, model(s, s->config.models[i]));
    pthread_rwlock_unlock(&s->settings_lock);
    return list;
}

enum MHD_Result models_begin(struct request *r) {
    return reply_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", models(r->server)));
}

// As chat front ends look for models that speak.
enum MHD_Result audio_models_begin(struct request *r) {
    return reply_json(r, 200, json_pack("{s:o}", "models", models(r->server)));
}

enum MHD_Result model_begin(struct request *r) {
    struct server *s = r->server;
    const char *id = r->path + strlen("/v1/models/");
    if (knows_model(s, id)) return reply_json(r, 200, model(s, id));
    return reply_error(r, 404, "there is no such model; /v1/models lists the names there are", "model",
                       "model_not_found");
}

// ---- voices ----

// As Kokoro-FastAPI lists them: objects, or with ?legacy=true names alone.
enum MHD_Result voices_begin(struct request *r) {
    utter *u = server_engine(r->server);
    const char *legacy = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "legacy");
    bool names = legacy && strcmp(legacy, "true") == 0;
    json_t *list = json_array();
    utter_voice v;
    for (int i = 0; utter_voice_get(u, i, &v) == UTTER_OK; i++) {
        if (names)
            json_array_append_new(list, json_string(v.name));
        else
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "id", v.name, "name", v.name, "language",
                                                  v.language, "note", v.note, "default", i == 0));
    }
    return reply_json(r, 200, json_pack("{s:o}", "voices", list));
}

// ---- a new one ----

struct form {
    struct str name, text, language, note, audio;
    bool has_audio;
};

static enum MHD_Result take_part(void *user, enum MHD_ValueKind kind, const char *key, const char *file_name,
                                 const char *content_type, const char *encoding, const char *data, uint64_t at,
                                 size_t n) {
    (void)kind, (void)file_name, (void)content_type, (void)encoding, (void)at;
    struct form *f = user;
    struct str *to = NULL;
    if (!key) return MHD_YES;
    if (strcmp(key, "name") == 0) to = &f->name;
    if (strcmp(key, "text") == 0 || strcmp(key, "transcript") == 0) to = &f->text;
    if (strcmp(key, "language") == 0) to = &f->language;
    if (strcmp(key, "note") == 0) to = &f->note;
    if (strcmp(key, "audio_sample") == 0 || strcmp(key, "file") == 0) to = &f->audio;
    if (to && n > 0) str_append(to, data, n);
    return MHD_YES;
}

static status parse_form(struct request *r, struct form *f) {
    struct MHD_PostProcessor *p = MHD_create_post_processor(r->connection, 4096, take_part, f);
    if (!p) return fail(UTTER_INVALID, "the body must be a form, multipart/form-data");
    enum MHD_Result ok = MHD_YES;
    for (size_t done = 0, n; ok == MHD_YES && done < r->body.len; done += n) {
        n = r->body.len - done < 65536 ? r->body.len - done : 65536;
        ok = MHD_post_process(p, r->body.data + done, n);
    }
    if (MHD_destroy_post_processor(p) != MHD_YES || ok != MHD_YES)
        return fail(UTTER_INVALID, "the body is no whole form (multipart/form-data)");
    return UTTER_OK;
}

static status take_text(struct str *from, const char *name, bool needed, size_t most, char **out) {
    if (from->len == 0 && !needed) return UTTER_OK;
    if (from->len == 0) return fail(UTTER_INVALID, "the form has no \"%s\"", name);
    if (from->len > most)
        return fail(UTTER_LIMIT, "\"%s\" has %zu bytes; at most %zu are taken", name, from->len, most);
    json_t *utf8 = json_stringn(from->data, from->len);  // what is no UTF-8 is none here either
    json_decref(utf8);
    if (!utf8 || strlen(from->data) != from->len) return fail(UTTER_INVALID, "\"%s\" is not a text in UTF-8", name);
    *out = from->data;
    *from = (struct str){0};
    return UTTER_OK;
}

static status take_form(struct request *r, struct form *f, struct clone_order *o) {
    TRY(parse_form(r, f));
    TRY(take_text(&f->name, "name", true, 128, &o->name));
    TRY(take_text(&f->text, "text", true, 16384, &o->text));
    TRY(take_text(&f->language, "language", false, 64, &o->language));
    TRY(take_text(&f->note, "note", false, 1024, &o->note));
    TRY(str_status(&f->audio));
    if (f->audio.len == 0) return fail(UTTER_INVALID, "the form has no recording, \"audio_sample\"");
    o->audio = f->audio.data;
    o->n_audio = f->audio.len;
    f->audio = (struct str){0};
    return UTTER_OK;
}

enum MHD_Result clone_begin(struct request *r) {
    if (!r->server->cloner)
        return reply_error(r, 403, "this server makes no voices; it would have to be started with --encoder", NULL,
                           "not_enabled");
    struct form form = {0};
    struct clone_order order = {0};
    struct job_reader reader = request_reader(r);
    status s = take_form(r, &form, &order);
    str_free(&r->body);
    bool good = s == UTTER_OK;
    if (good) s = cloner_submit(r->server->cloner, &order, &reader, &r->clone);
    str_free(&form.name);
    str_free(&form.text);
    str_free(&form.language);
    str_free(&form.note);
    str_free(&form.audio);
    clone_order_free(&order);
    if (s == UTTER_OK) return clone_resume(r);
    r->retry_s = 30;
    return good ? reply_error(r, 429, fail_message(), NULL, "queue_full") : reply_failure(r, s, NULL);
}

enum MHD_Result clone_resume(struct request *r) {
    status s;
    json_t *warnings;
    if (!clone_ready(r->clone, &s, &warnings)) return MHD_YES;
    if (s != UTTER_OK) return reply_failure(r, s, NULL);
    const char *name = clone_name(r->clone);
    return reply_json(r, 200,
                      json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "id", name, "name", name, "object", "audio.voice",
                                "type", "audio_sample", "created_at", (json_int_t)time(NULL), "warnings", warnings));
}
