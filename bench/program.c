#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

status program_start(const char *name, char *const *argv, struct program *p) {
    *p = (struct program){.name = name};
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) return fail(UTTER_IO, "no pipe can be had: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]), close(in[1]);
        return fail(UTTER_IO, "no pipe can be had: %s", strerror(errno));
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    int error = posix_spawnp(&p->pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]), close(out[1]);
    p->to = fdopen(in[1], "w");
    p->from = fdopen(out[0], "r");
    if (!error) return UTTER_OK;
    p->pid = 0;
    program_stop(p);
    return fail(UTTER_IO, "cannot start %s: %s", argv[0], strerror(error));
}

void program_stop(struct program *p) {
    if (p->to) fclose(p->to);
    if (p->from) fclose(p->from);
    if (p->pid > 0) waitpid(p->pid, NULL, 0);
    *p = (struct program){0};
}

static status read_numbers(const struct program *p, const char *text, double *values, int n) {
    for (int i = 0; i < n; i++) {
        char *end;
        values[i] = strtod(text, &end);
        if (end == text) return fail(UTTER_FORMAT, "%s gave fewer than %d numbers", p->name, n);
        text = end;
    }
    return UTTER_OK;
}

status program_ask(struct program *p, double *values, int n, const char *format, ...) {
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(p->to, "%s\n", line);
    if (fflush(p->to) != 0 || !fgets(line, sizeof line, p->from))
        return fail(UTTER_IO, "%s ended where an answer was due", p->name);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "ok", 2) != 0) return fail(UTTER_INTERNAL, "%s: %s", p->name, line);
    return read_numbers(p, line + 2, values, n);
}

void program_line(const char *command, char *line, size_t n_bytes) {
    *line = 0;
    FILE *f = popen(command, "r");
    if (!f) return;
    if (!fgets(line, (int)n_bytes, f)) *line = 0;
    line[strcspn(line, "\n")] = 0;
    pclose(f);
}
