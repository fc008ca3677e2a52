#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR = 24 };
static const int64_t interval_ns = 100000000;

struct progress progress_begin(bool quiet) {
    return (struct progress){.shown = !quiet && isatty(STDERR_FILENO)};
}

// Empties the line; false when it is not yet time to draw it again.
static bool begin_line(struct progress *p) {
    int64_t now = clock_ns();
    if (!p->shown || (p->on_screen && now - p->drawn_ns < interval_ns)) return false;
    p->drawn_ns = now;
    p->on_screen = true;
    fputs("\r\033[K", stderr);
    return true;
}

static void draw_bar(int permille) {
    if (permille > 1000) permille = 1000;
    int full = permille * BAR / 1000;
    fprintf(stderr, "[%.*s%*s] %3d%%  ", full, "########################", BAR - full, "", permille / 10);
}

void progress_update(struct progress *p, int permille, double audio_s, double work_s) {
    if (!begin_line(p)) return;
    if (permille >= 0) draw_bar(permille);
    fprintf(stderr, "%.1f s of sound", audio_s);
    if (work_s > 0 && audio_s > 0) fprintf(stderr, ", %.1fx real time", audio_s / work_s);
    fflush(stderr);
}

void progress_left(struct progress *p, int permille, double audio_s, double work_s, double left_s) {
    if (!begin_line(p)) return;
    draw_bar(permille);
    long left = (long)left_s;
    fprintf(stderr, "%.0f s of sound, %.1fx real time, ", audio_s, work_s > 0 ? audio_s / work_s : 0.0);
    if (left >= 3600)
        fprintf(stderr, "%ld h %02ld min left", left / 3600, left / 60 % 60);
    else if (left >= 60)
        fprintf(stderr, "%ld min %02ld s left", left / 60, left % 60);
    else
        fprintf(stderr, "%ld s left", left);
    fflush(stderr);
}

void progress_bytes(struct progress *p, int64_t done, int64_t total, double rate) {
    if (!begin_line(p)) return;
    if (total > 0) draw_bar((int)((double)done * 1000 / (double)total));
    fprintf(stderr, "%.1f", (double)done / 1e6);
    if (total > 0) fprintf(stderr, " of %.1f", (double)total / 1e6);
    fputs(" MB", stderr);
    if (rate > 0) fprintf(stderr, ", %.1f MB/s", rate / 1e6);
    fflush(stderr);
}

void progress_clear(struct progress *p) {
    if (p->on_screen) fputs("\r\033[K", stderr);
    p->on_screen = false;
}
