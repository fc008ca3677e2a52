/* What NeuCodec's decoder is: geometry and weights, from a GGUF file with general.architecture = "neucodec". No heavy
   arithmetic: the devices compute. Tensor names are the official checkpoint's.

   Metadata: neucodec.sample_rate, .hop_length, .fft_length, .embedding_length (C), .block_count, .head_count,
   .group_count, .vq_length (Q), .fsq_levels (array). Convolutions are stored [in, k, out] (taps outside channels), so
   that a row times k consecutive frames of a [T, C] array is the convolution. */
#ifndef UTTER_CODEC_CODEC_H
#define UTTER_CODEC_CODEC_H

#include "gguf/gguf.h"

enum { CODEC_MAX_FSQ = 16, CODEC_RESNETS = 4 };

/* NeuCodec's constants: of every GroupNorm, RMSNorm and LayerNorm, and the bound of the head's magnitudes. */
#define CODEC_NORM_EPS 1e-6f
#define CODEC_MAX_MAGNITUDE 100.0f

struct codec_config {
    int sample_rate;  // Hz
    int hop;          // samples a frame
    int n_fft;        // a multiple of hop, at least twice; both are even
    int n_embd;       // C
    int n_blocks;
    int n_heads;
    int n_groups;  // of the GroupNorms
    int vq_dim;    // Q
    int n_fsq;     // digits of a code
    int fsq_levels[CODEC_MAX_FSQ];
    int n_codes;                      // product of the levels
    int embed_kernel, resnet_kernel;  // taps, odd
    int n_ffn;
};

struct codec_resnet {
    float *norm1, *norm1_bias;  // [C] GroupNorm
    struct matrix conv1;        // [C, k*C]
    float *conv1_bias;          // [C]
    float *norm2, *norm2_bias;
    struct matrix conv2;
    float *conv2_bias;
};

struct codec_block {
    float *att_norm;       // [C]
    struct matrix c_attn;  // [3C, C]: q, k, v
    struct matrix c_proj;  // [C, C]
    float *ffn_norm;       // [C]
    struct matrix fc1;     // [F, C]
    struct matrix fc2;     // [C, F]
};

struct codec {
    const char *label;  // the file's name, for messages
    const char *name;
    struct codec_config config;

    struct matrix project_out;                   // [Q, n_fsq]
    float *project_out_bias;                     // [Q]
    struct matrix fc_post_a;                     // [C, Q]
    float *fc_post_a_bias;                       // [C]
    struct matrix embed;                         // [C, k*C]
    float *embed_bias;                           // [C]
    struct codec_resnet resnets[CODEC_RESNETS];  // prior_net.0, .1, post_net.0, .1
    struct codec_block *blocks;                  // [n_blocks]
    float *final_norm, *final_norm_bias;         // [C] LayerNorm
    struct matrix head;                          // [n_fft + 2, C]: log magnitude, then phase
    float *head_bias;                            // [n_fft + 2]

    struct gguf *file;  // owned
};

/* Takes over `g`, also on failure. */
status codec_load(struct gguf *g, struct codec **out);
void codec_free(struct codec *c);

/* FSQ: code -> n_fsq values in [-1, 1), digit 0 first (value = (digit - levels/2) / (levels/2) with whole halves).
   UTTER_INVALID for a code outside 0..n_codes-1. */
status codec_fsq_values(const struct codec_config *config, int32_t code, float *values);

/* The synthesis window of the inverse transform, a periodic Hann window: window[n_fft]. A frame's inverse transform
   times this window is added at frame * hop; the sum is divided by the sum of squared windows of the frames that exist;
   (n_fft - hop) / 2 samples are dropped at both ends. */
void codec_istft_window(const struct codec_config *config, float *window);

#endif
