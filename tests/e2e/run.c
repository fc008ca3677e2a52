#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

static char folder[] = "/tmp/utter-e2e-XXXXXX";
static struct result last;

static char *slurp(const char *name, size_t *len) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1);
    size_t n = 0, cap = 0;
    while (f && text) {
        if (n + 65536 > cap) text = realloc(text, cap = (n + 65536) * 2);
        size_t got = text ? fread(text + n, 1, 65535, f) : 0;
        if (got == 0) break;
        n += got;
    }
    if (f) fclose(f);
    if (!text) abort();
    text[n] = 0;
    *len = n;
    return text;
}

int run_setup(void **state) {
    (void)state;
    const char *binary = getenv("UTTER_BINARY");
    if (!binary || access(binary, X_OK) != 0) {
        fprintf(stderr, "UTTER_BINARY must name the utter program\n");
        return 1;
    }
    if (!mkdtemp(folder)) return 1;
    char link[512];
    snprintf(link, sizeof link, "%s/.bin", folder);
    if (mkdir(link, 0755) != 0) return 1;
    snprintf(link, sizeof link, "%s/.bin/utter", folder);
    return symlink(binary, link);
}

int run_cleanup(void **state) {
    (void)state;
    free(last.out);
    free(last.err);
    char line[600];
    snprintf(line, sizeof line, "rm -rf '%s'", folder);
    return system(line);
}

const char *run_folder(void) { return folder; }

const struct result *run(const char *format, ...) {
    free(last.out);
    free(last.err);
    char line[8192];
    int n = snprintf(line, sizeof line, "cd '%s' && PATH=\"$PWD/.bin:$PATH\" timeout -k 5 300 sh -c '", folder);
    char user[6000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(user, sizeof user, format, arguments);
    va_end(arguments);
    for (const char *p = user; *p && (size_t)n < sizeof line - 64; p++)  // quoted for the outer shell
        n += *p == '\'' ? snprintf(line + n, sizeof line - (size_t)n, "'\\''") : (line[n] = *p, 1);
    snprintf(line + n, sizeof line - (size_t)n, "' >.out 2>.err");
    int code = system(line);
    last.code = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
    size_t err_len;
    last.out = slurp(".out", &last.out_len);
    last.err = slurp(".err", &err_len);
    return &last;
}

void assert_says(const struct result *r, int code, const char *what) {
    if (r->code != code) fail_msg("exit code %d, wanted %d; it said: %s", r->code, code, r->err);
    if (!strstr(r->err, what)) fail_msg("it said \"%s\", not \"%s\"", r->err, what);
}

void wait_until(const char *condition) {
    const struct result *r =
        run("for i in $(seq 600); do { %s; } >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1", condition);
    if (r->code != 0) fail_msg("it never came to: %s", condition);
}

long file_size(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct stat info;
    return stat(path, &info) == 0 ? (long)info.st_size : -1;
}
