#include "text/normalize.h"

#include <pthread.h>
#include <string.h>

#include "text/markup.h"
#include "text/normalize_rules.h"
#include "text/utf8.h"

enum language { ENGLISH, GERMAN, FRENCH, SPANISH, ANY, N_LANGUAGES };

static struct rewriter *rewriters[N_LANGUAGES];
static status compile_status[N_LANGUAGES];

static void compile(void) {
    compile_status[ENGLISH] = rewriter_new(rules_english, n_rules_english, &rewriters[ENGLISH]);
    compile_status[GERMAN] = rewriter_new(rules_german, n_rules_german, &rewriters[GERMAN]);
    compile_status[FRENCH] = rewriter_new(rules_french, n_rules_french, &rewriters[FRENCH]);
    compile_status[SPANISH] = rewriter_new(rules_spanish, n_rules_spanish, &rewriters[SPANISH]);
    compile_status[ANY] = rewriter_new(rules_any, n_rules_any, &rewriters[ANY]);
}

// "en", "en-gb" and "en-us-nyc" are English; "eng" and "enm" are not what espeak-ng calls it.
static enum language language_of(const char *name) {
    static const char codes[][3] = {[ENGLISH] = "en", [GERMAN] = "de", [FRENCH] = "fr", [SPANISH] = "es"};
    for (int i = 0; i < ANY; i++)
        if (strncmp(name, codes[i], 2) == 0 && (name[2] == 0 || name[2] == '-')) return (enum language)i;
    return ANY;
}

status normalize_document(const char *text, size_t len, struct str *out) {
    struct str clean = {0};
    status s = markup_clean(text, len, &clean);
    if (s == UTTER_OK) s = markup_strip(str_text(&clean), clean.len, out);
    str_free(&clean);
    return s;
}

status normalize_sentence(const char *language, const char *text, size_t len, struct str *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compile);
    enum language l = language_of(language);
    if (compile_status[l] != UTTER_OK) return fail(compile_status[l], "the text rules for %s do not compile", language);
    const struct english english = {.day_first = strcmp(language, "en-us") != 0 && strcmp(language, "en") != 0};
    const void *const contexts[] = {[ENGLISH] = &english,
                                    [GERMAN] = &words_german,
                                    [FRENCH] = &words_french,
                                    [SPANISH] = &words_spanish,
                                    [ANY] = &words_any};
    return rewrite(rewriters[l], contexts[l], text, len, out);
}

bool text_is_speakable(const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        int32_t c;
        at += utf8_next(text + at, len - at, &c);
        if (c == UTF8_INVALID) continue;
        utf8proc_category_t category = utf8proc_category(c);
        if (utf8_is_letter(c) || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
            category == UTF8PROC_CATEGORY_NO)
            return true;
    }
    return false;
}
