/* Plain text: paragraphs between empty lines, chapters by headings that stand alone, as in Project Gutenberg's files.
 */
#include <stdlib.h>
#include <string.h>

#include "book/build.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_HEADING = 80 };  // bytes

struct line {
    const char *text;  // [len] without white space at its ends
    size_t len;
};

struct reader {
    struct book *b;
    pcre2_code *named, *numbered;
    pcre2_match_data *match;
};

// Numbers as headings write them out.
#define NUMBER_WORDS                                                                                                    \
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"       \
    "eighteen|nineteen|twenty(?:-\\p{L}+)?|thirty(?:-\\p{L}+)?|first|second|third|fourth|fifth|sixth|seventh|eighth|"   \
    "ninth|tenth|last|eins|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|un|deux|trois|quatre|cinq|sept|" \
    "huit|neuf|dix|onze|douze|premi[eè]re?|seconde?|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|"   \
    "primer[oa]?|segund[oa]|tercer[oa]?"

// "Chapter 3", "BOOK THE FIRST: ...", "Kapitel IV", "Prologue"
static const char named_pattern[] =
    "(?i)^(?:(?:the\\s+)?(?:chapter|chap\\.|book|part|volume|act|canto|letter|stave|"
    "kapitel|teil|buch|band|akt|brief|chapitre|livre|partie|tome|acte|lettre|cap[ií]tulo|parte|libro|tomo|acto)"
    "\\s+(?:the\\s+)?(?:[0-9]{1,4}|[ivxlcdm]{1,9}|" NUMBER_WORDS
    ")\\b(?!,)(?:\\W.{0,60})?|"
    "(?:prologue|epilogue|preface|foreword|introduction|afterword|conclusion|prolog|epilog|vorwort|nachwort|"
    "einleitung|pr[ée]face|avant-propos|[ée]pilogue|pr[oó]logo|ep[ií]logo|introducci[oó]n)\\s*[.:]?)$";

// "12", "XIV.", "III. The Storm"
static const char numbered_pattern[] = "^(?:[0-9]{1,3}|[IVXLC]{1,8})(?:\\.?|\\.?\\s*[:.—–-]\\s*\\p{Lu}.{0,60})$";

static bool matches(const struct reader *r, const pcre2_code *code, struct line line) {
    return line.len <= MAX_HEADING && pcre2_match(code, (PCRE2_SPTR)line.text, line.len, 0, 0, r->match, NULL) >= 0;
}

static bool is_capitals(struct line line) {
    int letters = 0;
    for (size_t at = 0; at < line.len;) {
        int32_t c;
        at += utf8_next(line.text + at, line.len - at, &c);
        if (utf8_is_lower(c)) return false;
        letters += utf8_is_upper(c);
    }
    return letters >= 4;
}

static bool ends_a_sentence(struct line line) {
    return line.len > 0 && strchr(".,;:!?\"'", line.text[line.len - 1]) != NULL;
}

static struct line trim(const char *text, size_t len) {
    while (len > 0 && strchr(" \t\r\f\v", text[0]) && text[0]) text++, len--;
    while (len > 0 && strchr(" \t\r\f\v", text[len - 1]) && text[len - 1]) len--;
    return (struct line){text, len};
}

/* Takes the line at *at and moves behind it. */
static struct line next_line(const char *text, size_t len, size_t *at) {
    const char *newline = memchr(text + *at, '\n', len - *at);
    size_t end = newline ? (size_t)(newline - text) : len;
    struct line line = trim(text + *at, end - *at);
    *at = end + (newline != NULL);
    return line;
}

// Lines of a heading: one that says so, with one below it at most.
static bool is_heading(const struct reader *r, const struct line *lines, int n) {
    if (n < 1 || n > 2 || lines[n - 1].len > MAX_HEADING) return false;
    if (matches(r, r->named, lines[0])) return n == 1 || !ends_a_sentence(lines[1]) || is_capitals(lines[1]);
    if (n == 1 && matches(r, r->numbered, lines[0])) return true;
    return is_capitals(lines[0]) && !ends_a_sentence(lines[n - 1]) && (n == 1 || is_capitals(lines[1]));
}

// A paragraph of heading after heading is a list of contents.
static bool is_contents(const struct reader *r, const struct line *lines, int n) {
    int headings = 0;
    for (int i = 0; i < n; i++) headings += matches(r, r->named, lines[i]) || matches(r, r->numbered, lines[i]);
    return n >= 3 && headings * 2 > n;
}

static void paragraph(struct reader *r, const struct line *lines, int n) {
    struct str text = {0};
    for (int i = 0; i < n; i++) {
        // a line that ends in a hyphen goes on without a space
        bool hyphen = text.len > 1 && text.data[text.len - 1] == '-' && text.data[text.len - 2] != '-';
        if (i > 0 && !hyphen) str_putc(&text, ' ');
        str_append(&text, lines[i].text, lines[i].len);
    }
    if (text.failed) r->b->text.failed = true;
    if (is_contents(r, lines, n)) {
        book_note(r->b, "a list of contents (\"%.60s...\") is not read", str_text(&text));
    } else if (is_heading(r, lines, n)) {
        book_add_chapter(r->b, str_text(&text));
        book_add(r->b, BOOK_HEADING, str_text(&text), text.len);
    } else {
        book_add(r->b, BOOK_PARAGRAPH, str_text(&text), text.len);
    }
    str_free(&text);
}

// Project Gutenberg puts its licence around the text, between lines of stars.
static void cut_gutenberg(const char **text, size_t *len) {
    static const char start[] = "*** START OF TH", end[] = "*** END OF TH";
    const char *from = memmem(*text, *len, start, sizeof start - 1);
    const char *line_end = from ? memchr(from, '\n', (size_t)(*text + *len - from)) : NULL;
    if (!line_end) return;
    size_t skipped = (size_t)(line_end + 1 - *text);
    *text += skipped;
    *len -= skipped;
    const char *to = memmem(*text, *len, end, sizeof end - 1);
    if (to) *len = (size_t)(to - *text);
}

static void header_fields(struct book *b, const char *text, size_t len) {
    const char *stars = memmem(text, len, "*** START OF TH", 15);
    if (!stars) return;
    size_t end = (size_t)(stars - text);
    static const struct {
        const char *name;
        size_t field;
    } fields[] = {{"Title: ", offsetof(struct book, title)}, {"Author: ", offsetof(struct book, author)}};
    for (size_t at = 0; at < end;) {
        struct line line = next_line(text, end, &at);
        for (int i = 0; i < 2; i++) {
            size_t n = strlen(fields[i].name);
            if (line.len <= n || memcmp(line.text, fields[i].name, n) != 0) continue;
            struct str value = {0};
            str_append(&value, line.text + n, line.len - n);
            book_set((char **)((char *)b + fields[i].field), str_text(&value));
            str_free(&value);
        }
    }
}

static pcre2_code *compile(const char *pattern) {
    int error;
    PCRE2_SIZE at;
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
}

void book_read_text(struct book *b, const char *text, size_t len) {
    enum { MAX_LINES = 4000 };  // longer paragraphs are cut; none is
    header_fields(b, text, len);
    cut_gutenberg(&text, &len);
    struct reader r = {.b = b, .named = compile(named_pattern), .numbered = compile(numbered_pattern)};
    if (r.named) r.match = pcre2_match_data_create_from_pattern(r.named, NULL);
    struct line *lines = malloc(MAX_LINES * sizeof *lines);
    if (!r.match || !r.numbered || !lines) b->text.failed = true;
    int n = 0;
    for (size_t at = 0; at < len && !b->text.failed;) {
        struct line line = next_line(text, len, &at);
        if (line.len > 0) lines[n++] = line;
        if (n > 0 && (line.len == 0 || at >= len || n == MAX_LINES)) {
            paragraph(&r, lines, n);
            n = 0;
        }
    }
    free(lines);
    pcre2_match_data_free(r.match);
    pcre2_code_free(r.named);
    pcre2_code_free(r.numbered);
}
