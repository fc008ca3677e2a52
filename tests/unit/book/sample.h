/* Files for the tests of books: a folder that is removed, files in it, zips. */
#ifndef UTTER_TESTS_BOOK_SAMPLE_H
#define UTTER_TESTS_BOOK_SAMPLE_H

#include <stddef.h>

#include "base/status.h"
#include "book/units.h"

int sample_setup(void **state);
int sample_cleanup(void **state);

/* The path of `name` in the folder; lives until the fourth call from here. */
const char *sample_path(const char *name);
const char *sample_write(const char *name, const void *data, size_t len);

struct sample_file {
    const char *path, *text;
    size_t len;  // 0: of a string
};
/* Writes files[n] as a zip, the first one stored, as EPUB wants "mimetype". */
const char *sample_zip(const char *name, const struct sample_file *files, size_t n);

/* "title|author|language" and then a line for each block: "#1 One" begins a chapter, "= heading", "- paragraph", "*".
 */
const char *sample_outline(const struct book *b);

/* The book in the file has this outline; or is refused with a sentence that says `why`. */
void assert_outline(const char *path, const char *outline);
void assert_refused(const char *path, status s, const char *why);

#endif
