/* Streaming as NeuTTS does it: windows of codes, decoded one at a time, joined by linear overlap-add.

   The reference's codes count as already decoded. When chunk + lookforward new codes are there, codes
   [done - lookback - overlap, done + chunk + lookforward + overlap... ) are decoded and the samples of frames
   [done, done + chunk + 2 * overlap) become the next piece; pieces are added at a stride of chunk * hop with
   triangular weights; samples up to the end of the stride are ready. What remains at the end is one last piece that
   starts at frame `done`. This file knows which codes to decode and how to join; it does not decode. */
#ifndef UTTER_CODEC_WINDOWS_H
#define UTTER_CODEC_WINDOWS_H

#include "base/status.h"

struct window_shape {
    int chunk;       // frames a piece advances: 25
    int lookforward; // 5
    int lookback;    // 50
    int overlap;     // 1
    int first_chunk; // frames of the first piece, for an earlier start; chunk for NeuTTS's own
};
struct window_shape window_shape_neutts(void);

struct windows;

/* `reference`: the voice's codes, n_reference may be 0. hop: samples a frame. */
status windows_new(struct window_shape shape, int hop, const int32_t *reference, int n_reference, struct windows **out);
void windows_free(struct windows *w);

/* Adds codes as they are generated; `last` with the final ones (n may be 0 then). */
status windows_push(struct windows *w, const int32_t *codes, int n, bool last);

/* The next window to decode: codes[*n_codes], or *n_codes = 0 when more codes are needed or all is done. */
void windows_next(struct windows *w, const int32_t **codes, int *n_codes);

/* Takes the decoded window, pcm[n_codes * hop], and gives the samples that are final now: *ready[*n_ready], valid until
   the next call. */
status windows_decoded(struct windows *w, const float *pcm, const float **ready, int *n_ready);

#endif
