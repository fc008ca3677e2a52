/* JSON strings of any bytes. */
#ifndef UTTER_BASE_JSON_H
#define UTTER_BASE_JSON_H

#include <jansson.h>

/* A string, also of bytes that are no UTF-8, as file names and what clients send may be: those become "?". NULL gives
   null. */
json_t *json_text(const char *text);

#endif
