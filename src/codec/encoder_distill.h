/* DistillNeuCodec's encoder: a smaller acoustic branch, and HuBERT of two layers for the semantic one. Its codes are
   NeuCodec's. From the same kind of file, with neucodec-encoder.variant = "distill".

   Tensor names, of the official checkpoint's:
     codec_encoder.encoder.blocks.0.blocks.N.1      -> acoustic.first.N.
     codec_encoder.encoder.blocks.0.conv_N.         -> acoustic.first.conv_N.
     codec_encoder.encoder.blocks.N.U.module.       -> acoustic.stages.S.U.      (N odd, S = N / 2)
     codec_encoder.encoder.blocks.N.                -> acoustic.stages.S.down.   (N even)
     codec_encoder.en_encoder.down_trans.trans.     -> acoustic.fine.            (250 frames a second)
     codec_encoder.en_encoder.down_trans.down_layer -> acoustic.down.
     codec_encoder.en_encoder.local_trans.          -> acoustic.coarse.          (50)
       layers.N.0.norm, .to_qkv, .to_out; layers.N.1.0, .1, .4
           -> layers.N.attention_norm, .qkv, .out, .ffn_norm, .ffn_in, .ffn_out
       dynamic_pos_bias.mlp.N                       -> distance.N
     fc_sq_prior.                                   -> acoustic.out.
     semantic_model.feature_extractor.conv_layers.N -> semantic.convs.N.
     semantic_model.encoder.pos_conv_embed.conv.    -> semantic.position.
     semantic_model.encoder.layer_norm.             -> semantic.layer_norm.
     semantic_model.encoder.layers.N.               -> semantic.layers.N.
   The others as in encoder.h; weight norm is made one weight everywhere.

   Metadata besides: local_window (frames of 20 ms that an attention of the acoustic branch looks back over, and again
   as many), normalize (of the recording, for HuBERT). */
#ifndef UTTER_CODEC_ENCODER_DISTILL_H
#define UTTER_CODEC_ENCODER_DISTILL_H

#include "codec/encoder.h"

enum {
    DISTILL_BRANCHES = 5,
    DISTILL_STAGES = 4,
    DISTILL_MAX_UNITS = 4,
    DISTILL_MAX_LAYERS = 8,
    HUBERT_CONVS = 7,
    HUBERT_MAX_LAYERS = 24,
    HUBERT_MAX_GROUPS = 64,
};

/* Samples around a sample over which each first branch takes the largest, then the mean of those; 1: the sample. */
extern const int distill_pools[DISTILL_BRANCHES];
/* Strides of HuBERT's convolutions. */
extern const int hubert_strides[HUBERT_CONVS];

/* A convolution of the recording, [channels, taps]; small, and so in floats. */
struct distill_branch {
    float *weight, *bias;
};

/* x + out(shift + gain * act(in(depthwise(x)))), act(y) = y + sin(frequency y)^2 / frequency */
struct distill_unit {
    float *depthwise;  // [taps, C]
    float *depthwise_bias;
    struct encoder_linear in, out;  // [F, C], [C, F]
    float *frequency, *amplitude;   // [F]
    float *gain, *shift;            // [F]
};

struct distill_stage {
    struct distill_unit units[DISTILL_MAX_UNITS];
    int n_units;
    int channels;
    struct encoder_linear down;  // taps = stride; of the last stage 3 taps, and it keeps the length
};

struct distill_layer {
    struct encoder_norm attention_norm, ffn_norm;
    struct encoder_linear qkv, out;         // [3 * heads * dim, C], [C, heads * dim]
    struct encoder_linear ffn_in, ffn_out;  // [2 F, C], [C, F]
};

/* Attention over the frames of this window and of the one before it. */
struct distill_transformer {
    struct distill_layer layers[DISTILL_MAX_LAYERS];
    int n_layers, window;
    struct encoder_linear distance[3];  // a bias for each head from how far a frame is
};

struct hubert_layer {
    struct encoder_linear q, k, v, out;
    struct encoder_norm attention_norm;
    struct encoder_linear ffn_in, ffn_out;
    struct encoder_norm final_norm;
};

struct encoder_distill {
    struct distill_branch branches[DISTILL_BRANCHES];
    int branch_channels, branch_taps, depthwise_taps;
    struct encoder_linear conv_1, conv_2;
    struct distill_stage stages[DISTILL_STAGES];
    int n_embd, n_heads, head_dim, n_ffn;  // of the transformers
    struct distill_transformer fine, coarse;
    struct encoder_linear down;
    struct encoder_linear out;

    bool normalize;
    int conv_channels;
    struct encoder_linear convs[HUBERT_CONVS];
    struct encoder_norm conv_norm;        // of the first one, over time
    struct encoder_norm projection_norm;  // weight NULL: none
    struct encoder_linear projection;
    struct encoder_linear position[HUBERT_MAX_GROUPS];  // [C / groups, taps * C / groups]
    float *position_bias;
    int n_groups, position_taps;
    struct encoder_norm position_norm;
    struct hubert_layer layers[HUBERT_MAX_LAYERS];  // config.n_layers
    int n_ffn_semantic;
};

#endif
