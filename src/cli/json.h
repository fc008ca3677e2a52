/* JSON for programs that call this one. */
#ifndef UTTER_CLI_JSON_H
#define UTTER_CLI_JSON_H

#include <jansson.h>
#include <stdio.h>

/* A string, also of bytes that are no UTF-8, as file names may be: those become "?". NULL gives null. */
json_t *json_text(const char *text);

/* Prints and frees it. */
void json_print(json_t *value, FILE *to);

#endif
