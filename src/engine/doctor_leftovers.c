/* What guides for other programs have people install before a GPU speaks. None of it is needed here, and none is
   looked at; saying so ends the search for what is wrong with it. */
#include <dirent.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/doctor_parts.h"

enum { MAX_LEFTOVERS = 24 };  // more are not named

struct leftovers {
    struct str text;
    json_t *list;
    int n;
};

static void add(struct leftovers *l, const char *what, const char *where) {
    if (l->n++ >= MAX_LEFTOVERS) return;
    str_printf(&l->text, "%s%s (%s)", l->text.len ? ", " : "", where, what);
    json_array_append_new(l->list, json_pack("{s:s, s:s*}", "what", what, "where", where));
}

static void add_matches(struct leftovers *l, const char *what, const char *pattern) {
    glob_t g;
    if (glob(pattern, 0, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++) add(l, what, g.gl_pathv[i]);
    globfree(&g);
}

static void add_variable(struct leftovers *l, const char *name) {
    const char *value = getenv(name);
    if (!value || !*value) return;
    struct str text = {0};
    str_printf(&text, "%s=%s", name, value);
    add(l, "CUDA toolkit", str_text(&text));
    str_free(&text);
}

/* ---- folders of a search path ---- */

typedef void folder_fn(struct leftovers *l, const char *folder);

static void for_each_folder(struct leftovers *l, const char *list, folder_fn *fn) {
    char folder[PATH_MAX];
    while (list && *list) {
        size_t n = strcspn(list, ":");
        if (n > 0 && n < sizeof folder) {
            memcpy(folder, list, n);
            folder[n] = 0;
            fn(l, folder);
        }
        list += n + (list[n] == ':');
    }
}

static void look_for_nvcc(struct leftovers *l, const char *folder) {
    struct str path = {0};
    str_printf(&path, "%s/nvcc", folder);
    if (access(str_text(&path), X_OK) == 0) add(l, "CUDA compiler", str_text(&path));
    str_free(&path);
}

static bool is_cuda_library(const char *name) {
    static const char *const beginnings[] = {"libcudart", "libcublas",   "libcudnn", "libggml-cuda", "cudart64_",
                                             "cublas64_", "cublasLt64_", "cudnn64_", "ggml-cuda"};
    if (!strstr(name, ".so") && !strstr(name, ".dll")) return false;
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0) return true;
    return false;
}

static void look_for_libraries(struct leftovers *l, const char *folder) {
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!is_cuda_library(e->d_name)) continue;
        struct str path = {0};
        str_printf(&path, "%s/%s", folder, e->d_name);
        add(l, "CUDA library", str_text(&path));
        str_free(&path);
    }
    if (dir) closedir(dir);
}

static void look_beside_program(struct leftovers *l) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (!slash) return;
    *slash = 0;
    look_for_libraries(l, path);
}

/* ---- Python ---- */

static void look_for_python(struct leftovers *l) {
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"VIRTUAL_ENV", "/lib/python3*/site-packages"},  {"CONDA_PREFIX", "/lib/python3*/site-packages"},
        {"HOME", "/.local/lib/python3*/site-packages"},  {NULL, "/usr/lib/python3*/dist-packages"},
        {NULL, "/usr/local/lib/python3*/dist-packages"}, {NULL, "/usr/local/lib/python3*/site-packages"},
    };
    static const char *const packages[] = {"llama_cpp", "torch", "neutts"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *root = places[i].variable ? getenv(places[i].variable) : "";
        if (!root || (places[i].variable && !*root)) continue;
        for (size_t p = 0; p < sizeof packages / sizeof *packages; p++) {
            struct str pattern = {0};
            str_printf(&pattern, "%s%s/%s", root, places[i].below, packages[p]);
            add_matches(l, "Python package", str_text(&pattern));
            str_free(&pattern);
        }
    }
}

void doctor_leftovers(struct doctor *d) {
    struct leftovers l = {.list = json_array()};
    add_matches(&l, "CUDA toolkit", "/usr/local/cuda*");
    add_variable(&l, "CUDA_PATH");
    add_variable(&l, "CUDA_HOME");
    for_each_folder(&l, getenv("PATH"), look_for_nvcc);
    look_beside_program(&l);
    for_each_folder(&l, getenv("LD_LIBRARY_PATH"), look_for_libraries);
    look_for_python(&l);
    json_t *facts = json_pack("{s:o}", "found", l.list);
    if (l.n == 0)
        doctor_found(d, "not needed", FINDING_NONE, facts,
                     "no CUDA toolkit, CUDA libraries or Python packages were found; utter needs none of them");
    else if (l.n > MAX_LEFTOVERS)
        doctor_found(d, "not needed", FINDING_OK, facts,
                     "ignored, as utter needs no CUDA toolkit, CUDA libraries or Python: %s and %d more",
                     str_text(&l.text), l.n - MAX_LEFTOVERS);
    else
        doctor_found(d, "not needed", FINDING_OK, facts,
                     "ignored, as utter needs no CUDA toolkit, CUDA libraries or Python: %s", str_text(&l.text));
    str_free(&l.text);
}
