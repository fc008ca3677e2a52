#include "engine/voice_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_FILE_BYTES = 16 << 20, MAX_NAME_BYTES = 128 };

status voices_folder(struct str *out) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/')
        str_printf(out, "%s/utter/voices", data);
    else if (home && *home)
        str_printf(out, "%s/.local/share/utter/voices", home);
    else
        return fail(UTTER_INVALID, "there is no place for voices: neither XDG_DATA_HOME nor HOME is set");
    return str_status(out);
}

status voice_path(const char *name, struct str *out) {
    size_t len = strlen(name);
    if (len == 0 || len > MAX_NAME_BYTES || *name == '.' || strchr(name, '/'))
        return fail(UTTER_INVALID,
                    "\"%s\" cannot name a voice in the folder of voices: 1 to %d bytes, no / and no . at the start",
                    name, MAX_NAME_BYTES);
    TRY(voices_folder(out));
    str_printf(out, "/%s.json", name);
    return str_status(out);
}

status voices_folder_make(struct str *out) {
    TRY(voices_folder(out));
    return folder_make(out->data);
}

status voice_remove(const char *name) {
    struct str path = {0};
    status s = voice_path(name, &path);
    if (s == UTTER_OK && unlink(path.data) != 0)
        s = errno == ENOENT ? fail(UTTER_INVALID, "there is no voice %s of your own: %s is not there", name, path.data)
                            : fail(UTTER_IO, "cannot remove %s: %s", path.data, strerror(errno));
    str_free(&path);
    return s;
}

static status read_object(const char *path, json_t **out) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    status s = UTTER_OK;
    json_error_t error = {0};
    if (m.size > MAX_FILE_BYTES)
        s = fail(UTTER_LIMIT, "%s has %zu bytes; a voice file has at most %d", path, m.size, MAX_FILE_BYTES);
    else if (!(*out = json_loadb(m.data ? m.data : "", m.size, JSON_REJECT_DUPLICATES, &error)))
        s = fail(UTTER_FORMAT, "%s is no voice file: %s (line %d)", path, error.text, error.line);
    file_map_close(&m);
    const char *format = json_string_value(json_object_get(*out, "format"));
    if (s == UTTER_OK && (!format || strcmp(format, "utter-voice") != 0))
        s = fail(UTTER_FORMAT, "%s is no voice file: \"format\" is not \"utter-voice\"", path);
    if (s != UTTER_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return s;
}

status voice_read(const char *name_or_path, json_t **out) {
    struct str path = {0};
    *out = NULL;
    bool own = voice_path(name_or_path, &path) == UTTER_OK && access(path.data, F_OK) == 0;
    status s = read_object(own ? path.data : name_or_path, out);
    if (s == UTTER_IO && !own && !strchr(name_or_path, '/') && access(name_or_path, F_OK) != 0)
        s = fail(UTTER_INVALID, "there is no voice %s of your own, and no file of that name", name_or_path);
    str_free(&path);
    return s;
}
