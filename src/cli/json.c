#include "cli/json.h"

void json_print(json_t *value, FILE *to) {
    json_dumpf(value, to, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', to);
    json_decref(value);
}
