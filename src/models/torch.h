/* What torch.save writes: ZIP archives (PyTorch 1.6 and later) and the legacy format before them. A file's tensors are
   listed by name and read in place; nothing in the file is run. */
#ifndef UTTER_MODELS_TORCH_H
#define UTTER_MODELS_TORCH_H

#include "models/tensor.h"

struct torch_file;

/* Whether data[size] begins as such a file does. */
bool torch_looks_like(const void *data, size_t size);

/* Opens the file that lies at data[size], which must outlive the result. What it holds is a tensor, then without a name
   (""), or a dictionary: its tensors by their keys, or those of the dictionary under "state_dict" or "model" where one
   is there; other values are passed over. */
status torch_open(const char *label, const void *data, size_t size, struct torch_file **out);
void torch_close(struct torch_file *f);
int64_t torch_n_tensors(const struct torch_file *f);
/* By name, in order. */
const struct tensor *torch_at(const struct torch_file *f, int64_t i);
/* Whether the file is one tensor and not a dictionary. */
bool torch_is_single(const struct torch_file *f);

#endif
