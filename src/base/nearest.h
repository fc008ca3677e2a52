/* What somebody meant who wrote a name wrong. */
#ifndef UTTER_BASE_NEAREST_H
#define UTTER_BASE_NEAREST_H

#include <stddef.h>

/* The one of names[n] that `word` was most likely meant to be; NULL if none is near. */
const char *nearest_name(const char *word, const char *const *names, size_t n);

#endif
