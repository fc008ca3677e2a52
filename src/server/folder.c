#include "server/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAME = 1024, MAX_PART = 255 };

struct folder {
    int fd;
};

struct folder_file {
    int folder_fd, fd;
    char name[MAX_PART + 1];  // in the folder of folder_fd
    char temporary[48];
    char shown[128];  // for sentences
};

status folder_open(const char *path, struct folder **out) {
    *out = NULL;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(UTTER_IO, "cannot open the folder %s: %s; it must be there", path, strerror(errno));
    struct folder *f = calloc(1, sizeof *f);
    if (!f) {
        close(fd);
        return fail_memory(sizeof *f, "a folder");
    }
    f->fd = fd;
    *out = f;
    return UTTER_OK;
}

void folder_close(struct folder *f) {
    if (!f) return;
    close(f->fd);
    free(f);
}

// ---- names ----

// Names that are devices on systems that a file may be copied to, whatever their ending: con, nul.wav, com1 ...
static bool is_device(const char *part, size_t len) {
    static const char *const names[] = {"con", "prn", "aux", "nul", "com", "lpt"};
    size_t stem = 0;
    while (stem < len && part[stem] != '.') stem++;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncasecmp(part, names[i], 3) != 0) continue;
        if (i < 4 ? stem == 3 : stem == 4 && part[3] >= '0' && part[3] <= '9') return true;
    }
    return false;
}

static status check_part(const char *name, const char *part, size_t len) {
    if (len == 0 || (len == 1 && *part == '.') || (len == 2 && strncmp(part, "..", 2) == 0))
        return fail(UTTER_INVALID, "\"%.100s\" is no name below the folder: it may have no empty part, no . and no ..",
                    name);
    if (len > MAX_PART) return fail(UTTER_INVALID, "a name of %zu bytes is too long; %d can be had", len, MAX_PART);
    if (part[0] == '.') return fail(UTTER_INVALID, "\"%.100s\" would be hidden; a name begins with no dot", name);
    if (is_device(part, len)) return fail(UTTER_INVALID, "\"%.100s\" is the name of a device", name);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)part[i] < ' ' || part[i] == 127 || strchr("\\:*?\"<>|", part[i]))
            return fail(UTTER_INVALID, "\"%.100s\" is no name that every system can bear: leave out \\ : * ? \" < > |",
                        name);
    return UTTER_OK;
}

static status check_name(const char *name) {
    if (*name == '/') return fail(UTTER_INVALID, "\"%.100s\" is absolute; give a name below the folder", name);
    if (strlen(name) > MAX_NAME) return fail(UTTER_INVALID, "a path of more than %d bytes is too long", MAX_NAME);
    for (const char *part = name;; part++) {
        size_t len = strcspn(part, "/");
        TRY(check_part(name, part, len));
        part += len;
        if (!*part) return UTTER_OK;
    }
}

// ---- files ----

// The folder that `name` is in, one part at a time, so that no link is ever followed, not even one made meanwhile.
static status open_parent(const struct folder *f, const char *name, int *out) {
    int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    for (const char *slash; fd >= 0 && (slash = strchr(name, '/')); name = slash + 1) {
        char part[MAX_PART + 1];
        memcpy(part, name, (size_t)(slash - name));
        part[slash - name] = 0;
        int below = openat(fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        close(fd);
        errno = error;
        fd = below;
    }
    *out = fd;
    if (fd >= 0) return UTTER_OK;
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return fail(UTTER_INVALID, "there is no folder for \"%.100s\"; folders are not made, and links not followed",
                    name);
    return fail(UTTER_IO, "cannot open the folder of \"%.100s\": %s", name, strerror(errno));
}

static status check_target(const struct folder_file *w) {
    struct stat info;
    if (fstatat(w->folder_fd, w->name, &info, AT_SYMLINK_NOFOLLOW) != 0) return UTTER_OK;
    if (S_ISREG(info.st_mode)) return UTTER_OK;
    return fail(UTTER_INVALID, "\"%s\" is there and is no plain file", w->shown);
}

static status create(const struct folder *f, const char *name, struct folder_file *w) {
    TRY(open_parent(f, name, &w->folder_fd));
    const char *slash = strrchr(name, '/');
    snprintf(w->name, sizeof w->name, "%s", slash ? slash + 1 : name);
    snprintf(w->shown, sizeof w->shown, "%s", name);
    TRY(check_target(w));
    unsigned long long salt = (unsigned long long)(uintptr_t)w;
    for (int i = 0; i < 100; i++, salt = salt * 6364136223846793005u + 1442695040888963407u) {
        snprintf(w->temporary, sizeof w->temporary, ".utter-%ld-%016llx", (long)getpid(), salt);
        w->fd = openat(w->folder_fd, w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (w->fd >= 0 || errno != EEXIST) break;
    }
    if (w->fd >= 0) return UTTER_OK;
    *w->temporary = 0;
    return fail(UTTER_IO, "cannot write \"%s\": %s", w->shown, strerror(errno));
}

status folder_create(const struct folder *f, const char *name, struct folder_file **out) {
    *out = NULL;
    TRY(check_name(name));
    struct folder_file *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "a file");
    w->folder_fd = w->fd = -1;
    status s = create(f, name, w);
    if (s != UTTER_OK) {
        folder_file_abandon(w);
        return s;
    }
    *out = w;
    return UTTER_OK;
}

static status write_at(struct folder_file *w, const void *bytes, size_t n, off_t at) {
    for (size_t done = 0; done < n;) {
        const char *from = (const char *)bytes + done;
        ssize_t wrote = at < 0 ? write(w->fd, from, n - done) : pwrite(w->fd, from, n - done, at + (off_t)done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return fail(UTTER_IO, "cannot write \"%s\": %s", w->shown, strerror(errno));
        done += (size_t)wrote;
    }
    return UTTER_OK;
}

status folder_file_write(struct folder_file *w, const void *bytes, size_t n) { return write_at(w, bytes, n, -1); }

status folder_file_commit(struct folder_file *w, const void *head, size_t n_head) {
    status s = n_head > 0 ? write_at(w, head, n_head, 0) : UTTER_OK;
    if (s == UTTER_OK) s = check_target(w);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0 && s == UTTER_OK) s = fail(UTTER_IO, "cannot write \"%s\": %s", w->shown, strerror(errno));
    if (s == UTTER_OK && renameat(w->folder_fd, w->temporary, w->folder_fd, w->name) != 0)
        s = fail(UTTER_IO, "cannot give \"%s\" its name: %s", w->shown, strerror(errno));
    if (s == UTTER_OK) *w->temporary = 0;
    folder_file_abandon(w);
    return s;
}

void folder_file_abandon(struct folder_file *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->folder_fd >= 0 && *w->temporary) unlinkat(w->folder_fd, w->temporary, 0);
    if (w->folder_fd >= 0) close(w->folder_fd);
    free(w);
}
