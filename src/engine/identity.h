/* A short name for what decides how a text sounds: two engines with the same identity give the same codes for the same
   request, so that a reading can go on elsewhere, or be shared between machines. */
#ifndef UTTER_ENGINE_IDENTITY_H
#define UTTER_ENGINE_IDENTITY_H

#include "base/status.h"

enum { IDENTITY_LENGTH = 16 };  // hexadecimal digits

/* Of version, model, codec and one voice (NULL: the first). The weights are not read whole: of each tensor its shape,
   its type and its first bytes count. */
status engine_identity(utter *u, const char *voice, char out[IDENTITY_LENGTH + 1]);

#endif
