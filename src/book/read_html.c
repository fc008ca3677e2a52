/* HTML, by libxml2's forgiving parser: lone pages, the pages of an EPUB, and what Markdown becomes. */
#include <libxml/HTMLparser.h>
#include <libxml/hash.h>
#include <md4c-html.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "book/build.h"

enum { MAX_DEPTH = 200, N_LEVELS = 6 };

struct walk {
    struct book *b;
    struct str text;  // of the paragraph being gathered
    enum book_kind kind;
    bool has_marks;         // or else chapters by headings of level `level`
    xmlHashTable *mark_of;  // id: title of the chapter that begins there; NULL when there are none
    int level;              // headings of this level begin chapters; deeper ones are headings within
    struct str title;       // what a chapter that begins at the next text is called
    bool chapter_waits;
};

static bool is(const xmlNode *n, const char *names) {
    size_t len = strlen((const char *)n->name);
    for (const char *at = names; (at = strcasestr(at, (const char *)n->name)); at += len)
        if ((at == names || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0)) return true;
    return false;
}

static int heading_level(const xmlNode *n) {
    const char *name = (const char *)n->name;
    return (name[0] == 'h' || name[0] == 'H') && name[1] >= '1' && name[1] <= '6' && !name[2] ? name[1] - '0' : 0;
}

// The attribute's value holds the word.
static bool has_word(xmlNode *n, const char *attribute, const char *word) {
    char *value = (char *)xmlGetProp(n, (const xmlChar *)attribute);
    bool has = value && strcasestr(value, word);
    xmlFree(value);
    return has;
}

// What is not read aloud: scripts, forms, footnotes and the numbers that refer to them, page numbers, code.
static bool is_silent(xmlNode *n) {
    if (is(n, "script style head nav template noscript svg math object video audio canvas form pre iframe figure"))
        return true;
    if (xmlHasProp(n, (const xmlChar *)"hidden")) return true;
    if (has_word(n, "epub:type", "noteref") || has_word(n, "epub:type", "footnote") ||
        has_word(n, "epub:type", "pagebreak") || has_word(n, "role", "doc-noteref") ||
        has_word(n, "role", "doc-footnote") || has_word(n, "class", "pagenum"))
        return true;
    if (!is(n, "sup")) return false;
    for (xmlNode *c = n->children; c; c = c->next)  // a number that links to a note
        if (c->type == XML_ELEMENT_NODE && is(c, "a")) return true;
    return false;
}

static bool is_block(const xmlNode *n) {
    return is(n,
              "p div li blockquote section article aside main header footer h1 h2 h3 h4 h5 h6 ul ol dl dt dd table tr "
              "td th tbody thead caption body html address center figcaption");
}

static void end_paragraph(struct walk *w) {
    if (w->text.failed) w->b->text.failed = true;
    if (w->text.len > 0) {
        if (w->chapter_waits) {
            book_add_chapter(w->b, w->title.len ? str_text(&w->title) : "");
            w->chapter_waits = false;
        }
        book_add(w->b, w->kind, str_text(&w->text), w->text.len);
    }
    str_clear(&w->text);
    w->kind = BOOK_PARAGRAPH;
}

static void wait_for_chapter(struct walk *w, const char *title) {
    w->chapter_waits = true;
    str_clear(&w->title);
    str_puts(&w->title, title);
}

static void look_for_mark(struct walk *w, xmlNode *n) {
    if (!w->mark_of) return;
    xmlChar *id = xmlGetProp(n, (const xmlChar *)"id");
    if (!id && is(n, "a")) id = xmlGetProp(n, (const xmlChar *)"name");
    const char *title = id ? xmlHashLookup(w->mark_of, id) : NULL;
    xmlFree(id);
    if (!title) return;
    end_paragraph(w);
    wait_for_chapter(w, title);
}

static void walk(struct walk *w, xmlNode *n, int depth);

static void element(struct walk *w, xmlNode *n, int depth) {
    if (is_silent(n)) return;
    look_for_mark(w, n);
    if (is(n, "br")) {
        str_putc(&w->text, ' ');
        return;
    }
    if (is(n, "hr")) {
        end_paragraph(w);
        if (!w->chapter_waits) book_add(w->b, BOOK_BREAK, NULL, 0);
        return;
    }
    int level = heading_level(n);
    if (!level && !is_block(n)) {
        walk(w, n->children, depth + 1);
        return;
    }
    end_paragraph(w);
    if (!level) {
        walk(w, n->children, depth + 1);
        end_paragraph(w);
        return;
    }
    walk(w, n->children, depth + 1);
    struct str title = {0};
    book_collapse(str_text(&w->text), w->text.len, &title);
    if (!w->has_marks && level <= w->level && title.len > 0) wait_for_chapter(w, str_text(&title));
    str_free(&title);
    w->kind = BOOK_HEADING;
    end_paragraph(w);
}

static void walk(struct walk *w, xmlNode *n, int depth) {
    if (depth > MAX_DEPTH) return;
    for (; n; n = n->next) {
        if (n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE)
            str_puts(&w->text, (const char *)n->content);
        else if (n->type == XML_ELEMENT_NODE)
            element(w, n, depth);
    }
}

// ---- a page ----

static void count_headings(xmlNode *n, int depth, int counts[N_LEVELS + 1]) {
    for (; n && depth <= MAX_DEPTH; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) continue;
        counts[heading_level(n)]++;
        count_headings(n->children, depth + 1, counts);
    }
}

// Chapters are the highest headings of which there are several; a single one above them is the book's title.
static int chapter_level(const xmlDoc *page) {
    int counts[N_LEVELS + 1] = {0};
    count_headings(xmlDocGetRootElement(page), 0, counts);
    for (int level = 1; level <= 3; level++)
        if (counts[level] > 1) return level;
    return 0;
}

static xmlNode *find(xmlNode *n, const char *name, int depth) {
    for (; n && depth <= MAX_DEPTH; n = n->next) {
        if (n->type != XML_ELEMENT_NODE) continue;
        if (is(n, name)) return n;
        xmlNode *below = find(n->children, name, depth + 1);
        if (below) return below;
    }
    return NULL;
}

static void page_fields(struct book *b, const xmlDoc *page) {
    xmlNode *root = xmlDocGetRootElement(page);
    xmlNode *title = find(root, "title", 0);
    if (!title) title = find(root, "h1", 0);
    char *text = title ? (char *)xmlNodeGetContent(title) : NULL;
    book_set(&b->title, text);
    xmlFree(text);
    text = root ? (char *)xmlGetProp(root, (const xmlChar *)"lang") : NULL;
    book_set(&b->language, text);
    xmlFree(text);
    xmlNode *head = find(root, "head", 0);
    for (xmlNode *n = head ? head->children : NULL; n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE || !is(n, "meta") || !has_word(n, "name", "author")) continue;
        text = (char *)xmlGetProp(n, (const xmlChar *)"content");
        book_set(&b->author, text);
        xmlFree(text);
    }
}

static status parse(const char *label, const char *data, size_t len, const char *encoding, xmlDoc **out) {
    const int options =
        HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET | HTML_PARSE_NODEFDTD;
    *out = len > 0 ? htmlReadMemory(data, (int)len, NULL, encoding, options) : NULL;
    return *out ? UTTER_OK : fail(UTTER_FORMAT, "%s is no HTML that can be read; it may be damaged", label);
}

static status walk_page(struct walk *w, const xmlDoc *page) {
    walk(w, xmlDocGetRootElement(page), 0);
    end_paragraph(w);
    status s = str_status(&w->text);
    str_free(&w->text);
    str_free(&w->title);
    return s;
}

status book_read_html(struct book *b, const char *label, const char *data, size_t len, const char *encoding) {
    xmlDoc *page;
    TRY(parse(label, data, len, encoding, &page));
    page_fields(b, page);
    struct walk w = {.b = b, .level = chapter_level(page)};
    status s = walk_page(&w, page);
    xmlFreeDoc(page);
    return s;
}

status book_read_page(struct book *b, const char *label, const char *data, size_t len, const struct book_mark *marks,
                      int n_marks) {
    xmlDoc *page;
    TRY(parse(label, data, len, "UTF-8", &page));
    struct walk w = {.b = b, .has_marks = true, .mark_of = n_marks ? xmlHashCreate(n_marks) : NULL};
    for (int i = 0; i < n_marks; i++) {  // the last of several at one place is the one below the others
        if (!marks[i].id)
            wait_for_chapter(&w, marks[i].title);
        else if (w.mark_of)
            xmlHashUpdateEntry(w.mark_of, (const xmlChar *)marks[i].id, (void *)(uintptr_t)marks[i].title, NULL);
    }
    status s = n_marks && !w.mark_of ? fail_memory((size_t)n_marks, "a table of contents") : walk_page(&w, page);
    if (w.mark_of) xmlHashFree(w.mark_of, NULL);
    xmlFreeDoc(page);
    return s;
}

// ---- Markdown ----

static void append_html(const MD_CHAR *text, MD_SIZE len, void *user) { str_append(user, text, len); }

// What stands between lines of --- at the top: "title: ..." and the like.
static size_t front_matter(struct book *b, const char *text, size_t len) {
    if (len < 4 || memcmp(text, "---\n", 4) != 0) return 0;
    const char *end = memmem(text + 4, len - 4, "\n---\n", 5);
    if (!end) return 0;
    for (const char *line = text + 4; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end + 1 - line));
        const char *colon = memchr(line, ':', (size_t)(newline - line));
        if (colon) {
            const char *from = colon + 1, *to = newline;
            while (from < to && strchr(" \t\"'", *from)) from++;
            while (to > from && strchr(" \t\r\"'", to[-1])) to--;
            struct str value = {0};
            str_append(&value, from, (size_t)(to - from));
            size_t n = (size_t)(colon - line);
            if (n == 5 && memcmp(line, "title", n) == 0) book_set(&b->title, str_text(&value));
            if (n == 6 && memcmp(line, "author", n) == 0) book_set(&b->author, str_text(&value));
            if ((n == 4 && memcmp(line, "lang", n) == 0) || (n == 8 && memcmp(line, "language", n) == 0))
                book_set(&b->language, str_text(&value));
            str_free(&value);
        }
        line = newline + 1;
    }
    return (size_t)(end + 5 - text);
}

status book_read_markdown(struct book *b, const char *label, const char *text, size_t len) {
    size_t skipped = front_matter(b, text, len);
    struct str html = {0};
    int failed = md_html(text + skipped, (MD_SIZE)(len - skipped), append_html, &html,
                         MD_DIALECT_GITHUB | MD_FLAG_NOHTMLSPANS, 0);
    status s = failed ? fail(UTTER_FORMAT, "%s is no Markdown that can be read", label) : str_status(&html);
    if (s == UTTER_OK && html.len > 0) s = book_read_html(b, label, html.data, html.len, "UTF-8");
    str_free(&html);
    return s;
}
