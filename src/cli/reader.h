/* A text that may be as long as a book, or come from somebody who is still writing it, in pieces of whole sentences.

   Where a text is cut depends on the text alone, not on how a pipe hands it over, as long as it keeps coming; when it
   pauses, what is whole so far is handed out. Memory is bounded by PIECE_MAX. */
#ifndef UTTER_CLI_READER_H
#define UTTER_CLI_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { PIECE_USUAL = 16 << 10, PIECE_MAX = 64 << 10 };  // bytes looked at for a place to cut

/* As plumb_whole_sentences. */
typedef size_t whole_sentences_fn(const char *language, const char *text, size_t len);

struct reader {
    int fd;            // -1: none, all text was given at the start
    const char *name;  // for messages: the file's name, or "standard input"
    const char *text;  // [text_len] not taken yet, when there is no fd
    size_t text_len;
    int64_t size;      // bytes of the whole text; -1 not known
    int64_t taken;     // bytes handed out, white space between pieces included
    char *buffer;      // [PIECE_MAX + 1] read ahead
    size_t len;        // bytes in it
    size_t piece_len;  // bytes of it that are the piece handed out last
    char after_piece;  // the byte that gave way to the NUL behind the piece
    bool ended;        // nothing comes after the buffer
    whole_sentences_fn *whole;
    const char *language;
    const atomic_bool *stop;  // ends waiting for input; may be NULL
};

struct piece {
    const char *text;  // [len], and a NUL
    size_t len;        // 0: the text is over
    bool paragraph;    // an empty line was before it
};

/* A file ("-": standard input), or the text itself, which must stay where it is. */
status reader_open(struct reader *r, const char *path, whole_sentences_fn *whole, const char *language);
status reader_open_text(struct reader *r, const char *text, whole_sentences_fn *whole, const char *language);
void reader_close(struct reader *r);

/* The next piece; it lives until the next call. UTTER_INVALID for text with zero bytes, UTTER_CANCELLED when *stop. */
status reader_next(struct reader *r, struct piece *out);

#endif
