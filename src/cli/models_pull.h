/* The commands of utter models that fetch, check and remove, and what of them list shows. */
#ifndef UTTER_CLI_MODELS_PULL_H
#define UTTER_CLI_MODELS_PULL_H

#include <jansson.h>

#include "base/status.h"

int models_pull(int argc, char **argv);
int models_remove(int argc, char **argv);
int models_verify(int argc, char **argv);
int models_path(int argc, char **argv);

/* Appends an object for each installed model ("state": "installed") and for each that could be pulled ("available"). */
status models_add_known(json_t *list);

#endif
