/* Voices that lie on a web server: a voice file is fetched, checked and put among one's own. */
#ifndef UTTER_CLI_VOICES_FETCH_H
#define UTTER_CLI_VOICES_FETCH_H

#include <stdbool.h>

#include "base/status.h"

struct voice_address {
    const char *url;
    const char *sha256;  // 64 hexadecimal digits; NULL: not known, which only https may do without
    const char *name;    // NULL: the file's own
    const char *out;     // NULL: the folder of voices
    bool replace;
};

/* Whether what is given to "voices add" is an address and not a file's name. */
bool is_web_address(const char *text);

/* Nothing is written unless all of it is there, has that checksum and is a voice. */
status voice_fetch(const struct voice_address *a, const char *command);

#endif
