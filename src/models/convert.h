/* Making GGUF of what models are published as. */
#ifndef UTTER_MODELS_CONVERT_H
#define UTTER_MODELS_CONVERT_H

#include "gguf/blocks.h"

/* Converts `in` (a safetensors, PyTorch or ONNX file, or a folder with one; see checkpoint.h) to the GGUF file `out`.
   What it holds is seen from its tensors:
   - a NeuCodec (generator.backbone.embed.weight): the decoder; geometry from the shapes, and from a safetensors file's
     `__metadata__` "utter.codec" (JSON: sample_rate, hop_length, fft_length, head_count, group_count, fsq_levels) where
     given, else NeuCodec's own (24000, 480, n_fft from head.out, heads of 64, 32 groups, levels of 4);
   - a backbone (model.embed_tokens.weight, Hugging Face names of Qwen2, Llama or Qwen3): metadata from a safetensors
     file's `__metadata__` "utter.gguf", a JSON object of GGUF keys, or else from config.json, tokenizer.json,
     tokenizer_config.json and generation_config.json beside it.
   Matrices become `type`, or what block_type_for puts in its place; what decides over tokens at least Q8_0; vectors
   stay F32. */
status convert_model(const char *in, const char *out, block_type type);

/* The encoder of a NeuCodec or a DistillNeuCodec, with which voices are cloned, as a GGUF file of its own (see
   codec/encoder.h). `semantic`: a checkpoint of the semantic model (facebook/w2v-bert-2.0, ntu-spml/distilhubert), for
   one that leaves out its semantic_model; else NULL. Geometry is seen from the shapes, and from __metadata__
   "utter.encoder" (JSON: layer_count, head_count; of a DistillNeuCodec head_count, local_window, normalize) where
   given, else it is the published model's. Whether HuBERT's input is normalised is taken from preprocessor_config.json
   beside the semantic model. */
status convert_encoder(const char *in, const char *semantic, const char *out, block_type type);

/* Whether the checkpoint `in` lacks its semantic model. */
status encoder_needs_semantic(const char *in, bool *out);

#endif
