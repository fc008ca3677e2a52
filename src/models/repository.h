/* A repository of a hub that no list of models names: what of it is a model, seen from the names of its files and from
   its card. */
#ifndef UTTER_MODELS_REPOSITORY_H
#define UTTER_MODELS_REPOSITORY_H

#include "models/hub.h"
#include "models/registry.h"

struct repository;

/* Lists the repository and finds its model: a GGUF file, of several the one of `type` or else the smallest sensible
   type, or a Transformers checkpoint, to be converted to `type` (NULL: f16). UTTER_FORMAT, with what it holds, when
   there is neither. *out: repository_free. */
status repository_read(const struct hub *h, const struct registry *r, const char *name, const char *type,
                       const struct download_events *events, struct repository **out);
void repository_free(struct repository *r);

/* As if a list had named it. The language is its card's, or that of the model in the list that it was made of; the
   codec and the voices are that one's, too. Lives as long as the repository. */
const struct model_entry *repository_entry(const struct repository *r);

/* Whether its card names a licence. */
bool repository_has_licence(const struct repository *r);

#endif
