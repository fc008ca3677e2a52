#include "audio/memory_file.h"

#include <string.h>

static sf_count_t length(void *user) {
    const struct memory_file *m = user;
    return (sf_count_t)(m->out ? m->out->len : m->len);
}

static sf_count_t seek(sf_count_t offset, int whence, void *user) {
    struct memory_file *m = user;
    sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->at : length(user);
    if (from + offset < 0 || from + offset > length(user)) return -1;
    return m->at = from + offset;
}

static sf_count_t read_bytes(void *to, sf_count_t n, void *user) {
    struct memory_file *m = user;
    if (!m->in) return 0;
    sf_count_t left = (sf_count_t)m->len - m->at;
    if (n > left) n = left;
    memcpy(to, (const char *)m->in + m->at, (size_t)n);
    m->at += n;
    return n;
}

static sf_count_t write_bytes(const void *from, sf_count_t n, void *user) {
    struct memory_file *m = user;
    if (!m->out) return 0;
    sf_count_t end = m->at + n, have = (sf_count_t)m->out->len;
    sf_count_t over = end > have ? have - m->at : n;  // bytes that lie over what is there: the header, at the end
    if (over > 0) memcpy(m->out->data + m->at, from, (size_t)over);
    str_append(m->out, (const char *)from + over, (size_t)(n - over));
    m->at = end;
    return m->out->failed ? 0 : n;
}

static sf_count_t tell(void *user) { return ((struct memory_file *)user)->at; }

SNDFILE *memory_file_open(struct memory_file *m, int mode, SF_INFO *info) {
    static SF_VIRTUAL_IO io = {length, seek, read_bytes, write_bytes, tell};
    return sf_open_virtual(&io, mode, info, m);
}
