/* A book as the units that are spoken one by one: sentences, the shortest ones joined to their neighbours. A unit is
   what is spoken again when something fails, what a journal remembers, and what a worker gets. */
#ifndef UTTER_BOOK_UNITS_H
#define UTTER_BOOK_UNITS_H

#include "book/book.h"

/* What lies before a unit; each has its pause. */
enum boundary { BOUNDARY_SENTENCE, BOUNDARY_PARAGRAPH, BOUNDARY_AFTER_HEADING, BOUNDARY_BREAK, BOUNDARY_CHAPTER };

struct unit {
    size_t begin, end;  // bytes of the book's text
    int chapter;
    enum boundary before;
};

struct units {
    struct unit *all;  // [n]
    int n;
};

/* language: as espeak-ng names it; picks the abbreviations that end no sentence. */
status units_of(const struct book *b, const char *language, struct units *out);
void units_free(struct units *u);

/* Seconds of silence before a unit, from the last sound to the first: what narrators leave. */
double boundary_pause_s(enum boundary before);

#endif
