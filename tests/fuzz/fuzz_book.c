/* Any bytes as a book, by all that read one: a status, or units that lie within the text. Also as a cover, as a unit's
   sound, and as a job of a queue. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "book/build.h"
#include "book/picture.h"
#include "book/spool.h"
#include "book/units.h"
#include "queue/jobs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct book *b) {
    struct units u;
    if (units_of(b, "en-us", &u) != UTTER_OK) return;
    for (int i = 0; i < u.n; i++)
        if (u.all[i].begin >= u.all[i].end || u.all[i].end > b->text.len || u.all[i].chapter >= b->n_chapters) abort();
    units_free(&u);
}

static void as_file(const uint8_t *data, size_t size) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0) return;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct book b;
    if (write(fd, data, size) == (ssize_t)size && book_open(path, &b) == UTTER_OK) {
        check(&b);
        book_free(&b);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    as_file(data, size);
    struct book b = {0};
    struct str text = {0};
    if (book_decode(&b, "sample", (const char *)data, size, &text) == UTTER_OK && text.len > 0)
        (void)book_read_markdown(&b, "sample", text.data, text.len);
    str_free(&text);
    book_free(&b);
    if (size > 0) (void)book_read_html(&b, "sample", (const char *)data, size, NULL);
    book_free(&b);
    float *samples;
    int64_t n;
    if (sound_unpack(data, size, 24000, &samples, &n) == UTTER_OK) free(samples);
    (void)sound_check(data, size, sound_crc(data, size), 24000, &n);
    struct picture picture;
    (void)picture_read("sample", data, size, &picture);
    struct queued job;
    if (queued_read((const char *)data, size, &job) == UTTER_OK) queued_free(&job);
    return 0;
}
