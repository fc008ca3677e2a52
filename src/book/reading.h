/* A book on its way to a file: opened and cut into units, spoken into a spool by whoever speaks (this machine, or
   workers elsewhere), then written. */
#ifndef UTTER_BOOK_READING_H
#define UTTER_BOOK_READING_H

#include "book/narrate.h"
#include "book/render.h"
#include "engine/identity.h"

struct reading {
    struct book book;
    struct units units;
    const char *voice, *voice_language;  // in use; the engine's
    const char *language;                // of the text: the request's or the voice's
    char identity[IDENTITY_LENGTH + 1];  // of engine and voice
    struct str plan;                     // of all that decides the sound, for the spool and for queues
    int rate_hz;
};

/* Opens the book and plans it. request: voice, language and sampling; its strings must outlive the reading. Safe to
   free after a failure. */
status reading_open(const char *path, utter *u, const utter_request *request, struct reading *out);
void reading_free(struct reading *r);

/* Whether the book says that it is in another language than it will be read in; both names for a sentence. */
bool reading_in_wrong_language(const struct reading *r, const char **book, const char **voice);

struct reading_output {
    const char *path;            // ends in / for a folder with a file for each chapter
    const char *format;          // of these: "opus", "mp3", "flac", "wav"; NULL: opus
    const char *title, *author;  // NULL: the book's
    double loudness_lufs;        // NAN: as it is
    double speed;                // 1: as it was spoken
};

struct reading_written {
    int n_files;
    double audio_s, measured_lufs;
};

/* Whether such an output can be written here. */
status reading_output_check(const struct reading_output *o);

/* Where the spool of this output lies: beside it, or in the folder, which is made. Appends to `to`. */
status reading_spool_path(const struct reading_output *o, struct str *to);

/* Writes a full spool. *stop ends it with UTTER_CANCELLED; nothing half-written stays. */
status reading_write(const struct reading *r, struct spool *spool, const struct reading_output *o,
                     const atomic_bool *stop, struct reading_written *out);

#endif
