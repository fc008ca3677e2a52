/* EPUB: a zip of XHTML pages with an order (the spine) and a table of contents. Unpacked by libarchive, within bounds;
   read by libxml2, without network and without entities of its own. */
#include <archive.h>
#include <archive_entry.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "book/build.h"

enum { MAX_FILES = 20000, MAX_PAGE = 16 << 20, MAX_DEPTH = 64 };

struct part {
    char *path;  // in the zip
    struct str data;
};

struct epub {
    struct book *b;
    const char *label;
    struct part *parts;  // [n_parts] pages and what names them
    int n_parts;
    size_t n_bytes;
    char *folder;  // of the package document, with its slash
    struct entry {
        char *page, *id, *title;  // of the table of contents
    } * entries;                  // [n_entries]
    int n_entries;
};

// ---- the zip ----

static bool is_wanted(const char *path) {
    static const char *const endings[] = {".xhtml", ".html", ".htm", ".xml", ".opf", ".ncx"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

static status unpack_part(struct epub *e, struct archive *zip, const char *path) {
    struct part *grown = realloc(e->parts, (size_t)(e->n_parts + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a page");
    e->parts = grown;
    struct part *p = &e->parts[e->n_parts++];
    *p = (struct part){.path = strdup(path)};
    if (!p->path) return fail_memory(strlen(path), "a page");
    char buffer[16384];
    la_ssize_t n;
    while ((n = archive_read_data(zip, buffer, sizeof buffer)) > 0) {
        str_append(&p->data, buffer, (size_t)n);
        e->n_bytes += (size_t)n;
        if (p->data.len > MAX_PAGE || e->n_bytes > BOOK_MAX_BYTES)
            return fail(UTTER_LIMIT,
                        "%s unpacks to more than %d MB at %.200s; a book is smaller, so it is not unpacked further",
                        e->label, (p->data.len > MAX_PAGE ? MAX_PAGE : BOOK_MAX_BYTES) >> 20, path);
    }
    if (n < 0)
        return fail(UTTER_FORMAT, "%s: %.200s cannot be unpacked (%.200s); the file may be damaged: fetch it again",
                    e->label, path, archive_error_string(zip) ? archive_error_string(zip) : "no reason given");
    return str_status(&p->data);
}

static status unpack(struct epub *e, const char *data, size_t len) {
    struct archive *zip = archive_read_new();
    if (!zip) return fail_memory(1, "a zip file");
    archive_read_support_format_zip(zip);
    status s = UTTER_OK;
    if (archive_read_open_memory(zip, data, len) != ARCHIVE_OK)
        s = fail(UTTER_FORMAT, "%s cannot be opened as a zip file; it may be damaged: fetch it again", e->label);
    struct archive_entry *entry;
    for (int n = 0; s == UTTER_OK; n++) {
        int r = archive_read_next_header(zip, &entry);
        if (r == ARCHIVE_EOF) break;
        const char *path = r >= ARCHIVE_WARN ? archive_entry_pathname(entry) : NULL;
        if (r < ARCHIVE_WARN)
            s = fail(UTTER_FORMAT, "%s is a damaged zip file (%.200s); fetch it again", e->label,
                     archive_error_string(zip) ? archive_error_string(zip) : "no reason given");
        else if (n >= MAX_FILES)
            s = fail(UTTER_LIMIT, "%s holds more than %d files; that is no book", e->label, MAX_FILES);
        else if (path && is_wanted(path))
            s = unpack_part(e, zip, path);
    }
    archive_read_free(zip);
    return s;
}

static const struct part *find_part(const struct epub *e, const char *path) {
    for (int i = 0; i < e->n_parts; i++)
        if (strcmp(e->parts[i].path, path) == 0) return &e->parts[i];
    return NULL;
}

// ---- XML ----

static bool named(const xmlNode *n, const char *name) {
    return n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0;
}

/* The next element of that name, in the file's order; NULL: from the root on. */
static xmlNode *next_named(xmlDoc *doc, xmlNode *after, const char *name) {
    xmlNode *n = after ? after : xmlDocGetRootElement(doc);
    if (n && !after && named(n, name)) return n;
    while (n) {
        if (n->children) {
            n = n->children;
        } else {
            while (n && !n->next) n = n->parent;
            if (n) n = n->next;
        }
        if (n && named(n, name)) return n;
    }
    return NULL;
}

static xmlDoc *parse(const struct part *p) {
    if (!p || p->data.len == 0) return NULL;
    return xmlReadMemory(p->data.data, (int)p->data.len, NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_RECOVER);
}

static char *attribute(xmlNode *n, const char *name) { return (char *)xmlGetProp(n, (const xmlChar *)name); }

/* folder + reference, without its %XX, "./" and "..", and without a fragment, which goes to *id if wanted. */
static char *resolve(const char *folder, const char *reference, char **id) {
    struct str plain = {0};
    str_puts(&plain, folder);
    const char *hash = strchr(reference, '#');
    if (id) *id = hash && hash[1] ? strdup(hash + 1) : NULL;
    size_t len = hash ? (size_t)(hash - reference) : strlen(reference);
    for (size_t i = 0; i < len; i++) {
        char hex[3] = {0};
        if (reference[i] == '%' && i + 2 < len + 0) memcpy(hex, reference + i + 1, 2);
        char *end;
        long value = hex[0] ? strtol(hex, &end, 16) : 0;
        if (hex[0] && *end == 0 && value > 0) {
            str_putc(&plain, (char)value);
            i += 2;
        } else {
            str_putc(&plain, reference[i]);
        }
    }
    struct str path = {0};
    for (char *save = NULL, *step = plain.data ? strtok_r(plain.data, "/", &save) : NULL; step;
         step = strtok_r(NULL, "/", &save)) {
        if (strcmp(step, ".") == 0) continue;
        if (strcmp(step, "..") == 0) {
            char *slash = path.len ? strrchr(path.data, '/') : NULL;
            path.len = slash ? (size_t)(slash - path.data) : 0;
            if (path.data) path.data[path.len] = 0;
            continue;
        }
        if (path.len) str_putc(&path, '/');
        str_puts(&path, step);
    }
    str_free(&plain);
    if (!path.data) str_puts(&path, "");
    return path.data;
}

// ---- the package ----

static status check_protection(const struct epub *e) {
    xmlDoc *doc = parse(find_part(e, "META-INF/encryption.xml"));
    if (!doc) return UTTER_OK;
    bool protected = false;
    for (xmlNode *n = NULL; (n = next_named(doc, n, "CipherReference"));) {
        char *uri = attribute(n, "URI");
        protected |= uri && is_wanted(uri);  // fonts may be hidden, pages not
        xmlFree(uri);
    }
    xmlFreeDoc(doc);
    if (!protected) return UTTER_OK;
    return fail(UTTER_UNSUPPORTED, "%s is protected against copying (DRM), so its text cannot be read", e->label);
}

static status find_package(struct epub *e, xmlDoc **out) {
    char *path = NULL;
    xmlDoc *container = parse(find_part(e, "META-INF/container.xml"));
    xmlNode *root = container ? next_named(container, NULL, "rootfile") : NULL;
    char *full = root ? attribute(root, "full-path") : NULL;
    if (full) path = resolve("", full, NULL);
    xmlFree(full);
    if (container) xmlFreeDoc(container);
    for (int i = 0; !path && i < e->n_parts; i++) {  // a container that is lost
        const char *dot = strrchr(e->parts[i].path, '.');
        if (dot && strcasecmp(dot, ".opf") == 0) path = strdup(e->parts[i].path);
    }
    *out = path ? parse(find_part(e, path)) : NULL;
    if (*out) {
        char *slash = strrchr(path, '/');
        e->folder = strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
    }
    free(path);
    if (*out && e->folder) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s is no EPUB: it has no package document (.opf) that can be read", e->label);
}

static void package_fields(struct book *b, xmlDoc *package) {
    static const char *const names[] = {"title", "creator", "language"};
    char **fields[] = {&b->title, &b->author, &b->language};
    for (int i = 0; i < 3; i++) {
        xmlNode *n = next_named(package, NULL, names[i]);
        char *text = n ? (char *)xmlNodeGetContent(n) : NULL;
        book_set(fields[i], text);
        xmlFree(text);
    }
}

/* Path of the manifest's item with that id, or the one with that property. */
static char *item_path(const struct epub *e, xmlDoc *package, const char *id, const char *property, const char *type) {
    char *path = NULL;
    for (xmlNode *n = NULL; !path && (n = next_named(package, n, "item"));) {
        char *item_id = attribute(n, "id"), *properties = attribute(n, "properties"),
             *media = attribute(n, "media-type");
        char *href = attribute(n, "href");
        bool is_it = (id && item_id && strcmp(id, item_id) == 0) ||
                     (property && properties && strstr(properties, property)) ||
                     (type && media && strcmp(type, media) == 0);
        if (is_it && href) path = resolve(e->folder, href, NULL);
        xmlFree(item_id);
        xmlFree(properties);
        xmlFree(media);
        xmlFree(href);
    }
    return path;
}

// ---- the table of contents ----

static status add_entry(struct epub *e, const char *folder, const char *reference, char *title) {
    struct entry *grown = realloc(e->entries, (size_t)(e->n_entries + 1) * sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a table of contents");
    e->entries = grown;
    struct entry *entry = &e->entries[e->n_entries++];
    *entry = (struct entry){0};
    entry->page = resolve(folder, reference, &entry->id);
    book_set(&entry->title, title);
    if (!entry->title) entry->title = strdup("");
    return entry->page && entry->title ? UTTER_OK : fail_memory(100, "a table of contents");
}

static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
}

// EPUB 3: <nav epub:type="toc"> with links; EPUB 2: an NCX with navPoints.
static status read_contents(struct epub *e, xmlDoc *package) {
    char *nav = item_path(e, package, NULL, "nav", NULL);
    char *path = nav ? nav : item_path(e, package, NULL, NULL, "application/x-dtbncx+xml");
    xmlDoc *doc = path ? parse(find_part(e, path)) : NULL;
    char *folder = path ? folder_of(path) : NULL;
    status s = UTTER_OK;
    for (xmlNode *n = NULL; doc && folder && s == UTTER_OK && (n = next_named(doc, n, nav ? "nav" : "navPoint"));) {
        if (nav) {
            char *type = attribute(n, "type");
            bool is_toc = !type || strcmp(type, "toc") == 0;
            xmlFree(type);
            if (!is_toc) continue;
            for (xmlNode *a = n; s == UTTER_OK && (a = next_named(doc, a, "a"));) {
                xmlNode *up = a;  // the links of this list alone
                while (up && up != n) up = up->parent;
                if (!up) break;
                char *href = attribute(a, "href"), *title = (char *)xmlNodeGetContent(a);
                if (href) s = add_entry(e, folder, href, title);
                xmlFree(href);
                xmlFree(title);
            }
            break;
        }
        xmlNode *label = next_named(doc, n, "text"), *content = next_named(doc, n, "content");
        char *src = content ? attribute(content, "src") : NULL,
             *title = label ? (char *)xmlNodeGetContent(label) : NULL;
        if (src) s = add_entry(e, folder, src, title);
        xmlFree(src);
        xmlFree(title);
    }
    if (doc) xmlFreeDoc(doc);
    free(folder);
    free(path);
    return s;
}

// ---- the pages ----

static status read_page(struct epub *e, const char *path) {
    const struct part *p = find_part(e, path);
    if (!p) {
        book_note(e->b, "%.200s names the page %.200s, which it does not hold; it is left out", e->label, path);
        return UTTER_OK;
    }
    if (e->n_entries == 0) return book_read_html(e->b, path, str_text(&p->data), p->data.len, "UTF-8");
    struct book_mark *marks = calloc((size_t)e->n_entries, sizeof *marks);
    if (!marks) return fail_memory((size_t)e->n_entries * sizeof *marks, "a table of contents");
    int n = 0;
    for (int i = 0; i < e->n_entries; i++)
        if (strcmp(e->entries[i].page, path) == 0)
            marks[n++] = (struct book_mark){e->entries[i].id, e->entries[i].title};
    status s = book_read_page(e->b, path, str_text(&p->data), p->data.len, marks, n);
    free(marks);
    if (s != UTTER_FORMAT) return s;
    book_note(e->b, "%s; it is left out", fail_message());  // the rest of the book can be read
    return UTTER_OK;
}

static status read_spine(struct epub *e, xmlDoc *package) {
    char *nav = item_path(e, package, NULL, "nav", NULL);
    status s = UTTER_OK;
    int n_pages = 0;
    for (xmlNode *n = NULL; s == UTTER_OK && (n = next_named(package, n, "itemref"));) {
        char *id = attribute(n, "idref"), *linear = attribute(n, "linear");
        char *path = id && !(linear && strcmp(linear, "no") == 0) ? item_path(e, package, id, NULL, NULL) : NULL;
        if (path && !(nav && strcmp(nav, path) == 0)) {
            if (e->n_entries == 0) book_add_chapter(e->b, "");
            s = read_page(e, path);
            n_pages++;
        }
        xmlFree(id);
        xmlFree(linear);
        free(path);
    }
    free(nav);
    if (s == UTTER_OK && n_pages == 0)
        s = fail(UTTER_FORMAT, "%s is no EPUB that can be read: its package document lists no pages", e->label);
    return s;
}

static status read_book(struct epub *e) {
    TRY(check_protection(e));
    xmlDoc *package;
    TRY(find_package(e, &package));
    package_fields(e->b, package);
    status s = read_contents(e, package);
    if (s == UTTER_OK) s = read_spine(e, package);
    xmlFreeDoc(package);
    return s;
}

status book_read_epub(struct book *b, const char *label, const char *data, size_t len) {
    struct epub e = {.b = b, .label = label};
    status s = unpack(&e, data, len);
    if (s == UTTER_OK) s = read_book(&e);
    for (int i = 0; i < e.n_parts; i++) {
        free(e.parts[i].path);
        str_free(&e.parts[i].data);
    }
    for (int i = 0; i < e.n_entries; i++) {
        free(e.entries[i].page);
        free(e.entries[i].id);
        free(e.entries[i].title);
    }
    free(e.parts);
    free(e.entries);
    free(e.folder);
    return s;
}
