/* What the readers of the formats put a book together with. Appends remember a lack of memory; book_complete tells. */
#ifndef UTTER_BOOK_BUILD_H
#define UTTER_BOOK_BUILD_H

#include "book/book.h"

/* A chapter begins; one without text before the next is dropped. title: UTF-8, may be "". */
void book_add_chapter(struct book *b, const char *title);

/* A block of text[len]: white space becomes single spaces. Without text it is no block, unless it is a break. */
void book_add(struct book *b, enum book_kind kind, const char *text, size_t len);

/* A sentence for the reader. */
void book_note(struct book *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Sets title, author or language if it is not known yet, white space collapsed. */
void book_set(char **field, const char *text);

/* UTF-8 of data[len], whatever it was: UTF-8, UTF-16 with a byte order mark, or lines of Windows-1252 among others. */
status book_decode(struct book *b, const char *label, const char *data, size_t len, struct str *out);

/* Appends text[len] with runs of white space as single spaces, none at the ends. */
void book_collapse(const char *text, size_t len, struct str *out);

/* The formats. text[len] is UTF-8, data[len] the file. */
void book_read_text(struct book *b, const char *text, size_t len);
status book_read_markdown(struct book *b, const char *label, const char *text, size_t len);
/* data: HTML in any encoding that it declares; a lone page finds its chapters by its headings. */
status book_read_html(struct book *b, const char *label, const char *data, size_t len, const char *encoding);
status book_read_epub(struct book *b, const char *label, const char *data, size_t len);

/* A page of an EPUB: `marks` are the places where chapters begin. */
struct book_mark {
    const char *id;     // of the element; NULL: the page's begin
    const char *title;  // of the chapter
};
status book_read_page(struct book *b, const char *label, const char *data, size_t len, const struct book_mark *marks,
                      int n_marks);

#endif
