/* Times the GPU device at NeuTTS Air's geometry (Q4_0, Q8_0 embedding and head) and NeuCodec's (F16), with random
   weights: `test_gpu_speed [backbone [STREAMS]|ready]`, on a real card. No test: nothing is checked but that calls
   succeed. `ready` ends once everything is loaded: how long that takes is the start that a user waits for. A number of
   streams: nothing else is timed after the prompts, so that a profiler soon comes to the steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "speed_models.h"

enum { N_SLOTS = 256, N_CTX = 1024, DEPTH = 512 };

static void time_batch(struct device *d, const struct backbone *b, int n, int steps) {
    static struct generation g[N_SLOTS];
    static int32_t tokens[DEPTH], indices[N_SLOTS][DEPTH];
    struct sampling settings = sampling_neutts();
    for (int i = 0; i < DEPTH; i++) tokens[i] = b->code_token[speed_random() % 65536];
    for (int i = 0; i < n; i++) {
        g[i] = (struct generation){.slot = i, .indices = indices[i], .end_index = -1};
        speed_must(sampler_new(&settings, (uint32_t)i, b->n_codes + 1, &g[i].sampler), "sampler");
        d->ops->reset(d, i);
        speed_must(d->ops->prefill(d, i, tokens, DEPTH, NULL, NO_DEADLINE), "prefill");
    }
    speed_must(d->ops->generate(d, g, n, 16, NO_DEADLINE), "generate");
    int64_t start = clock_ns();
    speed_must(d->ops->generate(d, g, n, steps, NO_DEADLINE), "generate");
    double ms = speed_ms_since(start);
    printf("decode, %3d streams, %d deep: %.3f ms a step, %.0f tokens/s\n", n, DEPTH, ms / steps, n * steps / ms * 1e3);
    for (int i = 0; i < n; i++) sampler_free(g[i].sampler);
}

int main(int argc, char **argv) {
    bool with_codec = argc < 2 || strcmp(argv[1], "backbone");
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct backbone b;
    struct codec c;
    speed_backbone(&b, N_CTX);
    if (with_codec) speed_codec(&c, BLOCK_F16);
    int64_t begin = clock_ns(), start = begin;
    struct device *d;
    const struct gpu_options options = {.backbone = &b, .codec = with_codec ? &c : NULL};
    speed_must(gpu_open(&options, NULL, &d), "open");
    printf("open: %.0f ms\n", speed_ms_since(start));
    start = clock_ns();
    if (with_codec) speed_must(d->ops->load_codec(d, &c), "load");
    printf("load codec: %.0f ms\n", speed_ms_since(start));
    start = clock_ns();
    speed_must(d->ops->load_backbone(d, &b, true, N_SLOTS, N_CTX), "load");
    printf("load model: %.0f ms\nready after %.0f ms\n%s\n", speed_ms_since(start), speed_ms_since(begin),
           d->ops->describe(d));
    if (argc > 1 && strcmp(argv[1], "ready") == 0) {
        d->ops->close(d);
        return 0;
    }

    static int32_t tokens[DEPTH];
    for (int i = 0; i < DEPTH; i++) tokens[i] = (int32_t)(speed_random() % 217232);
    for (int i = 0; i < 3; i++) {
        d->ops->reset(d, 0);
        start = clock_ns();
        speed_must(d->ops->prefill(d, 0, tokens, DEPTH, NULL, NO_DEADLINE), "prefill");
        printf("prefill of %d: %.2f ms, %.0f tokens/s\n", DEPTH, speed_ms_since(start),
               DEPTH / speed_ms_since(start) * 1e3);
    }
    int only = argc > 2 ? atoi(argv[2]) : 0;
    static const int batches[][2] = {{1, 200}, {8, 100}, {64, 50}, {256, 20}};  // streams, steps
    for (int i = 0; i < 4; i++)
        if (only < 1 || only == batches[i][0]) time_batch(d, &b, batches[i][0], batches[i][1]);

    if (!with_codec) {
        d->ops->close(d);
        return 0;
    }
    static const int windows[] = {81, 81, 500, 500};
    static float pcm[500 * 480];
    for (int i = 0; i < DEPTH; i++) tokens[i] = (int32_t)(speed_random() % 65536);
    for (int i = 0; i < 4; i++) {
        start = clock_ns();
        speed_must(d->ops->synthesize(d, &(struct synthesis){tokens, windows[i], pcm}, 1, NO_DEADLINE), "synthesize");
        printf("codec, %d frames: %.2f ms\n", windows[i], speed_ms_since(start));
    }
    d->ops->close(d);
    return 0;
}
