#include "engine/voice_codes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/npy.h"
#include "base/str.h"
#include "models/torch.h"

enum { MAX_CODES = 1 << 20, MAX_TRANSCRIPT = 1 << 20 };

static bool is_npy(const void *data, size_t size) { return size >= 6 && memcmp(data, "\x93NUMPY", 6) == 0; }

// The ending of a file's name with its dot; its end when there is none.
static const char *ending(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return dot && dot != name ? dot : name + strlen(name);
}

bool voice_codes_look_like(const char *path, const void *data, size_t size) {
    static const char *const endings[] = {".pt", ".pth", ".npy"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(ending(path), endings[i]) == 0) return true;
    return is_npy(data, size) || torch_looks_like(data, size);
}

/* ---- codes ---- */

// One dimension may be longer than 1: [T] or [1, 1, T].
static status check_shape(const char *path, int n_dims, const int64_t *dims, int64_t n) {
    int n_long = 0;
    for (int d = 0; d < n_dims; d++) n_long += dims[d] > 1;
    if (n_dims == 0 || n_long > 1)
        return fail(UTTER_FORMAT, "%s holds an array of %d dimensions; a voice's codes are one row of numbers", path,
                    n_dims);
    if (n == 0) return fail(UTTER_FORMAT, "%s holds no codes; a voice needs some seconds of speech", path);
    if (n > MAX_CODES)
        return fail(UTTER_LIMIT, "%s holds %" PRId64 " codes; a voice has at most %d", path, n, MAX_CODES);
    return UTTER_OK;
}

static status read_npy(const char *path, int64_t **codes, int64_t *n) {
    struct npy a;
    TRY(npy_read(path, &a));
    status s = UTTER_OK;
    if (a.type != NPY_I32) s = fail(UTTER_FORMAT, "%s holds floats; a voice's codes are whole numbers", path);
    if (s == UTTER_OK) s = check_shape(path, a.n_dims, a.dims, a.n);
    if (s == UTTER_OK) s = alloc_for(codes, (size_t)a.n, sizeof **codes, "a voice's codes");
    for (int64_t i = 0; s == UTTER_OK && i < a.n; i++) (*codes)[i] = ((const int32_t *)a.data)[i];
    *n = a.n;
    npy_free(&a);
    return s;
}

static status read_tensor(const char *path, const struct torch_file *f, int64_t **codes, int64_t *n) {
    if (!torch_is_single(f))
        return fail(UTTER_FORMAT, "%s holds a dictionary; a voice is a tensor of codes alone", path);
    const struct tensor *t = torch_at(f, 0);
    if (tensor_is_float(t) || t->type == TENSOR_BOOL)
        return fail(UTTER_FORMAT, "%s holds elements of %s; a voice's codes are whole numbers", path, t->dtype);
    if (!tensor_count(t, n)) return fail(UTTER_FORMAT, "%s holds a tensor that is too large", path);
    TRY(check_shape(path, t->n_dims, t->dims, *n));
    TRY(tensor_check(t, path));
    TRY(alloc_for(codes, (size_t)*n, sizeof **codes, "a voice's codes"));
    tensor_read_ints(t, 0, *n, *codes);
    return UTTER_OK;
}

status voice_codes_read(const char *path, const void *data, size_t size, int64_t **codes, int64_t *n) {
    *codes = NULL;
    if (is_npy(data, size)) return read_npy(path, codes, n);
    struct torch_file *f;
    TRY(torch_open(path, data, size, &f));
    status s = read_tensor(path, f, codes, n);
    torch_close(f);
    return s;
}

/* ---- what goes with them ---- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

status voice_codes_transcript(const char *path, char **text) {
    *text = NULL;
    struct str beside = {0};
    str_append(&beside, path, (size_t)(ending(path) - path));
    str_puts(&beside, ".txt");
    status s = str_status(&beside);
    if (s == UTTER_OK && access(beside.data, F_OK) != 0)
        s = fail(UTTER_IO, "%s holds codes, and there is no %s beside it with what was said in the recording; write it",
                 path, beside.data);
    struct file_map m = {0};
    if (s == UTTER_OK) s = file_map_open(beside.data, &m);
    const char *p = m.data;
    size_t n = m.size;
    while (n && is_space(p[n - 1])) n--;
    while (n && is_space(*p)) p++, n--;
    if (s == UTTER_OK && n == 0)
        s = fail(UTTER_FORMAT, "%s is empty; it must hold what was said in the recording", beside.data);
    if (s == UTTER_OK && (n > MAX_TRANSCRIPT || memchr(p, 0, n)))
        s = fail(UTTER_FORMAT, "%s is not the transcript of a recording: it has %zu bytes, or is not a text",
                 beside.data, m.size);
    if (s == UTTER_OK) {
        *text = strndup(p, n);
        if (!*text) s = fail_memory(n, "a transcript");
    }
    file_map_close(&m);
    str_free(&beside);
    return s;
}

status voice_codes_name(const char *path, char **name) {
    const char *slash = strrchr(path, '/'), *start = slash ? slash + 1 : path;
    *name = strndup(start, (size_t)(ending(path) - start));
    return *name ? UTTER_OK : fail_memory(strlen(path), "a name");
}
