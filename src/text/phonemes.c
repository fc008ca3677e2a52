#include "text/phonemes.h"

#include <espeak-ng/speak_lib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "text/phonemes_input.h"
#include "text/phonemes_voices.h"
#include "text/utf8.h"

// One espeak-ng for the whole process: the library keeps its state in globals.
static struct {
    pthread_mutex_t lock;
    bool ready;
    struct voices voices;
    const char *current;  // identifier of the voice that is set, NULL for none
} espeak = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum { SEPARATOR = '_' };  // between phonemes, so that they can be told from the spaces between words

// Sets espeak-ng up if it is not yet, under the lock.
static status make_ready(void) {
    if (espeak.ready) return UTTER_OK;
    if (espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, NULL, espeakINITIALIZE_DONT_EXIT) <= 0)
        return fail(UTTER_IO,
                    "espeak-ng cannot read its data, which phonemes are made with; install the package "
                    "espeak-ng-data, or set ESPEAK_DATA_PATH to the folder that holds espeak-ng-data");
    TRY(voices_list(&espeak.voices));
    espeak.ready = true;
    return UTTER_OK;
}

static status set_voice(const struct voice *voice) {
    if (espeak.current && !strcmp(espeak.current, voice->identifier)) return UTTER_OK;
    espeak.current = NULL;
    if (espeak_SetVoiceByName(voice->identifier) != EE_OK)
        return fail(UTTER_IO, "espeak-ng lists the voice %s for %s but cannot load it; install espeak-ng-data anew",
                    voice->identifier, voice->language);
    espeak.current = voice->identifier;
    return UTTER_OK;
}

static bool is_mark(int32_t c) {
    if (c < 0x80) return c > 0 && strchr(";:,.!?\"(){}[]", c);
    return c == 0xa1 || c == 0xbf || c == 0xab || c == 0xbb || c == 0x2014 || c == 0x2026 || c == 0x201c || c == 0x201d;
}

// One piece as espeak-ng says it, appended to `raw`; clauses are separated by a space.
static void speak_piece(const char *text, size_t len, struct str *piece, struct str *raw) {
    str_clear(piece);
    str_append(piece, text, len);
    if (piece->failed) {
        raw->failed = true;
        return;
    }
    const void *rest = piece->data;
    while (rest) {
        const char *clause = espeak_TextToPhonemes(&rest, espeakCHARS_UTF8, SEPARATOR << 8 | espeakPHONEMES_IPA);
        if (!clause || !*clause) continue;
        if (raw->len) str_putc(raw, ' ');
        str_puts(raw, clause);
    }
}

// White space off both ends.
static void trim(const char **text, size_t *len) {
    int32_t c;
    size_t n;
    while (*len && (n = utf8_next(*text, *len, &c), utf8_is_space(c))) *text += n, *len -= n;
    while (*len && (n = utf8_previous(*text, *len, &c), utf8_is_space(c))) *len -= n;
}

// What the phonemizer does with espeak-ng's answer for a chunk: single spaces, no separators, no language switches such
// as "(en)". All in place, as it never grows; each word then ends with one space in `out`.
static void clean_raw(struct str *raw, struct str *out) {
    const char *text = raw->data;
    size_t len = raw->len;
    trim(&text, &len);
    char *to = raw->data;
    for (size_t i = 0; i < len; i++) {  // pairs of spaces become one, in one pass: three leave two
        bool space = text[i] == ' ' || text[i] == '\n';
        *to++ = space ? ' ' : text[i];
        if (space && i + 1 < len && (text[i + 1] == ' ' || text[i + 1] == '\n')) i++;
    }
    len = (size_t)(to - raw->data);

    text = to = raw->data;
    for (size_t i = 0; i < len; i++) {  // runs of separators become one, and none before a space
        if (text[i] == SEPARATOR && i + 1 < len && (text[i + 1] == SEPARATOR || text[i + 1] == ' ')) continue;
        *to++ = text[i];
    }
    len = (size_t)(to - raw->data);

    to = raw->data;
    bool closes = true;
    for (size_t i = 0; i < len; i++) {  // language switches
        const char *close = NULL;
        if (text[i] == '(' && closes && i + 2 < len) {
            close = memchr(text + i + 2, ')', len - i - 2);
            closes = close != NULL;
        }
        if (close)
            i = (size_t)(close - text);
        else
            *to++ = text[i];
    }
    len = (size_t)(to - raw->data);
    if (!len) return;

    for (size_t at = 0; at <= len;) {  // words, empty ones too
        const char *end = memchr(text + at, ' ', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        const char *word = text + at;
        at += n + 1;
        trim(&word, &n);
        for (size_t i = 0; i < n; i++)
            if (word[i] != SEPARATOR) str_putc(out, word[i]);
        str_putc(out, ' ');
    }
}

static void speak_chunk(const char *text, size_t len, struct str *piece, struct str *raw, struct str *out) {
    str_clear(raw);
    while (len && !raw->failed) {
        size_t n = phonemes_input_piece(text, len);
        speak_piece(text, n, piece, raw);
        text += n;
        len -= n;
    }
    if (raw->failed)
        out->failed = true;
    else if (raw->len)
        clean_raw(raw, out);
}

static void drop_space(struct str *s, size_t begin) {
    if (s->len > begin && s->data[s->len - 1] == ' ') s->data[--s->len] = 0;
}

// Marks with the white space around them stand between the chunks that are spoken, and are put back as they were; each
// takes one space off the end of what stands before it, and a mark before the first chunk off that chunk.
static void speak_line(const char *text, size_t len, struct str *out) {
    struct str piece = {0}, raw = {0};
    size_t chunk = 0, at = 0;
    bool mark_first = false;  // true from a mark at the beginning to the end of the first chunk
    while (at < len) {
        int32_t c;
        size_t run = at, n = utf8_next(text + at, len - at, &c);
        bool marked = false;
        while (utf8_is_space(c) || is_mark(c)) {
            marked |= is_mark(c);
            at += n;
            if (at == len) break;
            n = utf8_next(text + at, len - at, &c);
        }
        if (marked) {
            size_t spoken = out->len;
            if (run > chunk) speak_chunk(text + chunk, run - chunk, &piece, &raw, out);
            if (mark_first) drop_space(out, spoken);
            drop_space(out, 0);
            mark_first = run == 0;
            str_append(out, text + run, at - run);
            chunk = at;
        } else if (run == at) {
            at += n;
        }
    }
    if (chunk < len) speak_chunk(text + chunk, len - chunk, &piece, &raw, out);
    str_free(&piece);
    str_free(&raw);
}

// Runs of white space become one space, none at the ends; hyphens go where the voice's are liaison marks.
static void collapse(const char *text, size_t len, bool drop_hyphens, struct str *out) {
    bool space = false;
    size_t n, begin = out->len;
    for (size_t at = 0; at < len; at += n) {
        int32_t c;
        n = utf8_next(text + at, len - at, &c);
        if (drop_hyphens && c == '-') continue;
        if (utf8_is_space(c)) {
            space = true;
            continue;
        }
        if (space && out->len > begin) str_putc(out, ' ');
        space = false;
        str_append(out, text + at, n);
    }
}

status phonemize(const char *language, const char *text, size_t len, struct str *out) {
    struct str line = {0}, spoken = {0};
    status s = phonemes_input(text, len, &line);

    pthread_mutex_lock(&espeak.lock);
    const struct voice *voice = NULL;
    if (s == UTTER_OK) s = make_ready();
    if (s == UTTER_OK) s = voices_find(&espeak.voices, language, &voice);
    if (s == UTTER_OK) s = set_voice(voice);
    if (s == UTTER_OK) speak_line(str_text(&line), line.len, &spoken);
    pthread_mutex_unlock(&espeak.lock);

    if (s == UTTER_OK) s = str_status(&spoken);
    if (s == UTTER_OK) {
        collapse(str_text(&spoken), spoken.len, !strcmp(voice->language, "fr-fr"), out);
        s = str_status(out);
    }
    str_free(&line);
    str_free(&spoken);
    return s;
}

status phonemes_check_language(const char *language) {
    pthread_mutex_lock(&espeak.lock);
    const struct voice *voice;
    status s = make_ready();
    if (s == UTTER_OK) s = voices_find(&espeak.voices, language, &voice);
    pthread_mutex_unlock(&espeak.lock);
    return s;
}
