#include "engine/voice.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backbone/prompt.h"
#include "base/file.h"
#include "base/memory.h"
#include "engine/voice_codes.h"
#include "text/phonemes.h"

enum { MAX_FILE_BYTES = 16 << 20, MAX_NAME_BYTES = 128 };

void voice_free(struct voice *v) {
    if (!v) return;
    free(v->name);
    free(v->language);
    free(v->note);
    free(v->token);
    free(v->ref);
    free_aligned(v->codes);
    free(v);
}

void voice_list_free(struct voice_list *list) {
    for (int i = 0; i < list->n; i++) voice_free(list->voices[i]);
    free(list->voices);
    *list = (struct voice_list){0};
}

status voice_list_reserve(struct voice_list *list, int n) {
    if (n <= list->n) return UTTER_OK;
    struct voice **grown = realloc(list->voices, (size_t)n * sizeof *grown);
    if (!grown) return fail_memory((size_t)n * sizeof *grown, "the list of voices");
    list->voices = grown;
    return UTTER_OK;
}

bool voice_equal(const struct voice *a, const struct voice *b) {
    return strcmp(a->name, b->name) == 0 && strcmp(a->language, b->language) == 0 && strcmp(a->note, b->note) == 0 &&
           strcmp(a->token, b->token) == 0 && strcmp(a->ref, b->ref) == 0 && a->n_codes == b->n_codes &&
           (a->n_codes == 0 || memcmp(a->codes, b->codes, (size_t)a->n_codes * sizeof *a->codes) == 0);
}

int count_symbols(const char *prepared) {
    int n = 0;
    for (const unsigned char *p = (const unsigned char *)prepared; *p; p++) {
        bool continuation = (*p & 0xC0) == 0x80;
        bool stress = p[0] == 0xCB && (p[1] == 0x88 || p[1] == 0x8C);  // primary and secondary stress take no time
        if (!continuation && !stress && *p > ' ') n++;
    }
    return n;
}

// ---- from JSON ----

// The string under `key`, or `otherwise` where it is absent (NULL: it must be there). `where` names the voice.
static status take_string(const json_t *object, const char *where, const char *key, const char *otherwise, char **out) {
    const json_t *value = json_object_get(object, key);
    const char *text = value ? json_string_value(value) : otherwise;
    if (!text)
        return fail(UTTER_FORMAT, "%s: \"%s\" %s; it must be a text", where, key, value ? "is no text" : "is missing");
    *out = strdup(text);
    return *out ? UTTER_OK : fail_memory(strlen(text), "a voice");
}

static status take_codes(const json_t *object, const char *where, const struct codec *c, struct voice *v) {
    const json_t *codes = json_object_get(object, "codes");
    if (!codes) return UTTER_OK;
    if (!json_is_array(codes)) return fail(UTTER_FORMAT, "%s: \"codes\" is no array of numbers", where);
    size_t n = json_array_size(codes);
    TRY(alloc_for(&v->codes, n, sizeof *v->codes, "a voice's codes"));
    for (size_t i = 0; i < n; i++) {
        const json_t *code = json_array_get(codes, i);
        if (!json_is_integer(code)) return fail(UTTER_FORMAT, "%s: code %zu is no whole number", where, i);
        json_int_t value = json_integer_value(code);
        if (value < 0 || value >= c->config.n_codes)
            return fail(UTTER_FORMAT,
                        "%s: code %zu is %lld, and %s has codes 0..%d; this voice was made for another codec", where, i,
                        (long long)value, c->label, c->config.n_codes - 1);
        v->codes[i] = (int32_t)value;
    }
    v->n_codes = (int)n;
    return UTTER_OK;
}

// The transcript as the model reads it.
static status prepare_reference(const char *where, const char *text, const struct backbone *b, struct voice *v) {
    struct str ref = {0};
    status s = b->input_format == INPUT_PHONEMES ? phonemize(v->language, text, strlen(text), &ref)
                                                 : prompt_prepare_bpe(text, strlen(text), &ref);
    if (s == UTTER_OK) s = str_status(&ref);
    if (s == UTTER_OK) {
        v->ref = strdup(str_text(&ref));
        if (!v->ref) s = fail_memory(ref.len, where);
    }
    str_free(&ref);
    if (s != UTTER_OK) return s;
    int symbols = count_symbols(v->ref);
    if (symbols > 0 && v->n_codes > 0) v->frames_per_symbol = (double)v->n_codes / symbols;
    return UTTER_OK;
}

static status check_codec(const json_t *object, const char *where, const struct codec *c) {
    const char *made_by = json_string_value(json_object_get(object, "codec"));
    if (!made_by || strcasecmp(made_by, c->name) == 0) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s was made for the codec %s, and this is %s; clone the voice again with this codec",
                where, made_by, c->name);
}

static status fill(const json_t *object, const char *where, const struct backbone *b, const struct codec *c,
                   struct voice *v) {
    if (!json_is_object(object)) return fail(UTTER_FORMAT, "%s: a voice is a JSON object; see docs/voices.md", where);
    TRY(take_string(object, where, "name", NULL, &v->name));
    if (!*v->name || strlen(v->name) > MAX_NAME_BYTES)
        return fail(UTTER_FORMAT, "%s: \"name\" must have 1 to %d bytes", where, MAX_NAME_BYTES);
    TRY(take_string(object, where, "language", b->language, &v->language));
    TRY(take_string(object, where, "note", "", &v->note));
    TRY(take_string(object, where, "token", "", &v->token));
    if (*v->token && tokenizer_find(b->tokenizer, v->token) < 0)
        return fail(UTTER_FORMAT, "%s: the token %s is not in the vocabulary of %s", where, v->token, b->label);
    TRY(check_codec(object, where, c));
    TRY(take_codes(object, where, c, v));
    char *text = NULL;
    TRY(take_string(object, where, "text", "", &text));
    status s = UTTER_OK;
    if (!*v->token && (v->n_codes == 0 || !*text))
        s = fail(UTTER_FORMAT, "%s: a voice needs \"codes\" and their transcript \"text\", or a \"token\" of the model",
                 where);
    if (s == UTTER_OK) s = prepare_reference(where, text, b, v);
    free(text);
    return s;
}

static status add(struct voice_list *list, const json_t *object, const char *where, const struct backbone *b,
                  const struct codec *c) {
    struct voice *v = calloc(1, sizeof *v);
    if (!v) return fail_memory(sizeof *v, "a voice");
    status s = fill(object, where, b, c, v);
    for (int i = 0; s == UTTER_OK && i < list->n; i++)
        if (strcmp(list->voices[i]->name, v->name) == 0)
            s = fail(UTTER_INVALID, "%s: there is a voice named %s already; give it another \"name\"", where, v->name);
    if (s == UTTER_OK) s = voice_list_reserve(list, list->n + 1);
    if (s == UTTER_OK)
        list->voices[list->n++] = v;
    else
        voice_free(v);
    return s;
}

status voice_list_add_own(struct voice_list *list, const struct backbone *b, const struct codec *c) {
    struct gguf_string text;
    if (!gguf_get_string(b->file, "utter.voices", &text)) return UTTER_OK;
    json_error_t error;
    json_t *array = json_loadb(text.data, text.len, 0, &error);
    status s = UTTER_OK;
    if (!json_is_array(array)) s = fail(UTTER_FORMAT, "%s: utter.voices is no JSON array: %s", b->label, error.text);
    for (size_t i = 0; s == UTTER_OK && i < json_array_size(array); i++)
        s = add(list, json_array_get(array, i), b->label, b, c);
    json_decref(array);
    return s;
}

// ---- from files ----

// Codes as another program wrote them, with what lies beside them, in the form of a voice file.
static status object_of_codes(const char *path, const struct file_map *m, json_t **out) {
    int64_t *codes = NULL, n = 0;
    char *text = NULL, *name = NULL;
    TRY(voice_codes_read(path, m->data, m->size, &codes, &n));
    status s = voice_codes_transcript(path, &text);
    if (s == UTTER_OK) s = voice_codes_name(path, &name);
    json_t *array = json_array();
    int failed = array ? 0 : -1;
    for (int64_t i = 0; i < n && s == UTTER_OK; i++) failed |= json_array_append_new(array, json_integer(codes[i]));
    if (s == UTTER_OK && failed) s = fail_memory((size_t)n * sizeof *codes, "a voice");
    if (s == UTTER_OK) {
        *out = json_pack("{s:s, s:i, s:s, s:s, s:O}", "format", "utter-voice", "version", 1, "name", name, "text", text,
                         "codes", array);
        if (!*out) s = fail(UTTER_FORMAT, "%s: its name, or the transcript beside it, is not a text in UTF-8", path);
    }
    json_decref(array);
    free(name);
    free(text);
    free_aligned(codes);
    return s;
}

static status object_of_file(const char *path, json_t **out) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    status s = UTTER_OK;
    if (m.size > MAX_FILE_BYTES) {
        s = fail(UTTER_LIMIT, "%s has %zu bytes; a voice file has at most %d", path, m.size, MAX_FILE_BYTES);
    } else if (voice_codes_look_like(path, m.data, m.size)) {
        s = object_of_codes(path, &m, out);
    } else {
        json_error_t error = {0};
        *out = json_loadb(m.data ? m.data : "", m.size, JSON_REJECT_DUPLICATES, &error);
        if (!*out) s = fail(UTTER_FORMAT, "%s is no voice file: %s (line %d)", path, error.text, error.line);
    }
    file_map_close(&m);
    return s;
}

status voice_list_add_file(struct voice_list *list, const char *path, const struct backbone *b, const struct codec *c) {
    json_t *object = NULL;
    status s = object_of_file(path, &object);
    if (s == UTTER_OK) {
        const char *format = json_string_value(json_object_get(object, "format"));
        json_int_t version = json_integer_value(json_object_get(object, "version"));
        if (!format || strcmp(format, "utter-voice") != 0)
            s = fail(UTTER_FORMAT, "%s is no voice file: \"format\" is not \"utter-voice\"; see docs/voices.md", path);
        else if (version != 1)
            s = fail(UTTER_UNSUPPORTED, "%s is a voice file of version %lld; this utter reads version 1", path,
                     (long long)version);
    }
    if (s == UTTER_OK) s = add(list, object, path, b, c);
    json_decref(object);
    return s;
}

status voice_list_find(const struct voice_list *list, const char *name, const struct voice **out) {
    if (list->n == 0)
        return fail(UTTER_INVALID,
                    "this model has no voice of its own; give it one with --voice-file (docs/voices.md)");
    for (int i = 0; i < list->n; i++) {
        if (name && strcmp(list->voices[i]->name, name) != 0) continue;
        *out = list->voices[i];
        return UTTER_OK;
    }
    struct str known = {0};
    for (int i = 0; i < list->n && known.len < 300; i++)
        str_printf(&known, "%s%s", i ? ", " : "", list->voices[i]->name);
    status s = fail(UTTER_INVALID, "there is no voice named %s; there is: %s", name, str_text(&known));
    str_free(&known);
    return s;
}
