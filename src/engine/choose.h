/* Which model speaks when none is named: the best of those that are installed. */
#ifndef UTTER_ENGINE_CHOOSE_H
#define UTTER_ENGINE_CHOOSE_H

#include "base/str.h"

/* What names the built-in model where the name of an installed one may stand. */
#define BUILT_IN_NAME "built-in"

/* Opens the best installed model that has a voice. Better is what has more weights, and of those with as many the
   smaller file, which is the faster one. What cannot be used is passed over with a sentence for the log; *out stays
   NULL when nothing is left. Fails when no model could be opened with these options. */
status open_installed(const utter_options *options, utter **out);

/* Appends the name of the model that open_installed would open; nothing when there is none. */
status name_installed(const utter_options *options, struct str *name);

#endif
