/* Weights of ONNX models: the initialisers of the graph, read in place. (onnx.proto of onnx.ai; only the few fields that
   weights need.) */
#ifndef UTTER_MODELS_ONNX_H
#define UTTER_MODELS_ONNX_H

#include "models/tensor.h"

struct onnx;

bool onnx_looks_like(const void *data, size_t size);

/* Reads the model that lies at data[size], which must outlive the result. A weight that an exporter has turned over and
   left without a name ("onnx::MatMul_12") takes the name of the node that multiplies by it: /a/b/MatMul gives
   "a.b.weight", [out, in] as PyTorch has it. Weights in other files are refused. */
status onnx_open(const char *label, const void *data, size_t size, struct onnx **out);
void onnx_close(struct onnx *o);
int64_t onnx_n_tensors(const struct onnx *o);
/* By name, in order. */
const struct tensor *onnx_at(const struct onnx *o, int64_t i);

#endif
