/* EPUB: a zip of XHTML pages with an order (the spine) and a table of contents. Unpacked by libarchive, within bounds;
   read by libxml2, without network and without entities of its own. */
#include <archive.h>
#include <archive_entry.h>
#include <libxml/hash.h>
#include <libxml/parser.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "book/build.h"
#include "book/picture.h"

// Of files, of lines of a package, of entries of a table of contents: more is no book.
enum { MAX_FILES = 20000, MAX_PAGE = 16 << 20 };

struct part {
    char *path;  // in the zip
    struct str data;
    bool read;                // as a page: each is read once
    struct book_mark *marks;  // [n_marks] chapters that begin in it; owned
    int n_marks;
};

struct epub {
    struct book *b;
    const char *label;
    const char *zip;  // [zip_len]
    size_t zip_len;
    struct part *parts;  // [n_parts] pages and what names them
    int n_parts;
    xmlHashTable *part_of;  // path: index of the part + 1
    size_t n_bytes;
    char *folder;  // of the package document, with its slash
    struct item {
        char *id, *path, *properties, *type;  // of the package's manifest; may be NULL but for path
    } * items;                                // [n_items]
    int n_items;
    xmlHashTable *item_of;  // id: index of the item + 1
    int n_entries;          // of the table of contents
};

// ---- lists and names ----

// Room for one more element than n; capacities are powers of two. NULL without memory.
static void *with_room(void *array, int n, size_t size) {
    return n & (n - 1) ? array : realloc(array, (size_t)(n ? 2 * n : 1) * size);
}

// The place of the first of that name.
static void remember(xmlHashTable *table, const char *name, int i) {
    xmlHashAddEntry(table, (const xmlChar *)name, (void *)(intptr_t)(i + 1));
}

static int recall(xmlHashTable *table, const char *name) {
    return (int)(intptr_t)xmlHashLookup(table, (const xmlChar *)name) - 1;  // -1: none
}

// ---- the zip ----

static bool is_wanted(const char *path) {
    static const char *const endings[] = {".xhtml", ".html", ".htm", ".xml", ".opf", ".ncx"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

// The file that the zip is at, up to `limit` bytes. What one file and all of them may have is told apart by the
// sentence.
static status unpack_file(struct epub *e, struct archive *zip, const char *path, size_t limit, struct str *out) {
    char buffer[16384];
    la_ssize_t n;
    while ((n = archive_read_data(zip, buffer, sizeof buffer)) > 0) {
        str_append(out, buffer, (size_t)n);
        if (out->len > limit)
            return fail(UTTER_LIMIT,
                        "%s unpacks to more than %zu MB at %.200s; a book is smaller, so it is not unpacked further",
                        e->label, (limit < MAX_PAGE ? BOOK_MAX_BYTES : limit) >> 20, path);
    }
    if (n < 0)
        return fail(UTTER_FORMAT, "%s: %.200s cannot be unpacked (%.200s); the file may be damaged: fetch it again",
                    e->label, path, archive_error_string(zip) ? archive_error_string(zip) : "no reason given");
    return str_status(out);
}

static status unpack_part(struct epub *e, struct archive *zip, const char *path) {
    struct part *grown = with_room(e->parts, e->n_parts, sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a page");
    e->parts = grown;
    struct part *p = &e->parts[e->n_parts++];
    *p = (struct part){.path = strdup(path)};
    if (!p->path) return fail_memory(strlen(path), "a page");
    const size_t left = BOOK_MAX_BYTES - e->n_bytes;
    TRY(unpack_file(e, zip, path, left < MAX_PAGE ? left : MAX_PAGE, &p->data));
    e->n_bytes += p->data.len;
    remember(e->part_of, path, e->n_parts - 1);
    return UTTER_OK;
}

// Unpacks all pages and what names them; or, if not NULL, the file `only` alone into *out.
static status unpack(struct epub *e, const char *only, struct str *out) {
    struct archive *zip = archive_read_new();
    if (!zip) return fail_memory(1, "a zip file");
    archive_read_support_format_zip(zip);
    status s = UTTER_OK;
    if (archive_read_open_memory(zip, e->zip, e->zip_len) != ARCHIVE_OK)
        s = fail(UTTER_FORMAT, "%s cannot be opened as a zip file; it may be damaged: fetch it again", e->label);
    struct archive_entry *entry;
    for (int n = 0; s == UTTER_OK; n++) {
        int r = archive_read_next_header(zip, &entry);
        if (r == ARCHIVE_EOF) break;
        const char *path = r >= ARCHIVE_WARN ? archive_entry_pathname(entry) : NULL;
        if (r < ARCHIVE_WARN) {
            s = fail(UTTER_FORMAT, "%s is a damaged zip file (%.200s); fetch it again", e->label,
                     archive_error_string(zip) ? archive_error_string(zip) : "no reason given");
        } else if (n >= MAX_FILES) {
            s = fail(UTTER_LIMIT, "%s holds more than %d files; that is no book", e->label, MAX_FILES);
        } else if (only && path && strcmp(path, only) == 0) {
            s = unpack_file(e, zip, path, MAX_PAGE, out);
            break;
        } else if (!only && path && is_wanted(path)) {
            s = unpack_part(e, zip, path);
        }
    }
    archive_read_free(zip);
    return s;
}

static struct part *find_part(const struct epub *e, const char *path) {
    const int i = recall(e->part_of, path);
    return i >= 0 ? &e->parts[i] : NULL;
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

static status add_item(struct epub *e, xmlNode *n) {
    if (e->n_items >= MAX_FILES)
        return fail(UTTER_LIMIT, "%s lists more than %d files; that is no book", e->label, MAX_FILES);
    struct item *grown = with_room(e->items, e->n_items, sizeof *grown);
    if (!grown) return fail_memory(sizeof *grown, "a list of pages");
    e->items = grown;
    char *href = attribute(n, "href");
    if (!href) return UTTER_OK;
    e->items[e->n_items] = (struct item){.id = attribute(n, "id"),
                                         .path = resolve(e->folder, href, NULL),
                                         .properties = attribute(n, "properties"),
                                         .type = attribute(n, "media-type")};
    xmlFree(href);
    const struct item *item = &e->items[e->n_items++];
    if (item->id) remember(e->item_of, item->id, e->n_items - 1);
    return item->path ? UTTER_OK : fail_memory(100, "a list of pages");
}

static status read_manifest(struct epub *e, xmlDoc *package) {
    status s = UTTER_OK;
    for (xmlNode *n = NULL; s == UTTER_OK && (n = next_named(package, n, "item"));) s = add_item(e, n);
    return s;
}

static const struct item *item_by_id(const struct epub *e, const char *id) {
    const int i = recall(e->item_of, id);
    return i >= 0 ? &e->items[i] : NULL;
}

// The word stands in a list of words with spaces between.
static bool has_word(const char *list, const char *word) {
    const size_t len = strlen(word);
    for (const char *at = list; at && (at = strstr(at, word)); at += len)
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0)) return true;
    return false;
}

static const struct item *item_by_property(const struct epub *e, const char *property) {
    for (int i = 0; i < e->n_items; i++)
        if (has_word(e->items[i].properties, property)) return &e->items[i];
    return NULL;
}

static const struct item *item_by_type(const struct epub *e, const char *type) {
    for (int i = 0; i < e->n_items; i++)
        if (e->items[i].type && strcmp(e->items[i].type, type) == 0) return &e->items[i];
    return NULL;
}

// ---- the cover ----

// EPUB 3: the item with the property "cover-image"; EPUB 2: the one whose id <meta name="cover"> has.
static const struct item *cover_item(const struct epub *e, xmlDoc *package) {
    const struct item *item = item_by_property(e, "cover-image");
    for (xmlNode *n = NULL; !item && (n = next_named(package, n, "meta"));) {
        char *name = attribute(n, "name"), *id = attribute(n, "content");
        if (name && id && strcmp(name, "cover") == 0) item = item_by_id(e, id);
        xmlFree(name);
        xmlFree(id);
    }
    return item;
}

// A cover that cannot be had is told; the book is read without.
static status read_cover(struct epub *e, xmlDoc *package) {
    const struct item *item = cover_item(e, package);
    if (!item) return UTTER_OK;
    struct picture picture;
    status s = unpack(e, item->path, &e->b->cover);
    if (s == UTTER_OK && e->b->cover.len == 0) s = fail(UTTER_FORMAT, "%s does not hold %.200s", e->label, item->path);
    if (s == UTTER_OK) s = picture_read(item->path, e->b->cover.data, e->b->cover.len, &picture);
    if (s == UTTER_OK || s == UTTER_MEMORY) return s;
    book_note(e->b, "the cover is left out: %s", fail_message());
    str_free(&e->b->cover);
    return UTTER_OK;
}

// ---- the table of contents ----

static status add_entry(struct epub *e, const char *folder, const char *reference, const char *title) {
    if (++e->n_entries > MAX_FILES)
        return fail(UTTER_LIMIT, "%s has a table of contents with more than %d entries; that is no book", e->label,
                    MAX_FILES);
    char *id, *path = resolve(folder, reference, &id);
    struct part *p = path ? find_part(e, path) : NULL;
    free(path);
    struct book_mark *grown = p ? with_room(p->marks, p->n_marks, sizeof *grown) : NULL;
    if (!grown) {
        free(id);
        return p || !path ? fail_memory(sizeof *grown, "a table of contents") : UTTER_OK;
    }
    p->marks = grown;
    char *clean = NULL;
    book_set(&clean, title);
    if (!clean) clean = strdup("");
    p->marks[p->n_marks++] = (struct book_mark){id, clean};
    return clean ? UTTER_OK : fail_memory(100, "a table of contents");
}

// EPUB 3: <nav epub:type="toc"> with links.
static status read_nav(struct epub *e, const char *folder, xmlDoc *doc) {
    for (xmlNode *n = NULL; (n = next_named(doc, n, "nav"));) {
        char *type = attribute(n, "type");
        bool is_toc = !type || strcmp(type, "toc") == 0;
        xmlFree(type);
        if (!is_toc) continue;
        status s = UTTER_OK;
        for (xmlNode *a = n; s == UTTER_OK && (a = next_named(doc, a, "a"));) {
            xmlNode *up = a;  // the links of this list alone
            while (up && up != n) up = up->parent;
            if (!up) break;
            char *href = attribute(a, "href"), *title = (char *)xmlNodeGetContent(a);
            if (href) s = add_entry(e, folder, href, title);
            xmlFree(href);
            xmlFree(title);
        }
        return s;
    }
    return UTTER_OK;
}

static xmlNode *child_named(xmlNode *n, const char *name) {
    n = n ? n->children : NULL;
    while (n && !named(n, name)) n = n->next;
    return n;
}

// EPUB 2: an NCX with navPoints, each with <navLabel><text> and <content>.
static status read_ncx(struct epub *e, const char *folder, xmlDoc *doc) {
    status s = UTTER_OK;
    for (xmlNode *n = NULL; s == UTTER_OK && (n = next_named(doc, n, "navPoint"));) {
        xmlNode *label = child_named(child_named(n, "navLabel"), "text"), *content = child_named(n, "content");
        char *src = content ? attribute(content, "src") : NULL,
             *title = label ? (char *)xmlNodeGetContent(label) : NULL;
        if (src) s = add_entry(e, folder, src, title);
        xmlFree(src);
        xmlFree(title);
    }
    return s;
}

static status read_contents(struct epub *e) {
    const struct item *nav = item_by_property(e, "nav");
    const struct item *item = nav ? nav : item_by_type(e, "application/x-dtbncx+xml");
    xmlDoc *doc = item ? parse(find_part(e, item->path)) : NULL;
    if (!doc) return UTTER_OK;
    const char *slash = strrchr(item->path, '/');
    char *folder = strndup(item->path, slash ? (size_t)(slash + 1 - item->path) : 0);
    status s = folder ? (nav ? read_nav : read_ncx)(e, folder, doc) : fail_memory(100, "a table of contents");
    free(folder);
    xmlFreeDoc(doc);
    return s;
}

// ---- the pages ----

static status read_page(struct epub *e, const char *path) {
    struct part *p = find_part(e, path);
    if (!p || p->read) {
        book_note(e->b, "%.200s names the page %.200s, which it %s", e->label, path,
                  p ? "has named before; it is read once" : "does not hold; it is left out");
        return UTTER_OK;
    }
    p->read = true;
    if (e->n_entries == 0) return book_read_html(e->b, path, str_text(&p->data), p->data.len, "UTF-8");
    status s = book_read_page(e->b, path, str_text(&p->data), p->data.len, p->marks, p->n_marks);
    if (s != UTTER_FORMAT) return s;
    book_note(e->b, "%s; it is left out", fail_message());  // the rest of the book can be read
    return UTTER_OK;
}

static status read_spine(struct epub *e, xmlDoc *package) {
    const struct item *nav = item_by_property(e, "nav");
    status s = UTTER_OK;
    int n_pages = 0;
    for (xmlNode *n = NULL; s == UTTER_OK && (n = next_named(package, n, "itemref"));) {
        char *id = attribute(n, "idref"), *linear = attribute(n, "linear");
        const struct item *item = id && !(linear && strcmp(linear, "no") == 0) ? item_by_id(e, id) : NULL;
        xmlFree(id);
        xmlFree(linear);
        if (!item || item == nav) continue;
        if (e->n_entries == 0) book_add_chapter(e->b, "");
        s = read_page(e, item->path);
        n_pages++;
    }
    if (s == UTTER_OK && n_pages == 0)
        s = fail(UTTER_FORMAT, "%s is no EPUB that can be read: its package document lists no pages", e->label);
    return s;
}

static status read_book(struct epub *e) {
    TRY(check_protection(e));
    xmlDoc *package;
    TRY(find_package(e, &package));
    package_fields(e->b, package);
    status s = read_manifest(e, package);
    if (s == UTTER_OK) s = read_contents(e);
    if (s == UTTER_OK) s = read_spine(e, package);
    if (s == UTTER_OK) s = read_cover(e, package);
    xmlFreeDoc(package);
    return s;
}

static void close_epub(struct epub *e) {
    for (int i = 0; i < e->n_parts; i++) {
        struct part *p = &e->parts[i];
        for (int k = 0; k < p->n_marks; k++) {
            free((char *)(uintptr_t)p->marks[k].id);
            free((char *)(uintptr_t)p->marks[k].title);
        }
        free(p->marks);
        free(p->path);
        str_free(&p->data);
    }
    for (int i = 0; i < e->n_items; i++) {
        xmlFree(e->items[i].id);
        free(e->items[i].path);
        xmlFree(e->items[i].properties);
        xmlFree(e->items[i].type);
    }
    free(e->parts);
    free(e->items);
    free(e->folder);
    if (e->part_of) xmlHashFree(e->part_of, NULL);
    if (e->item_of) xmlHashFree(e->item_of, NULL);
}

status book_read_epub(struct book *b, const char *label, const char *data, size_t len) {
    struct epub e = {.b = b,
                     .label = label,
                     .zip = data,
                     .zip_len = len,
                     .part_of = xmlHashCreate(64),
                     .item_of = xmlHashCreate(64)};
    status s = e.part_of && e.item_of ? unpack(&e, NULL, NULL) : fail_memory(1, "an EPUB");
    if (s == UTTER_OK) s = read_book(&e);
    close_epub(&e);
    return s;
}
