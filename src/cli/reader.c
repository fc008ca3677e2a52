#include "cli/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAUSE_MS = 200 };  // a writer that is silent for so long has paused

static status open_buffer(struct reader *r) {
    r->buffer = malloc(PIECE_MAX + 1);
    return r->buffer ? UTTER_OK : fail_memory(PIECE_MAX + 1, "a text");
}

status reader_open(struct reader *r, const char *path, whole_sentences_fn *whole, const char *language) {
    bool standard = strcmp(path, "-") == 0;
    *r = (struct reader){.fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC),
                         .name = standard ? "standard input" : path,
                         .size = -1,
                         .whole = whole,
                         .language = language};
    if (r->fd < 0) return fail(UTTER_IO, "cannot read %s: %s; check the path", path, strerror(errno));
    struct stat info;
    if (fstat(r->fd, &info) == 0 && S_ISREG(info.st_mode)) r->size = info.st_size;
    return open_buffer(r);
}

status reader_open_text(struct reader *r, const char *text, whole_sentences_fn *whole, const char *language) {
    *r = (struct reader){.fd = -1,
                         .name = "the text",
                         .text = text,
                         .text_len = strlen(text),
                         .size = (int64_t)strlen(text),
                         .whole = whole,
                         .language = language};
    return open_buffer(r);
}

void reader_close(struct reader *r) {
    if (r->fd > STDIN_FILENO) close(r->fd);
    free(r->buffer);
    *r = (struct reader){.fd = -1};
}

// ---- reading ahead ----

static status check_bytes(const struct reader *r, size_t from) {
    const char *zero = memchr(r->buffer + from, 0, r->len - from);
    if (!zero) return UTTER_OK;
    if (r->taken == 0 && r->len >= 2 &&
        (memcmp(r->buffer, "\xff\xfe", 2) == 0 || memcmp(r->buffer, "\xfe\xff", 2) == 0))
        return fail(UTTER_INVALID, "%s is UTF-16; make UTF-8 of it with: iconv -f UTF-16 -t UTF-8", r->name);
    return fail(UTTER_INVALID, "%s is not text: byte %lld is zero; give plain UTF-8 text", r->name,
                (long long)(r->taken + (zero - r->buffer)));
}

static status fill_from_text(struct reader *r, size_t wanted) {
    size_t n = wanted - r->len < r->text_len ? wanted - r->len : r->text_len;
    if (n) memcpy(r->buffer + r->len, r->text, n);
    r->text += n;
    r->text_len -= n;
    r->len += n;
    r->ended = r->text_len == 0;
    return UTTER_OK;
}

// Waits for input; *paused: none came for PAUSE_MS although there is text to speak.
static status wait_for_input(struct reader *r, bool *paused) {
    for (;;) {
        if (r->stop && atomic_load(r->stop)) return fail(UTTER_CANCELLED, "reading %s was stopped", r->name);
        struct pollfd p = {.fd = r->fd, .events = POLLIN};
        int n = poll(&p, 1, PAUSE_MS);
        if (n > 0 || (n < 0 && errno != EINTR)) return UTTER_OK;  // read() says what is wrong
        if (n == 0 && r->len > 0) {
            *paused = true;
            return UTTER_OK;
        }
    }
}

// Reads until `wanted` bytes are in the buffer, the text is over, or its writer pauses.
static status fill(struct reader *r, size_t wanted, bool *paused) {
    *paused = false;
    size_t before = r->len;
    while (r->len < wanted && !r->ended && !*paused) {
        if (r->fd < 0) {
            TRY(fill_from_text(r, wanted));
            continue;
        }
        TRY(wait_for_input(r, paused));
        if (*paused) break;
        ssize_t n = read(r->fd, r->buffer + r->len, wanted - r->len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail(UTTER_IO, "cannot read %s: %s", r->name, strerror(errno));
        if (n == 0) r->ended = true;
        if (n > 0) r->len += (size_t)n;
    }
    return check_bytes(r, before);
}

static void drop(struct reader *r, size_t n) {
    memmove(r->buffer, r->buffer + n, r->len - n);
    r->len -= n;
    r->taken += (int64_t)n;
}

// ---- where to cut ----

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Drops the white space before the next piece, and a byte order mark at the start.
static status skip_space(struct reader *r, bool *paragraph) {
    int newlines = 0;
    bool paused;
    for (;;) {
        size_t n = 0;
        if (r->taken == 0 && r->len >= 3 && memcmp(r->buffer, "\xef\xbb\xbf", 3) == 0) n = 3;
        while (n < r->len && is_space(r->buffer[n])) newlines += r->buffer[n++] == '\n';
        drop(r, n);
        if (r->len > 0 || r->ended) break;
        TRY(fill(r, PIECE_USUAL, &paused));
    }
    *paragraph = newlines > 1;
    return UTTER_OK;
}

// For a text of PIECE_MAX bytes without a sentence's end: at white space, else between characters.
static size_t cut_anywhere(const char *text, size_t len) {
    size_t at = len;
    while (at > len / 2 && !is_space(text[at - 1])) at--;
    if (at > len / 2) return at;
    at = len;
    while (at > len - 4 && ((unsigned char)text[at] & 0xC0) == 0x80) at--;  // text[len] begins no character inside
    return at;
}

// Length of the piece that the buffer begins with; reads on until that is known.
static status find_end(struct reader *r, size_t *end) {
    bool paused;
    for (size_t wanted = PIECE_USUAL;;) {
        TRY(fill(r, wanted, &paused));
        *end = r->len;
        if (r->len < wanted && r->ended) return UTTER_OK;
        // A line that its writer waits after is complete, whatever it ends with.
        if (paused && r->buffer[r->len - 1] == '\n') return UTTER_OK;
        size_t n = r->len < wanted ? r->len : wanted;
        *end = r->whole(r->language, r->buffer, n);
        if (*end > 0) return UTTER_OK;
        if (r->len >= PIECE_MAX) break;
        if (r->len >= wanted) wanted = PIECE_MAX;
    }
    *end = cut_anywhere(r->buffer, r->len - 1);
    return UTTER_OK;
}

status reader_next(struct reader *r, struct piece *out) {
    *out = (struct piece){.text = ""};
    if (r->piece_len > 0) {
        r->buffer[r->piece_len] = r->after_piece;
        drop(r, r->piece_len);
        r->piece_len = 0;
    }
    TRY(skip_space(r, &out->paragraph));
    if (r->len == 0) return UTTER_OK;
    TRY(find_end(r, &r->piece_len));
    r->after_piece = r->buffer[r->piece_len];
    r->buffer[r->piece_len] = 0;
    out->text = r->buffer;
    out->len = r->piece_len;
    return UTTER_OK;
}
