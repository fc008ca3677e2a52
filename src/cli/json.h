/* JSON for programs that call this one. */
#ifndef UTTER_CLI_JSON_H
#define UTTER_CLI_JSON_H

#include <stdio.h>

#include "base/json.h"

/* Prints and frees it. */
void json_print(json_t *value, FILE *to);

#endif
