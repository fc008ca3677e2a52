/* What `utter read` and `utter submit` tell while a book becomes sound. */
#ifndef UTTER_CLI_READ_REPORT_H
#define UTTER_CLI_READ_REPORT_H

#include "book/reading.h"
#include "cli/progress.h"

#define READ_LOUDNESS_LUFS -19

struct read_report {
    const char *command;  // "read"
    bool quiet, verbose;
    struct progress progress;
    const struct reading *reading;
    int64_t began_ns;
    size_t n_bytes, bytes_before, bytes_done;  // of text: in all, spoken before this run, spoken now
    double audio_s;                            // of this run
    double spoken_s;                           // it took to speak that; what follows is writing
    int told_percent;
};

/* The book is open: what had to be repaired, and whether it is in another language. */
void read_report_opened(const struct read_report *r, const struct reading *reading);
void read_report_begin(struct read_report *r, const struct reading *reading, const struct spool *spool);
/* A unit of n_bytes of text has been spoken; n_samples 0: given up. */
void read_report_unit(struct read_report *r, size_t n_bytes, int64_t n_samples);
/* All units have been spoken. */
void read_report_spoken(struct read_report *r);
void read_report_end(struct read_report *r, struct spool *spool, const struct reading_output *output,
                     const struct reading_written *written);
/* One object on standard output; spool NULL: it did not come so far. */
void read_report_json(const struct read_report *r, status s, struct spool *spool, const struct reading_output *output,
                      const struct reading_written *written);

#endif
