/* The two kinds of model that convert.c tells apart, and how metadata reaches the GGUF file. */
#ifndef UTTER_MODELS_CONVERT_PARTS_H
#define UTTER_MODELS_CONVERT_PARTS_H

#include <jansson.h>

#include "models/convert_plan.h"

/* Each fills the plan from the file's tensors and writes the metadata. */
status convert_codec(struct plan *p, struct gguf_writer *w);
status convert_backbone(struct plan *p, struct gguf_writer *w);
/* `semantic`: the checkpoint with the semantic model; NULL when the plan's own has it. */
status convert_encoder_plan(struct plan *p, const struct checkpoint *semantic, struct gguf_writer *w);

/* The JSON object that the file's __metadata__ holds under `key`; NULL when it holds none. json_decref it. */
status metadata_object(const struct plan *p, const char *key, json_t **out);

/* Writes `value` under `key`: strings, booleans, whole numbers (u32), numbers (f32) and arrays of strings or numbers.
 */
status metadata_put(const struct plan *p, struct gguf_writer *w, const char *key, const json_t *value);

/* One more than the largest N of the names that start with prefix N ".": so a gap in the numbering is a missing tensor.
 */
status count_blocks(const struct plan *p, const char *prefix, int64_t *out);

#endif
