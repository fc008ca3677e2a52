/* The one folder that files may be written to on request. A name is a path below it: no absolute one, no "..", nothing
   that leads through or to a link, a device or a pipe, no name that is a device on some system. */
#ifndef UTTER_SERVER_FOLDER_H
#define UTTER_SERVER_FOLDER_H

#include <stddef.h>

#include "base/status.h"

struct folder;

status folder_open(const char *path, struct folder **out);
void folder_close(struct folder *f);

/* A file being written; under its name only when it is whole. */
struct folder_file;

status folder_create(const struct folder *f, const char *name, struct folder_file **out);
status folder_file_write(struct folder_file *w, const void *bytes, size_t n);
/* head[n_head] replaces the first bytes. The file is closed whatever the result. */
status folder_file_commit(struct folder_file *w, const void *head, size_t n_head);
/* Leaves nothing behind. NULL is allowed. */
void folder_file_abandon(struct folder_file *w);

#endif
