/* From a full spool to the sound of a book: units in order, their edges trimmed, pauses between them, as fast as
   wanted, each chapter at the same loudness (EBU R128, measured by libebur128). */
#ifndef UTTER_BOOK_RENDER_H
#define UTTER_BOOK_RENDER_H

#include "book/spool.h"
#include "book/units.h"

struct rendering {
    const struct book *b;
    const struct units *units;
    struct spool *spool;
    int rate_hz;
    double speed;  // 2 is twice as fast, at the same pitch; pauses too. 1: as it was spoken
};

struct rendered_chapter {
    int first_unit, end_unit;  // none: first_unit == end_unit
    int64_t first_sample, n_samples;
    double gain;  // linear
};

/* samples: float [n], to be had until it returns. */
typedef status render_fn(void *user, const float *samples, size_t n);

/* Measures all chapters. chapters: [n_chapters]; gains bring each to loudness_lufs, but no true peak above -1 dBTP.
   loudness_lufs NAN: the sound is left as loud as it is. *measured_lufs: of all of it, before; NAN when too short. */
status render_measure(const struct rendering *r, double loudness_lufs, struct rendered_chapter *chapters,
                      double *measured_lufs);

/* The sound of one chapter, its leading pause included unless it is the book's first or `alone`. */
status render_chapter(const struct rendering *r, const struct rendered_chapter *chapter, bool alone, render_fn *fn,
                      void *user);

#endif
