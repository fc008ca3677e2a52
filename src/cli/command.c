#include "cli/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stop.h"

enum { MAX_OPTIONS = 40, MAX_COMMANDS = 32, MAX_LINE = 64 << 20 };

// ---- help ----

static void print_manual(const char *name, const struct manual *m, const struct option *options, size_t n) {
    struct str text = {0};
    options_describe(options, n, &text);
    printf("usage: utter %s %s\n\n%s\noptions:\n%s\nexamples:\n%s", name, m->usage, m->about, str_text(&text),
           m->examples);
    str_free(&text);
}

bool command_begin(const struct manual *manual, const struct option *options, size_t n, int argc, char **argv,
                   int *n_rest, int *exit_code) {
    bool help = false;
    struct option all[MAX_OPTIONS];
    if (n > MAX_OPTIONS - 1) n = MAX_OPTIONS - 1;
    if (n) memcpy(all, options, n * sizeof *all);
    all[n] = (struct option){"help", 'h', OPTION_FLAG, &help, NULL, "show this", 0, 0};
    status s = options_parse(all, n + 1, argc, argv, n_rest);
    if (help) {
        print_manual(argv[0], manual, all, n + 1);
        *exit_code = EXIT_OK;
        return false;
    }
    if (s != UTTER_OK) *exit_code = command_usage(argv[0]);
    return s == UTTER_OK;
}

int command_end(const char *name, status s) {
    if (s == UTTER_OK) return EXIT_OK;
    if (s == UTTER_CANCELLED && stop_requested()) {
        fprintf(stderr, "utter %s: stopped\n", name);
        return stop_exit_code();
    }
    fprintf(stderr, "utter %s: %s\n", name, fail_message());
    return EXIT_FAILED;
}

int command_usage(const char *name) {
    fprintf(stderr, "utter %s: %s\nTry: utter %s --help\n", name, fail_message(), name);
    return EXIT_USAGE;
}

// ---- commands with commands of their own ----

static void print_commands(const char *title, const struct command *commands, size_t n, FILE *to) {
    fprintf(to, "usage: %s COMMAND ...\n\ncommands:\n", title);
    for (size_t i = 0; i < n; i++) fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\nMore about one: %s COMMAND --help\n", title);
}

int command_dispatch(const char *title, const struct command *commands, size_t n, int argc, char **argv,
                     const char *otherwise) {
    if (argc < 2) {
        print_commands(title, commands, n, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_commands(title, commands, n, stdout);
        return EXIT_OK;
    }
    const char *names[MAX_COMMANDS];
    for (size_t i = 0; i < n && i < MAX_COMMANDS; i++) names[i] = commands[i].name;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        char full[64];  // "models info", after "utter "
        snprintf(full, sizeof full, "%s%s%s", strchr(title, ' ') ? strchr(title, ' ') + 1 : "",
                 strchr(title, ' ') ? " " : "", argv[1]);
        argv[1] = full;
        return commands[i].run(argc - 1, argv + 1);
    }
    const char *near = nearest_name(argv[1], names, n < MAX_COMMANDS ? n : MAX_COMMANDS);
    bool is_option = argv[1][0] == '-';
    fprintf(stderr, "%s: unknown %s \"%s\"", title, is_option ? "option" : "command", argv[1]);
    if (near)
        fprintf(stderr, "; did you mean \"%s %s\"?\n", title, near);
    else
        fprintf(stderr, "; %s\n", otherwise);
    return EXIT_USAGE;
}

// ---- texts ----

status command_join(char **words, int n, struct str *out) {
    for (int i = 0; i < n; i++) {
        if (i) str_putc(out, ' ');
        str_puts(out, words[i]);
    }
    return str_status(out);
}

static status answer(const char *text, size_t len, line_fn *fn, void *user) {
    struct str out = {0};
    status s = fn(user, text, len, &out);
    if (s == UTTER_OK) {
        str_putc(&out, '\n');
        s = str_status(&out);
    }
    if (s == UTTER_OK && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        s = fail(UTTER_IO, "cannot write to standard output: %s", strerror(errno));
    str_free(&out);
    return s;
}

// One line of standard input, without its newline. False at the end.
static bool read_line(struct str *line) {
    str_clear(line);
    int c;
    while ((c = getc_unlocked(stdin)) != EOF && c != '\n' && line->len <= MAX_LINE) str_putc(line, (char)c);
    return c != EOF || line->len > 0;
}

status command_lines(char **words, int n, line_fn *fn, void *user) {
    struct str text = {0};
    status s = UTTER_OK;
    if (n > 0) {
        s = command_join(words, n, &text);
        if (s == UTTER_OK) s = answer(str_text(&text), text.len, fn, user);
    } else {
        while (s == UTTER_OK && read_line(&text)) {
            s = str_status(&text);
            if (s == UTTER_OK && text.len > MAX_LINE)
                s = fail(UTTER_LIMIT, "a line of standard input is longer than %d MiB; break it up", MAX_LINE >> 20);
            if (s == UTTER_OK) s = answer(str_text(&text), text.len, fn, user);
        }
        if (s == UTTER_OK && ferror(stdin)) s = fail(UTTER_IO, "cannot read standard input: %s", strerror(errno));
    }
    str_free(&text);
    return s;
}
