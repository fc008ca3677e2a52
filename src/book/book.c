#include "book/book.h"

#include <iconv.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "book/build.h"
#include "book/picture.h"
#include "text/normalize.h"
#include "text/utf8.h"

// ---- building ----

static const char *or_empty(const char *text) { return text ? text : ""; }

void book_collapse(const char *text, size_t len, struct str *out) {
    bool space = false, any = false;
    for (size_t at = 0; at < len;) {
        int32_t c;
        size_t n = utf8_next(text + at, len - at, &c);
        if (utf8_is_space(c)) {
            space = any;
        } else {
            if (space) str_putc(out, ' ');
            str_append(out, text + at, n);
            space = false;
            any = true;
        }
        at += n;
    }
}

void book_set(char **field, const char *text) {
    if (*field || !text) return;
    struct str clean = {0};
    book_collapse(text, strlen(text), &clean);
    if (clean.len > 0 && clean.len < 1000)
        *field = clean.data;
    else
        str_free(&clean);
}

void book_note(struct book *b, const char *format, ...) {
    enum { MAX_NOTES = 20 };
    if (b->n_notes++ == MAX_NOTES) str_puts(&b->notes, "there is more of this kind, which is not told\n");
    if (b->n_notes > MAX_NOTES) return;
    char sentence[600];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    str_printf(&b->notes, "%s\n", sentence);
}

// Room for one more element; a lack of memory is remembered in the text.
static bool grow(struct book *b, void *array, int n, size_t size) {
    if (n & (n - 1)) return true;  // capacities are powers of two
    void **place = array;
    void *grown = realloc(*place, (size_t)(n ? 2 * n : 1) * size);
    if (!grown) {
        b->text.failed = true;
        return false;
    }
    *place = grown;
    return true;
}

static bool speakable(const struct book *b, const struct book_block *block) {
    return block->kind != BOOK_BREAK && text_is_speakable(str_text(&b->text) + block->begin, block->end - block->begin);
}

static bool has_text(const struct book *b, int first, int end) {
    for (int i = first; i < end; i++)
        if (b->blocks[i].kind == BOOK_PARAGRAPH && speakable(b, &b->blocks[i])) return true;
    return false;
}

// Takes the last chapter away when nothing in it can be spoken. A heading alone becomes one of the next chapter's.
static void drop_empty_chapter(struct book *b) {
    if (b->n_chapters == 0) return;
    struct book_chapter *last = &b->chapters[b->n_chapters - 1];
    if (has_text(b, last->first_block, b->n_blocks)) return;
    const bool first = b->n_chapters == 1;
    if (*last->title && !first) book_note(b, "the chapter \"%.100s\" has no text and is left out", last->title);
    free(last->title);
    b->n_chapters--;
    if (first) return;  // a title page: read before the first chapter
    b->n_blocks = last->first_block;
}

void book_add_chapter(struct book *b, const char *title) {
    if (b->n_chapters == 0 && b->n_blocks > 0) {  // what stood before the first chapter
        if (!grow(b, &b->chapters, 0, sizeof *b->chapters)) return;
        b->chapters[b->n_chapters++] = (struct book_chapter){.title = strdup("")};
    }
    drop_empty_chapter(b);
    if (!grow(b, &b->chapters, b->n_chapters, sizeof *b->chapters)) return;
    struct book_chapter *c = &b->chapters[b->n_chapters++];
    *c = (struct book_chapter){.first_block = b->n_chapters == 1 ? 0 : b->n_blocks};
    book_set(&c->title, title);
    if (!c->title) c->title = strdup("");
}

void book_add(struct book *b, enum book_kind kind, const char *text, size_t len) {
    size_t begin = b->text.len;
    if (kind != BOOK_BREAK) book_collapse(text, len, &b->text);
    if (kind != BOOK_BREAK && b->text.len == begin) return;
    if (kind != BOOK_BREAK && !text_is_speakable(str_text(&b->text) + begin, b->text.len - begin)) {
        kind = BOOK_BREAK;  // * * *
        b->text.len = begin;
    }
    bool leading = b->n_blocks == 0 || b->blocks[b->n_blocks - 1].kind == BOOK_BREAK;
    if (kind == BOOK_BREAK && leading) return;
    if (!grow(b, &b->blocks, b->n_blocks, sizeof *b->blocks)) return;
    b->blocks[b->n_blocks++] = (struct book_block){kind, begin, b->text.len};
    str_putc(&b->text, '\n');
}

int book_chapter_end(const struct book *b, int i) {
    return i + 1 < b->n_chapters ? b->chapters[i + 1].first_block : b->n_blocks;
}

// A chapter that nothing names has the name of the heading it begins with.
static void name_chapters(struct book *b) {
    for (int i = 0; i < b->n_chapters; i++) {
        struct book_chapter *c = &b->chapters[i];
        if (!c->title || *c->title || c->first_block >= book_chapter_end(b, i)) continue;
        const struct book_block *first = &b->blocks[c->first_block];
        if (first->kind != BOOK_HEADING) continue;
        free(c->title);
        c->title = strndup(str_text(&b->text) + first->begin, first->end - first->begin);
    }
}

static status complete(struct book *b, const char *label) {
    TRY(str_status(&b->text));
    TRY(str_status(&b->notes));
    drop_empty_chapter(b);
    bool any = false;
    for (int i = 0; i < b->n_blocks && !any; i++) any = speakable(b, &b->blocks[i]);
    if (!any) return fail(UTTER_NO_TEXT, "%s has no letters or digits; there is nothing to read", label);
    if (b->n_chapters == 0) {
        TRY(grow(b, &b->chapters, 0, sizeof *b->chapters) ? UTTER_OK : fail_memory(sizeof *b->chapters, "a chapter"));
        b->chapters[b->n_chapters++] = (struct book_chapter){.title = strdup(or_empty(b->title))};
    }
    b->chapters[0].first_block = 0;
    name_chapters(b);
    char **fields[] = {&b->title, &b->author, &b->language};
    for (int i = 0; i < 3; i++)
        if (!*fields[i]) *fields[i] = strdup("");
    bool whole = b->title && b->author && b->language;
    for (int i = 0; i < b->n_chapters; i++) whole &= b->chapters[i].title != NULL;
    return whole ? UTTER_OK : fail_memory(100, "a title");
}

void book_free(struct book *b) {
    for (int i = 0; i < b->n_chapters; i++) free(b->chapters[i].title);
    free(b->chapters);
    free(b->blocks);
    str_free(&b->text);
    str_free(&b->cover);
    str_free(&b->notes);
    free(b->title);
    free(b->author);
    free(b->language);
    *b = (struct book){0};
}

// ---- encodings ----

static status convert(const char *label, const char *from, const char *data, size_t len, struct str *out) {
    iconv_t with = iconv_open("UTF-8", from);
    if (with == (iconv_t)-1)
        return fail(UTTER_UNSUPPORTED, "%s is written in %s, which is not known here", label, from);
    char *in = (char *)(uintptr_t)data, buffer[4096];
    while (len > 0) {
        char *to = buffer;
        size_t room = sizeof buffer, before = len;
        iconv(with, &in, &len, &to, &room);
        str_append(out, buffer, sizeof buffer - room);
        if (len == before && room == sizeof buffer) {  // a broken sequence
            in++;
            len--;
            str_puts(out, " ");
        }
    }
    iconv_close(with);
    return str_status(out);
}

static bool is_utf8(const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        int32_t c;
        at += utf8_next(text + at, len - at, &c);
        if (c == UTF8_INVALID) return false;
    }
    return true;
}

status book_decode(struct book *b, const char *label, const char *data, size_t len, struct str *out) {
    if (len >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
        return convert(label, "UTF-16", data, len, out);
    if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) data += 3, len -= 3;
    if (memchr(data, 0, len < 4096 ? len : 4096))
        return fail(UTTER_FORMAT, "%s is no text: it holds zero bytes; books are read from .txt, .md, .html and .epub",
                    label);
    long n_repaired = 0;
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(data + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - data) + 1 - at : len - at;
        if (is_utf8(data + at, n)) {
            str_append(out, data + at, n);
        } else {
            n_repaired++;
            TRY(convert(label, "WINDOWS-1252", data + at, n, out));
        }
        at += n;
    }
    if (n_repaired == 1) book_note(b, "a line of %s is no UTF-8; it is read as Windows-1252", label);
    if (n_repaired > 1) book_note(b, "%ld lines of %s are no UTF-8; they are read as Windows-1252", n_repaired, label);
    return str_status(out);
}

// ---- opening ----

static bool ends_in(const char *path, const char *const *endings) {
    const char *dot = strrchr(path, '.');
    for (; dot && *endings; endings++)
        if (strcasecmp(dot, *endings) == 0) return true;
    return false;
}

static bool looks_like_html(const char *data, size_t len) {
    size_t at = len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < len && strchr(" \t\r\n", data[at]) && data[at]) at++;
    size_t left = len - at;
    return (left > 14 && strncasecmp(data + at, "<!doctype html", 14) == 0) ||
           (left > 5 && strncasecmp(data + at, "<html", 5) == 0);
}

static status read_any(const char *path, const char *data, size_t len, struct book *b) {
    static const char *const html[] = {".html", ".htm", ".xhtml", NULL};
    static const char *const markdown[] = {".md", ".markdown", NULL};
    if (len >= 4 && memcmp(data, "PK\3\4", 4) == 0) return book_read_epub(b, path, data, len);
    if (ends_in(path, (const char *const[]){".epub", NULL}))
        return fail(UTTER_FORMAT, "%s is named an EPUB but is no zip file; it may be damaged: fetch it again", path);
    if (len >= 5 && memcmp(data, "%PDF-", 5) == 0)
        return fail(UTTER_UNSUPPORTED, "%s is a PDF; turn it into text first, for example with pdftotext", path);
    if (len > BOOK_MAX_BYTES)
        return fail(UTTER_LIMIT, "%s has %zu MB of text; at most %d MB can be read at once: split it", path, len >> 20,
                    BOOK_MAX_BYTES >> 20);
    if (ends_in(path, html) || looks_like_html(data, len)) return book_read_html(b, path, data, len, NULL);
    struct str text = {0};
    status s = book_decode(b, path, data, len, &text);
    if (s == UTTER_OK && ends_in(path, markdown))
        s = book_read_markdown(b, path, str_text(&text), text.len);
    else if (s == UTTER_OK)
        book_read_text(b, str_text(&text), text.len);
    str_free(&text);
    return s;
}

status book_open(const char *path, struct book *out) {
    *out = (struct book){0};
    struct file_map file;
    TRY(file_map_open(path, &file));
    status s = read_any(path, file.size ? file.data : "", file.size, out);
    if (s == UTTER_OK) s = complete(out, path);
    file_map_close(&file);
    if (s != UTTER_OK) book_free(out);
    return s;
}

status book_set_cover(struct book *b, const char *path) {
    struct file_map file;
    struct picture picture;
    TRY(file_map_open(path, &file));
    status s = picture_read(path, file.size ? file.data : "", file.size, &picture);
    if (s == UTTER_OK) {
        str_clear(&b->cover);
        str_append(&b->cover, file.data, file.size);
        s = str_status(&b->cover);
    }
    file_map_close(&file);
    return s;
}
