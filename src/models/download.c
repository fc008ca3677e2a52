#include "models/download.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "models/digest.h"

enum { MAX_REDIRECTS = 10, MAX_HEADERS = 1 << 18, MAX_ETAG = 256 };
static const int64_t progress_bytes = 1 << 20;      // an attempt that brought so many has got somewhere
static const int64_t reserve_bytes = 16 << 20;      // left free on the disk
static const int64_t answer_of_failure = 64 << 10;  // read and dropped of a page that says what went wrong

// One download over all its attempts.
struct transfer {
    const struct download *d;
    struct download_result *result;
    CURL *curl;
    struct str *text;  // download_text: where it goes
    // download_file:
    const char *path;
    struct str part, sidecar;
    FILE *f;
    struct digest digest;  // of the first `done` bytes
    // the attempt
    int64_t done;        // bytes that are there
    int64_t asked_from;  // where this attempt was to continue; 0: from the start
    bool begun;          // the body's place has been made
    int64_t total;       // bytes of the whole file as this answer says; -1: it does not
    int64_t dropped;     // bytes of an answer that is no body
    int64_t head_bytes;
    bool stopped;  // by progress
    status s;      // a failure that callbacks found; its sentence has been recorded
    // of the last answer
    char etag[MAX_ETAG], linked_etag[MAX_ETAG];
    int64_t range_from, range_total;  // Content-Range; -1: none
    bool sent_on, redirected;         // it names another address; it is of that other address
};

struct download_limits download_limits_default(void) {
    return (struct download_limits){.connect_ms = 15000,
                                    .stall_s = 30,
                                    .stall_rate = 512,
                                    .n_attempts = 6,
                                    .backoff_ms = 1000,
                                    .max_wait_ms = 120000};
}

// Tells how far it is; false when it is to end.
static bool go_on(const struct transfer *t, int64_t done, int64_t total) {
    const struct download_events *e = t->d->events;
    return !e || e->progress(e->user, done, total);
}

static void prepare_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

// ---- what the server says ----

// The value of header `name` in line [len], trimmed, or NULL.
static const char *header(const char *line, size_t len, const char *name, size_t *n) {
    size_t key = strlen(name);
    if (len <= key || line[key] != ':' || strncasecmp(line, name, key) != 0) return NULL;
    const char *from = line + key + 1, *to = line + len;
    while (from < to && isspace((unsigned char)*from)) from++;
    while (to > from && isspace((unsigned char)to[-1])) to--;
    *n = (size_t)(to - from);
    return from;
}

static void keep(char *out, size_t room, const char *value, size_t n) {
    if (n >= room || memchr(value, 0, n)) n = 0;
    memcpy(out, value, n);
    out[n] = 0;
}

static void forget_answer(struct transfer *t) {
    t->etag[0] = t->result->code[0] = t->result->next[0] = 0;
    t->range_from = t->range_total = -1;
}

// <https://host/path?cursor=x>; rel="next"
static void keep_next(struct download_result *r, const char *value, size_t n) {
    char links[2048];
    keep(links, sizeof links, value, n);
    for (char *p = strchr(links, '<'); p; p = strchr(p, '<')) {
        char *end = strchr(++p, '>'), *rest = end ? strchr(end, '<') : NULL;
        if (!end) return;
        char *rel = strstr(end, "rel=\"next\"");
        if (rel && (!rest || rel < rest)) keep(r->next, sizeof r->next, p, (size_t)(end - p));
        p = end;
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    struct transfer *t = user;
    size_t len = size * count, n;
    const char *value;
    t->head_bytes += (int64_t)len;
    if (t->head_bytes > MAX_HEADERS) {
        t->s = fail(UTTER_LIMIT, "%s: the server's headers do not end", t->d->what);
        return 0;
    }
    if (len > 5 && strncmp(line, "HTTP/", 5) == 0) {
        forget_answer(t);
        t->redirected = t->sent_on;
    }
    if ((value = header(line, len, "ETag", &n))) keep(t->etag, sizeof t->etag, value, n);
    if ((value = header(line, len, "X-Error-Code", &n))) keep(t->result->code, sizeof t->result->code, value, n);
    if ((value = header(line, len, "X-Linked-ETag", &n)) && !t->redirected)
        keep(t->linked_etag, sizeof t->linked_etag, value, n);
    if (header(line, len, "Location", &n)) t->sent_on = true;
    if ((value = header(line, len, "Link", &n))) keep_next(t->result, value, n);
    if ((value = header(line, len, "Content-Range", &n))) {
        char range[96];
        keep(range, sizeof range, value, n);
        if (sscanf(range, "bytes %" SCNd64 "-%*d/%" SCNd64, &t->range_from, &t->range_total) < 1) t->range_from = -1;
    }
    return len;
}

// The SHA-256 to hold the file to: the caller's, or the one that the hub sent with its redirect; "" if none.
static void wanted_sha256(const struct transfer *t, char out[65]) {
    out[0] = 0;
    const char *tag = t->linked_etag[0] == '"' ? t->linked_etag + 1 : t->linked_etag;
    if (t->d->sha256 && t->d->sha256[0])
        memcpy(out, t->d->sha256, strnlen(t->d->sha256, 64) + 1);
    else if (strspn(tag, "0123456789abcdef") == 64)
        memcpy(out, tag, 64);
    out[64] = 0;
}

// ---- the file ----

static status write_failed(const struct transfer *t) {
    if (errno == ENOSPC || errno == EDQUOT)
        return fail(UTTER_IO,
                    "the disk is full: %s could not be written; what has come is kept, free some space and try again",
                    str_text(&t->part));
    return fail(UTTER_IO, "cannot write %s: %s", str_text(&t->part), strerror(errno));
}

static status check_space(const struct transfer *t, int64_t needed) {
    struct statvfs disk;
    if (!t->path || needed <= 0 || fstatvfs(fileno(t->f), &disk) != 0) return UTTER_OK;
    uint64_t unit = disk.f_frsize,
             free_bytes = (uint64_t)disk.f_bavail > UINT64_MAX / unit ? UINT64_MAX : disk.f_bavail * unit;
    if ((uint64_t)needed + (uint64_t)reserve_bytes <= free_bytes) return UTTER_OK;
    return fail(UTTER_IO,
                "%s needs %.1f MB more, and the disk with %s has %.1f MB left; free some space or set UTTER_HOME",
                t->d->what, (double)needed / 1e6, t->path, (double)free_bytes / 1e6);
}

// Empties the part file and its checksum.
static status start_over(struct transfer *t) {
    t->done = 0;
    if (t->text) {
        str_clear(t->text);
        return UTTER_OK;
    }
    digest_drop(&t->digest);
    TRY(digest_start(&t->digest, t->d->n_bytes));
    remove(str_text(&t->sidecar));
    if (fseeko(t->f, 0, SEEK_SET) != 0 || ftruncate(fileno(t->f), 0) != 0) return write_failed(t);
    return UTTER_OK;
}

// Remembers which content the part file is the beginning of.
static status keep_etag(const struct transfer *t) {
    if (!t->path || !t->etag[0]) return UTTER_OK;
    FILE *f = fopen(str_text(&t->sidecar), "wb");
    bool ok = f && fputs(t->etag, f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    return ok ? UTTER_OK : write_failed(t);
}

// The strong ETag of what the part file holds; "" if there is none to go by.
static void read_etag(const struct transfer *t, char out[MAX_ETAG]) {
    FILE *f = fopen(str_text(&t->sidecar), "rb");
    size_t n = f ? fread(out, 1, MAX_ETAG - 1, f) : 0;
    if (f) fclose(f);
    out[n] = 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f) out[0] = 0;
    if (out[0] != '"') out[0] = 0;
}

static bool stop_check(void *user) {
    struct transfer *t = user;
    if (!go_on(t, 0, t->d->n_bytes)) t->stopped = true;
    return t->stopped;
}

static status open_part(struct transfer *t) {
    str_printf(&t->part, "%s.part", t->path);
    str_printf(&t->sidecar, "%s.etag", str_text(&t->part));
    TRY(str_status(&t->part));
    TRY(str_status(&t->sidecar));
    TRY(digest_start(&t->digest, t->d->n_bytes));
    t->f = fopen(str_text(&t->part), "ab");
    if (!t->f)
        return fail(UTTER_IO, "cannot write %s: %s; check that the folder may be written to", str_text(&t->part),
                    strerror(errno));
    TRY(digest_add_file(&t->digest, str_text(&t->part), &t->done, stop_check, t));
    char etag[MAX_ETAG];
    read_etag(t, etag);
    bool known = etag[0] || (t->d->sha256 && t->d->sha256[0]) || (t->d->git && t->d->git[0]);
    if (t->done > 0 && (!known || (t->d->n_bytes >= 0 && t->done > t->d->n_bytes))) return start_over(t);
    return UTTER_OK;
}

// ---- the body ----

static int64_t announced_total(const struct transfer *t) {
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (t->range_total >= 0) return t->range_total;
    return length < 0 ? -1 : length > INT64_MAX - t->done ? INT64_MAX : t->done + length;
}

// The answer is a body: makes its place. Called once an attempt.
static status begin_body(struct transfer *t) {
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    t->begun = true;
    if (http == 206) {
        if (t->asked_from == 0 || t->range_from != t->asked_from)
            return fail(UTTER_FORMAT, "%s: the server sent another part of the file than was asked for", t->d->what);
    } else
        TRY(start_over(t));
    int64_t total = t->total = announced_total(t);
    if (t->d->n_bytes >= 0 && total >= 0 && total != t->d->n_bytes)
        return fail(UTTER_FORMAT,
                    "%s has %" PRId64 " bytes according to the listing, and %" PRId64
                    " are being sent; try again later",
                    t->d->what, t->d->n_bytes, total);
    if (t->d->n_bytes < 0 && t->d->max_bytes > 0 && total > t->d->max_bytes)
        return fail(UTTER_LIMIT, "%s is %.1f MB long; at most %.1f MB are wanted", t->d->what, (double)total / 1e6,
                    (double)t->d->max_bytes / 1e6);
    if (t->text) return UTTER_OK;
    if (t->done == 0) TRY(keep_etag(t));
    return check_space(t, (t->d->n_bytes >= 0 ? t->d->n_bytes : total) - t->done);
}

static status take(struct transfer *t, const char *data, size_t n) {
    int64_t bound = t->d->n_bytes >= 0 ? t->d->n_bytes : t->d->max_bytes > 0 ? t->d->max_bytes : INT64_MAX;
    if ((int64_t)n > bound - t->done)
        return fail(UTTER_LIMIT, "%s: the server sends more than the %" PRId64 " bytes that are wanted", t->d->what,
                    bound);
    if (t->text) {
        str_append(t->text, data, n);
        TRY(str_status(t->text));
    } else {
        if (fwrite(data, 1, n, t->f) != n) return write_failed(t);
        digest_add(&t->digest, data, n);
    }
    t->done += (int64_t)n;
    t->result->n_received += (int64_t)n;
    return UTTER_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    struct transfer *t = user;
    size_t n = size * count;
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    if (http != 200 && http != 206) {
        t->dropped += (int64_t)n;
        return t->dropped > answer_of_failure ? 0 : n;
    }
    if (!t->begun) t->s = begin_body(t);
    if (t->s == UTTER_OK) t->s = take(t, data, n);
    return t->s == UTTER_OK ? n : 0;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    struct transfer *t = user;
    (void)total, (void)now, (void)up_total, (void)up_now;
    int64_t expected = t->d->n_bytes >= 0 ? t->d->n_bytes : t->total;
    if (!go_on(t, t->done, expected)) t->stopped = true;
    return t->stopped;
}

// ---- an attempt ----

static status set_up(struct transfer *t, struct curl_slist **headers, char *error) {
    const struct download *d = t->d;
    struct str line = {0};
    char etag[MAX_ETAG] = "";
    curl_easy_reset(t->curl);
    if (d->token) {
        str_printf(&line, "Authorization: Bearer %s", d->token);
        *headers = curl_slist_append(*headers, str_text(&line));
    }
    t->asked_from = t->path ? t->done : 0;
    if (t->asked_from > 0) {
        read_etag(t, etag);
        str_clear(&line);
        str_printf(&line, "If-Range: %s", etag);
        if (etag[0]) *headers = curl_slist_append(*headers, str_text(&line));
        str_clear(&line);
        str_printf(&line, "%" PRId64 "-", t->asked_from);
        curl_easy_setopt(t->curl, CURLOPT_RANGE, str_text(&line));
    }
    status s = str_status(&line);
    str_free(&line);
    const char *protocols = strncasecmp(d->url, "https:", 6) == 0 ? "https" : "http,https";
    bool ok = !curl_easy_setopt(t->curl, CURLOPT_URL, d->url) && (!d->token || *headers) &&
              !curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, protocols) &&
              !curl_easy_setopt(t->curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    if (s == UTTER_OK && !ok) s = fail(UTTER_INVALID, "%s is no address that can be downloaded from", d->url);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(t->curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "utter/" UTTER_VERSION);
    curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)d->limits.connect_ms);
    curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_LIMIT, (long)d->limits.stall_rate);
    curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_TIME, (long)d->limits.stall_s);
    curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, error);
    return s;
}

enum outcome { DONE, AGAIN, GIVE_UP };

static status http_failed(const struct transfer *t) {
    long http = t->result->http;
    if (http == 401 || http == 403)
        return fail(UTTER_IO, "%s: the server does not allow it (HTTP %ld)", t->d->what, http);
    if (http == 404) return fail(UTTER_IO, "%s is not there (HTTP 404)", t->d->what);
    if (http == 429)
        return fail(UTTER_IO, "%s: the server has had too many requests (HTTP 429); try again later", t->d->what);
    if (http >= 500)
        return fail(UTTER_IO, "%s: the server is out of order (HTTP %ld); try again later", t->d->what, http);
    return fail(UTTER_IO, "%s: the server answered HTTP %ld", t->d->what, http);
}

static enum outcome judge_http(struct transfer *t, status *s, int64_t *wait_ms) {
    long http = t->result->http;
    curl_off_t retry_after = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &retry_after);
    *s = http_failed(t);
    if (http == 416 && t->asked_from > 0) {  // the part is no beginning of this file
        *s = start_over(t);
        return *s == UTTER_OK ? AGAIN : GIVE_UP;
    }
    if (http != 408 && http != 429 && http != 500 && http != 502 && http != 503 && http != 504) return GIVE_UP;
    if (retry_after > t->d->limits.max_wait_ms / 1000) {
        *s = fail(UTTER_IO, "%s: the server is busy (HTTP %ld) and asks to come back in %lld s; try again then",
                  t->d->what, http, (long long)retry_after);
        return GIVE_UP;
    }
    if (retry_after > 0 && *wait_ms < retry_after * 1000) *wait_ms = retry_after * 1000;
    return AGAIN;
}

static enum outcome judge(struct transfer *t, CURLcode code, const char *error, status *s, int64_t *wait_ms) {
    *s = UTTER_OK;
    if (t->stopped) {
        *s = fail(UTTER_CANCELLED, "stopped while fetching %s; what has come is kept", t->d->what);
        return GIVE_UP;
    }
    if (t->s != UTTER_OK) {
        *s = t->s;
        return GIVE_UP;
    }
    bool answered = t->result->http == 200 || t->result->http == 206;
    if (t->result->http >= 400 && (code == CURLE_OK || t->dropped > answer_of_failure))
        return judge_http(t, s, wait_ms);
    if (code == CURLE_OK && answered) {
        if (!t->begun) *s = t->s = begin_body(t);  // an empty file
        if (*s != UTTER_OK) return GIVE_UP;
        if (t->d->n_bytes < 0 || t->done == t->d->n_bytes) return DONE;
        code = CURLE_PARTIAL_FILE;
        error = "the transfer ended early";
    } else if (code == CURLE_OK) {
        *s = fail(UTTER_IO, "%s: the server answered HTTP %ld, which is no file", t->d->what, t->result->http);
        return GIVE_UP;
    }
    if (code == CURLE_OPERATION_TIMEDOUT && answered) error = "nothing more came";
    *s = fail(UTTER_IO, "%s could not be fetched: %s; check the network%s", t->d->what,
              error[0] ? error : curl_easy_strerror(code),
              t->path && t->done > 0 ? ", and try again: what has come is kept" : " and try again");
    switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_OPERATION_TIMEDOUT:
        case CURLE_PARTIAL_FILE:
        case CURLE_GOT_NOTHING:
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
            return AGAIN;
        default:
            return GIVE_UP;
    }
}

static enum outcome attempt(struct transfer *t, status *s, int64_t *wait_ms) {
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "";
    t->begun = t->sent_on = t->redirected = false;
    t->dropped = t->head_bytes = 0;
    t->total = -1;
    t->linked_etag[0] = 0;
    t->result->http = 0;
    forget_answer(t);
    *s = set_up(t, &headers, error);
    enum outcome outcome = GIVE_UP;
    if (*s == UTTER_OK) {
        CURLcode code = curl_easy_perform(t->curl);
        curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->result->http);
        outcome = judge(t, code, error, s, wait_ms);
    }
    curl_slist_free_all(headers);
    return outcome;
}

static status wait_for(struct transfer *t, int64_t wait_ms) {
    int64_t until = clock_ns() + wait_ms * 1000000;
    while (clock_ns() < until) {
        if (!go_on(t, t->done, t->d->n_bytes))
            return fail(UTTER_CANCELLED, "stopped while waiting to fetch %s", t->d->what);
        int64_t left = until - clock_ns();
        struct timespec pause = {.tv_nsec = left < 50000000 ? (left > 0 ? left : 0) : 50000000};
        nanosleep(&pause, NULL);
    }
    return UTTER_OK;
}

static status fetch(struct transfer *t) {
    for (int failed = 0;;) {
        int64_t before = t->result->n_received,
                wait_ms = (int64_t)t->d->limits.backoff_ms << (failed < 10 ? failed : 10);
        if (wait_ms > t->d->limits.max_wait_ms) wait_ms = t->d->limits.max_wait_ms;
        status s;
        enum outcome outcome = attempt(t, &s, &wait_ms);
        if (outcome == DONE) return UTTER_OK;
        failed = t->path && t->result->n_received - before >= progress_bytes ? 1 : failed + 1;
        if (outcome == GIVE_UP || failed >= t->d->limits.n_attempts) return s;
        const struct download_events *e = t->d->events;
        if (e && e->wait) {
            char sentence[512];
            snprintf(sentence, sizeof sentence, "%s; trying again in %.1f s", fail_message(), (double)wait_ms / 1000);
            e->wait(e->user, sentence);
        }
        TRY(wait_for(t, wait_ms));
    }
}

// ---- the two kinds ----

static status begin(struct transfer *t) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_curl);
    *t->result = (struct download_result){0};
    t->curl = curl_easy_init();
    return t->curl ? UTTER_OK : fail(UTTER_MEMORY, "libcurl could not be set up: out of memory");
}

status download_text(const struct download *d, struct str *out, struct download_result *result) {
    struct transfer t = {.d = d, .result = result, .text = out};
    TRY(begin(&t));
    status s = fetch(&t);
    result->n_bytes = t.done;
    curl_easy_cleanup(t.curl);
    return s;
}

// Compares checksums; the digest is used up.
static status check(struct transfer *t) {
    char sha256[65], git[41];
    wanted_sha256(t, sha256);
    digest_finish(&t->digest, t->result->sha256, git);
    t->result->n_bytes = t->done;
    const char *wanted = sha256, *found = t->result->sha256;
    if (!sha256[0] && t->d->git && t->d->git[0] && git[0]) wanted = t->d->git, found = git;
    if (!wanted[0] || strcmp(wanted, found) == 0) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s is damaged: its checksum should be %.16s..., and is %.16s...; it has been thrown away, try again",
                t->d->what, wanted, found);
}

static status finish_file(struct transfer *t) {
    bool ok = fflush(t->f) == 0 && fsync(fileno(t->f)) == 0;
    if (!ok) return write_failed(t);
    if (rename(str_text(&t->part), t->path) != 0)
        return fail(UTTER_IO, "cannot give %s its name: %s", t->path, strerror(errno));
    remove(str_text(&t->sidecar));
    return UTTER_OK;
}

static status fetch_file(struct transfer *t) {
    TRY(open_part(t));
    bool whole = t->d->n_bytes > 0 && t->done == t->d->n_bytes;
    bool resumed = t->done > 0;
    if (!whole) TRY(fetch(t));
    status s = check(t);
    if (s != UTTER_OK && resumed) {  // the beginning may have been of an older file: once more, all of it
        TRY(start_over(t));
        TRY(fetch(t));
        s = check(t);
    }
    if (s == UTTER_OK) return finish_file(t);
    remove(str_text(&t->part));
    remove(str_text(&t->sidecar));
    return s;
}

status download_file(const struct download *d, const char *path, struct download_result *result) {
    struct transfer t = {.d = d, .result = result, .path = path};
    TRY(begin(&t));
    status s = fetch_file(&t);
    if (t.f && fclose(t.f) != 0 && s == UTTER_OK) s = write_failed(&t);
    digest_drop(&t.digest);
    str_free(&t.part);
    str_free(&t.sidecar);
    curl_easy_cleanup(t.curl);
    return s;
}
