#include "base/json.h"

#include "base/str.h"

json_t *json_text(const char *text) {
    if (!text) return json_null();
    json_t *value = json_string(text);
    if (value) return value;
    struct str ascii = {0};
    for (; *text; text++) str_putc(&ascii, *text & 0x80 ? '?' : *text);
    value = json_string(str_text(&ascii));
    str_free(&ascii);
    return value;
}
