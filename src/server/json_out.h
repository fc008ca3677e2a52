#ifndef UTTER_SERVER_JSON_OUT_H
#define UTTER_SERVER_JSON_OUT_H

#include <jansson.h>

#include "base/str.h"

/* Appends the value on one line, its reals with so many digits, and takes it. One that is NULL, or that there is no
   memory for, makes `out` fail. */
void json_out(json_t *value, size_t digits, struct str *out);

#endif
