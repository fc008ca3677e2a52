/* How fast a server answers that speaks OpenAI's speech endpoint: many requests at once, each heard by a listener. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/str.h"
#include "cli/bench.h"
#include "cli/bench_listener.h"
#include "cli/json.h"
#include "cli/stop.h"

enum { MOST_AT_ONCE = 4096, KINDS_OF_ERRORS = 8, MAX_ERROR = 2048, PCM_RATE = 24000 };

struct exchange {
    const struct load *load;
    CURL *curl;
    struct curl_slist *headers;
    struct str body;   // of the request
    struct str error;  // the answer, where it is none of sound
    struct listener heard;
    int64_t since;
    int64_t n_bytes;
    int rate_hz;
};

/* One level: so many requests, so many of them at once. */
struct load {
    struct bench *bench;
    const char *url, *key;
    CURLM *multi;
    struct exchange *calls;  // [n_requests]
    int n_requests, n_at_once, n_started, n_done;
    double *firsts, *totals;  // [n_good] seconds
    int n_good, n_with_gaps;
    double audio_s, late_s, seconds;
    struct {
        char sentence[256];
        int n;
    } errors[KINDS_OF_ERRORS];
    int n_errors;
};

static double seconds_since(int64_t since) { return (double)(clock_ns() - since) * 1e-9; }

/* ---- one request ---- */

static size_t take_header(char *data, size_t size, size_t n, void *user) {
    struct exchange *call = user;
    static const char name[] = "content-type:";
    char line[256];
    size_t len = size * n < sizeof line - 1 ? size * n : sizeof line - 1;
    memcpy(line, data, len);
    line[len] = 0;
    if (len > sizeof name && strncasecmp(line, name, sizeof name - 1) == 0) {
        const char *rate = strstr(line, "rate=");
        if (rate && atoi(rate + 5) > 0) call->rate_hz = atoi(rate + 5);
    }
    return size * n;
}

static size_t take_body(char *data, size_t size, size_t n, void *user) {
    struct exchange *call = user;
    const size_t len = size * n;
    long code = 0;
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200) {
        if (call->error.len < MAX_ERROR) str_append(&call->error, data, len < MAX_ERROR ? len : MAX_ERROR);
        return len;
    }
    // Samples of two bytes; half a one waits for its other half.
    int64_t before = call->n_bytes / 2;
    call->n_bytes += (int64_t)len;
    listener_hear(&call->heard, seconds_since(call->since), (double)(call->n_bytes / 2 - before) / call->rate_hz);
    return len;
}

static status write_request(struct exchange *call, int number) {
    const struct bench *b = call->load->bench;
    struct str text = {0};
    str_puts(&text, b->text);
    if (strcmp(b->text, BENCH_SENTENCE) == 0) str_printf(&text, " Number %d.", number);  // no answer from a cache
    json_t *o = json_pack("{s:s, s:o, s:s, s:s}", "model", "tts-1", "input", json_text(str_text(&text)),
                          "response_format", "pcm", "stream_format", "audio");
    json_object_set_new(o, "voice", json_string(b->voice ? b->voice : "alloy"));
    char *line = json_dumps(o, JSON_COMPACT);
    if (line) str_puts(&call->body, line);
    free(line);
    json_decref(o);
    str_free(&text);
    return call->body.len ? str_status(&call->body) : fail_memory(1024, "a request");
}

static status begin(struct load *l) {
    struct exchange *call = &l->calls[l->n_started];
    *call = (struct exchange){.load = l, .rate_hz = PCM_RATE};
    TRY(write_request(call, l->n_started + 1));
    call->curl = curl_easy_init();
    call->headers = curl_slist_append(NULL, "Content-Type: application/json");
    l->n_started++;
    if (!call->curl || !call->headers) return fail_memory(1024, "a request");
    if (l->key) {
        struct str line = {0};
        str_printf(&line, "Authorization: Bearer %s", l->key);
        call->headers = curl_slist_append(call->headers, str_text(&line));
        str_free(&line);
    }
    curl_easy_setopt(call->curl, CURLOPT_URL, l->url);
    curl_easy_setopt(call->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(call->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(call->curl, CURLOPT_POSTFIELDS, str_text(&call->body));
    curl_easy_setopt(call->curl, CURLOPT_POSTFIELDSIZE, (long)call->body.len);
    curl_easy_setopt(call->curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(call->curl, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(call->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(call->curl, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT_MS, (long)(l->bench->most_seconds * 1000));
    curl_easy_setopt(call->curl, CURLOPT_PRIVATE, call);
    call->since = clock_ns();
    curl_multi_add_handle(l->multi, call->curl);
    return UTTER_OK;
}

/* ---- how it ended ---- */

static void count_error(struct load *l, const char *sentence) {
    for (int i = 0; i < l->n_errors; i++)
        if (strcmp(l->errors[i].sentence, sentence) == 0 || i == KINDS_OF_ERRORS - 1) {
            l->errors[i].n++;
            return;
        }
    snprintf(l->errors[l->n_errors].sentence, sizeof l->errors[0].sentence, "%s", sentence);
    l->errors[l->n_errors++].n = 1;
}

// What an answer that is no sound says: the sentence in OpenAI's error object, or the answer itself.
static void tell_refusal(const struct exchange *call, long code, char sentence[256]) {
    json_t *o = json_loads(str_text(&call->error), 0, NULL);
    const json_t *error = json_object_get(o, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (!message) message = json_string_value(error);
    snprintf(sentence, 256, "%ld %.200s", code, message ? message : str_text(&call->error));
    json_decref(o);
}

static void end(struct load *l, struct exchange *call, CURLcode result) {
    char sentence[256] = "";
    long code = 0;
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 0)
        tell_refusal(call, code, sentence);
    else if (result != CURLE_OK)
        snprintf(sentence, sizeof sentence, "%s", curl_easy_strerror(result));
    else if (call->heard.audio_s == 0)
        snprintf(sentence, sizeof sentence, "an answer without sound");
    l->n_done++;
    if (*sentence) {
        count_error(l, sentence);
    } else {
        l->firsts[l->n_good] = call->heard.first_s;
        l->totals[l->n_good++] = seconds_since(call->since);
        l->n_with_gaps += call->heard.n_gaps > 0;
        l->audio_s += call->heard.audio_s;
        l->late_s += call->heard.late_s;
    }
    curl_multi_remove_handle(l->multi, call->curl);
    curl_easy_cleanup(call->curl);
    call->curl = NULL;
}

static status run_calls(struct load *l) {
    const int64_t since = clock_ns();
    while (l->n_done < l->n_requests) {
        if (stop_requested()) return fail(UTTER_CANCELLED, "stopped");
        while (l->n_started < l->n_requests && l->n_started - l->n_done < l->n_at_once) TRY(begin(l));
        int n_running, n_left;
        if (curl_multi_perform(l->multi, &n_running) != CURLM_OK)
            return fail(UTTER_INTERNAL, "libcurl cannot go on with the requests");
        for (CURLMsg *m; (m = curl_multi_info_read(l->multi, &n_left));) {
            char *call;
            const CURLcode result = m->data.result;
            if (m->msg != CURLMSG_DONE) continue;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
            end(l, (struct exchange *)call, result);
        }
        const bool full = l->n_started == l->n_requests || l->n_started - l->n_done == l->n_at_once;
        if (full && l->n_done < l->n_requests) curl_multi_poll(l->multi, NULL, 0, 200, NULL);
    }
    l->seconds = seconds_since(since);
    return UTTER_OK;
}

static void load_free(struct load *l) {
    for (int i = 0; l->calls && i < l->n_started; i++) {
        struct exchange *call = &l->calls[i];
        if (call->curl) {
            curl_multi_remove_handle(l->multi, call->curl);
            curl_easy_cleanup(call->curl);
        }
        curl_slist_free_all(call->headers);
        str_free(&call->body);
        str_free(&call->error);
    }
    if (l->multi) curl_multi_cleanup(l->multi);
    free_aligned(l->calls);
    free_aligned(l->firsts);
    free_aligned(l->totals);
}

static status run_load(struct bench *b, const char *url, const char *key, int n_at_once, int n_requests,
                       struct load *l) {
    *l = (struct load){.bench = b, .url = url, .key = key, .n_at_once = n_at_once, .n_requests = n_requests};
    TRY(alloc_for(&l->calls, (size_t)n_requests, sizeof *l->calls, "requests"));
    TRY(alloc_for(&l->firsts, (size_t)n_requests, sizeof *l->firsts, "times"));
    TRY(alloc_for(&l->totals, (size_t)n_requests, sizeof *l->totals, "times"));
    l->multi = curl_multi_init();
    if (!l->multi) return fail_memory(1024, "libcurl");
    return run_calls(l);
}

/* ---- telling ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *values, int n, int percent) {
    if (n == 0) return 0;
    qsort(values, (size_t)n, sizeof *values, ascending);
    int i = (n * percent + 99) / 100 - 1;
    return values[i < 0 ? 0 : i];
}

static json_t *percentiles(double *values, int n) {
    return json_pack("{s:f, s:f, s:f}", "p50", percentile(values, n, 50), "p90", percentile(values, n, 90), "p99",
                     percentile(values, n, 99));
}

static void tell(struct bench *b, struct load *l) {
    json_t *errors = json_array();
    for (int i = 0; i < l->n_errors; i++)
        json_array_append_new(
            errors, json_pack("{s:o, s:i}", "sentence", json_text(l->errors[i].sentence), "count", l->errors[i].n));
    json_array_append_new(
        b->rows,
        json_pack("{s:i, s:i, s:i, s:o, s:o, s:f, s:f, s:i, s:f, s:o}", "concurrency", l->n_at_once, "requests",
                  l->n_requests, "good", l->n_good, "first_sound_s", percentiles(l->firsts, l->n_good), "total_s",
                  percentiles(l->totals, l->n_good), "requests_s", l->n_good / l->seconds, "real_time",
                  l->audio_s / l->seconds, "with_gaps", l->n_with_gaps, "gap_s", l->late_s, "errors", errors));
    bench_progress(b, "%s", "");
    if (b->json) return;
    printf("%7d %8d | %6.3f %6.3f %6.3f | %6.3f %6.3f %6.3f | %10.2f %9.1fx | %9d %7.2f\n", l->n_at_once, l->n_requests,
           percentile(l->firsts, l->n_good, 50), percentile(l->firsts, l->n_good, 90),
           percentile(l->firsts, l->n_good, 99), percentile(l->totals, l->n_good, 50),
           percentile(l->totals, l->n_good, 90), percentile(l->totals, l->n_good, 99), l->n_good / l->seconds,
           l->audio_s / l->seconds, l->n_with_gaps, l->late_s);
    for (int i = 0; i < l->n_errors; i++) printf("%16d x %s\n", l->errors[i].n, l->errors[i].sentence);
    fflush(stdout);
}

static status level(struct bench *b, const char *url, const char *key, int n_at_once) {
    struct load l = {0};
    int n = b->n_requests > 0 ? b->n_requests : 4 * n_at_once;
    bench_progress(b, "%d requests, %d at once", n, n_at_once);
    status s = run_load(b, url, key, n_at_once, n, &l);
    if (s == UTTER_OK) tell(b, &l);
    load_free(&l);
    return s;
}

// One request first: a server that is not there is told at once, and one that has just started is warm.
static status warm(struct bench *b, const char *url, const char *key) {
    struct load l = {0};
    bench_progress(b, "is it there?");
    status s = run_load(b, url, key, 1, 1, &l);
    if (s == UTTER_OK && l.n_good == 0) s = fail(UTTER_IO, "%s: %s", url, l.errors[0].sentence);
    load_free(&l);
    return s;
}

static status all_levels(struct bench *b, const char *url) {
    const char *key = b->key ? b->key : getenv("UTTER_API_KEY");
    TRY(warm(b, url, key));
    if (!b->json)
        printf(
            "%s\n%7s %8s | first sound, s      | all sound, s        | %10s %10s | with gaps  s late\n%16s | %6s %6s "
            "%6s | %6s "
            "%6s %6s |\n",
            url, "at once", "requests", "requests/s", "real time", "", "p50", "p90", "p99", "p50", "p90", "p99");
    for (const char *at = b->levels; *at;) {
        char *end_of;
        const long n = strtol(at, &end_of, 10);
        if (end_of == at || n < 1 || n > MOST_AT_ONCE || (*end_of && *end_of != ','))
            return fail(UTTER_INVALID, "--concurrency is a list of numbers from 1 to %d, as 1,4,16, and not %s",
                        MOST_AT_ONCE, b->levels);
        TRY(level(b, url, key, (int)n));
        at = *end_of ? end_of + 1 : end_of;
    }
    return UTTER_OK;
}

status bench_server(struct bench *b) {
    struct str url = {0};
    size_t len = strlen(b->server);
    while (len > 0 && b->server[len - 1] == '/') len--;
    str_append(&url, b->server, len);
    if (!strstr(str_text(&url), "/audio/speech")) {
        const char *versioned = "/v1";
        bool has_version = url.len > 3 && strcmp(url.data + url.len - 3, versioned) == 0;
        str_printf(&url, "%s/audio/speech", has_version ? "" : versioned);
    }
    json_object_set_new(b->about, "server", json_text(str_text(&url)));
    status s = str_status(&url);
    if (s == UTTER_OK) s = all_levels(b, str_text(&url));
    str_free(&url);
    return s;
}
