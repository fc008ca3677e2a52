/* A model's weights as they are published, in whichever format: safetensors, PyTorch (ZIP or legacy), ONNX; one file, or
   a folder with one, or with parts that an index names. */
#ifndef UTTER_MODELS_CHECKPOINT_H
#define UTTER_MODELS_CHECKPOINT_H

#include "models/tensor.h"

struct checkpoint;

/* Opens a file by its content, or the weights of a folder: model.safetensors, pytorch_model.bin, or what their
   *.index.json lists. */
status checkpoint_open(const char *path, struct checkpoint **out);
void checkpoint_close(struct checkpoint *c);

/* The path it was opened by, for messages. */
const char *checkpoint_path(const struct checkpoint *c);
/* The folder that its files are in. */
const char *checkpoint_folder(const struct checkpoint *c);

int64_t checkpoint_n_tensors(const struct checkpoint *c);
/* By name, in order. */
const struct tensor *checkpoint_at(const struct checkpoint *c, int64_t i);
/* NULL if there is none of that name. */
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);
/* A string of the __metadata__ of a safetensors file; NULL if there is none. */
const char *checkpoint_metadata(const struct checkpoint *c, const char *key);

#endif
