/* What the two kinds of encoder share when they are read from a file. */
#ifndef UTTER_CODEC_ENCODER_PARTS_H
#define UTTER_CODEC_ENCODER_PARTS_H

#include "codec/encoder.h"

/* Bounds that no real encoder comes near; they keep every product of sizes far from overflow. */
enum { ENCODER_MAX_WIDTH = 1 << 15, ENCODER_MAX_TAPS = 63, ENCODER_NAME_SIZE = 96 };

status encoder_need_int(const struct gguf *g, const char *key, int low, int high, int *out);
status encoder_need_ints(const struct gguf *g, const char *key, int n_max, int low, int high, int *values, int *n);

/* The tensor's outermost dimension: outputs, rows. */
status encoder_outputs(const struct gguf *g, const char *name, int *out);

/* Writes to name[ENCODER_NAME_SIZE] and returns it. */
const char *encoder_name(char *name, const char *format, ...) PRINTF_LIKE(2, 3);

status encoder_load_vector(struct codec_encoder *e, const char *name, int64_t n, float **out);
/* A matrix in the file as floats: [rows, cols]. */
status encoder_load_floats(struct codec_encoder *e, const char *name, int64_t rows, int64_t cols, float **out);
status encoder_load_norm(struct codec_encoder *e, const char *prefix, int64_t n, struct encoder_norm *out);

/* A product, or a convolution over `channels`, whose taps the tensor tells. */
enum bias { NO_BIAS, BIAS };
status encoder_load_linear(struct codec_encoder *e, const char *prefix, int64_t rows, int64_t channels, enum bias bias,
                           struct encoder_linear *out);
/* A convolution that keeps the length: an odd number of taps. */
status encoder_load_conv(struct codec_encoder *e, const char *prefix, int64_t rows, int64_t channels, enum bias bias,
                         struct encoder_linear *out);
status encoder_load_snake(struct codec_encoder *e, const char *prefix, int64_t n, struct encoder_snake *out);
/* [channels, taps] in the file -> out [taps, channels]; the tensor tells the taps. */
status encoder_load_depthwise(struct codec_encoder *e, const char *name, int64_t channels, int *taps, float **out);

/* A distilled encoder: what read_config has not read yet, then the weights of both branches. */
status encoder_distill_config(struct codec_encoder *e);
status encoder_distill_load(struct codec_encoder *e);

#endif
