/* A book: a long text as chapters of paragraphs, from plain text, Markdown, HTML or EPUB.

   Files come from strangers: sizes are bounded before anything is unpacked, encodings are repaired, nothing outside the
   file is read. What had to be repaired or left out is kept as sentences for the reader. */
#ifndef UTTER_BOOK_BOOK_H
#define UTTER_BOOK_BOOK_H

#include <stdbool.h>

#include "base/str.h"

enum { BOOK_MAX_BYTES = 64 << 20 };  // of text: some 10 million words, 1,000 hours

enum book_kind {
    BOOK_PARAGRAPH,
    BOOK_HEADING,
    BOOK_BREAK,  // a scene ends: stars, a rule; no text
};

struct book_block {
    enum book_kind kind;
    size_t begin, end;  // bytes of the text; one line, white space collapsed
};

struct book_chapter {
    char *title;      // "" when it has none
    int first_block;  // its blocks go up to the next chapter's first
};

struct book {
    char *title, *author, *language;  // "" when not known; language as the file names it: "en", "de-DE"
    struct str text;
    struct book_block *blocks;  // [n_blocks]
    int n_blocks;
    struct book_chapter *chapters;  // [n_chapters], at least one
    int n_chapters;
    struct str cover;  // a picture as picture.h knows them; empty when there is none
    struct str notes;  // what was repaired or left out, a sentence a line
    int n_notes;
};

/* Reads the file, of the kind that its content or name tells. UTTER_NO_TEXT when nothing in it can be spoken. */
status book_open(const char *path, struct book *out);

/* Takes the picture in the file as the cover, instead of its own. */
status book_set_cover(struct book *b, const char *path);

/* Safe on a zeroed book and after a failure. */
void book_free(struct book *b);

/* Blocks [first, end) of chapter i. */
int book_chapter_end(const struct book *b, int i);

#endif
