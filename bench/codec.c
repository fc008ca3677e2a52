/* How long the codec takes: milliseconds a decode of 81 frames (a streaming window) and of 500 (ten seconds).
   bench_codec [CODEC.gguf ...]   without files: NeuCodec's geometry with made-up weights in F32, F16 and Q8_0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/codec.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"

enum { MAX_FRAMES = 500, MAX_RUNS = 50 };

static void check(status s) {
    if (s == UTTER_OK) return;
    fprintf(stderr, "bench_codec: %s\n", fail_message());
    fixture_cleanup();
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs for two seconds, three times at least. */
static void measure(struct cpu_codec *c, const struct codec *codec, int n, const char *label, const char *kernels,
                    int n_threads) {
    static int32_t codes[MAX_FRAMES];
    float *pcm = malloc((size_t)n * (size_t)codec->config.hop * sizeof *pcm);
    double ms[MAX_RUNS], total = 0;
    int n_runs = 0;
    if (!pcm) check(fail_memory((size_t)n * (size_t)codec->config.hop * sizeof *pcm, "samples"));
    for (int i = 0; i < n; i++) codes[i] = (int32_t)((uint32_t)i * 2654435761u >> 8) % codec->config.n_codes;
    check(cpu_codec_decode(c, codes, n, pcm, NO_DEADLINE));  // makes room
    while (n_runs < MAX_RUNS && (n_runs < 3 || total < 2000)) {
        int64_t start = clock_ns();
        check(cpu_codec_decode(c, codes, n, pcm, NO_DEADLINE));
        ms[n_runs] = (double)(clock_ns() - start) * 1e-6;
        total += ms[n_runs++];
    }
    qsort(ms, (size_t)n_runs, sizeof *ms, ascending);
    double seconds = (double)n * codec->config.hop / codec->config.sample_rate;
    printf("%-28s %-10s %2d threads %4d frames %8.1f ms (least %.1f, most %.1f of %d), %.3f of real time, %.0f MB\n",
           label, kernels, n_threads, n, ms[n_runs / 2], ms[0], ms[n_runs - 1], n_runs, ms[n_runs / 2] / 1000 / seconds,
           (double)cpu_codec_bytes(c) * 1e-6);
    fflush(stdout);
    free(pcm);
}

static void bench(const char *path, const char *label) {
    struct gguf *g;
    struct codec *codec;
    const struct kernels *kernels;
    check(gguf_open(path, &g));
    check(codec_load(g, &codec));
    check(kernels_find(getenv("UTTER_KERNELS"), &kernels));
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        struct pool *pool;
        struct cpu_codec *c;
        check(pool_new(n_threads, &pool));
        check(cpu_codec_new(codec, kernels, pool, &c));
        measure(c, codec, 81, label, kernels->name, n_threads);
        measure(c, codec, MAX_FRAMES, label, kernels->name, n_threads);
        cpu_codec_free(c);
        pool_free(pool);
    }
    codec_free(codec);
}

int main(int argc, char **argv) {
    static const block_type types[] = {BLOCK_F32, BLOCK_F16, BLOCK_Q8_0};
    for (int i = 1; i < argc; i++) bench(argv[i], argv[i]);
    for (size_t i = 0; argc == 1 && i < sizeof types / sizeof *types; i++) {
        char path[FIXTURE_PATH], label[64];
        check(fixture_path("codec.gguf", path));
        check(fixture_codec(true, types[i], path));
        snprintf(label, sizeof label, "NeuCodec %s", block_info(types[i])->name);
        bench(path, label);
    }
    fixture_cleanup();
    return 0;
}
