/* What the converters of both kinds of encoder share. */
#ifndef UTTER_MODELS_CONVERT_ENCODER_PARTS_H
#define UTTER_MODELS_CONVERT_ENCODER_PARTS_H

#include "models/convert_parts.h"

enum { PLAN_NAME = 160 };  // bytes of a tensor's name while it is put together
enum { ENCODER_MAX_FSQ = 16, ENCODER_HOP = 320, ENCODER_LEVELS = 4, ENCODER_HEAD_DIM = 64 };

/* A checkpoint of NeuCodec may have the semantic model or leave it to the file it was published in, where its names
   have no prefix. */
struct encoder_source {
    struct plan *plan;
    const struct checkpoint *semantic;  // NULL: in the same file
    const char *semantic_prefix;
};

/* Sees where the semantic model is; UTTER_FORMAT when it is nowhere, with the repository that has it. */
status encoder_find_semantic(struct encoder_source *s, const char *prefix, const char *repository);
/* Runs fn while the plan's tensors come from the semantic model's file. */
typedef status encoder_part_fn(const struct encoder_source *s, void *geometry);
status encoder_in_semantic(const struct encoder_source *s, encoder_part_fn *fn, void *geometry);

/* What stands between the two models and the codes. */
struct encoder_ends {
    int64_t n_mid, n_semantic, vq_dim, n_fsq;
};
status encoder_read_ends(const struct plan *p, struct encoder_ends *e);
/* n_embd, n_acoustic: channels that the semantic and the acoustic model give. */
status encoder_add_ends(struct plan *p, const struct encoder_ends *e, int64_t n_embd, int64_t n_acoustic);
/* What every encoder's metadata say. */
void encoder_put_ends(struct gguf_writer *w, const struct encoder_ends *e);

/* Numbers under __metadata__ "utter.encoder" of a safetensors file; others there are refused. At least two. */
struct encoder_field {
    const char *key;
    int64_t *value;
};
status encoder_read_said(const struct plan *p, const struct encoder_field *fields, size_t n);

status encoder_check_heads(const struct plan *p, int64_t width, int64_t n_heads);

/* Whether there is a tensor named prefix, leaf. */
bool plan_has(const struct plan *p, const char *prefix, const char *leaf);
/* The tensor from, leaf becomes to, leaf. */
status plan_add_from(struct plan *p, const char *from, const char *to, const char *leaf, int64_t rows, int64_t cols,
                     int64_t taps);
/* Weight and bias; the weight may be kept as direction and length, which are made one. */
status plan_add_normed(struct plan *p, const char *from, const char *to, int64_t rows, int64_t cols, int64_t taps);
/* Of such a weight, the one with the shape. */
status plan_need_weight(const struct plan *p, const char *prefix, int n_dims, const struct tensor **out);
/* How it is kept: the ends of the names of its parts; false when they have been made one (*direction: ".weight"). */
bool plan_weight_parts(const struct plan *p, const char *prefix, const char **direction, const char **gain);

status convert_distill_plan(struct plan *p, const struct checkpoint *semantic, struct gguf_writer *w);

#endif
