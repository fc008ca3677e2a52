#include "text/markup.h"

#include <pthread.h>
#include <string.h>

#include "text/rewrite.h"
#include "text/utf8.h"

// ---- characters ----

// Pictures and what belongs to them: variation selectors, joiners, skin tones, tags, keycaps. Letters, digits and signs
// such as © are none, although Unicode lists some of them as emoji.
static bool is_emoji(int32_t c) {
    return (c >= 0x1F000 && c <= 0x1FAFF) || (c >= 0x2600 && c <= 0x27BF) || (c >= 0x2B00 && c <= 0x2BFF) ||
           (c >= 0x2300 && c <= 0x23FF) || (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xE0000 && c <= 0xE01EF) ||
           c == 0x20E3;
}

// Seen by nobody: soft hyphen, zero widths, direction marks, byte order mark.
static bool is_invisible(int32_t c) {
    return c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) ||
           c == 0xFEFF || c == 0x180E;
}

// What stands in a clean text for code point c; 0: nothing.
static int32_t clean_character(int32_t c) {
    if (c == '\n') return c;
    if (c == '\v' || c == '\f' || c == 0x85 || c == 0x2028 || c == 0x2029) return '\n';
    if (c == UTF8_INVALID || c == 0xFFFD || c == '\t') return ' ';
    if (is_invisible(c)) return 0;
    if (is_emoji(c) || (c >= 0xE000 && c <= 0xF8FF)) return ' ';
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CN ? ' ' : c;
}

status markup_clean(const char *text, size_t len, struct str *out) {
    for (size_t at = 0; at < len;) {
        int32_t c;
        size_t n = utf8_next(text + at, len - at, &c);
        if (c == '\r') {
            if (at + 1 == len || text[at + 1] != '\n') str_putc(out, '\n');
        } else {
            int32_t clean = clean_character(c);
            if (clean == c)
                str_append(out, text + at, n);
            else if (clean)
                utf8_append(out, clean);
        }
        at += n;
    }
    return str_status(out);
}

// ---- Markdown and HTML ----

// Everything is bounded, so that a text of brackets or stars alone takes no longer than any other.
static const struct rule rules[] = {
    {"(?m)^[ ]{0,3}(?:```|~~~).*$", NULL, ""},            // code fences; the code stays
    {"(?m)^[ ]{0,3}(?:[-*_][ ]{0,3}){3,80}$", NULL, ""},  // rules
    {"(?m)^[ ]{0,3}[=]{2,200}[ ]*$", NULL, ""},           // underlines of headings
    {"(?m)^[ ]{0,3}\\|?[ ]*:?-{2,80}:?[ ]*(?:\\|[ ]*:?-{2,80}:?[ ]*){0,40}\\|?[ ]*$", NULL, ""},  // tables
    {"(?m)^[ ]{0,3}(?:>[ ]?){1,9}", NULL, ""},                                                    // quotations
    {"(?m)^[ ]{0,3}#{1,6}[ ]+(.*?)[ ]*#{0,6}$", NULL, "$1"},                                      // headings
    {"(?m)^([ ]{0,12})[-*+•‣▪][ ]+(?:\\[[ xX]\\][ ]+)?", NULL, ""},                               // lists
    {"(?s)<!--.{0,4000}?-->", NULL, " "},
    {"(?i)<(br|p|div|li|tr|h[1-6])\\b[^<>]{0,400}>", NULL, "\n"},
    {"</?[A-Za-z][A-Za-z0-9]{0,20}(?:\\s[^<>]{0,400})?/?>", NULL, ""},
    {"&nbsp;", NULL, " "},
    {"&amp;", NULL, "&"},
    {"&lt;", NULL, "<"},
    {"&gt;", NULL, ">"},
    {"&quot;", NULL, "\""},
    {"&(?:#39|apos);", NULL, "'"},
    {"!\\[([^\\[\\]]{0,400})\\]\\([^()\\s]{0,800}(?:\\s[^()]{0,200})?\\)", NULL, "$1"},  // pictures
    {"\\[([^\\[\\]]{1,400})\\]\\([^()\\s]{0,800}(?:\\s[^()]{0,200})?\\)", NULL, "$1"},   // links
    {"\\[([^\\[\\]]{1,400})\\]\\[[^\\[\\]]{0,100}\\]", NULL, "$1"},
    {"\\[\\^[^\\[\\]\\s]{1,40}\\]:?", NULL, ""},  // footnotes
    {"<((?:https?://|mailto:)[^<>\\s]{1,400})>", NULL, "$1"},
    {"`{1,3}([^`\\n]{1,400})`{1,3}", NULL, "$1"},                                           // code
    {"(?<![\\w*])\\*{1,3}(?=\\S)([^*\\n]{1,400}?)(?<=\\S)\\*{1,3}(?![\\w*])", NULL, "$1"},  // emphasis
    {"(?<!\\w)_{1,3}(?=\\S)([^_\\n]{1,400}?)(?<=\\S)_{1,3}(?!\\w)", NULL, "$1"},
    {"~~([^~\\n]{1,400})~~", NULL, "$1"},
    {"(?m)^[ ]*\\|[ ]*|[ ]*\\|[ ]*$", NULL, ""},
    {"[ ]*\\|[ ]*", NULL, ", "},
    {"\\\\([\\\\`*_{}\\[\\]()#+.!|~>-])", NULL, "$1"},  // escapes
    {"(?<=\\S) {2,80}", NULL, " "},
    {"(?m) {1,80}$", NULL, ""},
};

static struct rewriter *strip_rules;
static status strip_status;

static void compile(void) { strip_status = rewriter_new(rules, sizeof rules / sizeof *rules, &strip_rules); }

// Without these bytes no rule matches.
static bool has_marks(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (strchr("`~*_=|>#<[&\\", text[i]) && text[i]) return true;
    return (len > 1 && memchr(text, '-', len)) || (len > 1 && memchr(text, '+', len)) || memmem(text, len, "  ", 2) ||
           memmem(text, len, " \n", 2) || memchr(text, '\xe2', len);
}

status markup_strip(const char *text, size_t len, struct str *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!has_marks(text, len)) {
        str_append(out, text, len);
        return str_status(out);
    }
    pthread_once(&once, compile);
    if (strip_status != UTTER_OK) return fail(strip_status, "the rules that remove Markdown do not compile");
    return rewrite(strip_rules, NULL, text, len, out);
}
