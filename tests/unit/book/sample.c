#include "sample.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static char folder[] = "/tmp/utter-book-XXXXXX";

int sample_setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

int sample_cleanup(void **state) {
    (void)state;
    char line[80];
    snprintf(line, sizeof line, "rm -rf %s", folder);
    return system(line);
}

const char *sample_path(const char *name) {
    static char paths[4][256];
    static int at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof *paths, "%s/%s", folder, name);
    return path;
}

const char *sample_write(const char *name, const void *data, size_t len) {
    const char *path = sample_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

const char *sample_zip(const char *name, const struct sample_file *files, size_t n) {
    const char *path = sample_path(name);
    struct archive *zip = archive_write_new();
    archive_write_set_format_zip(zip);
    assert_int_equal(archive_write_open_filename(zip, path), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        size_t len = files[i].len ? files[i].len : strlen(files[i].text);
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, files[i].path);
        archive_entry_set_size(entry, (la_int64_t)len);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        assert_int_equal(archive_write_header(zip, entry), ARCHIVE_OK);
        assert_int_equal(archive_write_data(zip, files[i].text, len), (la_ssize_t)len);
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(zip), ARCHIVE_OK);
    archive_write_free(zip);
    return path;
}

const char *sample_outline(const struct book *b) {
    static struct str out;
    static const char kinds[] = {[BOOK_PARAGRAPH] = '-', [BOOK_HEADING] = '=', [BOOK_BREAK] = '*'};
    str_clear(&out);
    str_printf(&out, "%s|%s|%s\n", b->title, b->author, b->language);
    for (int c = 0; c < b->n_chapters; c++) {
        str_printf(&out, "#%d %s\n", c + 1, b->chapters[c].title);
        for (int i = b->chapters[c].first_block; i < book_chapter_end(b, c); i++) {
            const struct book_block *block = &b->blocks[i];
            str_printf(&out, "%c%s%.*s\n", kinds[block->kind], block->kind == BOOK_BREAK ? "" : " ",
                       (int)(block->end - block->begin), str_text(&b->text) + block->begin);
        }
    }
    return str_text(&out);
}

void assert_outline(const char *path, const char *outline) {
    struct book b;
    assert_ok(book_open(path, &b));
    assert_string_equal(sample_outline(&b), outline);
    book_free(&b);
}

void assert_refused(const char *path, status s, const char *why) {
    struct book b;
    assert_int_equal(book_open(path, &b), s);
    if (!strstr(fail_message(), why)) fail_msg("it said \"%s\", not \"%s\"", fail_message(), why);
    assert_null(b.blocks);
}
