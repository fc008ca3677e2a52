#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR = 24 };
static const int64_t interval_ns = 100000000;

struct progress progress_begin(bool quiet) {
    return (struct progress){.shown = !quiet && isatty(STDERR_FILENO)};
}

void progress_update(struct progress *p, int permille, double audio_s, double work_s) {
    int64_t now = clock_ns();
    if (!p->shown || (p->on_screen && now - p->drawn_ns < interval_ns)) return;
    p->drawn_ns = now;
    p->on_screen = true;
    fputs("\r\033[K", stderr);
    if (permille >= 0) {
        if (permille > 1000) permille = 1000;
        int full = permille * BAR / 1000;
        fprintf(stderr, "[%.*s%*s] %3d%%  ", full, "########################", BAR - full, "", permille / 10);
    }
    fprintf(stderr, "%.1f s of sound", audio_s);
    if (work_s > 0 && audio_s > 0) fprintf(stderr, ", %.1fx real time", audio_s / work_s);
    fflush(stderr);
}

void progress_clear(struct progress *p) {
    if (p->on_screen) fputs("\r\033[K", stderr);
    p->on_screen = false;
}
