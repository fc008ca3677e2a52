#include "server/access.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "server/json_out.h"

enum { MAX_SHOWN = 300 };

status access_format_parse(const char *name, enum access_format *out) {
    static const char *const names[] = {"text", "json", "off"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum access_format)i;
            return UTTER_OK;
        }
    return fail(UTTER_INVALID, "there is no log format \"%s\"; text, json and off are", name);
}

static void put_time(struct str *out) {
    struct timespec t;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &parts);
    str_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
               parts.tm_hour, parts.tm_min, parts.tm_sec, t.tv_nsec / 1000000);
}

// In one write, so that lines of several threads do not mix.
static void emit(struct str *line) {
    str_putc(line, '\n');
    if (!line->failed && write(STDERR_FILENO, line->data, line->len) < 0) {
        // there is nobody to tell
    }
    str_free(line);
}

// What a client sent, of letters that can be shown alone.
static const char *shown(const char *text, char out[MAX_SHOWN + 1]) {
    size_t i = 0;
    for (; text[i] && i < MAX_SHOWN; i++) out[i] = text[i] > ' ' && text[i] < 127 ? text[i] : '?';
    out[i] = 0;
    return out;
}

static void request_json(const struct access_entry *e, struct str *line) {
    char path[MAX_SHOWN + 1], method[MAX_SHOWN + 1];
    struct str now = {0};
    put_time(&now);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:f}", "time", str_text(&now), "level", "info", "id", e->id,
                  "caller", e->caller, "method", shown(e->method, method), "path", shown(e->path, path), "status",
                  e->http_status, "bytes", (json_int_t)e->n_bytes, "ms", e->seconds * 1000);
    str_free(&now);
    if (*e->trace) json_object_set_new(o, "traceparent", json_string(e->trace));
    if (e->voice) {
        json_object_set_new(o, "voice", json_string(e->voice));
        json_object_set_new(o, "format", json_string(e->format));
        json_object_set_new(o, "characters", json_integer(e->n_characters));
    }
    if (e->outcome) {
        json_object_set_new(o, "queue_ms", json_real(e->outcome->queue_s * 1000));
        json_object_set_new(o, "first_audio_ms", json_real(e->outcome->first_audio_s * 1000));
        json_object_set_new(o, "work_ms", json_real(e->outcome->work_s * 1000));
        json_object_set_new(o, "audio_s", json_real(e->outcome->audio_s));
        json_object_set_new(o, "codes", json_integer(e->outcome->n_codes));
        json_object_set_new(o, "retries", json_integer(e->outcome->n_retries));
    }
    if (e->error) json_object_set_new(o, "error", json_text(e->error));
    json_out(o, 6, line);
}

static void request_text(const struct access_entry *e, struct str *line) {
    char path[MAX_SHOWN + 1], method[MAX_SHOWN + 1];
    put_time(line);
    str_printf(line, " %s %s %s %s %d %lld B %.1f ms", e->id, e->caller, shown(e->method, method), shown(e->path, path),
               e->http_status, (long long)e->n_bytes, e->seconds * 1000);
    if (e->voice) str_printf(line, ", %d characters as %s in %s", e->n_characters, e->format, e->voice);
    if (e->outcome)
        str_printf(line, ", first sound after %.0f ms, %.2f s of sound in %.2f s", e->outcome->first_audio_s * 1000,
                   e->outcome->audio_s, e->outcome->work_s);
    if (e->error) str_printf(line, ": %s", e->error);
}

void access_request(enum access_format f, const struct access_entry *e) {
    struct str line = {0};
    if (f == ACCESS_OFF) return;
    if (f == ACCESS_JSON)
        request_json(e, &line);
    else
        request_text(e, &line);
    emit(&line);
}

void access_sentence(enum access_format f, utter_log_level level, const char *sentence) {
    static const char *const levels[] = {"debug", "info", "warning"};
    struct str line = {0};
    if (f == ACCESS_JSON) {
        struct str now = {0};
        put_time(&now);
        json_out(json_pack("{s:s, s:s, s:o}", "time", str_text(&now), "level", levels[level], "message",
                           json_text(sentence)),
                 6, &line);
        str_free(&now);
    } else
        str_printf(&line, "utter serve: %s%s", level == UTTER_LOG_WARNING ? "warning: " : "", sentence);
    emit(&line);
}
