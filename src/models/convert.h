/* Making GGUF of what models are published as. */
#ifndef UTTER_MODELS_CONVERT_H
#define UTTER_MODELS_CONVERT_H

#include "gguf/blocks.h"

/* Converts the safetensors file `in` to the GGUF file `out`. What it holds is seen from its tensors:
   - a NeuCodec (generator.backbone.embed.weight): the decoder; geometry from the shapes, and from `__metadata__`
     "utter.codec" (JSON: sample_rate, hop_length, fft_length, head_count, group_count, fsq_levels) where given, else
     NeuCodec's own (24000, 480, n_fft from head.out, heads of 64, 32 groups, levels of 4);
   - a backbone (model.embed_tokens.weight, Hugging Face names of Qwen2, Llama or Qwen3) whose `__metadata__` "utter.gguf"
     is a JSON object of the GGUF metadata to write.
   Matrices become `type` where their rows are a multiple of its block, F16 otherwise; vectors stay F32. */
status convert_safetensors(const char *in, const char *out, block_type type);

#endif
