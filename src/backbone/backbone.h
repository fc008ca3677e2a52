/* What the language model is: hyperparameters, weights, vocabulary, prompt format, sampling defaults. No arithmetic:
   the devices compute. All of it comes from the file's metadata; no geometry is a constant in code.

   Beyond what llama.cpp reads, a file may say
     utter.prompt                template, see prompt.h
     utter.language              "en-us", ...
     utter.sampling.temperature, .top_k, .top_p, .min_p
     neuphonic.input_format      "phonemes" or "BPE"; where it is missing the chat template tells
     neuphonic.supported_emotions

   Shapes below: E = n_embd, H = n_heads, G = n_kv_heads, D = head_dim, F = n_ffn, V = n_vocab. */
#ifndef UTTER_BACKBONE_BACKBONE_H
#define UTTER_BACKBONE_BACKBONE_H

#include "backbone/sampler.h"
#include "gguf/gguf.h"
#include "text/tokenizer.h"

struct backbone_config {
    char arch[16];  // "qwen2", "llama" or "qwen3"
    int n_layers;
    int n_embd;
    int n_heads;
    int n_kv_heads;  // n_heads is a multiple of it
    int head_dim;    // even
    int n_ffn;
    int n_vocab;
    int n_ctx;  // positions the model was made for
    float rope_base;
    bool rope_interleaved;  // llama: pairs (2i, 2i+1); qwen: pairs (i, i + D/2)
    float norm_eps;
};

struct backbone_layer {
    float *attn_norm;                 // [E]
    struct matrix q, k, v;            // [H*D, E], [G*D, E], [G*D, E]
    float *q_bias, *k_bias, *v_bias;  // [H*D], [G*D], [G*D]; NULL without bias
    float *q_norm, *k_norm;           // [D] RMS norms of each head (qwen3); NULL without
    struct matrix attn_out;           // [E, H*D]
    float *ffn_norm;                  // [E]
    struct matrix gate, up;           // [F, E]
    struct matrix down;               // [E, F]
};

struct backbone_weights {
    struct matrix token_embd;       // [V, E]
    struct backbone_layer *layers;  // [n_layers]
    float *output_norm;             // [E]
    struct matrix output;           // [V, E]; the embedding again when tied
};

/* How text reaches the model. */
enum input_format { INPUT_PHONEMES, INPUT_BPE };

struct backbone {
    const char *label;  // the file's name, for messages
    const char *name;   // general.name, or the file's name
    struct backbone_config config;
    struct backbone_weights weights;
    struct tokenizer *tokenizer;

    /* Speech vocabulary: found by token text, never assumed. n_codes is 0 for a model without <|speech_0|>. */
    int n_codes;          // <|speech_0|> .. <|speech_{n-1}|>
    int32_t *code_token;  // [n_codes] token of each code
    int32_t end_token;    // <|SPEECH_GENERATION_END|>; -1 without
    enum input_format input_format;
    char *prompt;              // template, see prompt.h
    char *language;            // the model's own language, "en-us" where the file says nothing
    struct sampling sampling;  // the model's own defaults
    char **emotions;           // [n_emotions] emotions that have a token
    int n_emotions;

    struct gguf *file;  // owned
};

/* Takes over `g`, also on failure. A model that is no speech model loads (the plumbing commands read its logits);
   backbone_check_speech tells. */
status backbone_load(struct gguf *g, struct backbone **out);
void backbone_free(struct backbone *b);

/* UTTER_FORMAT with a sentence when the model has no speech tokens (a chat model, say). */
status backbone_check_speech(const struct backbone *b);

/* Rows of the output matrix that can be sampled, in the order in which logits are laid out. With speech_only: the
   code tokens in code order, then the end token, so that logit i < n_codes is code i and logit n_codes is the end.
   Otherwise every token in id order. *rows is new memory (free_aligned), int32_t [*n]. */
status backbone_head_rows(const struct backbone *b, bool speech_only, int32_t **rows, int *n);

#endif
