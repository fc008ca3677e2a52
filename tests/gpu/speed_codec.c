/* Times the codec on the GPU device at NeuCodec's geometry with random weights: `test_gpu_speed_codec [F16|F32|Q8_0]
   [window|batch]`, on a real card. No test: nothing is checked but that calls succeed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "speed_models.h"

enum { MAX_PIECES = 64, MAX_FRAMES = 500, HOP = 480, REPEATS = 30 };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_pieces(struct device *d, int n_pieces, int n_frames) {
    static int32_t codes[MAX_PIECES][MAX_FRAMES];
    static struct synthesis pieces[MAX_PIECES];
    double times[REPEATS];
    int repeats = n_pieces * n_frames > 1000 ? REPEATS / 3 : REPEATS;
    for (int i = 0; i < n_pieces; i++) {
        for (int j = 0; j < n_frames; j++) codes[i][j] = (int32_t)(speed_random() & 0xffff);
        pieces[i] = (struct synthesis){codes[i], n_frames, speed_room((size_t)n_frames * HOP * sizeof(float))};
    }
    int64_t start = clock_ns();
    speed_must(d->ops->synthesize(d, pieces, n_pieces, NO_DEADLINE), "synthesize");
    double first = speed_ms_since(start);
    for (int i = 0; i < repeats; i++) {
        start = clock_ns();
        speed_must(d->ops->synthesize(d, pieces, n_pieces, NO_DEADLINE), "synthesize");
        times[i] = speed_ms_since(start);
    }
    qsort(times, (size_t)repeats, sizeof *times, compare);
    double median = times[repeats / 2], seconds = (double)n_pieces * n_frames * HOP / 24000;
    printf("codec, %2d x %3d frames: median %7.3f ms, least %7.3f, first %7.3f; %.0f seconds of sound a second\n",
           n_pieces, n_frames, median, times[0], first, seconds / median * 1e3);
    for (int i = 0; i < n_pieces; i++) free(pieces[i].pcm);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *name = argc > 1 ? argv[1] : "F16", *what = argc > 2 ? argv[2] : "";
    block_type type = strcmp(name, "F32") == 0 ? BLOCK_F32 : strcmp(name, "Q8_0") == 0 ? BLOCK_Q8_0 : BLOCK_F16;
    struct codec c;
    speed_codec(&c, type);
    int64_t start = clock_ns();
    struct device *d;
    speed_must(gpu_open(&(struct gpu_options){0}, NULL, &d), "open");
    printf("open: %.0f ms\n", speed_ms_since(start));
    start = clock_ns();
    speed_must(d->ops->load_codec(d, &c), "load");
    printf("load codec of %s: %.0f ms\n%s\n", name, speed_ms_since(start), d->ops->describe(d));
    if (strcmp(what, "batch")) {
        time_pieces(d, 1, 81);
        time_pieces(d, 1, 31);
    }
    if (!*what) {
        time_pieces(d, 8, 81);
        time_pieces(d, 1, 200);
        time_pieces(d, 1, 500);
    }
    if (strcmp(what, "window")) {
        time_pieces(d, 8, 500);
        time_pieces(d, 32, 500);
    }
    d->ops->close(d);
    return 0;
}
