/* What requests in JSON have in common: fields of the right type and size, or a sentence that names the field. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/parts.h"

json_t *body_object(struct request *r, enum MHD_Result *result) {
    json_error_t error = {0};
    json_t *o = json_loadb(r->body.len ? r->body.data : "", r->body.len, 0, &error);
    if (json_is_object(o)) return o;
    if (o)
        fail(UTTER_INVALID, "the body is JSON and no object; send {\"input\": \"...\"} or the like");
    else
        fail(UTTER_INVALID, "the body is not JSON: %s (line %d, column %d)", error.text, error.line, error.column);
    json_decref(o);
    *result = reply_failure(r, UTTER_INVALID, NULL);
    return NULL;
}

static const json_t *field(const json_t *o, const char *name) {
    const json_t *value = json_object_get(o, name);
    return json_is_null(value) ? NULL : value;
}

static const char *type_of(const json_t *value) {
    static const char *const names[] = {"an object",     "a list", "a text", "a whole number",
                                        "a real number", "true",   "false",  "null"};
    return names[json_typeof(value)];
}

status field_text(const json_t *o, const char *name, const char **out) {
    const json_t *value = field(o, name);
    if (!value) return UTTER_OK;
    if (!json_is_string(value)) return fail(UTTER_INVALID, "\"%s\" is %s; it must be a text", name, type_of(value));
    *out = json_string_value(value);
    return UTTER_OK;
}

status field_number(const json_t *o, const char *name, double least, double most, double *out) {
    const json_t *value = field(o, name);
    if (!value) return UTTER_OK;
    if (!json_is_number(value)) return fail(UTTER_INVALID, "\"%s\" is %s; it must be a number", name, type_of(value));
    double number = json_number_value(value);
    if (!(number >= least && number <= most))
        return fail(UTTER_INVALID, "\"%s\" is %g; it must be from %g to %g", name, number, least, most);
    *out = number;
    return UTTER_OK;
}

status field_flag(const json_t *o, const char *name, bool *out) {
    const json_t *value = field(o, name);
    if (!value) return UTTER_OK;
    if (!json_is_boolean(value))
        return fail(UTTER_INVALID, "\"%s\" is %s; it must be true or false", name, type_of(value));
    *out = json_is_true(value);
    return UTTER_OK;
}

static status copy(const char *text, char **out) {
    *out = strdup(text);
    return *out ? UTTER_OK : fail_memory(strlen(text), "a request");
}

status field_input(struct request *r, const json_t *o, const char *name, char **out) {
    const char *text = NULL;
    TRY(field_text(o, name, &text));
    if (!text) return fail(UTTER_INVALID, "\"%s\" is missing; it is the text to speak", name);
    int n = 0;
    for (const char *p = text; *p; p++) n += (*p & 0xC0) != 0x80;
    r->n_characters = n;
    if (n > r->server->limit.characters)
        return fail(UTTER_LIMIT, "\"%s\" has %d characters; at most %d are spoken at once", name, n,
                    r->server->limit.characters);
    return copy(text, out);
}

status field_voice(struct request *r, const json_t *o, char **out) {
    const json_t *value = field(o, "voice");
    const char *name = NULL, *stands_for;
    if (json_is_object(value)) {
        TRY(field_text(value, "id", &name));
        if (!name) return fail(UTTER_INVALID, "\"voice\" is an object without an \"id\"");
    } else
        TRY(field_text(o, "voice", &name));
    TRY(server_voice(r->server, name, &stands_for));
    TRY(copy(stands_for, out));
    r->voice = strdup(stands_for);
    return UTTER_OK;
}

status field_rest(const json_t *o, struct order *out) {
    const char *language = NULL;
    double seed = 0;
    TRY(field_text(o, "language", &language));
    TRY(field_number(o, "seed", 0, UINT32_MAX, &seed));
    out->seed = (uint32_t)seed;
    if (seed != floor(seed)) return fail(UTTER_INVALID, "\"seed\" is %g; it must be a whole number", seed);
    return language ? copy(language, &out->language) : UTTER_OK;
}
