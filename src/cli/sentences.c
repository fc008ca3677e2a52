/* utter sentences: where a text is cut. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/reader.h"
#include "engine/plumbing.h"

static const struct manual manual = {
    .usage = "[TEXT... | -] [options]",
    .about = "Splits a text, from the arguments or standard input, into sentences, one a line.\n",
    .examples =
        "  utter sentences \"Dr. Smith paid 3.50. He left.\"\n"
        "  utter sentences --lang de < book.txt\n"
        "  utter sentences --json < book.txt        with paragraph ends\n",
};

struct sentences {
    const char *language;
    bool raw, json;
};

static status print_sentence(void *user, const char *sentence, size_t len, bool paragraph_end) {
    const struct sentences *c = user;
    if (c->json) {
        json_t *o = json_pack("{s:s%, s:b}", "text", sentence, len, "paragraph_end", (int)paragraph_end);
        if (!o) return fail(UTTER_INVALID, "a sentence is not valid UTF-8; leave --raw out");
        json_dumpf(o, stdout, 0);
        json_decref(o);
    } else
        for (size_t i = 0; i < len; i++) putchar(sentence[i] == '\n' || sentence[i] == '\r' ? ' ' : sentence[i]);
    putchar('\n');
    if (fflush(stdout) != 0) return fail(UTTER_IO, "cannot write to standard output: %s", strerror(errno));
    return UTTER_OK;
}

static status print_all(struct sentences *c, struct reader *r) {
    for (;;) {
        struct piece piece;
        TRY(reader_next(r, &piece));
        if (piece.len == 0) return UTTER_OK;
        TRY(plumb_sentences(c->language, c->raw, piece.text, piece.len, print_sentence, c));
    }
}

int command_sentences(int argc, char **argv) {
    struct sentences c = {.language = "en-us"};
    const struct option options[] = {
        {"lang", 0, OPTION_TEXT, &c.language, "LANG", "whose abbreviations are known; default: en-us", 0, 0},
        {"raw", 0, OPTION_FLAG, &c.raw, NULL, "leave Markdown and emoji in", 0, 0},
        {"json", 0, OPTION_FLAG, &c.json, NULL, "print a JSON object a line", 0, 0},
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, 3, argc, argv, &n_words, &exit_code)) return exit_code;
    struct str words = {0};
    struct reader reader = {.fd = -1};
    status s = command_join(argv + 1, n_words, &words);
    if (s == UTTER_OK)
        s = n_words == 0 || strcmp(str_text(&words), "-") == 0
                ? reader_open(&reader, "-", plumb_whole_sentences, c.language)
                : reader_open_text(&reader, str_text(&words), plumb_whole_sentences, c.language);
    if (s == UTTER_OK) s = print_all(&c, &reader);
    reader_close(&reader);
    str_free(&words);
    return command_end(argv[0], s);
}
