/* A conversion as a list: which tensor of a checkpoint becomes which tensor of a GGUF file, and how. Every shape
   is checked while the list is made, so that nothing is written for a model that cannot be converted. */
#ifndef UTTER_MODELS_CONVERT_PLAN_H
#define UTTER_MODELS_CONVERT_PLAN_H

#include "gguf/write.h"
#include "models/checkpoint.h"

struct plan_item {
    const struct tensor *tensor;
    const struct tensor *gain;  // of weight norm: every row gets this length; NULL without
    bool gain_of_taps;          // every tap does instead, over all rows and columns
    char name[96];              // in the GGUF file
    int64_t rows, cols, taps;   // [rows] (cols 0), [rows, cols] (taps 0) or [rows, cols, taps], outermost first
    bool output;                // decides over tokens: not below Q8_0
    int64_t n_heads;            // not 0: the rows of each head go from halves to pairs (0, D/2, 1, D/2 + 1, ...)
};

struct plan {
    const char *path;  // of the checkpoint
    const struct checkpoint *file;
    struct plan_item *items;
    int n, capacity;
};

void plan_free(struct plan *p);

/* The tensor `name` with n_dims dimensions; UTTER_FORMAT when it is missing, of another rank, or no float. */
status plan_need(const struct plan *p, const char *name, int n_dims, const struct tensor **out);

/* Adds the tensor `source` as `name`; dims as in plan_item. A convolution is stored with its taps outside its
   channels; a vector may have dimensions of 1 before its own. Missing, no float, or of another shape: UTTER_FORMAT with
   name, wanted and found. */
status plan_add(struct plan *p, const char *source, const char *name, int64_t rows, int64_t cols, int64_t taps);

/* The last item's rows are scaled to the lengths that `source` holds, [rows] or [rows, 1, 1]. */
status plan_gain(struct plan *p, const char *source);

/* The last item's taps are scaled to the lengths that `source` holds, [1, 1, taps]. */
status plan_tap_gain(struct plan *p, const char *source);

/* The last item is an output. */
void plan_mark_output(struct plan *p);

/* The last item's rows go from halves to pairs. */
void plan_pair_rows(struct plan *p, int64_t n_heads);

/* Announces all tensors, then writes their data. Matrices become `type`, or what block_type_for puts in its
   place; the output of a language model at least Q8_0; vectors F32. */
void plan_announce(const struct plan *p, struct gguf_writer *w, block_type type);
status plan_write(const struct plan *p, struct gguf_writer *w, block_type type);

#endif
