#include "codec/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Positions are counted in frames of the history held in `codes`, which begins somewhere in the reference or in the
   stream: what lies too far back to be looked at again is dropped by windows_push. */
struct windows {
    struct window_shape shape;
    int hop;

    int32_t *codes;  // [capacity], the first n_codes of it hold the history and what is still to be decoded
    int64_t n_codes, capacity;
    int64_t done;  // frames before it are decoded (or the reference's)
    bool last;     // no more codes will come
    bool started;  // the first piece was made

    int64_t begin, end;  // the window asked for; begin = end when there is none
    int piece;           // frames of it that make the piece, from `done` on
    int stride;          // frames that are final once the piece is added

    float *sum;       // [n_added] the last piece: what was final, and weighted samples that are not
    int64_t n_added;  // room is for the longest piece
    int64_t n_given;  // how many of them windows_decoded gave out
    float *weight;    // [n_added - n_given] of the others
};

enum { MAX_FRAMES = 1 << 16, MAX_HOP = 1 << 16, BLOCK = 1024 };

static void find_window(struct windows *w);
static void drop_given(struct windows *w);
static void add_piece(struct windows *w, const float *pcm, int64_t n, int64_t n_final);
static status make_room(struct windows *w, int64_t n);

struct window_shape window_shape_neutts(void) {
    return (struct window_shape){.chunk = 25, .lookforward = 5, .lookback = 50, .overlap = 1, .first_chunk = 25};
}

int windows_longest(struct window_shape shape) {
    return shape.lookback + shape.overlap + shape.chunk + shape.lookforward;
}

status windows_new(struct window_shape shape, int hop, const int32_t *reference, int n_reference,
                   struct windows **out) {
    *out = NULL;
    if (shape.chunk < 1 || shape.chunk > MAX_FRAMES || shape.lookback < 0 || shape.lookback > MAX_FRAMES ||
        shape.overlap < 0 || shape.overlap > MAX_FRAMES || shape.lookforward > MAX_FRAMES)
        return fail(UTTER_INVALID, "windows of %d frames, %d ahead, %d back and %d of overlap cannot be decoded",
                    shape.chunk, shape.lookforward, shape.lookback, shape.overlap);
    if (shape.lookforward < 2 * shape.overlap)
        return fail(UTTER_INVALID, "a window has to look at least twice its overlap of %d frames ahead, not %d",
                    shape.overlap, shape.lookforward);
    if (shape.first_chunk < 1 || shape.first_chunk > shape.chunk)
        return fail(UTTER_INVALID, "the first piece can have 1..%d frames, not %d", shape.chunk, shape.first_chunk);
    if (hop < 1 || hop > MAX_HOP) return fail(UTTER_INVALID, "a frame cannot have %d samples", hop);
    if (n_reference < 0 || (n_reference > 0 && !reference))
        return fail(UTTER_INVALID, "a reference of %d codes cannot be used", n_reference);

    struct windows *w = calloc(1, sizeof *w);
    if (!w) return fail_memory(sizeof *w, "the windows of a stream");
    w->shape = shape;
    w->hop = hop;
    size_t room = (size_t)(shape.chunk + shape.lookforward) * (size_t)hop,
           rest = 2 * (size_t)shape.overlap * (size_t)hop;
    status s = alloc_for(&w->sum, room, sizeof *w->sum, "a piece");
    if (s == UTTER_OK) s = alloc_for(&w->weight, rest, sizeof *w->weight, "the end of a piece");
    int back = shape.lookback + shape.overlap;
    int n = n_reference < back ? n_reference : back;
    if (s == UTTER_OK) s = make_room(w, windows_longest(shape));
    if (s != UTTER_OK) {
        windows_free(w);
        return s;
    }
    if (n) memcpy(w->codes, reference + (n_reference - n), (size_t)n * sizeof *w->codes);
    w->n_codes = w->done = n;
    *out = w;
    return UTTER_OK;
}

void windows_free(struct windows *w) {
    if (!w) return;
    free(w->codes);
    free_aligned(w->sum);
    free_aligned(w->weight);
    free(w);
}

status windows_push(struct windows *w, const int32_t *codes, int n, bool last) {
    if (n < 0 || (n > 0 && !codes)) return fail(UTTER_INVALID, "%d codes cannot be added to a stream", n);
    if (w->last) return fail(UTTER_INVALID, "codes came after the last ones of the stream");
    if (w->begin != w->end) return fail(UTTER_INTERNAL, "codes came while a window was being decoded");
    int64_t old = w->done - (w->shape.lookback + w->shape.overlap);
    if (old > 0) {
        memmove(w->codes, w->codes + old, (size_t)(w->n_codes - old) * sizeof *w->codes);
        w->n_codes -= old;
        w->done -= old;
    }
    TRY(make_room(w, w->n_codes + n));
    if (n) memcpy(w->codes + w->n_codes, codes, (size_t)n * sizeof *w->codes);
    w->n_codes += n;
    w->last = last;
    return UTTER_OK;
}

void windows_next(struct windows *w, const int32_t **codes, int *n_codes) {
    if (w->begin == w->end) find_window(w);
    *codes = w->codes + w->begin;
    *n_codes = (int)(w->end - w->begin);
}

status windows_decoded(struct windows *w, const float *pcm, const float **ready, int *n_ready) {
    *ready = NULL;
    *n_ready = 0;
    if (w->begin == w->end) return fail(UTTER_INTERNAL, "samples came for no window");
    drop_given(w);
    int64_t n = (int64_t)w->stride * w->hop;
    add_piece(w, pcm + (w->done - w->begin) * w->hop, (int64_t)w->piece * w->hop, n);
    w->n_given = n;
    w->done += w->stride;
    w->started = true;
    w->begin = w->end = 0;
    *ready = w->sum;
    *n_ready = (int)n;
    return UTTER_OK;
}

/* A regular piece as soon as its frames and those ahead of it are there, so that it does not matter in which portions
   the codes came; the rest once the last codes are known. */
static void find_window(struct windows *w) {
    const struct window_shape *shape = &w->shape;
    int64_t pending = w->n_codes - w->done;
    int chunk = w->started ? shape->chunk : shape->first_chunk;
    int back = shape->lookback + shape->overlap;
    if (pending >= chunk + shape->lookforward) {
        w->end = w->done + chunk + shape->lookforward;
        w->piece = chunk + 2 * shape->overlap;
        w->stride = chunk;
    } else if (w->last && pending > 0) {
        w->end = w->n_codes;
        w->piece = w->stride = (int)pending;
    } else {
        return;
    }
    w->begin = w->done > back ? w->done - back : 0;
}

/* Moves what is not final to the front. */
static void drop_given(struct windows *w) {
    int64_t rest = w->n_added - w->n_given;
    memmove(w->sum, w->sum + w->n_given, (size_t)rest * sizeof *w->sum);
    w->n_added = rest;
    w->n_given = 0;
}

/* Of samples at .. at + m of a piece of n: triangular, 0.5 - |t - 0.5| at t = 1 / (n + 1) ... n / (n + 1). The samples
   of a block are counted in 32 bits, as several such become doubles at a time. */
static void find_weights(float weights[BLOCK], int64_t at, int64_t m, int64_t n) {
    double first = (double)(at + 1), step = 1.0 / (double)(n + 1);
    for (int i = 0; i < (int)m; i++) {
        float t = (float)((first + i) * step) - 0.5f;
        weights[i] = 0.5f - (t < 0 ? -t : t);
    }
}

/* Overlap-add of pcm[n], in the floats (and the order) of the official NumPy code, so that the result is equal to the
   last bit for equal pieces; the first n_final samples are then divided by their weights. */
static void add_piece(struct windows *w, const float *pcm, int64_t n, int64_t n_final) {
    float weights[BLOCK];
    for (int64_t at = 0, m; at < n; at += m) {
        bool left = at < w->n_added, final = at < n_final;  // something is there from the pieces before; none follows
        m = n - at < BLOCK ? n - at : BLOCK;
        if (left && m > w->n_added - at) m = w->n_added - at;
        if (final && m > n_final - at) m = n_final - at;
        find_weights(weights, at, m, n);
        float *sum = w->sum + at, *old = w->weight + at;
        const float *samples = pcm + at;
        if (left) {
            for (int64_t i = 0; i < m; i++) sum[i] += weights[i] * samples[i];
            for (int64_t i = 0; i < m; i++) weights[i] += old[i];
        } else
            for (int64_t i = 0; i < m; i++) sum[i] = weights[i] * samples[i];
        if (final)
            for (int64_t i = 0; i < m; i++) sum[i] /= weights[i];
        else
            memcpy(w->weight + (at - n_final), weights, (size_t)m * sizeof *weights);
    }
    w->n_added = n;
}

static status make_room(struct windows *w, int64_t n) {
    if (n <= w->capacity) return UTTER_OK;
    int32_t *codes = realloc(w->codes, (size_t)n * sizeof *codes);
    if (!codes) return fail_memory((size_t)n * sizeof *codes, "the codes of a stream");
    w->codes = codes;
    w->capacity = n;
    return UTTER_OK;
}
