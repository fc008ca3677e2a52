/* Options of a command as a table: what is accepted, where it goes, and what --help says. */
#ifndef UTTER_CLI_OPTIONS_H
#define UTTER_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/nearest.h"
#include "base/str.h"

enum option_kind {
    OPTION_FLAG,   // bool *
    OPTION_TEXT,   // const char **: points into argv
    OPTION_INT,    // int *
    OPTION_U32,    // uint32_t *
    OPTION_FLOAT,  // float *
};

struct option {
    const char *name;  // long name, without its dashes
    char letter;       // short name; 0: none
    enum option_kind kind;
    void *value;           // set when the option is given, left alone when not; the last one given counts
    const char *argument;  // what --help calls the argument: "FILE"; NULL for flags
    const char *help;
    double min, max;  // of numbers
};

/* Reads argv[1..argc). Options may stand anywhere; "--" ends them; "-" is no option. The other arguments are moved to
   the front, argv[1..*n_rest]. UTTER_INVALID, with a sentence, for what is not in options[n]. */
status options_parse(const struct option *options, size_t n, int argc, char **argv, int *n_rest);

/* Appends what --help says about options[n], one or more lines each. */
void options_describe(const struct option *options, size_t n, struct str *out);

#endif
