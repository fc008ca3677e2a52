#include "server/json_out.h"

static int append(const char *data, size_t n, void *user) {
    str_append(user, data, n);
    return 0;
}

void json_out(json_t *value, size_t digits, struct str *out) {
    if (json_dump_callback(value, append, out, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits)) != 0)
        out->failed = true;
    json_decref(value);
}
