/* Files: mapped into memory for reading; written beside their name and renamed when whole. */
#ifndef UTTER_BASE_FILE_H
#define UTTER_BASE_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

/* A whole file, read-only. */
struct file_map {
    const void *data;  // [size]; NULL for an empty file
    size_t size;
};

status file_map_open(const char *path, struct file_map *out);
void file_map_close(struct file_map *m);
/* Gives the memory that holds it back to the system; what is read again comes from the file again. */
void file_map_rest(const struct file_map *m);

/* Makes the folder with all that it lies in; those that are there stay. */
status folder_make(const char *path);
/* Makes what `path` lies in, not its last part. */
status folder_make_above(const char *path);

/* A file being written. Until file_commit it lives under a temporary name in the same folder, so that nothing half
   written ever has the final name. */
struct file_writer {
    FILE *f;
    char *path;       // final name
    char *temporary;  // name while it is written
};

status file_create(const char *path, struct file_writer *out);
status file_write(struct file_writer *w, const void *data, size_t n_bytes);
/* Flushes, checks every error that the system kept back, renames. The writer is closed whatever the result. */
status file_commit(struct file_writer *w);
/* Throws the temporary file away. Safe after file_commit and on a zeroed writer. */
void file_abandon(struct file_writer *w);

#endif
