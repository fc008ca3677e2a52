#include "text/phonemes_input.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>

#include "text/utf8.h"

enum {
    // espeak-ng reads its input once from each clause on, so a long chunk is given in pieces ...
    MAX_PIECE_BYTES = 4096,
    // ... and nothing that is spoken has longer words.
    MAX_WORD_BYTES = 300,
    EMBEDDED_COMMAND = 1,
};

size_t phonemes_input_piece(const char *text, size_t len) {
    size_t at = 0, word = 0, cut = 0;  // cut: behind the last white space
    while (at < len) {
        int32_t c;
        size_t n = utf8_next(text + at, len - at, &c);
        if (at + n > MAX_PIECE_BYTES) return cut ? cut : at;
        if (utf8_is_space(c))
            cut = word = at + n;
        else if (at + n - word > MAX_WORD_BYTES)
            return at;
        at += n;
    }
    return len;
}

// The part of a word that is in one script, or one symbol.
static const char one_script[] = "(*sr:[\\x{00}-\\x{7f}\\p{L}\\p{M}\\p{Nd}\\x{2000}-\\x{206f}]+)|.";
static pcre2_code *one_script_code;

static void compile(void) {
    int error;
    PCRE2_SIZE offset;
    one_script_code = pcre2_compile((PCRE2_SPTR)one_script, PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_DOTALL | PCRE2_ANCHORED, &error, &offset, NULL);
}

// Characters that are not assigned have no name in any language, and looking for one is what espeak-ng fails at.
static bool is_no_text(int32_t c) {
    if (c < 0x80) return c == UTF8_INVALID || c == 0 || c == EMBEDDED_COMMAND;
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_CN || category == UTF8PROC_CATEGORY_CO;
}

// Whether `c` belongs to a script other than Latin. Punctuation, symbols and emoji go with any.
static bool is_foreign(int32_t c) {
    bool latin = c < 0x370 || (c >= 0x1e00 && c < 0x1f00);
    bool any = (c >= 0x2000 && c < 0x2c00) || (c >= 0xfe00 && c < 0xfe10) || c >= 0x1f000;
    return !latin && !any;
}

// A space wherever the script changes. Met inside a word, a second foreign script makes espeak-ng 1.51 free the
// dictionary that it is reading.
static void separate_scripts(const char *word, size_t len, pcre2_match_data *match, struct str *out) {
    for (size_t at = 0; at < len;) {
        int rc = pcre2_match(one_script_code, (PCRE2_SPTR)word, len, at, PCRE2_NO_UTF_CHECK, match, NULL);
        size_t end = rc > 0 ? pcre2_get_ovector_pointer(match)[1] : len;
        if (at) str_putc(out, ' ');
        str_append(out, word + at, end - at);
        at = end;
    }
}

status phonemes_input(const char *text, size_t len, struct str *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compile);
    pcre2_match_data *match = one_script_code ? pcre2_match_data_create(1, NULL) : NULL;
    if (!match) return fail_memory(sizeof one_script, "the search for scripts");
    struct str word = {0};
    for (size_t at = 0; at < len;) {
        bool foreign = false;
        int32_t c = ' ';
        str_clear(&word);
        while (at < len) {
            size_t n = utf8_next(text + at, len - at, &c);
            if (is_no_text(c)) c = ' ';
            if (utf8_is_space(c) || word.len + n > MAX_WORD_BYTES) break;
            foreign |= is_foreign(c);
            str_append(&word, text + at, n);
            at += n;
        }
        if (foreign && !word.failed)
            separate_scripts(word.data, word.len, match, out);
        else
            str_append(out, str_text(&word), word.len);
        if (at < len && utf8_is_space(c)) {
            at += utf8_next(text + at, len - at, &(int32_t){0});
            utf8_append(out, c);
        }
    }
    pcre2_match_data_free(match);
    status s = str_status(&word);
    str_free(&word);
    return s == UTTER_OK ? str_status(out) : s;
}
