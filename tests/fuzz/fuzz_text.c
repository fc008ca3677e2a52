// A text on its way to the phonemizer: cleaned, cut into sentences, each normalised and cut to size. The first byte
// picks the language. espeak-ng is left out: its faults are its own.
#include <stdlib.h>
#include <string.h>

#include "text/normalize.h"
#include "text/phonemes_input.h"
#include "text/sentences.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds) abort();
}

// Sentences lie in the text, in order and apart, and each is cut into parts that are not empty.
static void cut(const char *language, const char *text, size_t len) {
    struct sentence s;
    struct str spoken = {0};
    size_t pos = 0, end = 0;
    while (sentence_next(text, len, language, &pos, &s)) {
        require(s.begin >= end && s.begin < s.end && s.end <= len && pos >= s.end && pos <= len);
        end = s.end;
        str_clear(&spoken);
        require(normalize_sentence(language, text + s.begin, s.end - s.begin, &spoken) == UTTER_OK);
        for (size_t at = 0, n, left; at < spoken.len; at += n) {
            left = spoken.len - at;
            n = sentence_cut(spoken.data + at, left, 60);
            require(n > 0 && n <= left && n <= 60);
        }
    }
    str_free(&spoken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const languages[] = {"en-us", "en-gb", "de", "fr-fr", "es", "it", "cmn", ""};
    if (!size) return 0;
    const char *language = languages[data[0] % 8];
    // memory of just this size, so that a read beyond it is found
    size_t len = size - 1;
    char *text = malloc(len ? len : 1);
    if (!text) return 0;
    memcpy(text, data + 1, len);

    struct str document = {0}, input = {0};
    (void)text_is_speakable(text, len);
    require(normalize_document(text, len, &document) == UTTER_OK);
    cut(language, str_text(&document), document.len);
    cut(language, text, len);  // as `raw` has it
    require(phonemes_input(text, len, &input) == UTTER_OK);
    for (size_t at = 0, n; at < input.len; at += n) {
        n = phonemes_input_piece(input.data + at, input.len - at);
        require(n > 0 && n <= input.len - at);
    }
    str_free(&document);
    str_free(&input);
    free(text);
    return 0;
}
