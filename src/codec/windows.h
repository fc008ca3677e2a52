/* Streaming as NeuTTS does it: windows of codes, decoded one at a time, joined by linear overlap-add.

   The reference's codes count as already decoded: the first piece starts at their end, `done`. When chunk + lookforward
   codes from `done` on are there, codes [done - lookback - overlap, done + chunk + lookforward) are decoded (fewer at
   the start), and the samples of frames [done, done + chunk + 2 * overlap) become the next piece. It is added at frame
   `done` with triangular weights; samples before done + chunk are final and ready, and done += chunk. Once the last
   codes are known, what remains beyond `done` is decoded with the same lookback and is the last piece, from frame
   `done` to the end; so a stream has hop samples for every code. In which portions the codes come does not matter.

   This equals the official infer_stream sample for sample but for two faults at its end: it cuts its last piece one
   frame early and so places it one frame (20 ms) late, and it counts the one or two empty items with which
   llama-cpp-python ends a stream as codes, so that 28 or 29 pending codes may start one more regular piece there.

   first_chunk < chunk takes the place of chunk in the first piece, which is then ready after first_chunk + lookforward
   codes; later pieces are as usual, relative to their `done`.

   This file knows which codes to decode and how to join; it does not decode. Memory does not grow with the stream. */
#ifndef UTTER_CODEC_WINDOWS_H
#define UTTER_CODEC_WINDOWS_H

#include "base/status.h"

struct window_shape {
    int chunk;        // frames a piece advances: 25
    int lookforward;  // 5; at least 2 * overlap
    int lookback;     // 50
    int overlap;      // 1
    int first_chunk;  // 1..chunk frames the first piece advances, for an earlier start; chunk as NeuTTS does it
};
struct window_shape window_shape_neutts(void);
/* Codes of the longest window. */
int windows_longest(struct window_shape shape);

struct windows;

/* `reference`: the voice's codes, n_reference may be 0. hop: samples a frame. */
status windows_new(struct window_shape shape, int hop, const int32_t *reference, int n_reference, struct windows **out);
void windows_free(struct windows *w);

/* Adds codes as they are generated; `last` with the final ones (n may be 0). Not while a window is out, and memory
   stays constant when every window is decoded before the next push. */
status windows_push(struct windows *w, const int32_t *codes, int n, bool last);

/* The next window to decode: codes[*n_codes], or *n_codes = 0 when more codes are needed or all is done. The same one
   until windows_decoded. */
void windows_next(struct windows *w, const int32_t **codes, int *n_codes);

/* Takes the decoded window, pcm[n_codes * hop], and gives the samples that are final now: *ready[*n_ready], valid until
   the next call. */
status windows_decoded(struct windows *w, const float *pcm, const float **ready, int *n_ready);

#endif
