#include "book/picture.h"

#include <string.h>

enum { MAX_PIXELS = 1 << 15 };  // of a side

static int number(const unsigned char *at) { return at[0] << 8 | at[1]; }

// The first chunk holds both sides, of 32 bits each.
static bool read_png(const unsigned char *data, size_t len, struct picture *out) {
    static const char head[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    enum { WIDTH = 16, HEIGHT = 20, END = 24 };
    if (len < END || memcmp(data, head, sizeof head - 1) != 0) return false;
    if (number(data + WIDTH) || number(data + HEIGHT)) return false;  // 65,536 pixels or more
    *out = (struct picture){true, number(data + WIDTH + 2), number(data + HEIGHT + 2)};
    return true;
}

// Segments follow each other, each with its length, until the one that begins a frame: SOF0 to SOF15, of which three
// are something else.
static bool read_jpeg(const unsigned char *data, size_t len, struct picture *out) {
    enum { HEIGHT = 5, WIDTH = 7, END = 9 };  // in the segment, from its 0xff on
    if (len < 4 || memcmp(data, "\xff\xd8\xff", 3) != 0) return false;
    for (size_t at = 2; at + END <= len;) {
        int kind = data[at + 1];
        if (data[at] != 0xff) return false;
        if (kind == 0xff) {  // padding
            at++;
            continue;
        }
        if (kind >= 0xc0 && kind <= 0xcf && kind != 0xc4 && kind != 0xc8 && kind != 0xcc) {
            *out = (struct picture){false, number(data + at + WIDTH), number(data + at + HEIGHT)};
            return true;
        }
        at += 2 + (size_t)number(data + at + 2);
    }
    return false;
}

status picture_read(const char *label, const void *data, size_t len, struct picture *out) {
    *out = (struct picture){0};
    if (len > PICTURE_MAX_BYTES)
        return fail(UTTER_LIMIT, "the picture %.200s has %zu MB; a cover can have %d", label, len >> 20,
                    PICTURE_MAX_BYTES >> 20);
    if ((read_png(data, len, out) || read_jpeg(data, len, out)) && out->width > 0 && out->width <= MAX_PIXELS &&
        out->height > 0 && out->height <= MAX_PIXELS)
        return UTTER_OK;
    return fail(UTTER_FORMAT, "%.200s is no JPEG or PNG picture; others cannot be a cover", label);
}
