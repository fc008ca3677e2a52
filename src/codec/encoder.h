/* What NeuCodec's encoder is: geometry and weights, from a GGUF file with general.architecture = "neucodec-encoder". It
   is a file of its own, since only cloning a voice needs it. No heavy arithmetic: the devices compute.

   Tensor names are the official checkpoint's with shorter starts, so that they fit GGUF's 64 bytes:
     semantic_model.encoder.layers.N.    -> semantic.layers.N.
     semantic_model.feature_projection.  -> semantic.feature_projection.
     SemanticEncoder_module.             -> semantic_encoder.
     CodecEnc.                           -> acoustic.   (weight_g and weight_v made one weight)
     fc_prior.                           -> fc_prior.
     generator.quantizer.project_in.     -> project_in.
   Convolutions are stored [in, k, out], taps outside channels; depthwise ones [1, k, channels].

   DistillNeuCodec's encoder (encoder_distill.h) is the second kind: neucodec-encoder.variant is "distill".

   Metadata under neucodec-encoder.: sample_rate, hop_length, fsq_levels (array), strides (array), block_count (layers
   of the semantic branch, those up to the hidden state that is used), head_count, left_context (of relative positions).
 */
#ifndef UTTER_CODEC_ENCODER_H
#define UTTER_CODEC_ENCODER_H

#include "codec/codec.h"

enum { ENCODER_MAX_STAGES = 8, ENCODER_UNITS = 3 };

/* The official encoder's constants. */
#define ENCODER_NORM_EPS 1e-5f
enum {
    ENCODER_FEATURES = 160,  // of a frame: two rows of 80 mel bins
    ENCODER_SAMPLE_RATE = 16000,
    ENCODER_HOP = 320,
    ENCODER_FILTER_TAPS = 12,  // of the activations' resampling filter
};

struct encoder_config {
    int sample_rate, hop;  // Hz, samples a code
    int n_fsq;             // digits of a code
    int fsq_levels[CODEC_MAX_FSQ];
    int n_codes;

    int n_first;  // channels of the acoustic branch's first convolution; every stage doubles them
    int n_stages;
    int strides[ENCODER_MAX_STAGES];
    int n_acoustic;  // channels that come out

    int n_embd;  // C of the semantic branch
    int n_layers;
    int n_heads;
    int n_ffn;
    int left, right;  // relative positions are told apart from -left to right
    int depthwise_taps;
    int n_mid, n_semantic;  // channels inside and out of the convolutions after the layers
    int vq_dim;
};

/* y = W x + bias; a convolution when taps > 1: cols = taps * channels. */
struct encoder_linear {
    struct matrix w;
    float *bias;  // [rows]; NULL without one
    int taps;
    int index;  // in codec_encoder.linears
};

struct encoder_norm {
    float *weight, *bias;  // [C] LayerNorm
};

/* x + sin(x * frequency)^2 * amplitude, between twofold up- and downsampling. */
struct encoder_snake {
    float *frequency, *amplitude;  // [C]
};

struct encoder_unit {
    struct encoder_snake act1, act2;
    struct encoder_linear conv1, conv2;
    int dilation;  // of conv1
};

struct encoder_stage {
    struct encoder_unit units[ENCODER_UNITS];
    struct encoder_snake act;
    struct encoder_linear down;  // [2C, 2 * stride * C]
};

struct encoder_layer {
    struct encoder_norm ffn1_norm, attention_norm, conv_norm, depthwise_norm, ffn2_norm, final_norm;
    struct encoder_linear ffn1_in, ffn1_out;       // [F, C], [C, F]
    struct encoder_linear q, k, v, out;            // [C, C]
    float *distances;                              // [left + 1 + right, head_dim]
    struct encoder_linear pointwise1, pointwise2;  // [2C, C], [C, C]
    float *depthwise;                              // [taps, C]
    struct encoder_linear ffn2_in, ffn2_out;
};

struct encoder_distill;

struct codec_encoder {
    const char *label;  // the file's name, for messages
    char *name;         // of the codec whose codes it makes
    struct encoder_config config;
    struct encoder_distill *distill;  // the branches of that kind, in place of those up to `layers`; NULL: NeuCodec's

    struct encoder_linear first;   // [n_first, k]
    struct encoder_stage *stages;  // [n_stages]
    struct encoder_snake final_act;
    struct encoder_linear final;  // [n_acoustic, k * channels]

    struct encoder_norm features_norm;  // [ENCODER_FEATURES]
    struct encoder_linear features;     // [C, ENCODER_FEATURES]
    struct encoder_layer *layers;       // [n_layers]
    struct encoder_linear initial_conv, residual1, residual3, final_conv;

    struct encoder_linear fc_prior;    // [vq_dim, n_semantic + n_acoustic]
    struct encoder_linear project_in;  // [n_fsq, vq_dim]

    const struct encoder_linear **linears;  // [n_linears] all of them, for devices to prepare
    int n_linears;
    float **vectors;  // [n_vectors] owned
    int n_vectors;
    struct gguf *file;  // owned
};

/* Takes over `g`, also on failure. */
status codec_encoder_load(struct gguf *g, struct codec_encoder **out);
void codec_encoder_free(struct codec_encoder *e);

/* FSQ: z[n_fsq] -> code. Values are bounded twice, as the official encoder has it. UTTER_FORMAT when one is no number.
 */
status codec_encoder_code(const struct codec_encoder *e, const float *z, int32_t *code);
/* The bound of one value for so many levels. */
float codec_encoder_bound(float z, int levels);

/* The low-pass filter of the activations, a Kaiser-windowed sinc: filter[ENCODER_FILTER_TAPS]. */
void codec_encoder_filter(float *filter);

#endif
