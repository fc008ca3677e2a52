/* What a picture's bytes tell of it, as far as the files of audiobooks ask: JPEG and PNG, and how large. */
#ifndef UTTER_BOOK_PICTURE_H
#define UTTER_BOOK_PICTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { PICTURE_MAX_BYTES = 15 << 20 };  // a block of a FLAC file takes 16 MB

struct picture {
    bool is_png;        // JPEG otherwise
    int width, height;  // pixels
};

/* Reads the head; the picture itself is not unpacked. UTTER_FORMAT for what is neither, UTTER_LIMIT for one that is too
   large. `label` is its name for the sentence. */
status picture_read(const char *label, const void *data, size_t len, struct picture *out);

#endif
