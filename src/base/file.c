#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

status file_map_open(const char *path, struct file_map *out) {
    *out = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(UTTER_IO, "cannot open %s: %s; check the path and its permissions", path, strerror(errno));
    struct stat info;
    status s = UTTER_OK;
    if (fstat(fd, &info) != 0)
        s = fail(UTTER_IO, "cannot read %s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        s = fail(UTTER_IO, "%s is not a file; name a file", path);
    else if (info.st_size > 0) {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            s = fail(UTTER_IO, "cannot map %s into memory: %s", path, strerror(errno));
        else
            *out = (struct file_map){p, (size_t)info.st_size};
    }
    close(fd);
    return s;
}

void file_map_rest(const struct file_map *m) {
    if (m->size > 0) madvise((void *)(uintptr_t)m->data, m->size, MADV_DONTNEED);  // read-only: nothing is lost
}

void file_map_close(struct file_map *m) {
    if (m->data) munmap((void *)m->data, m->size);
    *m = (struct file_map){0};
}

static status make_one(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return UTTER_OK;
    return fail(UTTER_IO, "cannot make the folder %s: %s", path, strerror(errno));
}

status folder_make_above(const char *path) {
    char *copy = strdup(path);
    if (!copy) return fail_memory(strlen(path), "a path");
    status s = UTTER_OK;
    for (char *slash = *copy ? strchr(copy + 1, '/') : NULL; slash && s == UTTER_OK; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        s = make_one(copy);
        *slash = '/';
    }
    free(copy);
    return s;
}

status folder_make(const char *path) {
    TRY(folder_make_above(path));
    return make_one(path);
}

status file_create(const char *path, struct file_writer *out) {
    *out = (struct file_writer){0};
    struct str temporary = {0};
    str_printf(&temporary, "%s.part-%ld", path, (long)getpid());
    out->path = strdup(path);
    out->temporary = temporary.data;
    if (temporary.failed || !out->path) {
        file_abandon(out);
        return fail_memory(strlen(path), "a file name");
    }
    out->f = fopen(out->temporary, "wb");
    if (out->f) return UTTER_OK;
    int error = errno;
    free(out->temporary);  // there is no file to remove
    out->temporary = NULL;
    file_abandon(out);
    return fail(UTTER_IO, "cannot write %s: %s; check that the folder exists and may be written to", path,
                strerror(error));
}

static status write_failed(const struct file_writer *w) {
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return fail(UTTER_IO, "cannot write %s: %s%s", w->path, strerror(errno), full ? "; make room and try again" : "");
}

status file_write(struct file_writer *w, const void *data, size_t n_bytes) {
    if (n_bytes == 0 || fwrite(data, 1, n_bytes, w->f) == n_bytes) return UTTER_OK;
    return write_failed(w);
}

status file_commit(struct file_writer *w) {
    status s = UTTER_OK;
    if (fflush(w->f) != 0 || ferror(w->f)) s = write_failed(w);
    if (fclose(w->f) != 0 && s == UTTER_OK) s = write_failed(w);
    w->f = NULL;
    if (s == UTTER_OK && rename(w->temporary, w->path) != 0)
        s = fail(UTTER_IO, "cannot give %s its name: %s", w->path, strerror(errno));
    if (s == UTTER_OK) {
        free(w->temporary);
        w->temporary = NULL;
    }
    file_abandon(w);
    return s;
}

void file_abandon(struct file_writer *w) {
    if (w->f) fclose(w->f);
    if (w->temporary) remove(w->temporary);
    free(w->temporary);
    free(w->path);
    *w = (struct file_writer){0};
}
