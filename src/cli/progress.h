/* The line on a terminal that shows how far the speech, or a download, has come. */
#ifndef UTTER_CLI_PROGRESS_H
#define UTTER_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;        // standard error is a terminal and nobody asked for quiet
    bool on_screen;    // the line is there now
    int64_t drawn_ns;  // when it was drawn last
};

struct progress progress_begin(bool quiet);

/* permille: of the text, negative when not known; audio_s: of sound so far; work_s: spent making it. */
void progress_update(struct progress *p, int permille, double audio_s, double work_s);

/* The same with the time that is left. */
void progress_left(struct progress *p, int permille, double audio_s, double work_s, double left_s);

/* The same of a download; total: -1 when not known; rate: bytes a second, 0 when not known. */
void progress_bytes(struct progress *p, int64_t done, int64_t total, double rate);

/* Takes the line away, so that something else can be printed. */
void progress_clear(struct progress *p);

#endif
