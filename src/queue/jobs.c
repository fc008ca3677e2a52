#include "queue/jobs.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, MAX_TEXT = 16384 };

status queued_write(const struct queued *j, struct str *out) {
    json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:s, s:s*, s:I, s:f, s:i, s:f, s:f, s:i}", "version", VERSION, "book",
                          j->book, "unit", j->unit, "text", j->text, "language", j->language, "emotion", j->emotion,
                          "seed", (json_int_t)j->seed, "temperature", (double)j->temperature, "top_k", j->top_k,
                          "top_p", (double)j->top_p, "min_p", (double)j->min_p, "retries", j->retries);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text) return fail(UTTER_INTERNAL, "sentence %d cannot be written as a job; it is no UTF-8", j->unit);
    str_puts(out, text);
    free(text);
    return str_status(out);
}

static status bad(const char *why) {
    return fail(UTTER_FORMAT,
                "a job in the queue %s; it was put there by another version of utter, or by another program", why);
}

static bool is_number(const json_t *o, const char *name, double low, double high, double *out) {
    const json_t *value = json_object_get(o, name);
    if (!json_is_number(value)) return false;
    *out = json_number_value(value);
    return *out >= low && *out <= high;
}

static status take(const json_t *o, struct queued *j) {
    static const char *const known[] = {"version", "book",        "unit",  "text",  "language", "emotion",
                                        "seed",    "temperature", "top_k", "top_p", "min_p",    "retries"};
    double version, unit, seed, temperature, top_k, top_p, min_p, retries;
    if (!is_number(o, "version", 0, 1e6, &version)) return bad("has no version");
    if (version != VERSION) return bad("is of a version that is not known here");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, name, value) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) is_known |= strcmp(known[i], name) == 0;
        if (!is_known) return bad("has a field that is not known here");
    }
    const char *book = json_string_value(json_object_get(o, "book")),
               *text = json_string_value(json_object_get(o, "text"));
    const char *language = json_string_value(json_object_get(o, "language"));
    const char *emotion = json_string_value(json_object_get(o, "emotion"));
    if (!book || !*book || strlen(book) >= sizeof j->book || strspn(book, "0123456789abcdef") != strlen(book))
        return bad("names no book");
    if (!text || strlen(text) > MAX_TEXT || !language || strlen(language) > 32) return bad("has no text or language");
    if (!is_number(o, "unit", 0, 1e8, &unit) || !is_number(o, "seed", 0, UINT32_MAX, &seed) ||
        !is_number(o, "temperature", -1, 100, &temperature) || !is_number(o, "top_k", -1, 1e8, &top_k) ||
        !is_number(o, "top_p", -1, 1, &top_p) || !is_number(o, "min_p", -1, 1, &min_p) ||
        !is_number(o, "retries", -1, 100, &retries))
        return bad("has a number that is missing or beyond its range");
    strcpy(j->book, book);
    j->text = strdup(text);
    j->language = strdup(language);
    j->emotion = emotion ? strdup(emotion) : NULL;
    j->unit = (int)unit;
    j->seed = (uint32_t)seed;
    j->temperature = (float)temperature;
    j->top_k = (int)top_k;
    j->top_p = (float)top_p;
    j->min_p = (float)min_p;
    j->retries = (int)retries;
    return j->text && j->language ? UTTER_OK : fail_memory(strlen(text), "a job");
}

status queued_read(const char *json, size_t len, struct queued *out) {
    *out = (struct queued){0};
    json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    status s = json_is_object(o) ? take(o, out) : bad("is no JSON object");
    json_decref(o);
    if (s != UTTER_OK) queued_free(out);
    return s;
}

void queued_free(struct queued *j) {
    free(j->text);
    free(j->language);
    free(j->emotion);
    *j = (struct queued){0};
}
