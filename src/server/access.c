#include "server/access.h"

#include <math.h>
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

static bool is_plain(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\') return false;
    return true;
}

static void put_member(struct str *line, const char *name, const char *text) {
    str_puts(line, ",\"");
    str_puts(line, name);
    str_puts(line, "\":");
    if (!is_plain(text)) {
        json_out(json_text(text), 6, line);
        return;
    }
    str_putc(line, '"');
    str_puts(line, text);
    str_putc(line, '"');
}

// As whole numbers, which are written sooner than real ones.
static void put_thousandths(struct str *line, const char *name, double thousandths) {
    long long n = llround(thousandths);
    str_printf(line, ",\"%s\":%lld.%03lld", name, n / 1000, n % 1000);
}

// Written without a tree of values: it is done for each request, and that took longer than the rest of its end.
static void request_json(const struct access_entry *e, struct str *line) {
    char path[MAX_SHOWN + 1], method[MAX_SHOWN + 1];
    str_puts(line, "{\"time\":\"");
    put_time(line);
    str_puts(line, "\",\"level\":\"info\"");
    put_member(line, "id", e->id);
    put_member(line, "caller", e->caller);
    put_member(line, "method", shown(e->method, method));
    put_member(line, "path", shown(e->path, path));
    str_printf(line, ",\"status\":%d,\"bytes\":%lld", e->http_status, (long long)e->n_bytes);
    put_thousandths(line, "ms", e->seconds * 1e6);
    if (*e->trace) put_member(line, "traceparent", e->trace);
    if (e->voice) {
        put_member(line, "voice", e->voice);
        put_member(line, "format", e->format);
        str_printf(line, ",\"characters\":%d", e->n_characters);
    }
    const struct outcome *o = e->outcome;
    if (o) {
        put_thousandths(line, "queue_ms", o->queue_s * 1e6);
        put_thousandths(line, "first_audio_ms", o->first_audio_s * 1e6);
        put_thousandths(line, "work_ms", o->work_s * 1e6);
        put_thousandths(line, "audio_s", o->audio_s * 1e3);
        str_printf(line, ",\"codes\":%lld,\"retries\":%d", (long long)o->n_codes, o->n_retries);
    }
    if (e->error) put_member(line, "error", e->error);
    str_putc(line, '}');
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
